"""The tensors that one adapter has on a model: which they are, and what a file of it must hold.

It knows names of PEFT that are not promised to stay; tests hold each of them. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, Self

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.adaption_prompt import AdaptionPromptModel
from torch import nn

from skillwarrant_verify.loader.modules import parameters_of
from skillwarrant_verify.loader.peft_adapter import BaseTree, base_of, inner_name

__all__ = ["FileTensors", "adapter_state", "swapped_in", "whole_logits"]

_TOP: Final = "save_only_topk_weights"  # VB-LoRA: the file has the largest logits, the model all of them
_INDICES: Final = "_topk_indices"
_WEIGHTS: Final = "_topk_weights"


@dataclass(frozen=True, slots=True)
class FileTensors:
    """What a file of an adapter must hold: key in the file -> the live tensor it sets.

    Args:
        own: the adapter's. Where the file has something computed from a live tensor, it is that.
        shared: what the configuration takes from the base into the file: the biases, where they were trained.
    """

    own: dict[str, torch.Tensor]
    shared: dict[str, torch.Tensor]

    @classmethod
    def of(cls, model: PeftModel, adapter_name: str) -> Self:
        """Of an adapter on a model. Base weights that PEFT writes into the file besides (targeted embeddings) are
        not in it."""
        with swapped_in(model, adapter_name):
            found = get_peft_model_state_dict(
                model,
                state_dict=model.state_dict(keep_vars=True),
                adapter_name=adapter_name,
                save_embedding_layers=False,
            )
        modules = [module for _, module in BaseTree.of(base_of(model)).modules.values()]
        base = {id(tensor) for tensor in parameters_of(modules)}
        own = {key: value for key, value in found.items() if id(value) not in base}
        return cls(own, {key: value for key, value in found.items() if key not in own})

    @classmethod
    def held(cls, model: PeftModel, adapter_name: str) -> Self:
        """As `of`, but of what the file has only a part, the whole."""
        config: Any = model.peft_config[adapter_name]
        if not getattr(config, _TOP, False):
            return cls.of(model, adapter_name)
        setattr(config, _TOP, False)
        try:
            return cls.of(model, adapter_name)
        finally:
            setattr(config, _TOP, True)

    @property
    def all(self) -> dict[str, torch.Tensor]:
        """Both."""
        return self.own | self.shared


def swapped_in(model: PeftModel, adapter_name: str) -> AbstractContextManager[None]:
    """PEFT keeps the modules of LLaMA-Adapters that are not active outside of the model."""
    tuner = model.base_model
    if not isinstance(tuner, AdaptionPromptModel) or tuner._active_adapter == adapter_name:
        return nullcontext()
    return tuner._temporarily_active(adapter_name)


def whole_logits(signed: Mapping[str, torch.Tensor], held: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """VB-LoRA's logits, of whose softmax the file has the largest terms; the last of them is what is left of 1."""
    found = {key: tensor for key, tensor in signed.items() if not key.endswith((_INDICES, _WEIGHTS))}
    for key in signed:
        if key.endswith(_INDICES):
            name = key.removesuffix(_INDICES)
            weights = signed[name + _WEIGHTS]
            logits = torch.cat([weights, 1 - weights.sum(-1, keepdim=True)], dim=-1).log()
            empty = torch.full((*logits.shape[:-1], held[name].shape[-1]), float("-inf"))
            found[name] = empty.scatter(-1, signed[key].long(), logits)
    return found


def adapter_state(
    model: PeftModel, adapter_name: str, held: Mapping[str, torch.Tensor] | None = None
) -> dict[str, torch.Tensor]:
    """Every live tensor of an adapter: those of its file, and those that PEFT computed from the base or a seed.

    Args:
        held: what `FileTensors.held` gave as its own, where that is known.
    """
    found = dict(FileTensors.held(model, adapter_name).own if held is None else held)
    seen = {id(tensor) for tensor in found.values()}
    for path, tensor in _named(model, adapter_name):
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[f"(computed) {path}"] = tensor
    return found


def _named(model: PeftModel, adapter_name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of PEFT's own modules that lie under the adapter's name, whatever the base's are called."""
    for path, module in model.named_modules():
        inner = "base_model" if module is model else "model" if module is model.base_model else inner_name(module)
        if inner is not None and module is not base_of(model):
            for name, tensor in _outside(module, inner):
                if adapter_name in name.split("."):
                    yield f"{path}.{name}" if path else name, tensor


def _outside(module: nn.Module, inner: str) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
        yield name, tensor
    for child_name, child in module.named_children():
        if child_name != inner:
            for name, tensor in (*child.named_parameters(), *child.named_buffers()):
                yield f"{child_name}.{name}", tensor
