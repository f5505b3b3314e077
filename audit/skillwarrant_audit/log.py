"""The append-only log: an interface, and a durable file behind it.

`Log.append` is given a function, because what is written holds its own place and the digest of the leaf before:
both are known only under the lock. It returns when the leaf is on disk, and not before: no ack, no activation.
What a leaf says is not known here.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from skillwarrant_audit.framing import HEADER, frame, read_frame, read_header
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import AuditError

__all__ = ["FIRST", "FileLog", "Log", "MakeLeaf", "Position", "Record", "records"]

FIRST: Final = Digest("0" * 64)
"""What the first leaf names as its predecessor."""

MakeLeaf = Callable[[int, Digest], bytes]
"""From (place in the log, digest of the leaf before) to the leaf."""

_LOGGER: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a leaf stands: its 0-based place, and its SHA-256."""

    seq: int
    leaf: Digest


@dataclass(frozen=True, slots=True)
class Record:
    """A leaf read back."""

    seq: int
    leaf: bytes

    @property
    def digest(self) -> Digest:
        """SHA-256 of the leaf: what the next leaf names."""
        return Digest.of(self.leaf)


class Log(Protocol):
    """What a recorder needs of a log."""

    def append(self, make_leaf: MakeLeaf) -> Position:
        """Append one leaf durably.

        Raises:
            AuditError: it is not on disk; the caller must not go on.
        """
        ...


class FileLog:
    """A log in one file, shared by threads and processes through `flock`.

    Recovery is the normal path: whoever holds the lock first reads what others appended since, and cuts a torn
    tail, which no one was ever told is written. A damaged log is never appended to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mutex = threading.Lock()
        self._end = 0
        self._seq = 0
        self._last = FIRST

    @classmethod
    def open(cls, path: Path) -> FileLog:
        """Open a log, or create it with mode 0600, and read it once.

        Raises:
            AuditError: it cannot be created or read, or it is damaged.
        """
        log = cls(path)
        with log._locked():
            return log

    def append(self, make_leaf: MakeLeaf) -> Position:
        """Append one leaf; on disk when this returns.

        Raises:
            AuditError: disk full, read-only, damaged: nothing of it is in the log.
        """
        with self._locked() as descriptor:
            leaf = make_leaf(self._seq, self._last)
            framed = frame(leaf)
            self._write(descriptor, framed)
            position = Position(self._seq, Digest.of(leaf))
            self._advance(leaf, self._end + len(framed))
            return position

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, exclusively, read up to its end and without a torn tail."""
        with self._mutex:
            try:
                descriptor = self._open()
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                    self._catch_up(descriptor)
                    yield descriptor
                finally:
                    os.close(descriptor)  # and with it the lock
            except OSError as error:
                raise _not_written(self._path, error) from error

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self._path, flags)
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return os.open(self._path, flags | os.O_CREAT, 0o600)

    def _catch_up(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if size < self._end:
            raise AuditError(f"{self._path} has become shorter", expected=f"{self._end} bytes", found=str(size))
        with open(descriptor, "rb", closefd=False) as file:  # a descriptor, not a path
            if self._end == 0:
                self._begin(file, descriptor)
            file.seek(self._end)
            while found := read_frame(file, self._end, size, str(self._path)):
                self._advance(found.leaf, found.end)
        torn = size - self._end
        if torn > 0:
            _LOGGER.warning("%s: %d bytes of an unacknowledged record were cut off", self._path, torn)
            os.ftruncate(descriptor, self._end)
            os.fsync(descriptor)

    def _begin(self, file: BinaryIO, descriptor: int) -> None:
        if not read_header(file, str(self._path)):
            os.ftruncate(descriptor, 0)
            self._write(descriptor, HEADER)
            _sync_directory(self._path.parent)
        self._end = len(HEADER)

    def _write(self, descriptor: int, data: bytes) -> None:
        """All of it on disk, or the file as it was."""
        try:
            _write_all(descriptor, data)
            os.fdatasync(descriptor)
        except BaseException:
            # What could not be acknowledged is taken back; if even that fails, the next writer cuts it.
            os.ftruncate(descriptor, self._end)
            raise

    def _advance(self, leaf: bytes, end: int) -> None:
        self._end, self._seq, self._last = end, self._seq + 1, Digest.of(leaf)


def records(path: Path) -> Iterator[Record]:
    """Read a log without changing it; a torn tail ends it.

    Raises:
        AuditError: it cannot be read, is no log, or is damaged.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not read_header(file, str(path)):
                return
            offset, seq = len(HEADER), 0
            while found := read_frame(file, offset, size, str(path)):
                yield Record(seq, found.leaf)
                offset, seq = found.end, seq + 1
    except OSError as error:
        raise AuditError(f"cannot read {path}", found=error.strerror, fix="Name a readable log.") from error


def _write_all(descriptor: int, data: bytes) -> None:
    done = os.write(descriptor, data)
    if done != len(data):  # a full disk takes a part
        raise OSError(errno.ENOSPC, f"only {done} of {len(data)} bytes were written")


def _not_written(path: Path, error: OSError) -> AuditError:
    return AuditError(
        f"the record could not be written to {path}",
        found=error.strerror or str(error),
        fix="Make room or make it writable: without a record nothing is activated.",
    )


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
