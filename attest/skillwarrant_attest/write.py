"""The bundle beside its adapter: written whole or not at all, and only if the adapter is still what was signed.

It signs nothing, and does not verify the signature again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from skillwarrant_attest.files import replace
from skillwarrant_format.bundle import BUNDLE_NAME, RawBundle
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import DigestMismatch, FilesMismatch
from skillwarrant_format.hashing import Progress
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_format.statement import Statement

__all__ = ["check_unchanged", "write_bundle"]


def write_bundle(directory: Path, bundle: bytes, *, progress: Progress | None = None) -> Path:
    """Write `skillwarrant.sigstore.json` into an adapter directory.

    The directory is read again: signing takes seconds, in which somebody may have saved another checkpoint. An
    older bundle is replaced in one step.

    Args:
        bundle: what `sign` returned.
        progress: told (bytes read, bytes in total) while the files are read again.

    Returns:
        The file's path.

    Raises:
        FilesMismatch, DigestMismatch: the directory is not what was signed; nothing is written.
        FormatError: these bytes are no bundle of a statement, or a file changed while it was read.
        Unavailable: the disk is full or refuses; what was there before is untouched.
    """
    statement = Statement.parse(RawBundle.parse(bundle).envelope.payload)
    found = {path: file.digest for path, file in Snapshot.read(directory, progress=progress).files.items()}
    check_unchanged(statement, found, what="adapter")
    path = directory / BUNDLE_NAME
    replace(path, bundle)
    return path


def check_unchanged(statement: Statement, found: Mapping[str, Digest], *, what: str) -> None:
    """Whether the files of a directory are still those that were signed.

    Args:
        found: path -> SHA-256 of what is there now.
        what: it is of, for messages.

    Raises:
        FilesMismatch, DigestMismatch: it is not.
    """
    signed = {subject.name: subject.digest for subject in statement.subjects}
    fix = "Sign again when nothing writes to the directory. No bundle was written."
    if others := sorted(signed.keys() ^ found.keys()):
        raise FilesMismatch(f"the {what}'s files changed while it was signed", found=", ".join(others), fix=fix)
    if changed := sorted(name for name in signed if signed[name] != found[name]):
        raise DigestMismatch(f"the {what} changed while it was signed", found=", ".join(changed), fix=fix)
