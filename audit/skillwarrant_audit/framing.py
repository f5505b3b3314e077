"""How leaves lie in a log file: one line each, with a number, a length and a checksum in front.

    skillwarrant-log v1
    0000000000000000 01234 9ae0daaf {"payload":…}

A file like this can be read with the tools of every host, and its last record is found from its end. A leaf holds
no newline, so what follows the last newline is a write that did not finish (a torn tail) or damage, and the two are
told apart. The checksum finds accidents only; attackers are found by the chain and the signatures in the leaves.
It knows nothing of locks, of durability or of what a leaf says. Normative text: docs/reference/observation.md.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO, Final

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import AuditError

__all__ = ["MAGIC", "MAX_FRAME", "Record", "TornTail", "check_magic", "frame", "scan"]

MAGIC: Final = b"skillwarrant-log v1\n"
_PREFIX: Final = re.compile(rb"([0-9]{16}) ([0-9]{5}) ([0-9a-f]{8}) ")
_PREFIX_BYTES: Final = 32
MAX_FRAME: Final = _PREFIX_BYTES + limits.MAX_LEAF_BYTES + 1


class TornTail(AuditError):
    """The file ends in a write that did not finish. Every record before it is whole.

    Args:
        name: the file.
        offset: where the unfinished bytes begin.
        size: how many there are.
    """

    code = "audit.torn"

    def __init__(self, name: str, *, offset: int, size: int) -> None:
        super().__init__(
            f"{name} ends in an unfinished record",
            expected="a whole record",
            found=f"{size} bytes at byte {offset}",
            fix="It was never acknowledged; the next process that appends cuts it off.",
        )
        self.name = name
        self.offset = offset
        self.size = size

    def __reduce__(self) -> tuple[Any, ...]:
        return (partial(type(self), offset=self.offset, size=self.size), (self.name,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One leaf and where it stands: `seq` counts from 0, `end` is the offset of the byte after it."""

    seq: int
    leaf: bytes
    end: int

    @property
    def digest(self) -> Digest:
        """SHA-256 of the leaf: what the next record calls `previous`."""
        return Digest.of(self.leaf)


def frame(seq: int, leaf: bytes) -> bytes:
    """One record as it lies in the file.

    Raises:
        AuditError: for an empty leaf, one of more than `limits.MAX_LEAF_BYTES` bytes or of more than one line.
    """
    if not 0 < len(leaf) <= limits.MAX_LEAF_BYTES:
        raise AuditError(
            "the record has the wrong size",
            expected=f"1 to {limits.MAX_LEAF_BYTES} bytes",
            found=f"{len(leaf)} bytes",
        )
    if b"\n" in leaf:
        raise AuditError("the record holds a newline", expected="one line, as RFC 8785 JSON is")
    head = b"%016d %05d" % (seq, len(leaf))
    return b"%b %08x %b\n" % (head, _checksum(head, leaf), leaf)


def check_magic(found: bytes, name: str) -> bool:
    """Whether the first bytes of a file are a log's: False where they are the unfinished beginning of one.

    Raises:
        AuditError: for the beginning of anything else.
    """
    if found == MAGIC:
        return True
    if len(found) < len(MAGIC) and MAGIC.startswith(found.rstrip(b"\0")):
        return False
    raise AuditError(f"{name} is not a log", expected=repr(MAGIC)[1:], found=repr(found)[1:])


def scan(file: BinaryIO, name: str, *, offset: int, end: int, seq: int | None) -> Iterator[Record]:
    """The records between two offsets, each checked.

    Args:
        file: the log.
        name: what to call it in messages.
        offset: the beginning of a record.
        end: where to stop: the file's size when nobody was writing.
        seq: the number the first record must have; None where that is not known.

    Raises:
        TornTail: after the last whole record, when an unfinished one follows.
        AuditError: at the first record that is damaged.
    """
    file.seek(offset)
    while offset < end:
        line = file.readline(min(MAX_FRAME, end - offset))
        if not line.endswith(b"\n"):
            if offset + len(line) == end and _unfinished(line, seq):
                raise TornTail(name, offset=offset, size=len(line))
            whole = "a whole record" if seq is None else f"record {seq}, whole"
            raise _damaged(name, offset, whole, _start(line))
        record = _parse(line, name, offset, seq)
        yield record
        offset, seq = record.end, record.seq + 1


def _parse(line: bytes, name: str, offset: int, seq: int | None) -> Record:
    prefix = _PREFIX.match(line)
    if prefix is None:
        expected = "a record" if seq is None else f"record {seq}"
        raise _damaged(name, offset, f"{expected}'s number, length and checksum", _start(line))
    number, length, leaf = int(prefix[1]), int(prefix[2]), line[_PREFIX_BYTES:-1]
    if seq is not None and number != seq:
        raise _damaged(name, offset, f"record {seq}", f"record {number}")
    if length != len(leaf) or not leaf:
        raise _damaged(name, offset, f"{length} bytes in record {number}", f"{len(leaf)} bytes")
    if (found := b"%08x" % _checksum(line[:22], leaf)) != prefix[3]:
        raise _damaged(name, offset, f"checksum {prefix[3].decode()} of record {number}", found.decode())
    return Record(seq=number, leaf=leaf, end=offset + len(line))


def _unfinished(line: bytes, seq: int | None) -> bool:
    """Whether a last line without a newline is the beginning of record `seq`, as a killed write leaves it.

    A host that lost power can leave zero bytes where the rest was going to be.
    """
    written = line.rstrip(b"\0")
    zeros = len(line) - len(written)
    if (prefix := _PREFIX.match(written)) is None:
        number = b"" if seq is None else b"%016d " % seq
        return len(written) < _PREFIX_BYTES and written.startswith(number[: len(written)])
    if seq is not None and int(prefix[1]) != seq:
        return False
    if (length := int(prefix[2])) > limits.MAX_LEAF_BYTES:
        return False
    whole = _PREFIX_BYTES + length + 1
    # A whole record whose newline became a zero byte was acknowledged: damage, and cutting it would lose it.
    return len(line) <= whole and len(written) < whole - (1 if zeros else 0)


def _checksum(head: bytes, leaf: bytes) -> int:
    """CRC-32 (ISO 3309, as in zlib) over number, length and leaf."""
    return zlib.crc32(leaf, zlib.crc32(head))


def _start(line: bytes) -> str:
    return repr(line[:_PREFIX_BYTES])[1:]


def _damaged(name: str, offset: int, expected: str, found: str) -> AuditError:
    return AuditError(
        f"{name} is damaged at byte {offset}",
        expected=expected,
        found=found,
        fix="Keep the file for an auditor and begin a new log in an empty directory.",
    )
