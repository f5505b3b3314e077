"""The one place that knows names of PEFT and torch which are not promised to stay; tests hold each of them.

`BaseState` and `adapter_tensors` split a model into what is its base and what one adapter added; `slots` says where
a weight goes, and which dtype and device PEFT gives it. Nothing here decides, and nothing here changes a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.auto import MODEL_TYPE_TO_PEFT_MODEL_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils.constants import UPCAST_DTYPES
from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper
from torch import nn

from skillwarrant_format.errors import LoadMismatch, Unavailable

__all__ = [
    "BaseState",
    "Placement",
    "Slot",
    "adapter_names",
    "adapter_tensors",
    "alterations",
    "base_keys",
    "base_of",
    "carries_adapters",
    "converted",
    "peft_model_class",
    "slots",
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


def adapter_names(model: nn.Module) -> frozenset[str]:
    """The name of every adapter on a model, active or not, however it got there."""
    named = set(model.peft_config) if isinstance(model, PeftModel) else set()
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            named.update(key for layer in module.adapter_layer_names for key in getattr(module, layer, {}))
    return frozenset(named)


def carries_adapters(model: nn.Module) -> bool:
    """Whether any layer of a model is wrapped by PEFT."""
    return any(isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper) for module in model.modules())


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
            Unavailable: the model keeps state that is no tensor.
        """
        tree = _BaseTree.of(base)
        tensors = {name: tensor for _, name, tensor in tree.persistent(base)}
        buffers = {
            full: tensor
            for name, module in tree.modules.values()
            for key, tensor in module.named_buffers(recurse=False)
            if (full := _join(name, key)) not in tensors
        }
        return cls(tensors, buffers)


def base_keys(model: PeftModel) -> dict[str, torch.Tensor]:
    """The base's persistent tensors under the keys that they would have in an adapter's file."""
    base = base_of(model)
    return {f"base_model.model.{key}": tensor for key, _, tensor in _BaseTree.of(base).persistent(base)}


@dataclass(frozen=True, slots=True)
class _BaseTree:
    """Which modules are the base's.

    Args:
        modules: path in the model as it is -> name without adapters, and the module.
        wrappers: paths of PEFT's modules around one of the base.
    """

    modules: dict[str, tuple[str, nn.Module]]
    wrappers: set[str]

    @classmethod
    def of(cls, base: nn.Module) -> Self:
        tree = cls({}, set())
        pending: list[tuple[str, str, Any]] = [("", "", base)]
        while pending:
            path, name, module = pending.pop()
            if (inner := _inner(module)) is None:
                tree.modules[path] = (name, module)
                pending += [(_join(path, key), _join(name, key), child) for key, child in module.named_children()]
            else:
                tree.wrappers.add(path)
                pending.append((_join(path, inner), name, getattr(module, inner)))
        return tree

    def persistent(self, base: nn.Module) -> Iterator[tuple[str, str, torch.Tensor]]:
        """Each entry of the state that belongs to the base: its key now, its name without adapters, the tensor."""
        for key, value in base.state_dict(keep_vars=True).items():
            path, _, rest = key.rpartition(".")
            while path not in self.modules and path not in self.wrappers:  # quantised layers: `weight.absmax`
                path, _, head = path.rpartition(".")
                rest = f"{head}.{rest}"
            if path in self.modules:
                if not isinstance(value, torch.Tensor):
                    raise Unavailable("the base model keeps state that is no tensor", found=key)
                yield key, _join(self.modules[path][0], rest), value


def _inner(module: nn.Module) -> str | None:
    """Where a module of PEFT keeps the module of the base that it wraps."""
    if isinstance(module, BaseTunerLayer):
        return "base_layer"
    if isinstance(module, AuxiliaryTrainingWrapper):
        return "original_module" if isinstance(module, ModulesToSaveWrapper) else "token_adapter"
    return None


def adapter_tensors(model: PeftModel, adapter_name: str) -> dict[str, torch.Tensor]:
    """What a file of this adapter must hold: key in the file -> the live tensor it sets.

    Base weights are not in it, although PEFT writes some of them into the file (targeted embeddings, biases).
    """
    found = get_peft_model_state_dict(
        model, state_dict=model.state_dict(keep_vars=True), adapter_name=adapter_name, save_embedding_layers=False
    )
    modules = [module for _, module in _BaseTree.of(base_of(model)).modules.values()]
    base = {id(tensor) for module in modules for tensor in module.parameters(recurse=False)}
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


@dataclass(frozen=True, slots=True)
class Slot:
    """A parameter of the model that a tensor of the file is for: its key there, its place, and what it becomes."""

    key: str
    module: nn.Module
    name: str
    place: Placement

    @property
    def parameter(self) -> nn.Parameter:
        """What is there now."""
        found: nn.Parameter = getattr(self.module, self.name)
        return found


def slots(
    model: PeftModel, empty: Mapping[str, torch.Tensor], *, autocast_adapter_dtype: bool, low_cpu_mem_usage: bool
) -> list[Slot]:
    """Every place of `empty` (see `adapter_tensors`), and what `PeftModel.from_pretrained` would put there.

    A LoRA weight takes its base layer's dtype, and with `autocast_adapter_dtype` float32 in place of any shorter
    one. With `low_cpu_mem_usage` the values are rounded to the base layer's dtype on the way. A module to save
    keeps its own dtype, or with `low_cpu_mem_usage` takes the file's.

    Raises:
        LoadMismatch: for a weight of another kind.
    """
    keys = {id(tensor): key for key, tensor in empty.items()}
    found = []
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            device, dtype = _device_and_dtype(module)
            final = torch.float32 if autocast_adapter_dtype and dtype in _SHORT else dtype
            place = Placement(device, final, dtype if low_cpu_mem_usage else None)
            parts = [child for name, child in module.named_children() if name != "base_layer"]
            found += [Slot(keys[id(old)], owner, name, place) for owner, name, old in _parameters(parts, keys)]
        elif isinstance(module, ModulesToSaveWrapper):
            for owner, name, old in _parameters([module.modules_to_save], keys):
                place = Placement(old.device, None if low_cpu_mem_usage else old.dtype)
                found.append(Slot(keys[id(old)], owner, name, place))
    if unknown := sorted(empty.keys() - {slot.key for slot in found}):
        raise LoadMismatch("an adapter weight is of a kind that this version does not load", found=unknown[0])
    return found


def _parameters(
    modules: Sequence[nn.Module], wanted: Mapping[int, str]
) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    for module in modules:
        for owner in module.modules():
            for name, parameter in owner.named_parameters(recurse=False):
                if id(parameter) in wanted:
                    yield owner, name, parameter


def _device_and_dtype(layer: BaseTunerLayer) -> tuple[torch.device, torch.dtype]:
    base = layer.get_base_layer()
    device, dtype = layer._get_base_layer_device_and_dtype(base)  # type: ignore[no-untyped-call]
    if device is None:
        raise Unavailable("a targeted layer has no weight to take the device from", found=type(base).__name__)
    floating = dtype is not None and dtype.is_floating_point
    return device, dtype if floating else torch.get_default_dtype()


def alterations(model: nn.Module) -> tuple[str, ...]:
    """What can change a model's answers without changing a tensor of it, as far as that can be seen."""
    found = set()
    for name, module in _BaseTree.of(base_of(model)).modules.values():
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
