"""The lines of a log file: damage is never taken for a torn tail, and a torn tail never for damage."""

from __future__ import annotations

import io
import pickle
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_audit.framing import MAGIC, MAX_FRAME, Record, TornTail, check_magic, frame, scan
from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import AuditError

leaves = st.binary(min_size=1, max_size=60).map(lambda raw: raw.replace(b"\n", b"."))
LEAVES = (b'{"a":1}', b'{"b":"' + b"x" * 300 + b'"}', b'{"c":3}')
FRAMES = b"".join(frame(seq, leaf) for seq, leaf in enumerate(LEAVES))


def read(data: bytes, *, seq: int | None = 0) -> list[Record]:
    return list(scan(io.BytesIO(data), "a.log", offset=0, end=len(data), seq=seq))


def judge(data: bytes) -> str:
    """What a reader makes of bytes: `whole`, `torn` or `damaged`."""
    try:
        read(data)
    except TornTail:
        return "torn"
    except AuditError:
        return "damaged"
    return "whole"


@given(st.lists(leaves, max_size=5), st.integers(0, 10**12))
def test_what_is_written_is_read_back(written: list[bytes], first: int) -> None:
    data = b"".join(frame(first + index, leaf) for index, leaf in enumerate(written))
    found = read(data, seq=first)
    assert [record.leaf for record in found] == written
    assert [record.seq for record in found] == [first + index for index in range(len(written))]
    assert [record.digest for record in found] == [Digest.of(leaf) for leaf in written]
    assert not found or found[-1].end == len(data)


def test_a_record_is_a_line_with_its_number_length_and_checksum_in_front() -> None:
    checksum = zlib.crc32(b'0000000000000007 00007{"a":1}')
    assert frame(7, b'{"a":1}') == b'0000000000000007 00007 %08x {"a":1}\n' % checksum


@pytest.mark.parametrize("size", [1, limits.MAX_LEAF_BYTES])
def test_the_smallest_and_the_largest_leaf_are_kept(size: int) -> None:
    (record,) = read(frame(0, b"x" * size))
    assert len(record.leaf) == size
    assert record.end <= MAX_FRAME


@pytest.mark.parametrize("leaf", [b"", b"x" * (limits.MAX_LEAF_BYTES + 1), b"two\nlines", b"line\n"])
def test_what_could_not_be_read_back_is_not_written(leaf: bytes) -> None:
    with pytest.raises(AuditError):
        frame(0, leaf)


def test_every_flipped_byte_is_damage_and_none_makes_a_torn_tail() -> None:
    # A flip that passed for a torn tail would have the next writer cut off records that were acknowledged.
    for at, byte in enumerate(FRAMES):
        for flip in (0x01, 0x08, 0x10, 0x20, 0x80, 0xFF, byte, byte ^ 0x0A):
            if flip:
                changed = FRAMES[:at] + bytes([byte ^ flip]) + FRAMES[at + 1 :]
                assert judge(changed) == "damaged", (at, flip)


@given(st.integers(0, len(FRAMES) - 1), st.integers(0, 255))
def test_a_byte_too_many_is_damage(at: int, byte: int) -> None:
    changed = FRAMES[:at] + bytes([byte]) + FRAMES[at:]
    assert judge(changed) == "damaged"


def test_every_cut_is_a_shorter_log_or_a_torn_tail() -> None:
    ends = {0, *(record.end for record in read(FRAMES))}
    for end in range(len(FRAMES) + 1):
        assert judge(FRAMES[:end]) == ("whole" if end in ends else "torn"), end


def test_the_records_before_a_torn_tail_are_read_first_and_the_tail_is_told_exactly() -> None:
    data, last = FRAMES[:-3], frame(2, LEAVES[2])
    reading = scan(io.BytesIO(data), "a.log", offset=0, end=len(data), seq=0)
    assert [next(reading).seq, next(reading).seq] == [0, 1]
    with pytest.raises(TornTail, match=r"a\.log") as caught:
        next(reading)
    assert caught.value.offset == len(FRAMES) - len(last)
    assert caught.value.size == len(last) - 3


@pytest.mark.parametrize("kept", [0, 1, 16, 17, 31, 32, 40, 60])
def test_zeros_where_the_host_lost_power_are_a_torn_tail(kept: int) -> None:
    last = frame(3, b'{"d":"' + b"y" * 30 + b'"}')
    assert judge(FRAMES + last[:kept] + b"\0" * (len(last) - kept)) == "torn"


def test_a_whole_last_record_whose_newline_became_a_zero_is_damage() -> None:
    assert judge(FRAMES[:-1] + b"\0") == "damaged"


def test_zeros_after_more_than_one_record_is_damage() -> None:
    assert judge(FRAMES + b"\0" * (MAX_FRAME + 1)) == "damaged"
    assert judge(FRAMES + frame(3, b"x" * 20)[:-4] + b"\0" * 400) == "damaged"


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage",
        b"{",
        b"0000000000000009 ",
        b"0000000000000003 99999 00000000 x",
        b"\xff" * 40,
        b"x" * (MAX_FRAME + 9),
    ],
    ids=["text", "json", "another number", "impossible length", "binary", "long"],
)
def test_garbage_at_the_end_is_damage_and_no_torn_tail(garbage: bytes) -> None:
    assert judge(FRAMES + garbage) == "damaged"


@pytest.mark.parametrize(
    "order",
    [(0, 2), (1, 2), (0, 2, 1), (0, 0, 1), (0, 1, 1)],
    ids=["lost", "first lost", "swapped", "twice", "last"],
)
def test_frames_out_of_order_are_damage(order: tuple[int, ...]) -> None:
    frames = [frame(seq, leaf) for seq, leaf in enumerate(LEAVES)]
    assert judge(b"".join(frames[index] for index in order)) == "damaged"


def test_a_record_of_no_bytes_is_damage() -> None:
    head = b"0000000000000000 00000"
    assert judge(b"%b %08x \n" % (head, zlib.crc32(head))) == "damaged"


def test_damage_is_told_with_the_file_the_byte_and_the_record() -> None:
    end = len(frame(0, LEAVES[0]))
    with pytest.raises(AuditError, match=rf"a\.log is damaged at byte {end}.*record 1"):
        read(FRAMES[:end] + b"?" + FRAMES[end + 1 :])


def test_the_first_line_is_a_log_s_or_its_beginning() -> None:
    assert check_magic(MAGIC, "a.log")
    for end in range(len(MAGIC)):
        assert not check_magic(MAGIC[:end], "a.log")
    assert not check_magic(b"\0" * 5, "a.log")
    for other in (b"\x7fELF", b"skillwarrant-log v2\n", MAGIC[:-1] + b" ", b"x", b"\0" * len(MAGIC)):
        with pytest.raises(AuditError, match=r"a\.log is not a log"):
            check_magic(other, "a.log")


def test_a_torn_tail_crosses_a_process_boundary() -> None:
    torn = pickle.loads(pickle.dumps(TornTail("a.log", offset=5, size=7)))  # noqa: S301  # our own
    assert (type(torn), torn.offset, torn.size, str(torn)) == (
        TornTail,
        5,
        7,
        str(TornTail("a.log", offset=5, size=7)),
    )
