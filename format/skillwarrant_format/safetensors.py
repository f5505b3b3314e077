"""A strict reader of safetensors headers, in plain Python: no torch, no numpy, no tensor is touched.

Source: https://github.com/huggingface/safetensors#format. A file is 8 bytes with the header's length N (unsigned,
little-endian), N bytes of JSON that begin with `{` and may be padded with spaces, and the tensors' data, which the
header must cover without an overlap, a hole or a rest. Two readers of a file that passes here see the same tensors.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self

from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields, check_text
from skillwarrant_format.strict_json import JsonValue, loads_object

__all__ = ["DTYPE_BITS", "Header", "TensorInfo"]

DTYPE_BITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "BF16": 16,
        "BOOL": 8,
        "C64": 64,
        "F16": 16,
        "F32": 32,
        "F4": 4,
        "F64": 64,
        "F6_E2M3": 6,
        "F6_E3M2": 6,
        "F8_E4M3": 8,
        "F8_E4M3FNUZ": 8,
        "F8_E5M2": 8,
        "F8_E5M2FNUZ": 8,
        "F8_E8M0": 8,
        "I16": 16,
        "I32": 32,
        "I64": 64,
        "I8": 8,
        "U16": 16,
        "U32": 32,
        "U64": 64,
        "U8": 8,
    }
)
"""Every element type of safetensors 0.8, and its size in bits."""

_PREFIX: Final = 8  # bytes before the header
_MAX_DIMENSIONS: Final = 64  # what torch can represent


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: elements in row-major order, little-endian, at `[start, end)` bytes of the data section."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def parameters(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """A header that holds what the module's docstring says.

    Args:
        tensors: sorted by their place in the file.
        metadata: the free `__metadata__` strings; nothing here trusts them.
        data_start: bytes from the start of the file to the data section.
        data_size: bytes of the data section.
    """

    tensors: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]
    data_start: int
    data_size: int

    @classmethod
    def parse(cls, view: bytes | bytearray | memoryview, *, what: str = "the safetensors file") -> Self:
        """Read the header of a whole file in memory.

        Raises:
            FormatError: on anything that the format does not allow, or on a header beyond our limits.
        """
        length = _header_length(view[:_PREFIX], len(view), what)
        return cls._decode(view[_PREFIX : _PREFIX + length], len(view), what)

    @classmethod
    def read(cls, descriptor: int, *, what: str = "the safetensors file") -> Self:
        """Read the header of an open file, and nothing of its data.

        Raises:
            FormatError: as `parse`.
            OSError: from the system.
        """
        size = os.fstat(descriptor).st_size
        length = _header_length(os.pread(descriptor, _PREFIX, 0), size, what)
        return cls._decode(os.pread(descriptor, length, _PREFIX), size, what)

    @classmethod
    def _decode(cls, header: bytes | bytearray | memoryview, size: int, what: str) -> Self:
        if bytes(header[:1]) != b"{":
            raise FormatError(f"{what} has no header", expected="JSON that begins with {")
        document = dict(loads_object(header, what=f"the header of {what}", limit=limits.MAX_SAFETENSORS_HEADER))
        metadata = _metadata(document.pop("__metadata__", {}), what)
        if len(document) > limits.MAX_TENSORS:
            raise FormatError(f"{what} has too many tensors", expected=f"at most {limits.MAX_TENSORS}")
        start = _PREFIX + len(header)
        tensors = sorted(
            (_tensor(name, value, what) for name, value in document.items()),
            key=lambda tensor: (tensor.start, tensor.end, tensor.name),
        )
        _check_cover(tensors, size - start, what)
        return cls(tuple(tensors), MappingProxyType(metadata), start, size - start)

    @property
    def parameters(self) -> int:
        """The number of elements of all tensors together."""
        return sum(tensor.parameters for tensor in self.tensors)


def _header_length(prefix: bytes | bytearray | memoryview, size: int, what: str) -> int:
    length = int.from_bytes(prefix, "little")
    if len(prefix) < _PREFIX or _PREFIX + length > size:
        raise FormatError(
            f"{what} is cut short or is no safetensors file", found=f"{size} bytes, and a header of {length}"
        )
    if length > limits.MAX_SAFETENSORS_HEADER:
        raise FormatError(
            f"{what} has too large a header",
            expected=f"at most {limits.MAX_SAFETENSORS_HEADER} bytes",
            found=f"{length} bytes",
        )
    return length


def _metadata(value: JsonValue, what: str) -> dict[str, str]:
    fields = Fields(value, f"{what}: __metadata__")
    found = {key: fields.value(key) for key in fields.keys()}  # noqa: SIM118  # Fields is no mapping
    for key, item in found.items():
        if not isinstance(item, str):
            raise FormatError(f"{fields.at(key)} is not a string")
    return found  # type: ignore[return-value]  # every value is a str: checked above


def _tensor(name: str, value: JsonValue, what: str) -> TensorInfo:
    check_text(name, f"the name of a tensor of {what}", limits.MAX_NAME_CHARS)
    fields = Fields(value, f"{what}: {name}")
    if sorted(fields.keys()) != ["data_offsets", "dtype", "shape"]:
        raise FormatError(
            f"{fields.path} has the wrong fields",
            expected="dtype, shape, data_offsets",
            found=", ".join(fields.keys()),
        )
    dtype = fields.text("dtype")
    if dtype not in DTYPE_BITS:
        raise FormatError(f"{fields.path} has an unknown dtype", found=dtype)
    shape = _integers(fields, "shape", _MAX_DIMENSIONS)
    offsets = _integers(fields, "data_offsets", 2)
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise FormatError(f"{fields.path} has no sound data_offsets", expected="[begin, end]", found=str(offsets))
    bits = math.prod(shape) * DTYPE_BITS[dtype]
    if bits != (offsets[1] - offsets[0]) * 8:
        raise FormatError(
            f"{fields.path} does not fill its place",
            expected=f"{bits / 8:g} bytes for {dtype} {list(shape)}",
            found=f"{offsets[1] - offsets[0]} bytes",
        )
    return TensorInfo(name, dtype, shape, offsets[0], offsets[1])


def _integers(fields: Fields, key: str, most: int) -> tuple[int, ...]:
    found = fields.items(key, most=most)
    for item in found:
        if isinstance(item, bool) or not isinstance(item, int) or item < 0:
            raise FormatError(f"{fields.at(key)} is malformed", expected="whole numbers from 0", found=str(item))
    return tuple(found)  # type: ignore[arg-type]  # every item is an int: checked above


def _check_cover(tensors: list[TensorInfo], size: int, what: str) -> None:
    position = 0
    for tensor in tensors:
        if tensor.start != position:
            kind = "overlap" if tensor.start < position else "leave a hole"
            found = f"{tensor.name} at {tensor.start}, not {position}"
            raise FormatError(f"the tensors of {what} {kind}", found=found)
        position = tensor.end
    if position != size:
        raise FormatError(
            f"the data of {what} is not what its header says", expected=f"{position} bytes", found=f"{size} bytes"
        )
