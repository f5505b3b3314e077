"""The demo's working directory: what it keeps there for a look afterwards, and the texts it writes.

The directory belongs to one demo at a time. What an earlier demo left in it is replaced; a directory that no demo
made, and that holds anything, is refused. Must not know: models, signing, verifying.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from skillwarrant_format.errors import Unavailable, UsageError
from skillwarrant_format.snapshot import WEIGHTS_NAME

__all__ = ["ENVIRONMENT", "REPOSITORY", "SKILL", "Place"]

ENVIRONMENT: Final = "production"
REPOSITORY: Final = "tamarack-kettles/adapters"
SKILL: Final = "tamarack/support"
WORKFLOW: Final = ".github/workflows/release.yml"
_POLICY_CLASS: Final = "support"
_MARK: Final = ".skillwarrant-demo"

_POLICY: Final = """\
api_version = "skillwarrant.dev/policy/v1"
name = "tamarack-production"
revision = 1
environments = ["{environment}"]
policy_classes = ["{policy_class}"]

[[publishers]]
issuer = "{issuer}"
identity = "https://github.com/{repository}/{workflow}@refs/tags/v*"
skills = ["{owner}/*"]
"""
_SKILL_TOML: Final = """\
policy_class = "{policy_class}"

[skill]
name = "{skill}"
version = "{version}"
description = "Answers as the support desk of Tamarack Kettles, a company that does not exist."

[publisher]
name = "Tamarack Kettles"

[[base]]
name = {base}

[deployment]
environments = ["{environment}"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where everything of a demo lies."""

    directory: Path

    @property
    def devstack(self) -> Path:
        return self.directory / "devstack"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def policy(self) -> Path:
        return self.directory / "policy.toml"

    @property
    def base(self) -> Path:
        """A link to the base model in the cache."""
        return self.directory / "base"

    @contextmanager
    def held(self) -> Iterator[None]:
        """The directory is there, is ours alone while the block runs, and holds nothing of an earlier demo.

        Raises:
            UsageError: it holds something, and no demo made it.
            Unavailable: another demo works in it.
        """
        mark = self.directory / _MARK
        self.directory.mkdir(parents=True, exist_ok=True)
        if not mark.exists() and any(self.directory.iterdir()):
            raise UsageError(
                "the demo's directory holds something else",
                expected="a directory that is empty, missing, or left by another demo",
                found=str(self.directory),
            )
        with mark.open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fix = "Wait for it, or give this one another directory with --dir."
                raise Unavailable("another demo works here", found=str(self.directory), fix=fix) from None
            self._clear()
            yield

    def write_policy(self, issuer: str) -> str:
        """What the consumer demands. Returns the text."""
        text = _POLICY.format(
            environment=ENVIRONMENT,
            policy_class=_POLICY_CLASS,
            issuer=issuer,
            repository=REPOSITORY,
            workflow=WORKFLOW,
            owner=SKILL.partition("/")[0],
        )
        self.policy.write_text(text, "utf-8")
        return text

    def link_base(self, directory: Path) -> None:
        """So that the commands to try next are short."""
        self.base.symlink_to(directory.resolve())

    def copy_adapter(self, source: Path, folder: str) -> Path:
        """A copy of an adapter's directory, in a folder of its own. Returns the copy."""
        copy = self.directory / folder / source.name
        shutil.copytree(source, copy)
        return copy

    def write_skill_toml(self, adapter: Path, *, version: str, environment: str, base: str) -> Path:
        """What the publisher says of an adapter, beside its directory."""
        path = adapter.with_name(f"{adapter.name}.skill.toml")
        text = _SKILL_TOML.format(
            policy_class=_POLICY_CLASS, skill=SKILL, version=version, environment=environment, base=json.dumps(base)
        )
        path.write_text(text, "utf-8")
        return path

    def substitute(self, adapter: Path) -> tuple[Path, int]:
        """A copy of a signed adapter, bundle and all, with one byte of its weights changed.

        Returns:
            The copy, and the byte's offset in the weights file.
        """
        copy = self.copy_adapter(adapter, "substituted")
        with (copy / WEIGHTS_NAME).open("r+b") as file:
            offset = file.seek(-1, 2)
            (last,) = file.read(1)
            file.seek(offset)
            file.write(bytes([last ^ 1]))
        return copy, offset

    def _clear(self) -> None:
        for folder in (self.devstack, self.log, *(self.directory / name for name in _COPIES)):
            if folder.exists():
                shutil.rmtree(folder)
        for file in (self.policy, self.base):
            file.unlink(missing_ok=True)


_COPIES: Final = ("release", "development", "substituted")
