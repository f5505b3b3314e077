"""Whether an adapter on a model is still the one that was loaded.

A seal holds digests, not tensors: what every live tensor of the adapter measured after loading. Checking it
measures them again. It sees an adapter that was removed, or exchanged under the same name, and weights that were
edited in any way, also through `.data`. It does not see settings that are no tensor (a scaling), nor the base
model, which `base.measure` measures. Where a method itself writes to its weights (training; OFT with `coft`, when
it answers), it finds them changed.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

import torch
from peft import PeftModel
from torch import nn

from skillwarrant_format.errors import LoadMismatch
from skillwarrant_format.fingerprint import TensorDigest
from skillwarrant_verify.loader.attach import translated
from skillwarrant_verify.loader.modules import all_modules
from skillwarrant_verify.loader.peft_tensors import adapter_state
from skillwarrant_verify.loader.weights import digests_of

__all__ = ["AdapterSeal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSeal:
    """What an adapter measured when it was loaded.

    Args:
        tensors: by the key in the adapter's file, or where PEFT computed it.
    """

    adapter_name: str
    tensors: Mapping[str, TensorDigest]
    _watched: tuple[_Watched, ...] = field(repr=False, compare=False)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        adapter_name: str,
        live: Mapping[str, torch.Tensor],
        known: Mapping[str, TensorDigest],
    ) -> Self:
        """Seal what is there.

        Args:
            live: the tensors of the adapter on its model.
            known: digests of those whose bits were compared with measured ones already.
        """
        fresh = digests_of({name: tensor for name, tensor in live.items() if name not in known})
        return cls(
            adapter_name=adapter_name,
            tensors=MappingProxyType({name: known[name] if name in known else fresh[name] for name in live}),
            _watched=tuple(_watch(model, live.values())),
        )

    def still_holds(self, model: nn.Module) -> bool:
        """Whether, without reading them, the tensors are the same objects in the same place of the same modules, to
        which torch counted no write. It does not see writes through `.data`. A no may be wrong: `check` tells."""
        return (
            isinstance(model, PeftModel)
            and self.adapter_name in model.peft_config
            and all(watched.holds() for watched in self._watched)
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


@dataclass(frozen=True, slots=True)
class _Watched:
    """A tensor and the module that holds it. Both weakly: who keeps the tensor of an adapter that is gone, an
    optimizer say, does not keep its module."""

    tensor: weakref.ref[torch.Tensor]
    version: int
    address: int
    owner: weakref.ref[nn.Module] | None
    name: str

    def holds(self) -> bool:
        tensor = self.tensor()
        if tensor is None or (tensor._version, tensor.data_ptr()) != (self.version, self.address):
            return False
        if self.owner is None:  # computed, and held by no module
            return True
        owner = self.owner()
        return owner is not None and (
            owner._parameters.get(self.name) is tensor or owner._buffers.get(self.name) is tensor
        )


def _watch(model: nn.Module, live: Iterable[torch.Tensor]) -> Iterator[_Watched]:
    places = {
        id(tensor): (weakref.ref(module), name)
        for module in all_modules(model)
        for held in (module._parameters, module._buffers)
        for name, tensor in held.items()
        if tensor is not None
    }
    for tensor in live:
        owner, name = places.get(id(tensor), (None, ""))
        yield _Watched(weakref.ref(tensor), tensor._version, tensor.data_ptr(), owner, name)


def _difference(adapter_name: str, before: TensorDigest, now: TensorDigest) -> str:
    what = f"{before.name} of adapter {adapter_name}"
    if (before.dtype, before.shape) == (now.dtype, now.shape):
        return f"{what} holds other values than were loaded"
    return f"{what} was {before.dtype} {list(before.shape)} and is {now.dtype} {list(now.shape)}"
