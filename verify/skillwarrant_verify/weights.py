"""The signed tensors: views of the very buffer that was verified, and what may become of them on a model.

It knows the file and torch, and nothing of PEFT.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Self

import torch

from skillwarrant_format.errors import FormatError
from skillwarrant_format.safetensors import Header, TensorInfo
from skillwarrant_format.snapshot import WEIGHTS_NAME, File

__all__ = ["Weights", "is_memory_of", "owned", "same_bits"]

_DTYPES: Final = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
_BITS: Final = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
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
            FormatError: no safetensors file, no tensors, or tensors of a type or shape that no LoRA has.
        """
        header = Header.parse(file.data, what=WEIGHTS_NAME)
        if not header.tensors:
            raise FormatError(f"{WEIGHTS_NAME} holds no tensors")
        found = {tensor.name: _view(file.buffer, header.data_start, tensor) for tensor in header.tensors}
        return cls(MappingProxyType(found))

    def check_finite(self) -> None:
        """Refuse NaN and infinities: they pass every comparison of shapes, and every answer with them is noise.

        Raises:
            FormatError: naming the first tensor with one.
        """
        # A sum is not finite wherever a term is not. It may also overflow, so only then is every element looked at.
        sums = torch.stack([tensor.sum(dtype=torch.float32) for tensor in self.tensors.values()])
        suspects = torch.isfinite(sums).logical_not_().tolist()
        for (name, tensor), suspect in zip(self.tensors.items(), suspects, strict=True):
            if suspect and not bool(torch.isfinite(tensor).all()):
                raise FormatError(f"{WEIGHTS_NAME} holds values that are no numbers", expected="finite", found=name)


def _view(buffer: memoryview, start: int, tensor: TensorInfo) -> torch.Tensor:
    dtype = _DTYPES.get(tensor.dtype)
    if dtype is None or tensor.parameters == 0:
        raise FormatError(
            f"{WEIGHTS_NAME} holds a tensor that no adapter of this kind has",
            expected=f"elements of {', '.join(_DTYPES)}",
            found=f"{tensor.name}: {tensor.dtype} {list(tensor.shape)}",
        )
    # Each view has a storage of its own, so that nothing takes two of them for aliases when they are saved again.
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
