"""Reading a directory once: a walk held by descriptors that follows no link, and files that must not change.

What may be there is in `file_rules`; what becomes of the files is in `snapshot` and `policy_files`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Final

from skillwarrant_format import limits
from skillwarrant_format.errors import FilesMismatch, FormatError, UsageError
from skillwarrant_format.file_rules import FileRules
from skillwarrant_format.hashing import Progress, StreamHasher
from skillwarrant_format.owned_file import File, fresh_memory

__all__ = ["Entry", "Reader", "file_state", "read_directory"]

_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # NONBLOCK: a fifo must not hang us
_SYMLINK_FIX: Final = (
    "Copy the files themselves: `cp -rL`, or huggingface_hub's snapshot_download(..., local_dir=...) instead of its"
    " cache, whose files are links."
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file found by the walk: its path, its name in an open directory, its size then."""

    path: str
    parent: int
    size: int
    inode: int

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def read_directory(
    stack: ExitStack, source: str, rules: FileRules, *, beside: frozenset[str], progress: Progress | None = None
) -> dict[str, File]:
    """Every file below a directory, read once, by its path; the directories stay open as long as `stack`.

    Args:
        rules: what may be there.
        beside: files at the top that are no part of it; they are read as well, and bounded as bundles.
        progress: told (bytes read, bytes in total) after every chunk.

    Raises:
        UsageError: there is no such directory.
        FilesMismatch, FormatError: a link, something that is no file, a name or a size beyond what is accepted, or
            a file that changed while being read.
        OSError: the system would not let us read.
    """
    walk = islice(_walk_directory(stack, source, rules), rules.most_files + 1 + len(beside))
    entries = sorted(walk, key=lambda entry: entry.path)
    rules.check_names(entry.path for entry in entries if entry.path not in beside)
    inside = sum(entry.size for entry in entries if entry.path not in beside)
    total = sum(entry.size for entry in entries)
    rules.check_size(inside, total - inside)
    reader = Reader(total, progress, stack.enter_context(StreamHasher()))
    return {entry.path: reader.read(entry) for entry in entries}


def _walk_directory(stack: ExitStack, source: str, rules: FileRules) -> Iterator[Entry]:
    top = _open_directory(stack, source, None, rules)
    return _walk(stack, top, "", iter(range(limits.MAX_FOLDERS)), rules)


def _open_directory(stack: ExitStack, name: str, parent: int | None, rules: FileRules) -> int:
    # Only the top may be reached through a link: it is the caller's own name for the directory.
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if parent is None else os.O_NOFOLLOW)
    expected = f"the directory of the {rules.what}"
    try:
        descriptor = os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        raise UsageError("there is no such directory", expected=expected, found=name) from None
    except NotADirectoryError:
        raise UsageError("not a directory", expected=expected, found=name) from None
    stack.callback(os.close, descriptor)
    return descriptor


def _walk(
    stack: ExitStack, descriptor: int, prefix: str, folders: Iterator[int], rules: FileRules
) -> Iterator[Entry]:
    """Every file below an open directory; `folders` runs out when there are too many directories."""
    with os.scandir(descriptor) as found:
        for entry in found:
            path = prefix + entry.name
            if path in rules.ignored:
                continue
            rules.check_spelling(path)
            if entry.is_symlink():
                raise _is_symlink(path, rules)
            if entry.is_dir(follow_symlinks=False):
                rules.check_folder(path)
                if next(folders, None) is None:
                    raise _too_many_folders(rules)
                below = _open_directory(stack, entry.name, descriptor, rules)
                yield from _walk(stack, below, f"{path}/", folders, rules)
            else:
                state = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(state.st_mode):
                    raise _not_regular(path, rules)
                yield Entry(path, descriptor, state.st_size, state.st_ino)


class Reader:
    """Reads the files of one walk, and feeds every chunk to the hasher as soon as it is there."""

    def __init__(self, total: int, progress: Progress | None, hasher: StreamHasher) -> None:
        self._total = total
        self._done = 0
        self._progress = progress
        self._hasher = hasher

    def read(self, entry: Entry) -> File:
        try:
            descriptor = os.open(entry.name, _OPEN, dir_fd=entry.parent)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOENT, errno.ENXIO}:
                raise _changed(entry.path) from None
            raise
        try:
            before = os.fstat(descriptor)
            if (before.st_ino, before.st_size) != (entry.inode, entry.size) or not stat.S_ISREG(before.st_mode):
                raise _changed(entry.path)
            buffer = self._fill(descriptor, entry)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if file_state(before) != file_state(after):
            raise _changed(entry.path)
        return File(entry.path, buffer, self._hasher.finish())

    def _fill(self, descriptor: int, entry: Entry) -> memoryview:
        buffer = fresh_memory(entry.path, entry.size, os.pread(descriptor, 8, 0))
        position = 0
        while position < entry.size:
            chunk = buffer[position : position + limits.READ_CHUNK]
            count = os.readv(descriptor, [chunk])
            if count == 0:
                raise _changed(entry.path)
            self._hasher.feed(chunk[:count])
            position += count
            self._advance(count)
        if os.read(descriptor, 1):
            raise _changed(entry.path)
        return buffer

    def _advance(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)


def file_state(status: os.stat_result) -> tuple[int, ...]:
    """What differs where a file was written to or exchanged, as far as its status tells."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _changed(path: str) -> FormatError:
    return FormatError(
        "a file changed while it was being read", found=path, fix="Try again when nothing writes to the directory."
    )


def _is_symlink(path: str, rules: FileRules) -> FilesMismatch:
    return FilesMismatch(f"the {rules.what} has a symlink", expected="regular files", found=path, fix=_SYMLINK_FIX)


def _not_regular(path: str, rules: FileRules) -> FilesMismatch:
    return FilesMismatch(f"the {rules.what} has something that is no file", expected="regular files", found=path)


def _too_many_folders(rules: FileRules) -> FormatError:
    return FormatError(f"the {rules.what} has too many directories", expected=f"at most {limits.MAX_FOLDERS}")
