"""What a set of weights measures: the scheme `skillwarrant-tensors-v1`.

docs/reference/fingerprint.md specifies it, for anybody to implement. A tensor is a name, a dtype, a shape and its
elements; the root commits to each of them, to their number, and to nothing else: not to the configuration, and not
to the code that runs the weights.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.hashing import Progress, Source, hash_all
from skillwarrant_format.safetensors import Header, TensorInfo
from skillwarrant_format.strict_json import JsonObject

__all__ = [
    "SCHEME",
    "TORCH_NAMES",
    "Fingerprint",
    "TensorDigest",
    "of_safetensors",
    "root",
]

SCHEME: Final = "skillwarrant-tensors-v1"
TORCH_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "BF16": "bfloat16",
        "BOOL": "bool",
        "C64": "complex64",
        "F16": "float16",
        "F32": "float32",
        "F4": "float4_e2m1fn_x2",
        "F64": "float64",
        "F6_E2M3": "float6_e2m3",
        "F6_E3M2": "float6_e3m2",
        "F8_E4M3": "float8_e4m3fn",
        "F8_E4M3FNUZ": "float8_e4m3fnuz",
        "F8_E5M2": "float8_e5m2",
        "F8_E5M2FNUZ": "float8_e5m2fnuz",
        "F8_E8M0": "float8_e8m0fnu",
        "I16": "int16",
        "I32": "int32",
        "I64": "int64",
        "I8": "int8",
        "U16": "uint16",
        "U32": "uint32",
        "U64": "uint64",
        "U8": "uint8",
    }
)
"""safetensors code -> the name that torch and config.json use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """The root digest of a set of tensors, with the name of the scheme that computed it.

    Raises:
        FormatError: when built with a scheme that this release does not know.
    """

    digest: Digest
    scheme: str = SCHEME

    def __post_init__(self) -> None:
        if self.scheme != SCHEME:
            raise FormatError("unknown fingerprint scheme", expected=SCHEME, found=self.scheme)

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """From a predicate: `{"scheme": …, "digest": {"sha256": …}}`; other fields are left alone."""
        return cls(digest=fields.digest("digest"), scheme=fields.text("scheme"))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """From what `str` gives: `skillwarrant-tensors-v1:<64 hex digits>`."""
        scheme, _, digits = text.rpartition(":")
        return cls(digest=Digest(digits), scheme=scheme)

    def to_json(self) -> JsonObject:
        """The inverse of `parse`."""
        return {"scheme": self.scheme, "digest": {"sha256": self.digest.hex}}

    def __str__(self) -> str:
        return f"{self.scheme}:{self.digest.hex}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorDigest:
    """One tensor, measured. `digest` is the SHA-256 of its elements alone."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: Digest

    @property
    def parameters(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def entry(self) -> bytes:
        """This tensor's part of the root's input."""
        head = _lp(self.name) + _lp(self.dtype) + _int(len(self.shape))
        return head + b"".join(map(_int, self.shape)) + bytes.fromhex(self.digest.hex)


def root(tensors: Iterable[TensorDigest]) -> Fingerprint:
    """The fingerprint of a set of tensors; their order does not matter.

    Raises:
        FormatError: for no tensor at all, or one name twice.
    """
    ordered = sorted(tensors, key=lambda tensor: tensor.name.encode())
    names = {tensor.name for tensor in ordered}
    if not ordered or len(names) != len(ordered):
        raise FormatError("no fingerprint", expected="at least one tensor, and no name twice")
    state = hashlib.sha256(_lp(SCHEME) + _int(len(ordered)))
    for tensor in ordered:
        state.update(tensor.entry())
    return Fingerprint(digest=Digest(state.hexdigest()))


def of_safetensors(header: Header, view: memoryview, progress: Progress | None = None) -> tuple[TensorDigest, ...]:
    """Measure every tensor of a safetensors file in memory, in the order of the file.

    Args:
        header: what `Header.parse(view)` gave.
        view: the whole file.
    """
    data = view[header.data_start :]
    digests = hash_all([_slice(data, tensor) for tensor in header.tensors], progress)
    return tuple(
        TensorDigest(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, digest=digest)
        for tensor, digest in zip(header.tensors, digests, strict=True)
    )


def _slice(data: memoryview, tensor: TensorInfo) -> Source:
    return Source(size=tensor.end - tensor.start, chunks=lambda: (data[tensor.start : tensor.end],))


def _int(value: int) -> bytes:
    return value.to_bytes(8, "big")


def _lp(text: str) -> bytes:
    data = text.encode()
    return _int(len(data)) + data
