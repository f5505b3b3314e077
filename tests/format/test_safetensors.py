"""A header is read strictly: two readers of a file that passes see the same tensors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError
from skillwarrant_format.safetensors import DTYPE_BITS, Header, TensorInfo


def build(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(dtype: str = "F32", shape: Any = (2,), begin: Any = 0, end: Any = 8) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


GOOD = build({"a": tensor(), "b": tensor("U8", (3,), 8, 11), "__metadata__": {"format": "pt"}}, bytes(11))


def test_a_sound_file_is_read() -> None:
    header = Header.parse(GOOD)
    assert header.tensors == (TensorInfo("a", "F32", (2,), 0, 8), TensorInfo("b", "U8", (3,), 8, 11))
    assert dict(header.metadata) == {"format": "pt"}
    assert header.data_size == 11
    assert header.data_start + header.data_size == len(GOOD)
    assert header.parameters == 5


def test_a_file_is_read_the_same_way_from_its_descriptor(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(GOOD)
    descriptor = os.open(tmp_path / "x", os.O_RDONLY)
    try:
        assert Header.read(descriptor) == Header.parse(memoryview(GOOD))
    finally:
        os.close(descriptor)


def test_padding_after_the_header_is_allowed_and_before_it_is_not() -> None:
    text = json.dumps({"a": tensor()}).encode()
    assert Header.parse(build(text + b"   ", bytes(8))).parameters == 2
    with pytest.raises(FormatError, match="no header"):
        Header.parse(build(b"  " + text, bytes(8)))


def test_scalars_and_empty_tensors_are_tensors() -> None:
    header = Header.parse(build({"s": tensor("F32", [], 0, 4), "e": tensor("F32", [0, 3], 4, 4)}, bytes(4)))
    assert [(item.name, item.parameters) for item in header.tensors] == [("s", 1), ("e", 0)]


@pytest.mark.parametrize(
    ("why", "file"),
    [
        ("empty file", b""),
        ("cut in the length", GOOD[:5]),
        ("cut in the header", GOOD[:40]),
        ("cut in the data", GOOD[:-1]),
        ("trailing bytes", GOOD + b"\0"),
        ("length beyond the file", build({"a": tensor()}, bytes(8), length=2**63)),
        ("length of all ones", b"\xff" * 8 + GOOD[8:]),
        ("length zero", build(b"")),
        ("not JSON", build(b"{nonsense}")),
        ("a list", build(b"[]")),
        ("a string", build(b'"a"')),
        ("null tensor", build({"a": None}, bytes(8))),
        ("tensor is a list", build({"a": [1]}, bytes(8))),
        ("extra field", build({"a": {**tensor(), "x": 1}}, bytes(8))),
        ("missing field", build({"a": {"dtype": "F32", "shape": [2]}}, bytes(8))),
        ("unknown dtype", build({"a": tensor("F33")}, bytes(8))),
        ("dtype in lower case", build({"a": tensor("f32")}, bytes(8))),
        ("dtype is a number", build({"a": tensor(32)}, bytes(8))),  # type: ignore[arg-type]
        ("shape is a number", build({"a": tensor(shape=2)}, bytes(8))),
        ("negative dimension", build({"a": tensor(shape=[-2])}, bytes(8))),
        ("two negative dimensions", build({"a": tensor(shape=[-1, -2])}, bytes(8))),
        ("boolean dimension", build({"a": tensor(shape=[True, 2])}, bytes(8))),
        ("fractional dimension", build({"a": tensor(shape=[2.0])}, bytes(8))),
        ("huge dimension", build({"a": tensor(shape=[2**53 - 1])}, bytes(8))),
        ("product overflows 64 bits to the right size", build({"a": tensor(shape=[2**32, 2**32, 2])}, bytes(8))),
        ("too many dimensions", build({"a": tensor(shape=[1] * 64 + [2])}, bytes(8))),
        ("one offset", build({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8]}}, bytes(8))),
        ("begin after end", build({"a": tensor(begin=8, end=0)}, bytes(8))),
        ("negative begin", build({"a": tensor(begin=-8, end=0)}, bytes(8))),
        ("too small for its shape", build({"a": tensor(end=4)}, bytes(4))),
        ("too large for its shape", build({"a": tensor(end=12)}, bytes(12))),
        ("half bytes", build({"a": tensor("F4", [3], 0, 1)}, bytes(1))),
        ("overlap", build({"a": tensor(), "b": tensor(begin=4, end=12)}, bytes(12))),
        ("same place", build({"a": tensor(), "b": tensor()}, bytes(8))),
        ("hole", build({"a": tensor(), "b": tensor(begin=12, end=20)}, bytes(20))),
        ("hole at the start", build({"a": tensor(begin=4, end=12)}, bytes(12))),
        ("beyond the data", build({"a": tensor(begin=8, end=16)}, bytes(8))),
        ("duplicate tensor", build(b'{"a":' + json.dumps(tensor()).encode() + b',"a":{}}', bytes(8))),
        (
            "duplicate field",
            build(b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8)),
        ),
        ("empty name", build({"": tensor()}, bytes(8))),
        ("control character in a name", build({"a\n": tensor()}, bytes(8))),
        ("metadata is a list", build({"a": tensor(), "__metadata__": []}, bytes(8))),
        ("metadata holds a number", build({"a": tensor(), "__metadata__": {"x": 1}}, bytes(8))),
        ("not UTF-8", build(b'{"\xff":1}')),
    ],
)
def test_a_hostile_file_is_refused_in_one_line(why: str, file: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        Header.parse(file)
    assert "\n" not in str(caught.value), why


def test_a_header_beyond_the_limit_is_refused_unparsed() -> None:
    length = limits.MAX_SAFETENSORS_HEADER + 1
    with pytest.raises(FormatError, match="too large a header"):
        Header.parse(length.to_bytes(8, "little") + b"{" * length)


def test_too_many_tensors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_TENSORS", 1)
    with pytest.raises(FormatError, match="too many tensors"):
        Header.parse(GOOD)


@given(st.binary(max_size=200), st.integers(0, len(GOOD)), st.integers(0, 200))
@settings(max_examples=300, deadline=None)
def test_no_mutation_escapes_as_anything_but_our_error(noise: bytes, at: int, cut: int) -> None:
    mutated = GOOD[:at] + noise + GOOD[at + cut :]
    try:
        header = Header.parse(mutated)
    except FormatError:
        return
    assert sum(item.end - item.start for item in header.tensors) == header.data_size
    assert header.data_start + header.data_size == len(mutated)


def test_it_reads_what_the_reference_writer_writes() -> None:
    import torch
    from safetensors.torch import save

    state = {
        "weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
        "half": torch.ones(5, dtype=torch.bfloat16),
        "flag": torch.tensor(True),
        "none": torch.empty(0, 7, dtype=torch.int64),
    }
    file = save(state, metadata={"format": "pt"})
    header = Header.parse(file)
    assert {item.name: item.shape for item in header.tensors} == {name: tuple(t.shape) for name, t in state.items()}
    for item in header.tensors:
        data = file[header.data_start + item.start : header.data_start + item.end]
        assert (
            data == state[item.name].flatten().view(torch.uint8).numpy().tobytes() if item.parameters else not data
        )


def test_every_dtype_that_we_know_the_reference_reader_knows() -> None:
    from safetensors import SafetensorError, deserialize

    for dtype, bits in DTYPE_BITS.items():
        file = build({"a": tensor(dtype, (8,), 0, bits)}, bytes(bits))
        assert Header.parse(file).tensors[0].dtype == deserialize(file)[0][1]["dtype"] == dtype
    with pytest.raises(SafetensorError):
        deserialize(build({"a": tensor("F33")}, bytes(8)))
