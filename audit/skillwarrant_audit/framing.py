"""The file that holds a log: a header, then framed leaves, and nothing else.

    header = "skillwarrant-log/v1\\n"
    frame  = uint32 length (big-endian)  uint32 CRC-32 of the length bytes and the leaf  leaf

A frame that the end of the file cuts short is a *torn tail*: a writer was killed before its leaf was acknowledged.
Anything else that does not read is corruption. This module turns bytes into leaves; it opens no file.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO, Final, NamedTuple

from skillwarrant_format import limits
from skillwarrant_format.errors import AuditError

__all__ = ["HEADER", "Frame", "frame", "read_frame", "read_header"]

HEADER: Final = b"skillwarrant-log/v1\n"
_PREFIX: Final = struct.Struct(">II")


class Frame(NamedTuple):
    """A leaf and the offset after it."""

    leaf: bytes
    end: int


def frame(leaf: bytes) -> bytes:
    """The bytes that hold one leaf.

    Raises:
        AuditError: a leaf that is empty or larger than `limits.MAX_LEAF_BYTES`.
    """
    if not 0 < len(leaf) <= limits.MAX_LEAF_BYTES:
        raise AuditError(
            "the record has the wrong size", expected=f"1 to {limits.MAX_LEAF_BYTES} bytes", found=str(len(leaf))
        )
    length = len(leaf).to_bytes(4, "big")
    return _PREFIX.pack(len(leaf), zlib.crc32(leaf, zlib.crc32(length))) + leaf


def read_header(file: BinaryIO, name: str) -> bool:
    """Read the header at the start of a file.

    Returns:
        False where the file ends before it (a log whose creation was interrupted).

    Raises:
        AuditError: the file is no log.
    """
    found = file.read(len(HEADER))
    if found == HEADER:
        return True
    if HEADER.startswith(found):
        return False
    raise AuditError(f"{name} is no skillwarrant log", expected=HEADER.decode().strip(), found=repr(found))


def read_frame(file: BinaryIO, offset: int, size: int, name: str) -> Frame | None:
    """Read the frame at `offset`, where the file stands.

    Args:
        size: length of the whole file.

    Returns:
        None for a torn tail.

    Raises:
        AuditError: a complete frame whose length or checksum is wrong.
    """
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size:
        return None
    length, checksum = _PREFIX.unpack(prefix)
    if not 0 < length <= limits.MAX_LEAF_BYTES:
        raise _corrupt(name, offset, f"a record of {length} bytes")
    end = offset + _PREFIX.size + length
    if end > size:
        return None
    leaf = file.read(length)
    if zlib.crc32(leaf, zlib.crc32(prefix[:4])) != checksum:
        raise _corrupt(name, offset, "a record whose checksum is wrong")
    return Frame(leaf, end)


def _corrupt(name: str, offset: int, found: str) -> AuditError:
    return AuditError(
        f"{name} is damaged at byte {offset}",
        expected="an intact record",
        found=found,
        fix="Nothing is appended to a damaged log: keep it as evidence, and name a new one.",
    )
