"""What is remembered of measured tensors, to tell cheaply whether they are the same and untouched.

Of each tensor: which object it is, where it lies, torch's count of writes, and a few bytes. Torch does not count
writes through `.data`, through a raw pointer or by another process; against those, `Blocks` keeps a digest of every
block of every tensor, and looks at some blocks that nobody can foresee.
"""

from __future__ import annotations

import hashlib
import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from random import SystemRandom
from typing import Any, Final, Self

import torch

from skillwarrant_format import limits
from skillwarrant_verify.measuring.tensor_bytes import chunks, parts_of

__all__ = ["BLOCK", "DRAWN", "Blocks", "Evidence"]

BLOCK: Final = 16 * limits.KIB
"""Bytes that one digest is over."""
DRAWN: Final = 256
"""Blocks that are hashed again each time: 4 MiB."""

_KEPT: Final = 16  # bytes of each block's SHA-256: what is written must meet 2**128 possibilities
_PIECE: Final = 512 * limits.KIB  # still in the processor's cache when it is hashed the second time
_SAMPLE: Final = 64  # bytes of each tensor's beginning, middle and end
_DICE: Final = SystemRandom()


@dataclass(frozen=True, slots=True)
class _Witness:
    """One tensor."""

    tensor: weakref.ref[torch.Tensor]
    version: int
    address: int
    layout: tuple[Any, ...]
    sample: bytes

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Self:
        layout = (tensor.dtype, tensor.shape, tensor.stride(), tensor.device)
        return cls(weakref.ref(tensor), tensor._version, tensor.data_ptr(), layout, _sample(tensor.detach()))

    def holds(self, tensor: torch.Tensor) -> bool:
        return self.tensor() is tensor and self == _Witness.of(tensor)


def _sample(tensor: torch.Tensor) -> bytes:
    """A few elements from the beginning, the middle and the end."""
    size = tensor.numel() * tensor.element_size()
    middle = size // 16 * 8
    ranges = (
        (0, min(_SAMPLE, size)),
        (middle, min(middle + _SAMPLE, size)),
        (max(0, size - _SAMPLE) // 8 * 8, size),
    )
    return parts_of(tensor, ranges)


@dataclass(slots=True)
class Blocks:
    """The digest of every block of some tensors. `tap` fills it, from several threads, a tensor on each."""

    digests: dict[str, bytes] = field(default_factory=dict)

    def tap(self, name: str, source: Iterable[memoryview]) -> Iterator[memoryview]:
        """Hand on a tensor's bytes, and keep the digest of each block on the way."""
        kept, state, room = bytearray(), hashlib.sha256(), BLOCK
        for chunk in source:
            for start in range(0, len(chunk), _PIECE):
                piece = chunk[start : start + _PIECE]
                yield piece
                while len(piece) >= room:
                    state.update(piece[:room])
                    kept += state.digest()[:_KEPT]
                    piece, state, room = piece[room:], hashlib.sha256(), BLOCK
                state.update(piece)
                room -= len(piece)
        if room < BLOCK:
            kept += state.digest()[:_KEPT]
        self.digests[name] = bytes(kept)

    def hold(self, live: Mapping[str, torch.Tensor]) -> bool:
        """Whether `DRAWN` blocks, drawn anew from all of them, are what they were."""
        return all(self._holds(live[name].detach(), name, blocks) for name, blocks in self._draw().items())

    def _draw(self) -> dict[str, list[int]]:
        names = list(self.digests)
        ends = list(accumulate(len(self.digests[name]) // _KEPT for name in names))
        drawn: dict[str, list[int]] = {}
        total = ends[-1] if ends else 0
        for index in _DICE.sample(range(total), min(DRAWN, total)):
            place = bisect_right(ends, index)
            drawn.setdefault(names[place], []).append(index - (ends[place - 1] if place else 0))
        return drawn

    def _holds(self, tensor: torch.Tensor, name: str, blocks: Sequence[int]) -> bool:
        size = tensor.numel() * tensor.element_size()
        ranges = [(block * BLOCK, min((block + 1) * BLOCK, size)) for block in blocks]
        data, start = memoryview(parts_of(tensor, ranges)), 0
        for block, (begin, end) in zip(blocks, ranges, strict=True):
            now = hashlib.sha256(data[start : start + end - begin]).digest()[:_KEPT]
            if now != self.digests[name][block * _KEPT : (block + 1) * _KEPT]:
                return False
            start += end - begin
        return True


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is remembered of all tensors of one measurement.

    Args:
        witnesses: by name, of tensors that the model keeps.
        remade: by name, the digest of tensors that the model makes anew each time it is asked for its state
            (quantised layers make small ones), which have no identity.
        blocks: None where they were not asked for.
    """

    witnesses: Mapping[str, _Witness]
    remade: Mapping[str, bytes]
    blocks: Blocks | None

    @classmethod
    def of(cls, live: Mapping[str, torch.Tensor], again: Mapping[str, torch.Tensor], blocks: Blocks | None) -> Self:
        """Look at the tensors once.

        Args:
            live: the model's tensors.
            again: the same, asked for once more.
        """
        same = {name for name, tensor in live.items() if again.get(name) is tensor}
        return cls(
            witnesses={name: _Witness.of(live[name]) for name in same},
            remade={name: _digest(tensor) for name, tensor in live.items() if name not in same},
            blocks=blocks,
        )

    def holds(self, live: Mapping[str, torch.Tensor], *, sampled: bool = False) -> bool:
        """Whether these are the very tensors, and nothing is seen to have been written to them.

        Args:
            sampled: look at drawn blocks too; without blocks that is a no.
        """
        return (
            live.keys() == self.witnesses.keys() | self.remade.keys()
            and all(witness.holds(live[name]) for name, witness in self.witnesses.items())
            and all(_digest(live[name]) == digest for name, digest in self.remade.items())
            and (not sampled or (self.blocks is not None and self.blocks.hold(live)))
        )


def _digest(tensor: torch.Tensor) -> bytes:
    state = hashlib.sha256(repr((tensor.dtype, tensor.shape)).encode())
    for chunk in chunks(tensor.detach()):
        state.update(chunk)
    return state.digest()
