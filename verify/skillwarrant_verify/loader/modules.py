"""Every module and every tensor of a model, in one flat walk.

torch's own `modules` and `parameters` hand each item up through a generator for every level of the model, and make
its path on the way. With thousands of modules, and a score of walks for one activation, that is most of its time.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

__all__ = ["all_modules", "held_by", "parameters_of"]


def all_modules(model: nn.Module) -> list[nn.Module]:
    """`list(model.modules())`, in another order: each module once."""
    found = {id(model): model}
    pending = [model]
    while pending:
        for child in pending.pop()._modules.values():
            if child is not None and id(child) not in found:
                found[id(child)] = child
                pending.append(child)
    return list(found.values())


def parameters_of(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """The parameters that these modules hold themselves, each once."""
    held = {id(one): one for module in modules for one in module._parameters.values() if one is not None}
    return list(held.values())


def held_by(modules: Iterable[nn.Module]) -> list[torch.Tensor]:
    """The parameters and buffers that these modules hold themselves, each once."""
    held: dict[int, torch.Tensor] = {}
    for module in modules:
        for tensors in (module._parameters, module._buffers):
            for tensor in tensors.values():
                if tensor is not None:
                    held[id(tensor)] = tensor
    return list(held.values())
