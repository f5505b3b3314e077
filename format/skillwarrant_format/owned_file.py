"""`File`: one file's bytes in memory that we own, aligned so that tensors in it can be used where they are.

Where the bytes come from (`directory_reader`, or a caller) is not known here.
"""

from __future__ import annotations

import mmap
from concurrent.futures import Future
from typing import Final

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.hashing import StreamHasher

__all__ = ["File", "copied", "fresh_memory"]

_ALIGNMENT: Final = 64  # bytes: where torch's own allocator puts tensors, and what its kernels like
_SMALL: Final = limits.MIB  # below this a bytearray is cheaper than a mapping


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


def fresh_memory(path: str, size: int, start: bytes) -> memoryview:
    """`size` bytes of fresh memory; in a safetensors file the tensors' data will begin at an aligned address."""
    if not path.endswith(".safetensors") and size < _SMALL:
        return memoryview(bytearray(size))
    # The format: 8 bytes with the header's length, the header, the data.
    offset = -(8 + int.from_bytes(start, "little")) % _ALIGNMENT
    pages = mmap.mmap(-1, offset + max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):  # Linux: 40 page faults for 80 MB, and not 20,000
        pages.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(pages)[offset : offset + size]


def copied(path: str, data: bytes | memoryview, hasher: StreamHasher) -> File:
    """A file from bytes that somebody else holds: copied once, and hashed from the copy."""
    buffer = fresh_memory(path, len(data), bytes(data[:8]))
    buffer[:] = data
    hasher.feed(buffer)
    return File(path, buffer, hasher.finish())
