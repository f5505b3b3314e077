"""The signed tensors: views of the very buffer that was verified, and what may become of them on a model.

It knows the file and torch, and nothing of PEFT.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType
from typing import Any, Final, Self

import torch

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, LoadMismatch
from skillwarrant_format.fingerprint import Fingerprint, TensorDigest, of_safetensors, root
from skillwarrant_format.hashing import Source, hash_all
from skillwarrant_format.safetensors import Header, TensorInfo
from skillwarrant_format.snapshot import WEIGHTS_NAME, File
from skillwarrant_verify.measuring.tensor_bytes import chunks, code_of

__all__ = ["Weights", "all_finite", "digests_of", "is_memory_of", "owned", "same_bits"]

_DTYPES: Final = {
    "BF16": torch.bfloat16,
    "BOOL": torch.bool,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "I8": torch.int8,
    "U8": torch.uint8,
}
"""What PEFT's methods save: weights, and some of them indices."""
_BITS: Final = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_PART: Final = 32_768  # elements that torch sums on the calling thread: its pool stalls on a busy machine
_ALIGNMENT: Final = 64  # bytes, as torch's allocator: kernels may round differently on other addresses


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of an adapter file, by name, in the order of the file.

    None of them is copied: whoever writes to one writes to the buffer that was verified.

    Args:
        digests: what each of them measures, by name.
    """

    tensors: Mapping[str, torch.Tensor]
    digests: Mapping[str, TensorDigest]

    @classmethod
    def of(cls, file: File, *, signed: Fingerprint | None = None, allow_non_finite: bool = False) -> Self:
        """Views of a file's tensors.

        Args:
            signed: what all of them together must measure, where that is known.
            allow_non_finite: accept NaN and infinities. They pass every comparison of shapes, and every answer with
                them is noise, unless the method gives them a meaning.

        Raises:
            FormatError: no safetensors file, or tensors of a type or place that no adapter has, or not finite.
            LoadMismatch: not the signed tensors.
        """
        header = Header.parse(file.data, what=WEIGHTS_NAME)
        if not header.tensors:
            raise FormatError(f"{WEIGHTS_NAME} holds no tensors")
        for dtype, run in groupby(header.tensors, key=lambda tensor: tensor.dtype):
            _check_run(file.buffer, header.data_start, dtype, list(run), allow_non_finite=allow_non_finite)
        digests = of_safetensors(header, file.data)
        if signed is not None and (found := root(digests)) != signed:
            raise LoadMismatch(
                f"the tensors of {WEIGHTS_NAME} are not the signed ones", expected=str(signed), found=str(found)
            )
        views = {tensor.name: _view(file.buffer, header.data_start, tensor) for tensor in header.tensors}
        return cls(MappingProxyType(views), MappingProxyType({digest.name: digest for digest in digests}))


def _check_run(
    buffer: memoryview, start: int, dtype: str, run: list[TensorInfo], *, allow_non_finite: bool
) -> None:
    """Check neighbours of one dtype at once: one pass of torch over all of them, and not one for each."""
    if dtype not in _DTYPES:
        raise FormatError(
            f"{WEIGHTS_NAME} holds a tensor that no adapter has",
            expected=f"elements of {', '.join(_DTYPES)}",
            found=f"{run[0].name}: {dtype} {list(run[0].shape)}",
        )
    count = sum(tensor.parameters for tensor in run)
    if count == 0:
        return
    values = torch.frombuffer(buffer, dtype=_DTYPES[dtype], count=count, offset=start + run[0].start)
    if values.data_ptr() % values.element_size():
        raise FormatError(f"{WEIGHTS_NAME} holds tensors at odd addresses", found=run[0].name)
    if allow_non_finite or _sums_to_finite(values):
        return
    for tensor in run:
        if not bool(_view(buffer, start, tensor).isfinite().all()):
            raise FormatError(
                f"{WEIGHTS_NAME} holds NaN or infinities",
                expected="finite values",
                found=tensor.name,
                fix="If the method gives them a meaning, name non-finite in the policy's allow_hazards.",
            )


def all_finite(tensor: torch.Tensor) -> bool:
    """Whether no element is NaN or infinite. Integers never are."""
    return tensor.is_meta or _sums_to_finite(tensor.detach().reshape(-1)) or bool(tensor.isfinite().all())


def _sums_to_finite(values: torch.Tensor) -> bool:
    """A sum is finite only if every term is. It may overflow too, so a no means that every element is looked at."""
    if not values.is_floating_point():
        return True
    wide = torch.float64 if values.dtype == torch.float64 else torch.float32
    sums = torch.stack([part.sum(dtype=wide) for part in torch.split(values, _PART)])
    return bool(sums.isfinite().all())


def _view(buffer: memoryview, start: int, tensor: TensorInfo) -> torch.Tensor:
    # Each view has a storage of its own, so that nothing takes two of them for aliases when they are saved again.
    dtype = _DTYPES[tensor.dtype]
    if tensor.parameters == 0:
        return torch.empty(tensor.shape, dtype=dtype)
    flat = torch.frombuffer(buffer, dtype=dtype, count=tensor.parameters, offset=start + tensor.start)
    return flat.reshape(tensor.shape)


def owned(tensor: torch.Tensor, signed: torch.Tensor, *, writable: bool) -> torch.Tensor:
    """A tensor that may stay on a model: a copy where it is signed memory that will be written to, or that does not
    begin where torch would have put it."""
    borrowed = is_memory_of(tensor, signed)
    return tensor.clone() if borrowed and (writable or tensor.data_ptr() % _ALIGNMENT) else tensor


def is_memory_of(tensor: torch.Tensor, signed: torch.Tensor) -> bool:
    """Whether a tensor is a signed tensor's very memory, read in the same way."""
    same = tensor.data_ptr() == signed.data_ptr() and _layout(tensor) == _layout(signed)
    return same and tensor.numel() > 0


def _layout(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tensor.shape, tensor.stride(), tensor.device


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are equal in dtype, shape, device and every bit (0.0 and -0.0 are not)."""
    if (one.dtype, one.shape, one.device) != (other.dtype, other.shape, other.device) or one.is_meta:
        return False
    bits = _BITS[one.element_size()]
    return torch.equal(_plain(one).view(bits), _plain(other).view(bits))


def digests_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, TensorDigest]:
    """What live tensors measure, on whichever device and in whatever layout they are."""
    digests = hash_all([_source(tensor.detach()) for tensor in tensors.values()])
    return {name: _digest(name, tensors[name], digest) for name, digest in zip(tensors, digests, strict=True)}


def _digest(name: str, tensor: torch.Tensor, digest: Digest) -> TensorDigest:
    code = code_of(tensor.dtype) or str(tensor.dtype)
    return TensorDigest(name=name, dtype=code, shape=tuple(tensor.shape), digest=digest)


def _source(tensor: torch.Tensor) -> Source:
    return Source(size=tensor.numel() * tensor.element_size(), chunks=lambda: chunks(tensor))


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous()
