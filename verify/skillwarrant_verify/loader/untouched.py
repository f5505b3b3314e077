"""What loading an adapter must leave alone: every tensor that a model had before.

Identity, address and version counter of each are remembered; torch counts every write to a tensor but those through
`.data`, which measuring the base finds. A tensor that was written to or replaced is as it was where its bits are:
some methods keep one tensor for all their adapters, and each adapter's file has it; and torch writes the counters
of batch normalisation to themselves whenever it loads anything.

It knows torch, and nothing of PEFT.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import nn

from skillwarrant_format.errors import LoadMismatch
from skillwarrant_verify.loader.weights import same_bits

__all__ = ["Untouched"]

_SMALL: Final = 8  # bytes: a counter


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor was, and how it was."""

    module: nn.Module
    path: str
    name: str
    tensor: torch.Tensor
    version: int
    address: int

    def holds(self, copies: dict[int, torch.Tensor]) -> bool:
        now = getattr(self.module, self.name, None)
        if now is self.tensor and now._version == self.version and now.data_ptr() == self.address:
            return True
        before = copies.get(self.address, self.tensor if self.tensor._version == self.version else None)
        return isinstance(now, torch.Tensor) and before is not None and same_bits(now, before)


@dataclass(frozen=True, slots=True)
class Untouched:
    """The tensors of a model at one moment, by the modules that hold them.

    Args:
        copies: by address: counters, and what the adapter to be loaded shares with others.
    """

    places: tuple[_Place, ...]
    copies: dict[int, torch.Tensor]

    @classmethod
    def of(cls, model: nn.Module, *, but: Container[int] = ()) -> Self:
        """Remember a model's tensors, but those whose `id` is in `but`."""
        places = tuple(_places(model, but))
        small = [place for place in places if place.tensor.numel() * place.tensor.element_size() <= _SMALL]
        return cls(places, {place.address: place.tensor.detach().clone() for place in small})

    def share(self, tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """Which of an adapter's tensors others had before. They may be written to as long as nothing changes."""
        addresses = {place.address for place in self.places}
        shared = [tensor for tensor in tensors if tensor.numel() and tensor.data_ptr() in addresses]
        self.copies.update({tensor.data_ptr(): tensor.detach().clone() for tensor in shared})
        return shared

    def check(self) -> None:
        """Compare with what is there now.

        Raises:
            LoadMismatch: a tensor was replaced by another, or written to.
        """
        for place in self.places:
            if not place.holds(self.copies):
                raise LoadMismatch(
                    "loading the adapter changed a tensor that is not the adapter's",
                    found=place.path,
                    fix="Load the model anew, and this adapter onto one of its own.",
                )


def _places(model: nn.Module, but: Container[int]) -> Iterator[_Place]:
    for path, module in model.named_modules():
        held = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        for name, tensor in held:
            if id(tensor) not in but:
                full = f"{path}.{name}" if path else name
                yield _Place(module, full, name, tensor, tensor._version, tensor.data_ptr())
