"""An append-only file of lines: what was acknowledged is on the disk, and a torn tail is cut.

A record is one line. A line without its newline was never acknowledged, so opening the file cuts it off.
Any other damage is somebody's doing and is left for the reader of the lines to find. It knows nothing of logs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from skillwarrant_format.errors import AuditError, Unavailable

__all__ = ["Journal"]

_CHUNK: Final = 1 << 20  # bytes


class Journal:
    """One writer (its owner holds the directory's lock)."""

    def __init__(self, path: Path) -> None:
        """Open or create `path`, mode 0600, and cut a torn tail.

        Raises:
            Unavailable: when the file cannot be opened or cut.
        """
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._end = self._cut_torn_tail()
        except OSError as error:
            raise Unavailable(f"cannot open {path}", found=str(error)) from error

    def close(self) -> None:
        """Release the file; nothing is pending."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def lines(self) -> Iterator[bytes]:
        """Every record, oldest first, without its newline."""
        with self.path.open("rb") as file:
            for line in file:
                yield line[:-1]

    def append(self, record: bytes) -> None:
        """Write one record and return when it is durable; on failure the file is as it was before.

        Raises:
            AuditError: when somebody else has changed the file.
            Unavailable: when the disk is full or fails.
        """
        if b"\n" in record:
            raise ValueError("a record is one line")
        if self._fd < 0:
            raise Unavailable(f"{self.path} is closed")
        if (found := os.fstat(self._fd).st_size) != self._end:
            raise AuditError(f"{self.path} was changed", expected=f"{self._end} bytes", found=f"{found} bytes")
        line = record + b"\n"
        try:
            _write_all(self._fd, line)
            os.fdatasync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, self._end)
            raise Unavailable(f"cannot write {self.path}", found=str(error)) from error
        self._end += len(line)

    def _cut_torn_tail(self) -> int:
        end = os.fstat(self._fd).st_size
        whole = 0
        for begin in range((end - 1) // _CHUNK * _CHUNK, -1, -_CHUNK):
            chunk = os.pread(self._fd, min(_CHUNK, end - begin), begin)
            if (newline := chunk.rfind(b"\n")) >= 0:
                whole = begin + newline + 1
                break
        if whole != end:
            os.ftruncate(self._fd, whole)
            os.fsync(self._fd)
        return whole


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
