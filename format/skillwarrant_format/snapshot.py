"""`Snapshot`: every file of an adapter, read exactly once into memory that we own.

What was hashed is what is parsed and what is loaded: nothing downstream opens a path again. The walk follows no
symlink and is held by directory descriptors, so that a swap during it is an error and not another file. What an
adapter may consist of is in `adapter_files`. It knows nothing of manifests and signatures.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

from skillwarrant_format import limits
from skillwarrant_format.adapter_files import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    check_folder,
    check_names,
    check_spelling,
    is_ignored,
)
from skillwarrant_format.bundle import BUNDLE_NAME
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FilesMismatch, FormatError, Unavailable, UsageError, shown
from skillwarrant_format.hashing import Progress, StreamHasher

__all__ = ["BUNDLE_NAME", "CONFIG_NAME", "WEIGHTS_NAME", "File", "Snapshot"]

_ALIGNMENT: Final = 64  # bytes: where torch's own allocator puts tensors, and what its kernels like
_SMALL: Final = limits.MIB  # below this a bytearray is cheaper than a mapping
_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # NONBLOCK: a fifo must not hang us
_SYMLINK_FIX: Final = (
    "Copy the files themselves: `cp -rL`, or huggingface_hub's snapshot_download(..., local_dir=...) instead of its"
    " cache, whose files are links."
)


class File:
    """One file's bytes: `data` is the read-only face; `digest` waits for the hashing thread on first use."""

    __slots__ = ("_digest", "buffer", "data", "path", "size")

    def __init__(self, path: str, buffer: memoryview, digest: Future[Digest]) -> None:
        self.path: Final = path
        self.size: Final = len(buffer)
        self.data: Final = buffer.toreadonly()
        self.buffer: Final = buffer  # the same memory, writable: for a tensor library that wants views of it
        self._digest = digest

    @property
    def digest(self) -> Digest:
        """The SHA-256 of `data` as it was when it was read."""
        return self._digest.result()

    def __repr__(self) -> str:
        return f"File({self.path!r}, {self.size} bytes)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The files of one adapter, and the bundle kept apart from them.

    Args:
        files: POSIX path relative to the adapter -> file, sorted by path; never empty.
        bundle: the bundle's bytes, where there is one.
        source: where all of it came from, for people.
    """

    files: Mapping[str, File]
    bundle: bytes | None
    source: str

    @classmethod
    def read(
        cls, directory: Path | str, *, bundle_name: str = BUNDLE_NAME, progress: Progress | None = None
    ) -> Self:
        """Read a directory once.

        Args:
            bundle_name: the file at the top that is the bundle and no part of the adapter.
            progress: told (bytes read, bytes in total) after every chunk.

        Raises:
            UsageError: there is no such directory.
            FilesMismatch: a symlink, or a file that an adapter may not have, or none at all.
            FormatError: a name or a size beyond what is accepted, or a file that changed while being read.
            Unavailable: the system would not let us read.
        """
        source = str(directory)
        try:
            with ExitStack() as stack:
                top = _open_directory(stack, source, None)
                found = _walk(stack, top, "", iter(range(limits.MAX_FOLDERS)))
                walk = islice(found, limits.MAX_FILES + 2)  # check_names then says "too many"
                entries = sorted(walk, key=lambda entry: entry.path)
                beside = {bundle_name, BUNDLE_NAME}
                check_names(entry.path for entry in entries if entry.path not in beside)
                hasher = stack.enter_context(StreamHasher())
                reader = _Reader(sum(entry.size for entry in entries), progress, hasher)
                files = {entry.path: reader.read(entry) for entry in entries if entry.path not in beside}
                bundle = next((reader.read_bundle(entry) for entry in entries if entry.path == bundle_name), None)
        except OSError as error:
            raise Unavailable(f"{shown(source)} could not be read", found=os.strerror(error.errno or 0)) from error
        return cls._of(files, bundle, source)

    @classmethod
    def of(
        cls, files: Mapping[str, bytes | memoryview], source: str = "memory", *, bundle: bytes | None = None
    ) -> Self:
        """From bytes in memory; they are copied once, so that nobody else holds what we verify.

        Raises:
            FilesMismatch, FormatError: as `read`.
        """
        check_names(files)
        if (total := sum(map(len, files.values()))) > limits.MAX_ADAPTER_BYTES:
            raise _too_large(total)
        with StreamHasher() as hasher:
            mine = {path: _copied(path, files[path], hasher) for path in sorted(files)}
        return cls._of(mine, bundle, source)

    @classmethod
    def _of(cls, files: dict[str, File], bundle: bytes | None, source: str) -> Self:
        if not files:
            raise FilesMismatch(
                f"there is no adapter in {shown(source)}",
                expected=f"{CONFIG_NAME} and {WEIGHTS_NAME}",
                found="nothing",
            )
        if bundle is not None and len(bundle) > limits.MAX_BUNDLE_BYTES:
            raise _bundle_too_large(len(bundle))
        return cls(files=MappingProxyType(files), bundle=bundle, source=source)

    @property
    def size(self) -> int:
        """Bytes of all files together, without the bundle."""
        return sum(file.size for file in self.files.values())

    @property
    def config(self) -> File:
        """adapter_config.json. Raises FilesMismatch when it is not there."""
        return self._required(CONFIG_NAME)

    @property
    def weights(self) -> File:
        """adapter_model.safetensors. Raises FilesMismatch when it is not there."""
        return self._required(WEIGHTS_NAME)

    def _required(self, name: str) -> File:
        if name in self.files:
            return self.files[name]
        raise FilesMismatch(
            f"{shown(self.source)} is no PEFT adapter",
            expected=name,
            found=", ".join(list(self.files)[:5]),
            fix="Save one with model.save_pretrained(directory).",
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    """A regular file found by the walk: its path, its name in an open directory, its size then."""

    path: str
    parent: int
    size: int
    inode: int

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def _open_directory(stack: ExitStack, name: str, parent: int | None) -> int:
    # Only the top may be reached through a link: it is the caller's own name for the directory.
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if parent is None else os.O_NOFOLLOW)
    try:
        descriptor = os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        raise UsageError("there is no such directory", expected="an adapter's directory", found=name) from None
    except NotADirectoryError:
        raise UsageError("not a directory", expected="an adapter's directory", found=name) from None
    stack.callback(os.close, descriptor)
    return descriptor


def _walk(stack: ExitStack, descriptor: int, prefix: str, folders: Iterator[int]) -> Iterator[_Entry]:
    """Every file below an open directory; `folders` runs out when there are too many directories."""
    with os.scandir(descriptor) as found:
        for entry in found:
            path = prefix + entry.name
            if is_ignored(path):
                continue
            check_spelling(path)
            if entry.is_symlink():
                raise _is_symlink(path)
            if entry.is_dir(follow_symlinks=False):
                check_folder(path)
                if next(folders, None) is None:
                    raise _too_many_folders()
                yield from _walk(stack, _open_directory(stack, entry.name, descriptor), f"{path}/", folders)
            else:
                state = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(state.st_mode):
                    raise _not_regular(path)
                yield _Entry(path, descriptor, state.st_size, state.st_ino)


class _Reader:
    """Reads the files of one walk, and feeds every chunk to the hasher as soon as it is there."""

    def __init__(self, total: int, progress: Progress | None, hasher: StreamHasher) -> None:
        if total > limits.MAX_ADAPTER_BYTES:
            raise _too_large(total)
        self._total = total
        self._done = 0
        self._progress = progress
        self._hasher = hasher

    def read(self, entry: _Entry) -> File:
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
        if _state(before) != _state(after):
            raise _changed(entry.path)
        return File(entry.path, buffer, self._hasher.finish())

    def read_bundle(self, entry: _Entry) -> bytes:
        if entry.size > limits.MAX_BUNDLE_BYTES:
            raise _bundle_too_large(entry.size)
        return bytes(self.read(entry).data)

    def _fill(self, descriptor: int, entry: _Entry) -> memoryview:
        buffer = _memory(entry.path, entry.size, os.pread(descriptor, 8, 0))
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


def _memory(path: str, size: int, start: bytes) -> memoryview:
    """`size` bytes of fresh memory; in a safetensors file the tensors' data will begin at an aligned address."""
    if not path.endswith(".safetensors") and size < _SMALL:
        return memoryview(bytearray(size))
    # The format: 8 bytes with the header's length, the header, the data.
    offset = -(8 + int.from_bytes(start, "little")) % _ALIGNMENT
    pages = mmap.mmap(-1, offset + max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):  # Linux: 40 page faults for 80 MB, and not 20,000
        pages.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(pages)[offset : offset + size]


