"""The one place that knows names of PEFT and torch which are not promised to stay; tests hold each of them.

`base_tensors` and `adapter_tensors` split a model into what is its base and what one adapter added. `target` says
which dtype and device PEFT gives an adapter weight. Nothing here decides, and nothing here changes a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.auto import MODEL_TYPE_TO_PEFT_MODEL_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils.constants import UPCAST_DTYPES
from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper
from torch import nn

from skillwarrant_format.errors import LoadMismatch, Unavailable

__all__ = [
    "Placement",
    "adapter_tensors",
    "alterations",
    "base_buffers",
    "base_keys",
    "base_of",
    "base_tensors",
    "carries_adapters",
    "converted",
    "peft_model_class",
    "placements",
]

_SHORT = {torch.float16, torch.bfloat16} | {getattr(torch, name) for name in UPCAST_DTYPES if hasattr(torch, name)}


def base_of(model: nn.Module) -> nn.Module:
    """The model underneath: the same object before and after adapters were attached."""
    if not isinstance(model, PeftModel):
        return model
    tuner = model.base_model  # prompt-learning methods have none, and keep the model itself here
    return tuner.model if isinstance(tuner, BaseTuner) else tuner


def peft_model_class(task_type: str | None) -> type[PeftModel]:
    """The class that PEFT wraps a model in, for a task."""
    found: type[PeftModel] = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(task_type or "", PeftModel)
    return found


def carries_adapters(model: nn.Module) -> bool:
    """Whether any layer of a model is wrapped by PEFT."""
    return any(isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper) for module in model.modules())


def base_tensors(base: nn.Module) -> dict[str, torch.Tensor]:
    """The persistent state of a base model under the names it has without adapters, as the live tensors.

    As `peft.get_base_model_state_dict`, which gives detached ones and so loses their identity.

    Args:
        base: what `base_of` gave.

    Raises:
        Unavailable: the model keeps state that is no tensor.
    """
    return {name: tensor for _, name, tensor in _base_state(base)}


def base_keys(model: PeftModel) -> dict[str, torch.Tensor]:
    """The same tensors under the keys that they would have in an adapter's file."""
    return {f"base_model.model.{key}": tensor for key, _, tensor in _base_state(base_of(model))}


def _base_state(base: nn.Module) -> Iterator[tuple[str, str, torch.Tensor]]:
    """Each entry of the state that belongs to the base: its key now, its name without adapters, the tensor."""
    names = {path: name for path, name, _ in _base_modules(base)}
    modules = {path for path, _ in base.named_modules(remove_duplicate=False)}
    for key, value in base.state_dict(keep_vars=True).items():
        path, _, rest = key.rpartition(".")
        while path not in modules:  # quantised layers keep state like `weight.absmax`
            path, _, head = path.rpartition(".")
            rest = f"{head}.{rest}"
        if path in names:
            if not isinstance(value, torch.Tensor):
                raise Unavailable("the base model keeps state that is no tensor", found=key)
            yield key, _join(names[path], rest), value


def base_buffers(base: nn.Module) -> dict[str, torch.Tensor]:
    """The buffers of a base model that no file holds (rotary frequencies), by the same kind of name."""
    persistent = base_tensors(base)
    found = {}
    for _, name, module in _base_modules(base):
        found.update({_join(name, key): value for key, value in module.named_buffers(recurse=False)})
    return {name: value for name, value in found.items() if name not in persistent}


