"""A policy never comes from inside an adapter: whoever made the adapter would say what is demanded of it.

Two checks, since each sees what the other does not. By place: the policy is not named through the adapter's
directory and does not lie in it, whatever links and mounts lead there. By content: none of the signed files of the
adapter is the policy document, wherever it was read from: a hard link, a copy, a policy in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import PolicyRefused
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_format.statement import Subject
from skillwarrant_verify.proof.fetch import AdapterSource

__all__ = ["refuse_inside", "refuse_same"]

_FIX = "Keep your policy where the adapter's publisher cannot write, and name it there."


def refuse_inside(policy: str | os.PathLike[str], adapter: AdapterSource) -> None:
    """Refuse a policy's path that leads through or into the adapter's directory. Of a snapshot there is no place.

    Raises:
        PolicyRefused: it does.
    """
    if isinstance(adapter, Snapshot):
        return
    try:
        status = Path(adapter).stat()
    except OSError:  # `fetch` will say what is wrong with it
        return
    if (status.st_dev, status.st_ino) in set(_places(Path(policy))):
        raise PolicyRefused(
            "the policy lies inside the adapter",
            expected=f"a policy outside of {os.fspath(adapter)}",
            found=os.fspath(policy),
            fix=_FIX,
        )


def refuse_same(policy: Digest, files: Iterable[Subject]) -> None:
    """Refuse a policy whose document is one of the adapter's files.

    Args:
        policy: SHA-256 of the policy document.

    Raises:
        PolicyRefused: it is.
    """
    for file in files:
        if file.digest == policy:
            raise PolicyRefused(
                "the policy is a file of the adapter",
                expected="a policy that its publisher did not bring along",
                found=file.name,
                fix=_FIX,
            )


def _places(path: Path) -> Iterator[tuple[int, int]]:
    """Every directory that the path goes through, as it is written and as it is resolved."""
    for whole in (os.path.abspath(path), os.path.realpath(path)):  # noqa: PTH100  # Path.resolve follows links
        for place in (Path(whole), *Path(whole).parents):
            try:
                status = place.stat()
            except OSError:
                continue
            yield status.st_dev, status.st_ino
