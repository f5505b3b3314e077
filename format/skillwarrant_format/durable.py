"""Making a name in a directory survive a power cut: what writing a new file durably needs beside its own fsync."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["make_directory", "sync_directory"]


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
