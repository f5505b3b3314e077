"""A log file opened safely and locked: across threads, processes and forks, for a bounded time.

Every use opens the file anew and by its name: a log that was moved away, deleted or replaced is noticed, and a
descriptor or file lock is never inherited. It knows nothing of what is in the file.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from skillwarrant_audit.process_lock import PROCESS_LOCK
from skillwarrant_format.errors import AuditError

__all__ = ["LOCK_SECONDS", "locked_for_writing", "opened_for_reading", "sync"]

LOCK_SECONDS: Final = 30.0  # an append takes milliseconds: whoever holds the lock this long is stopped or stuck
_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a FIFO must be refused, not waited for

sync: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


@contextmanager
def locked_for_writing(path: Path, *, create: bool = False) -> Iterator[int]:
    """A descriptor of the log, for this thread alone among all threads and processes.

    Raises:
        AuditError: the file cannot be opened or locked, is no regular file, or an operation on it fails inside.
    """
    flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0)
    deadline = time.monotonic() + LOCK_SECONDS
    if not PROCESS_LOCK.acquire(timeout=LOCK_SECONDS):
        raise _stuck(path)
    try:
        with _opened(path, flags) as descriptor:
            _lock(descriptor, fcntl.LOCK_EX, path, deadline)
            yield descriptor
    except OSError as error:
        raise _cannot("write", path, error) from error
    finally:
        PROCESS_LOCK.release()


@contextmanager
def opened_for_reading(path: Path) -> Iterator[tuple[int, int]]:
    """A read-only descriptor of the log, and its size at a moment when nobody wrote.

    Raises:
        AuditError: as `locked_for_writing`.
    """
    try:
        with _opened(path, os.O_RDONLY) as descriptor:
            _lock(descriptor, fcntl.LOCK_SH, path, time.monotonic() + LOCK_SECONDS)
            size = os.fstat(descriptor).st_size
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            yield descriptor, size
    except OSError as error:
        raise _cannot("read", path, error) from error


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | _FLAGS, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise AuditError(f"{path} is no regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, how: int, path: Path, deadline: float) -> None:
    """flock(2), which belongs to the open file: two threads that opened it twice exclude each other too."""
    pause = 0.000_5
    while True:
        try:
            return fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise _stuck(path) from None
        time.sleep(pause)
        pause = min(pause * 1.5, 0.004)


def _stuck(path: Path) -> AuditError:
    return AuditError(
        f"{path} is locked",
        expected=f"to get its lock within {LOCK_SECONDS:.0f} seconds",
        fix="Find the process that holds it (lslocks) and end it.",
    )


def _cannot(verb: str, path: Path, error: OSError) -> AuditError:
    return AuditError(
        f"cannot {verb} the log {path}",
        found=error.strerror or str(error),
        fix="Check that the directory exists, that it can be written and that the disk is not full."
        if verb == "write"
        else None,
    )
