"""Whether an adapter on a model is still the one that was loaded.

A seal holds digests, not tensors: what every live tensor of the adapter measured after loading. Checking it measures
them again. It sees an adapter that was removed, or exchanged under the same name, and weights that were edited in any
way, also through `.data`. It does not see settings that are no tensor (a scaling), nor the base model, which
`base.measure` measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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

    @classmethod
    def of(
        cls, adapter_name: str, live: Mapping[str, torch.Tensor], known: Mapping[str, TensorDigest]
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
