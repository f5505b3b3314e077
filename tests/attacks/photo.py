"""Everything that can be told of a model, to tell afterwards that nothing of it was changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from peft import PeftModel
from torch import nn

from skillwarrant_format.errors import Unavailable
from skillwarrant_verify.base import measure
from world import logits

__all__ = ["Photo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A model at one moment: measured by the product, and once more without it.

    Args:
        fingerprint: what the product measures of the base.
        modules: every module by name, with its class.
        tensors: every tensor of the state, and every buffer, copied.
        flags: training, requires_grad, hooks, and which attributes each module has.
        adapters: name and configuration of each adapter, and which are active.
        answers: what the model says.
    """

    fingerprint: str
    modules: dict[str, type]
    tensors: dict[str, torch.Tensor]
    flags: dict[str, Any]
    adapters: dict[str, Any]
    answers: torch.Tensor

    @classmethod
    def of(cls, model: Any) -> Self:
        configs = getattr(model, "peft_config", {})
        return cls(
            fingerprint=_measured(model),
            modules={name: type(module) for name, module in model.named_modules()},
            tensors={name: tensor.detach().clone() for name, tensor in _tensors(model).items()},
            flags={name: _flags(module) for name, module in model.named_modules()},
            adapters={name: str(vars(config)) for name, config in configs.items()}
            | {"active": list(model.active_adapters) if isinstance(model, PeftModel) else []},
            answers=torch.empty(0) if model.device.type == "meta" else logits(model),
        )

    def differences(self, other: Photo, *, overwritten: tuple[str, ...] = ()) -> list[str]:
        """What is not the same in another photo; `overwritten` names tensors that the attacker wrote himself."""
        found = [key for key in ("modules", "flags", "adapters") if getattr(self, key) != getattr(other, key)]
        found += sorted(self.tensors.keys() ^ other.tensors.keys())
        for name in self.tensors.keys() & other.tensors.keys():
            same = _bits(self.tensors[name]) == _bits(other.tensors[name])
            if same == (name in overwritten):
                found.append(name)
        if not overwritten:
            found += ["answers"] * (not torch.equal(self.answers, other.answers))
            found += ["fingerprint"] * (self.fingerprint != other.fingerprint)
        return found


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_buffers(remove_duplicate=False)), **model.state_dict(keep_vars=True)}


def _flags(module: nn.Module) -> Any:
    grad = {name: parameter.requires_grad for name, parameter in module.named_parameters(recurse=False)}
    hooks = len(module._forward_hooks), len(module._forward_pre_hooks)
    return module.training, grad, hooks, sorted(vars(module))


def _measured(model: nn.Module) -> str:
    """Some models cannot be measured; then that has to stay so."""
    try:
        found = measure(model)
    except Unavailable as error:
        return str(error)
    return f"{found.fingerprint} {found.buffers}"


def _bits(tensor: torch.Tensor) -> tuple[Any, ...]:
    if tensor.device.type == "meta":
        return tensor.dtype, tuple(tensor.shape)
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().view(torch.uint8).numpy().tobytes()