def _base_modules(base: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """Each module of the base, with its path now and its name without adapters."""
    pending: list[tuple[str, str, Any]] = [("", "", base)]
    while pending:
        path, name, module = pending.pop()
        if isinstance(module, BaseTunerLayer):
            pending.append((_join(path, "base_layer"), name, module.base_layer))  # type: ignore[attr-defined]
        elif isinstance(module, AuxiliaryTrainingWrapper):
            pending.append((_join(path, "original_module"), name, module.original_module))
        else:
            yield path, name, module
            pending.extend((_join(path, key), _join(name, key), child) for key, child in module.named_children())


def adapter_tensors(model: PeftModel, adapter_name: str) -> dict[str, nn.Parameter]:
    """What a file of this adapter must hold: key in the file -> the live parameter it sets.

    Base weights are not in it, although PEFT writes some of them into the file (targeted embeddings, biases).
    """
    live = model.state_dict(keep_vars=True)
    found = get_peft_model_state_dict(
        model, state_dict=live, adapter_name=adapter_name, save_embedding_layers=False
    )
    base = {id(tensor) for tensor in base_tensors(base_of(model)).values()}
    return {key: value for key, value in found.items() if id(value) not in base}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where, and as what, PEFT holds an adapter's weight.

    Args:
        dtype: of the parameter; None means as in the file.
        through: a dtype that the values are rounded to before.
    """

    device: torch.device
    dtype: torch.dtype | None
    through: torch.dtype | None = None


def converted(tensor: torch.Tensor, place: Placement) -> torch.Tensor:
    """A file's tensor as PEFT would hold it: the same tensor, where nothing has to change."""
    rounded = tensor if place.through is None else tensor.to(place.through)
    return rounded.to(device=place.device, dtype=place.dtype or rounded.dtype)


def placements(
    model: PeftModel,
    empty: Mapping[str, torch.Tensor],
    *,
    autocast_adapter_dtype: bool,
    low_cpu_mem_usage: bool,
) -> dict[str, Placement]:
    """What `PeftModel.from_pretrained` would make of each weight in `empty` (see `adapter_tensors`).

    A LoRA weight takes its base layer's dtype, and with `autocast_adapter_dtype` float32 in place of any shorter
    one. With `low_cpu_mem_usage` the values are rounded to the base layer's dtype on the way. A module to save
    keeps its own dtype, or with `low_cpu_mem_usage` takes the file's.

    Raises:
        LoadMismatch: for a weight of another kind.
    """
    found: dict[int, Placement] = {}
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            device, dtype = _device_and_dtype(module)
            final = torch.float32 if autocast_adapter_dtype and dtype in _SHORT else dtype
            place = Placement(device, final, dtype if low_cpu_mem_usage else None)
            found.update((id(parameter), place) for parameter in _adapter_parameters(module))
        elif isinstance(module, ModulesToSaveWrapper):
            for parameter in module.modules_to_save.parameters():
                own = None if low_cpu_mem_usage else parameter.dtype
                found[id(parameter)] = Placement(parameter.device, own)
    if unknown := [key for key, parameter in empty.items() if id(parameter) not in found]:
        raise LoadMismatch("an adapter weight is of a kind that this version does not load", found=unknown[0])
    return {key: found[id(parameter)] for key, parameter in empty.items()}


def _device_and_dtype(layer: BaseTunerLayer) -> tuple[torch.device, torch.dtype]:
    base = layer.get_base_layer()
    device, dtype = layer._get_base_layer_device_and_dtype(base)  # type: ignore[no-untyped-call]
    if device is None:
        raise Unavailable("a targeted layer has no weight to take the device from", found=type(base).__name__)
    floating = dtype is not None and dtype.is_floating_point
    return device, dtype if floating else torch.get_default_dtype()


def _adapter_parameters(layer: nn.Module) -> Iterator[nn.Parameter]:
    for name, child in layer.named_children():
        if name != "base_layer":
            yield from child.parameters()


def alterations(model: nn.Module) -> tuple[str, ...]:
    """What can change a model's answers without changing a tensor of it, as far as that can be seen."""
    found = set()
    for _, name, module in _base_modules(base_of(model)):
        label = name or "(the model)"
        if module._forward_hooks or module._forward_pre_hooks:
            found.add(f"forward-hook: {label}")
        if "forward" in vars(module):
            found.add(f"patched-forward: {label}")
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            found.update(f"active-adapter: {name}" for name in module.active_adapters)
            found.update(f"merged-adapter: {name}" for name in module.merged_adapters)
    return tuple(sorted(found))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
