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

from skillwarrant_format.errors import FormatError
from skillwarrant_format.safetensors import Header, TensorInfo
from skillwarrant_format.snapshot import WEIGHTS_NAME, File

__all__ = ["Weights", "is_memory_of", "owned", "same_bits"]

_DTYPES: Final = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
_BITS: Final = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_PART: Final = 32_768  # elements that torch sums on the calling thread: its pool stalls on a busy machine
_ALIGNMENT: Final = 64  # bytes, as torch's allocator: kernels may round differently on other addresses


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of an adapter file, by name, in the order of the file.

    None of them is copied: whoever writes to one writes to the buffer that was verified.
    """

    tensors: Mapping[str, torch.Tensor]

    @classmethod
    def of(cls, file: File) -> Self:
        """Views of a file's tensors.

        Raises:
            FormatError: no safetensors file, or tensors of a type, size or place that no LoRA has, or NaN and
                infinities: they pass every comparison of shapes, and every answer with them is noise.
        """
        header = Header.parse(file.data, what=WEIGHTS_NAME)
        if not header.tensors:
            raise FormatError(f"{WEIGHTS_NAME} holds no tensors")
        for dtype, run in groupby(header.tensors, key=lambda tensor: tensor.dtype):
            _check_run(file.buffer, header.data_start, dtype, list(run))
        found = {tensor.name: _view(file.buffer, header.data_start, tensor) for tensor in header.tensors}
        return cls(MappingProxyType(found))


def _check_run(buffer: memoryview, start: int, dtype: str, run: list[TensorInfo]) -> None:
    """Check neighbours of one dtype at once: one pass of torch over all of them, and not one for each."""
    if dtype not in _DTYPES or any(tensor.parameters == 0 for tensor in run):
        raise _unusual(next((tensor for tensor in run if tensor.parameters == 0), run[0]))
    count = sum(tensor.parameters for tensor in run)
    values = torch.frombuffer(buffer, dtype=_DTYPES[dtype], count=count, offset=start + run[0].start)
    if values.data_ptr() % values.element_size():
        raise FormatError(f"{WEIGHTS_NAME} holds tensors at odd addresses", found=run[0].name)
    # A sum is finite only if every term is. It may overflow too, so only then is every element looked at.
    sums = torch.stack([part.sum(dtype=torch.float32) for part in torch.split(values, _PART)])
    if bool(sums.isfinite().all()):
        return
    for tensor in run:
        if not bool(_view(buffer, start, tensor).isfinite().all()):
            raise FormatError(
                f"{WEIGHTS_NAME} holds NaN or infinities", expected="finite values", found=tensor.name
            )


def _unusual(tensor: TensorInfo) -> FormatError:
    return FormatError(
        f"{WEIGHTS_NAME} holds a tensor that no adapter of this kind has",
        expected=f"elements of {', '.join(_DTYPES)}",
        found=f"{tensor.name}: {tensor.dtype} {list(tensor.shape)}",
    )


def _view(buffer: memoryview, start: int, tensor: TensorInfo) -> torch.Tensor:
    # Each view has a storage of its own, so that nothing takes two of them for aliases when they are saved again.
    dtype = _DTYPES[tensor.dtype]
    flat = torch.frombuffer(buffer, dtype=dtype, count=tensor.parameters, offset=start + tensor.start)
    return flat.reshape(tensor.shape)


def owned(tensor: torch.Tensor, signed: torch.Tensor, *, writable: bool) -> torch.Tensor:
    """A tensor that may stay on a model: a copy where it is signed memory that will be written to, or that does not
    begin where torch would have put it."""
    borrowed = is_memory_of(tensor, signed)
    return tensor.clone() if borrowed and (writable or tensor.data_ptr() % _ALIGNMENT) else tensor


def is_memory_of(tensor: torch.Tensor, signed: torch.Tensor) -> bool:
    """Whether a tensor is a signed tensor's very memory, read in the same way."""
    return tensor.data_ptr() == signed.data_ptr() and _layout(tensor) == _layout(signed)


def _layout(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tensor.shape, tensor.stride(), tensor.device


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are equal in dtype, shape, device and every bit (0.0 and -0.0 are not)."""
    if (one.dtype, one.shape, one.device) != (other.dtype, other.shape, other.device):
        return False
    bits = _BITS[one.element_size()]
    return torch.equal(one.detach().contiguous().view(bits), other.detach().contiguous().view(bits))
