"""`InputStore`: what decisions were made from, kept beside the log, so that they can be made again.

Each document is a file of canonical JSON whose name is its own SHA-256, which is the digest in the signed
observation: the log vouches for what is here, and nothing here has to be trusted. Where one operation made several
decisions, the digest is that of the list of theirs, and that list is kept too. What a document says is not known
here. Files may be deleted: what they were about can then not be decided again, and the log still verifies.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.durable import sync_directory
from skillwarrant_format.errors import AuditError, FormatError
from skillwarrant_format.strict_json import JsonObject, JsonValue, canonical, loads

__all__ = ["INPUTS_NAME", "InputStore", "inputs_digest"]

INPUTS_NAME: Final = "inputs"
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def inputs_digest(documents: Sequence[bytes]) -> Digest | None:
    """What an observation calls its inputs: of one document its digest, of several that of the list of these.

    Args:
        documents: canonical JSON, in the order of the decisions; of none, there is no digest.
    """
    return Digest.of(_top(documents)) if documents else None


class InputStore:
    """The documents of one directory. Any number of threads and processes may write to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def keep(self, documents: Sequence[bytes]) -> None:
        """Keep what decisions were made from; on disk when this returns.

        Args:
            documents: canonical JSON, at least one.

        Raises:
            AuditError: it could not be written.
        """
        try:
            for data in {*documents, _top(documents)}:
                self._write(data)
        except OSError as error:
            raise AuditError(
                f"cannot keep what was decided from in {self.directory}",
                found=error.strerror or str(error),
                fix="Check that the directory can be written and that the disk is not full.",
            ) from error

    def read(self, inputs: Digest) -> tuple[JsonObject, ...]:
        """The documents that an observation names.

        Raises:
            AuditError: one is missing, cannot be read, or is not what was kept.
        """
        found = self._read(inputs)
        if not isinstance(found, list):
            return (_object(found),)
        return tuple(_object(self._read(_digest(item))) for item in found)

    def _path(self, digest: Digest) -> Path:
        return self.directory / digest.hex[:2] / f"{digest.hex}.json"  # no directory grows without end

    def _write(self, data: bytes) -> None:
        path = self._path(Digest.of(data))
        if _is(path, data):
            return
        _make(path.parent)
        temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            with os.fdopen(os.open(temporary, _WRITE, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)  # what was there and is not these bytes, somebody changed
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)

    def _read(self, digest: Digest) -> JsonValue:
        try:
            with os.fdopen(os.open(self._path(digest), _READ), "rb") as file:
                data = file.read(limits.MAX_JSON_BYTES + 1)
        except FileNotFoundError:
            raise AuditError("its input is not kept", expected=f"{digest} in {self.directory}") from None
        except OSError as error:
            raise AuditError("its input cannot be read", found=error.strerror) from error
        if (found := Digest.of(data)) != digest:
            raise AuditError("its input was altered", expected=str(digest), found=str(found))
        try:
            return loads(data, what="the input")
        except FormatError as error:  # it was signed for, and is none of ours
            raise AuditError("its input cannot be read", found=str(error)) from None


def _top(documents: Sequence[bytes]) -> bytes:
    if len(documents) == 1:
        return documents[0]
    return canonical([Digest.of(data).hex for data in documents])


def _is(path: Path, data: bytes) -> bool:
    try:
        with os.fdopen(os.open(path, _READ), "rb") as file:
            return file.read(len(data) + 1) == data
    except OSError:
        return False


def _make(directory: Path) -> None:
    """A directory and those above it, durably, for their owner alone."""
    if directory.is_dir():
        return
    _make(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    sync_directory(directory.parent)


def _object(value: JsonValue) -> JsonObject:
    if not isinstance(value, dict):
        raise AuditError("its input cannot be read", expected="an object", found=type(value).__name__)
    return value


def _digest(value: JsonValue) -> Digest:
    try:
        return Digest(value if isinstance(value, str) else "")
    except FormatError as error:
        raise AuditError("its input cannot be read", found=error.message) from None
