"""The elements of live tensors as bytes, in row-major order, wherever and however they lie.

Only what is not laid out like that, or not in this machine's memory, is copied, a piece at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import torch

from skillwarrant_format import limits
from skillwarrant_format.errors import Unavailable
from skillwarrant_format.fingerprint import TORCH_NAMES

__all__ = ["as_bytes", "chunks", "code_of", "is_plain", "parts_of", "require_readable"]

_CODES: Final = {name: code for code, name in TORCH_NAMES.items() if code != "F4"}
_INTEGERS: Final = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def code_of(dtype: torch.dtype) -> str | None:
    """What safetensors calls a dtype, or None."""
    return _CODES.get(str(dtype).removeprefix("torch."))


def require_readable(name: str, tensor: torch.Tensor) -> None:
    """Check that a tensor's bytes are there and are its elements.

    Raises:
        Unavailable: it is not in memory, wraps others, or torch would not see a write to it.
    """
    why = None
    if tensor.is_inference():
        why = "it was made in torch.inference_mode, where torch sees no writes; make it outside"
    elif tensor.device.type == "meta":
        why = "it is not in memory (meta device: offloaded or never loaded)"
    elif type(tensor.data) is not torch.Tensor or tensor.layout is not torch.strided:
        why = f"it is a {type(tensor.data).__name__} of layout {tensor.layout}"
    elif code_of(tensor.dtype) is None:
        why = f"its dtype {tensor.dtype} has no name in safetensors"
    if why is not None:
        raise Unavailable(
            "the base model could not be measured", found=f"{name}: {why}", fix="Load the whole model into memory."
        )


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether its bytes can be looked at where they are."""
    return tensor.device.type == "cpu" and tensor.is_contiguous() and not (tensor.is_conj() or tensor.is_neg())


def chunks(tensor: torch.Tensor, size: int = limits.READ_CHUNK) -> Iterator[memoryview]:
    """All elements, in pieces of at most about `size` bytes; a plain tensor's in one, which is no copy."""
    if tensor.numel() == 0:
        return
    if is_plain(tensor):
        yield as_bytes(tensor)
        return
    row = tensor[:1].numel() * tensor.element_size() if tensor.dim() else tensor.element_size()
    for part in torch.split(tensor, max(1, size // row)) if tensor.dim() else (tensor,):
        yield as_bytes(_copied(part))


def parts_of(tensor: torch.Tensor, ranges: Sequence[tuple[int, int]]) -> bytes:
    """Some of a tensor's bytes, one range after the other: from, to; each a multiple of 8, or the end."""
    if is_plain(tensor):
        view = as_bytes(tensor)
        return b"".join(view[start:stop] for start, stop in ranges)
    width = tensor.element_size()
    flat = tensor.resolve_conj().resolve_neg().view(_INTEGERS[width])
    elements = [torch.arange(start // width, stop // width) for start, stop in ranges]
    return bytes(as_bytes(torch.take(flat, torch.cat(elements).to(tensor.device)).cpu()))


def as_bytes(tensor: torch.Tensor) -> memoryview:
    """A contiguous tensor of the CPU, as it lies in memory."""
    flat = tensor.reshape(-1).view(torch.uint8).numpy()
    return memoryview(flat)  # type: ignore[arg-type]  # numpy 2.4 hides the buffer protocol from Python < 3.12


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.resolve_conj().resolve_neg().contiguous().cpu()
