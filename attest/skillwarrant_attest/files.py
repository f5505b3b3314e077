"""Writing a file so that a reader sees the whole of it or nothing: a full disk leaves what was there before.

It knows nothing of what it writes.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from skillwarrant_format.durable import sync_directory
from skillwarrant_format.errors import Unavailable, UsageError

__all__ = ["create", "replace"]

_MODE: Final = 0o644
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def replace(path: Path, data: bytes) -> None:
    """Write `data` to `path` durably; a file that is there is replaced in one step.

    Raises:
        Unavailable: the disk is full or refuses; `path` is then as it was.
    """
    # In the same directory, since a rename is atomic within one file system only.
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        _write_new(part, data)
        try:
            part.replace(path)
        except OSError:
            part.unlink()
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise Unavailable(f"cannot write {path}", found=error.strerror) from error


def create(path: Path, data: bytes) -> None:
    """Write `data` to `path` durably, where there is nothing yet.

    Raises:
        UsageError: there is something.
        Unavailable: the disk is full or refuses; nothing is then left behind.
    """
    try:
        _write_new(path, data)
        sync_directory(path.parent)
    except FileExistsError:
        raise UsageError(f"{path} is already there", fix="Edit it, or name another file.") from None
    except OSError as error:
        raise Unavailable(f"cannot write {path}", found=error.strerror) from error


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, _NEW, _MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:  # Ctrl-C too
        path.unlink()
        raise
