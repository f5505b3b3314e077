"""What a set of weights measures: the scheme `skillwarrant-tensors-v1`.

The scheme, exactly, so that others can implement it. A *tensor* is a name (a string), a dtype (a safetensors code
such as `F32` or `BF16`), a shape (whole numbers), and its elements in row-major order, little-endian, as a
safetensors file holds them. Integers are unsigned, 8 bytes, big-endian; `lp(x)` is the integer length of the bytes
x, followed by x; strings are UTF-8.

    entry = lp(name) lp(dtype) int(number of dimensions) int(dimension)... sha256(elements)
    root  = sha256( lp("skillwarrant-tensors-v1") int(number of tensors) entry... )

with the entries sorted by the bytes of their names, and no name twice. The root therefore commits to the number of
tensors, and no two sets of tensors encode to the same bytes.

For a *base model*, the set is its persistent state under the names that its files use: parameters and persistent
buffers, each tied weight once (`canonical` says under which name). Buffers that no file holds (rotary frequencies)
are computed from the configuration and are not in it. For an *adapter*, it is exactly the tensors of its file.

What it does not cover: the configuration and the code that run the weights.
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
    "BaseFacts",
    "Fingerprint",
    "TensorDigest",
    "canonical",
    "most_common_dtype",
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

_OUTPUT_EMBEDDING: Final = "lm_head.weight"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFacts:
    """What a base model says of itself, for the manifest and for people. None of it is compared.

    Args:
        architecture: the class that runs it, such as `LlamaForCausalLM`.
        parameters: number of elements in the fingerprint's tensors.
        dtype: the dtype of most of them, by torch's name (`bfloat16`).
    """

    architecture: str
    parameters: int
    dtype: str
    model_type: str | None = None
    quantization: str | None = None


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


def canonical(tensors: Iterable[TensorDigest]) -> tuple[TensorDigest, ...]:
    """A base model's tensors as its fingerprint counts them, sorted by name.

    An output embedding (`lm_head.weight`) that is equal to another tensor is left out: a model with tied embeddings
    has it in memory, some of its files repeat it, and most do not. Ties of other names are found where they can be
    seen, which is in memory.
    """
    ordered = sorted(tensors, key=lambda tensor: tensor.name.encode())
    others = {_content(tensor) for tensor in ordered if not _is_output_embedding(tensor)}
    return tuple(tensor for tensor in ordered if not (_is_output_embedding(tensor) and _content(tensor) in others))


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


def most_common_dtype(tensors: Iterable[TensorDigest]) -> str:
    """The torch name of the dtype that most elements have."""
    counts: dict[str, int] = {}
    for tensor in tensors:
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.parameters
    return TORCH_NAMES[max(counts, key=lambda dtype: (counts[dtype], dtype))]


def _slice(data: memoryview, tensor: TensorInfo) -> Source:
    return Source(size=tensor.end - tensor.start, chunks=lambda: (data[tensor.start : tensor.end],))


def _is_output_embedding(tensor: TensorDigest) -> bool:
    return f".{tensor.name}".endswith(f".{_OUTPUT_EMBEDDING}")


def _content(tensor: TensorDigest) -> tuple[str, tuple[int, ...], Digest]:
    return tensor.dtype, tensor.shape, tensor.digest


def _int(value: int) -> bytes:
    return value.to_bytes(8, "big")


def _lp(text: str) -> bytes:
    data = text.encode()
    return _int(len(data)) + data
