"""Writing a new file so that it survives a power cut, and is never there in part."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

__all__ = ["make_directory", "sync_directory", "write_new"]

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """A directory and those above it, durably; what is new is for its owner alone. Raises OSError."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_directory(path.parent)


def write_new(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file of mode 0600 that is there as a whole or not at all, durably, and replaces nothing.

    Args:
        parts: of its bytes, in order; what raises in them is raised here, and nothing is left behind.

    Raises:
        OSError: FileExistsError where there is a file.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(temporary, _NEW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(descriptor)
        os.link(temporary, path)  # a rename would replace what is there
    finally:
        temporary.unlink()
    sync_directory(path.parent)
