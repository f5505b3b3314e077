"""A model seen without its adapters: which modules and tensors are the base's, whatever PEFT put around them.

This module, `peft_tensors` and `peft_methods` are the only ones that know names of PEFT which are not promised to
stay; tests hold each of them. Nothing here decides, and nothing here changes a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self

import torch
from peft import PeftModel
from peft.tuners.adaption_prompt import AdaptionPromptModel
from peft.tuners.adaption_prompt.layer import AdaptedAttention, AdaptedAttentionGPT
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper
from torch import nn

from skillwarrant_format.errors import Unavailable
from skillwarrant_verify.loader.modules import all_modules

__all__ = [
    "BaseState",
    "BaseTree",
    "adapter_names",
    "base_keys",
    "base_of",
    "carries_adapters",
    "inner_name",
]

_TYPES: Final = 512  # of modules, for which is remembered what they are: asking an ABC is slow
_WRAPPERS: Final = (BaseTunerLayer, AuxiliaryTrainingWrapper, AdaptedAttention, AdaptedAttentionGPT)


def base_of(model: nn.Module) -> nn.Module:
    """The model underneath: the same object before and after adapters were attached."""
    if not isinstance(model, PeftModel):
        return model
    tuner = model.base_model  # prompt-learning methods have none, and keep the model itself here
    return tuner.model if isinstance(tuner, BaseTuner | AdaptionPromptModel) else tuner


def adapter_names(model: nn.Module) -> frozenset[str]:
    """The name of every adapter on a model, active or not, however it got there."""
    named = set(model.peft_config) if isinstance(model, PeftModel) else set()
    layers: list[Any] = [module for module in all_modules(model) if inner_name(module) == "base_layer"]
    attributes = [getattr(layer, held, ()) for layer in layers for held in layer.adapter_layer_names]
    return frozenset(named.union(*attributes))


def carries_adapters(model: nn.Module) -> bool:
    """Whether any layer of a model is wrapped by PEFT."""
    return any(isinstance(module, _WRAPPERS) for module in all_modules(model))


@dataclass(frozen=True, slots=True)
class BaseState:
    """The live tensors of a base model, under the names they have without adapters.

    Args:
        tensors: the persistent state, which files hold. As `peft.get_base_model_state_dict`, which gives detached
            tensors and so loses their identity.
        buffers: the buffers that no file holds (rotary frequencies).
    """

    tensors: Mapping[str, torch.Tensor]
    buffers: Mapping[str, torch.Tensor]

    @classmethod
    def of(cls, base: nn.Module) -> Self:
        """Look at what `base_of` gave.

        Raises:
            Unavailable: the model keeps state that is no tensor, does not show what it computes with, or has packed
                its quantised weights anew to run on this processor.
        """
        tree = BaseTree.of(base)
        for name, module in tree.modules.values():
            _require_as_loaded(name, module)
        tensors = {name: tensor for _, name, tensor in tree.persistent()}
        hiding = {kind: _attributes(kind) for kind in {type(module) for _, module in tree.modules.values()}}
        for name, module in tree.modules.values():
            _require_shown(name, module, tensors, hiding[type(module)])
        buffers = {
            full: tensor
            for name, module in tree.modules.values()
            if module._buffers
            for key, tensor in module.named_buffers(recurse=False)
            if (full := _join(name, key)) not in tensors
        }
        return cls(tensors, buffers)


def _require_as_loaded(name: str, module: nn.Module) -> None:
    """For processors with AVX512-BF16, bitsandbytes packs 4-bit weights anew and rounds their scales when the model
    first runs; asking for the state would undo that in part."""
    quantised = getattr(module._parameters.get("weight"), "quant_state", None)
    if getattr(quantised, "packing_format_for_cpu", False):
        raise Unavailable(
            "bitsandbytes has rounded the base model's scales to run it on this processor",
            expected="the weights as they were loaded",
            found=_join(name, "weight"),
            fix="Load it again, and set support_avx512bf16_for_cpu = False on its layers before it runs.",
        )


def _attributes(kind: type) -> frozenset[str]:
    return frozenset(name for one in kind.__mro__ for name in vars(one))


def _require_shown(
    name: str, module: nn.Module, tensors: Mapping[str, torch.Tensor], hiding: frozenset[str]
) -> None:
    """What torch computes with is what the state shows: no method leaves it out, no attribute hides it."""
    for key, parameter in module._parameters.items():
        if parameter is not None and tensors.get(_join(name, key)) is not parameter:
            raise Unavailable("the base model's state does not show a parameter", found=_join(name, key))
    for key in (*module._parameters, *module._buffers, *module._modules):
        if key in hiding or key in vars(module):
            raise Unavailable("an attribute of the base model hides a part of it", found=_join(name, key))


def base_keys(model: PeftModel) -> dict[str, torch.Tensor]:
    """The base's persistent tensors under the keys that they would have in an adapter's file."""
    base = base_of(model)
    prefix = "base_model." if model.base_model is base else "base_model.model."
    return {f"{prefix}{key}": tensor for key, _, tensor in BaseTree.of(base).persistent()}


@dataclass(frozen=True, slots=True)
class BaseTree:
    """Which modules are the base's. However many adapters are on the model, only the base is walked over.

    Args:
        modules: path in the model as it is -> name without adapters, and the module.
    """

    modules: dict[str, tuple[str, nn.Module]]

    @classmethod
    def of(cls, base: nn.Module) -> Self:
        tree = cls({})
        pending: list[tuple[str, str, Any]] = [("", "", base)]
        while pending:
            path, name, module = pending.pop()
            if (inner := inner_name(module)) is None:
                tree.modules[path] = (name, module)
                children = [(key, child) for key, child in module._modules.items() if child is not None]
                pending += [(_join(path, key), _join(name, key), child) for key, child in children]
            else:
                pending.append((_join(path, inner), name, getattr(module, inner)))
        return tree

    def persistent(self) -> Iterator[tuple[str, str, torch.Tensor]]:
        """Each entry of the state that belongs to the base: its key now, its name without adapters, the tensor.

        Every module is asked for its own part, quantised layers for what they keep beside a weight; hooks on
        `state_dict`, which may change what is there, are not.
        """
        for path, (name, module) in self.modules.items():
            own: dict[str, Any] = {}
            module._save_to_state_dict(own, "", keep_vars=True)
            for key, value in own.items():
                if not isinstance(value, torch.Tensor):
                    raise Unavailable("the base model keeps state that is no tensor", found=_join(path, key))
                yield _join(path, key), _join(name, key), value


def inner_name(module: nn.Module) -> str | None:
    """Where a module of PEFT keeps the module of the base that it wraps; None for any other module."""
    return _inner_name(type(module))  # type: ignore[arg-type]  # a class can be hashed


@lru_cache(maxsize=_TYPES)
def _inner_name(kind: type) -> str | None:
    if issubclass(kind, BaseTunerLayer):
        return "base_layer"
    if issubclass(kind, AuxiliaryTrainingWrapper):
        return "original_module" if issubclass(kind, ModulesToSaveWrapper) else "token_adapter"
    return "model" if issubclass(kind, AdaptedAttention | AdaptedAttentionGPT) else None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
