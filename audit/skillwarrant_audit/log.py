"""The log: the interface that everything above appends through, and a durable file behind it.

`append` returns only when the leaf is on disk: no ack, no activation. Recovery is the normal path: a process killed
in the middle of a write leaves a torn tail, which the next writer cuts off, saying so. A reader never changes the
file. What a leaf says is not known here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final, Protocol, Self

from skillwarrant_audit.framing import MAGIC, MAX_FRAME, Record, TornTail, check_magic, frame, scan
from skillwarrant_audit.log_file import locked_for_writing, opened_for_reading, sync
from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.durable import sync_directory
from skillwarrant_format.errors import AuditError

__all__ = ["GENESIS", "FileLog", "Log", "MakeLeaf", "Position", "Record", "TornTail", "read_records"]

GENESIS: Final = Digest("0" * 64)  # what the first record calls `previous`
OPEN_WINDOW: Final = 4 * limits.MIB  # how much of the end is checked when a log is opened to append

MakeLeaf = Callable[[int, Digest], bytes]
"""Given a record's number and the digest of the leaf before it, the leaf. Called once, while the log is locked."""

_logger = logging.getLogger("skillwarrant.audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in a log: the record's number, from 0, and the SHA-256 of its leaf."""

    seq: int
    leaf: Digest


class Log(Protocol):
    """An append-only, durable sequence of leaves that many threads and processes append to."""

    def append(self, make_leaf: MakeLeaf) -> Position:
        """Append one leaf; on disk when this returns.

        Raises:
            AuditError: it could not be made durable, or the log is damaged. Nothing was appended.
        """
        ...

    def records(self, *, after: Record | None = None) -> Iterator[Record]:
        """Every record, oldest first.

        Args:
            after: a record of this log: only what follows it is read.

        Raises:
            TornTail: after the last whole record, when an unfinished one follows.
            AuditError: the log is damaged or cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tail:
    """What is known of the end: which file (device, inode), its size, and what the next record needs."""

    file: tuple[int, int]
    offset: int
    seq: int
    previous: Digest

    def after(self, record: Record) -> _Tail:
        return replace(self, offset=record.end, seq=record.seq + 1, previous=record.digest)


class FileLog:
    """A `Log` in one file. Thread-safe, fork-safe, and shared with any other process that appends to it.

    Open one with `FileLog.open`.
    """

    def __init__(self, path: Path, tail: _Tail) -> None:
        self.path = path
        self._tail = tail

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a log to append to it, or create it (mode 0600, its name durable), and cut a torn tail.

        The last 4 MiB are checked here, so that opening a long log stays quick; all of it by `records`.

        Raises:
            AuditError: it cannot be opened, written or locked, it is no log, or it is damaged.
        """
        with locked_for_writing(path, create=True) as descriptor:
            log = cls(path, _begin(descriptor, path))
            log._catch_up(descriptor)
        return log

    def append(self, make_leaf: MakeLeaf) -> Position:
        """See `Log.append`. A leaf is one line of at most `limits.MAX_LEAF_BYTES` bytes."""
        with locked_for_writing(self.path) as descriptor:
            tail = self._catch_up(descriptor)
            leaf = make_leaf(tail.seq, tail.previous)
            data = frame(tail.seq, leaf)
            _write(descriptor, data, tail.offset)
            record = Record(seq=tail.seq, leaf=leaf, end=tail.offset + len(data))
            self._tail = tail.after(record)
            return Position(seq=record.seq, leaf=self._tail.previous)

    def records(self, *, after: Record | None = None) -> Iterator[Record]:
        """See `Log.records`."""
        return read_records(self.path, after=after)

    def is_in_place(self) -> bool:
        """Whether the file that was opened is still the one of that name. If not, `append` refuses."""
        try:
            return _identity(self.path.lstat()) == self._tail.file
        except OSError:
            return False

    def _catch_up(self, descriptor: int) -> _Tail:
        """Read what others have appended since, and cut what somebody did not finish."""
        tail, status = self._tail, os.fstat(descriptor)
        if _identity(status) != tail.file or status.st_size < tail.offset:
            raise AuditError(
                f"the log {self.path} was replaced or cut while it was in use",
                expected=f"the file of at least {tail.offset} bytes that was opened",
                found=f"{status.st_size} bytes" if status.st_size < tail.offset else "another file",
                fix="Put the file back, or open the log again to begin a new one.",
            )
        if status.st_size > tail.offset:
            self._tail = _follow(descriptor, self.path, tail, status.st_size)
        return self._tail


def read_records(path: Path, *, after: Record | None = None) -> Iterator[Record]:
    """Read a log without changing it: the records that were whole when reading began.

    Args:
        after: a record of this log: only what follows it is read.

    Raises:
        TornTail, AuditError: as `Log.records`.
    """
    with opened_for_reading(path) as (descriptor, end), _buffered(descriptor) as file:
        if not check_magic(file.read(len(MAGIC)), str(path)):
            raise TornTail(str(path), offset=0, size=end)
        offset, seq = (len(MAGIC), 0) if after is None else (after.end, after.seq + 1)
        if end < offset:
            raise AuditError(f"{path} is shorter than it was", expected=f"{offset} bytes", found=f"{end} bytes")
        yield from scan(file, str(path), offset=offset, end=end, seq=seq)


def _begin(descriptor: int, path: Path) -> _Tail:
    """Check or write the first line, and find where to start reading: the beginning, or near the end."""
    status = os.fstat(descriptor)
    if not check_magic(os.pread(descriptor, len(MAGIC), 0), str(path)):
        if status.st_size:
            _cut(descriptor, TornTail(str(path), offset=0, size=status.st_size))
        _write(descriptor, MAGIC, 0)
    sync_directory(path.parent)  # each time: whoever made the file may not have got as far as this
    first = _Tail(file=_identity(status), offset=len(MAGIC), seq=0, previous=GENESIS)
    return first if status.st_size <= OPEN_WINDOW else _near_the_end(descriptor, path, first, status.st_size)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _near_the_end(descriptor: int, path: Path, tail: _Tail, size: int) -> _Tail:
    start = size - OPEN_WINDOW
    start += os.pread(descriptor, MAX_FRAME, start).find(b"\n") + 1  # without a newline: no record begins there
    with _buffered(descriptor) as file:
        return tail.after(next(scan(file, str(path), offset=start, end=size, seq=None)))


def _follow(descriptor: int, path: Path, tail: _Tail, size: int) -> _Tail:
    """Read on to the end of the file, and make it the end of the last whole record."""
    try:
        with _buffered(descriptor) as file:
            for record in scan(file, str(path), offset=tail.offset, end=size, seq=tail.seq):
                tail = tail.after(record)
    except TornTail as torn:
        _cut(descriptor, torn)
    return tail


def _write(descriptor: int, data: bytes, end: int) -> None:
    """Write at `end`, the end of the file, and return when it is on disk; otherwise the file is as it was."""
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        sync(descriptor)
    except BaseException:  # also Ctrl-C: what is not acknowledged is not in the log
        try:
            os.ftruncate(descriptor, end)
            sync(descriptor)
        except OSError as error:
            _logger.warning("an unacknowledged record was left in the log: %s", error)
        raise


def _cut(descriptor: int, torn: TornTail) -> None:
    os.ftruncate(descriptor, torn.offset)
    sync(descriptor)
    _logger.warning("%s: cut %d bytes of an unfinished record off at byte %d", torn.name, torn.size, torn.offset)


def _buffered(descriptor: int) -> BinaryIO:
    return open(descriptor, "rb", closefd=False)  # a descriptor, not a path
