"""Whether an adapter on a model is still the one that was loaded.

A seal holds digests, not tensors: what every live tensor of the adapter measured after loading. Checking it
measures them again. It sees an adapter that was removed, or exchanged under the same name, and weights that were
edited in any way, also through `.data`. It does not see settings that are no tensor (a scaling), nor the base
model, which `base.measure` measures. Where a method itself writes to its weights (training; OFT with `coft`, when
it answers), it finds them changed.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

import torch
from peft import PeftModel
from torch import nn

from skillwarrant_format.errors import LoadMismatch
from skillwarrant_format.fingerprint import TensorDigest
from skillwarrant_verify.attach import translated
from skillwarrant_verify.peft_tensors import adapter_state
from skillwarrant_verify.weights import digests_of

__all__ = ["AdapterSeal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSeal:
    """What an adapter measured when it was loaded.

    Args:
        tensors: by the key in the adapter's file, or where PEFT computed it.
    """

    adapter_name: str
    tensors: Mapping[str, TensorDigest]
    _watched: tuple[tuple[weakref.ref[torch.Tensor], int, int], ...] = field(repr=False, compare=False)

    @classmethod
    def of(cls, adapter_name: str, live: Mapping[str, torch.Tensor], known: Mapping[str, TensorDigest]) -> Self:
        """Seal what is there.

        Args:
            live: the tensors of the adapter on its model.
            known: digests of those whose bits were compared with measured ones already.
        """
        fresh = digests_of({name: tensor for name, tensor in live.items() if name not in known})
        return cls(
            adapter_name=adapter_name,
            tensors=MappingProxyType({name: known[name] if name in known else fresh[name] for name in live}),
            _watched=tuple((weakref.ref(one), one._version, one.data_ptr()) for one in live.values()),
        )

    def still_holds(self, model: nn.Module) -> bool:
        """Whether, without reading them, the tensors are the same objects in the same place, to which torch counted
        no write. It does not see writes through `.data`, nor whether each tensor is still in its layer. A no may be
        wrong: `check` tells."""
        return (
            isinstance(model, PeftModel)
            and self.adapter_name in model.peft_config
            and all(
                (tensor := kept()) is not None and (tensor._version, tensor.data_ptr()) == (version, address)
                for kept, version, address in self._watched
            )
        )

    def check(self, model: nn.Module) -> str | None:
        """Measure the adapter again.

        Returns:
            None, or what is different, for people.
        """
        if not isinstance(model, PeftModel) or self.adapter_name not in model.peft_config:
            return f"adapter {self.adapter_name} is not on the model any more"
        try:
            with translated():
                live = adapter_state(model, self.adapter_name)
                now = digests_of({name: live[name] for name in self.tensors if name in live})
        except LoadMismatch as error:
            return f"adapter {self.adapter_name} cannot be read any more: {error.found}"
        if missing := sorted(self.tensors.keys() - now.keys()):
            return f"adapter {self.adapter_name} lacks {missing[0]}"
        for name, before in self.tensors.items():
            if now[name] != before:
                return _difference(self.adapter_name, before, now[name])
        return None


def _difference(adapter_name: str, before: TensorDigest, now: TensorDigest) -> str:
    what = f"{before.name} of adapter {adapter_name}"
    if (before.dtype, before.shape) == (now.dtype, now.shape):
        return f"{what} holds other values than were loaded"
    return f"{what} was {before.dtype} {list(before.shape)} and is {now.dtype} {list(now.shape)}"
