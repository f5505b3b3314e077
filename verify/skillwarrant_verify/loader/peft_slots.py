"""Where each weight of a plain LoRA goes, and which dtype and device PEFT gives it: for parameters that are
replaced, and not written to.

It knows names of PEFT that are not promised to stay; tests hold each of them. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.constants import UPCAST_DTYPES
from peft.utils.other import ModulesToSaveWrapper
from torch import nn

from skillwarrant_verify.loader.modules import all_modules

__all__ = ["Placement", "Slot", "converted", "slots"]

_SHORT = {torch.float16, torch.bfloat16} | {getattr(torch, name) for name in UPCAST_DTYPES if hasattr(torch, name)}


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
    """Every place of `empty` (see `FileTensors.own`), and what `PeftModel.from_pretrained` would put there.

    A LoRA weight takes its base layer's dtype, and with `autocast_adapter_dtype` float32 in place of any shorter
    one. With `low_cpu_mem_usage` the values are rounded to the base layer's dtype on the way. A module to save
    keeps its own dtype, or with `low_cpu_mem_usage` takes the file's.

    Returns:
        One slot for each key, or fewer, where a weight is of a kind that is not known here.
    """
    keys = {id(tensor): key for key, tensor in empty.items()}
    found = []
    for module in all_modules(model):
        if isinstance(module, BaseTunerLayer):
            device, dtype = _device_and_dtype(module)
            if device is None:
                continue
            final = torch.float32 if autocast_adapter_dtype and dtype in _SHORT else dtype
            place = Placement(device, final, dtype if low_cpu_mem_usage else None)
            parts = [child for name, child in module._modules.items() if name != "base_layer"]
            found += [Slot(keys[id(old)], owner, name, place) for owner, name, old in _parameters(parts, keys)]
        elif isinstance(module, ModulesToSaveWrapper):
            for owner, name, old in _parameters([module.modules_to_save], keys):
                place = Placement(old.device, None if low_cpu_mem_usage else old.dtype)
                found.append(Slot(keys[id(old)], owner, name, place))
    return found


def _parameters(
    parts: Sequence[nn.Module | None], wanted: Mapping[int, str]
) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    for owner in [owner for part in parts if part is not None for owner in all_modules(part)]:
        for name, parameter in owner._parameters.items():
            if parameter is not None and id(parameter) in wanted:
                yield owner, name, parameter


def _device_and_dtype(layer: BaseTunerLayer) -> tuple[torch.device | None, torch.dtype]:
    base = layer.get_base_layer()
    device, dtype = layer._get_base_layer_device_and_dtype(base)  # type: ignore[no-untyped-call]
    floating = dtype is not None and dtype.is_floating_point
    return device, dtype if floating else torch.get_default_dtype()