def _copied(path: str, data: bytes | memoryview, hasher: StreamHasher) -> File:
    buffer = _memory(path, len(data), bytes(data[:8]))
    buffer[:] = data
    hasher.feed(buffer)
    return File(path, buffer, hasher.finish())


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _changed(path: str) -> FormatError:
    return FormatError(
        "a file changed while it was being read", found=path, fix="Try again when nothing writes to the directory."
    )


def _is_symlink(path: str) -> FilesMismatch:
    return FilesMismatch("the adapter has a symlink", expected="regular files", found=path, fix=_SYMLINK_FIX)


def _not_regular(path: str) -> FilesMismatch:
    return FilesMismatch("the adapter has something that is no file", expected="regular files", found=path)


def _too_many_folders() -> FormatError:
    return FormatError("the adapter has too many directories", expected=f"at most {limits.MAX_FOLDERS}")


def _too_large(total: int) -> FormatError:
    limit = limits.MAX_ADAPTER_BYTES
    return FormatError("the adapter is too large", expected=f"at most {limit} bytes", found=f"{total} bytes")


def _bundle_too_large(size: int) -> FormatError:
    limit = limits.MAX_BUNDLE_BYTES
    return FormatError("the bundle is too large", expected=f"at most {limit} bytes", found=f"{size} bytes")
