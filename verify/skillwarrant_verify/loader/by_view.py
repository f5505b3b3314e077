"""Load a plain LoRA without a copy: empty layers, whose parameters become views of the buffer that was hashed.

Wherever dtype, device and alignment allow, "the live weights are the signed bytes" is then a comparison of
pointers; elsewhere every bit is compared with the cast of the signed. Nothing is allocated twice, nothing is
initialised, and nothing of PEFT writes. It is for the options that were shown to give what PEFT gives; every other
one goes through PEFT's own loading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import torch
from torch import nn

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.errors import LoadMismatch, Unavailable
from skillwarrant_verify.loader.attach import attach_empty
from skillwarrant_verify.loader.match import matched
from skillwarrant_verify.loader.peft_slots import Slot, converted, slots
from skillwarrant_verify.loader.peft_tensors import FileTensors
from skillwarrant_verify.loader.placed import Keywords, Placed
from skillwarrant_verify.loader.weights import Weights, is_memory_of, owned, same_bits

__all__ = ["is_plain", "place_by_view"]

PLAIN: Final = frozenset(
    {
        "alpha_pattern",
        "auto_mapping",
        "base_model_name_or_path",
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_bias",
        "lora_dropout",
        "megatron_core",
        "modules_to_save",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "r",
        "rank_pattern",
        "revision",
        "target_modules",
        "task_type",
        "use_dora",
        "use_rslora",
    }
)
"""Options of LoRA that empty layers are known to load rightly. Any other must not be used."""
_STARTS: Final = (True, False, "gaussian", "orthogonal")  # that leave the base alone


def is_plain(config: AdapterConfig) -> bool:
    """Whether a configuration is a LoRA that this module loads."""
    given = {key: value for key, value in config.raw.items() if key not in PLAIN}
    start = given.pop("init_lora_weights", True)
    bias = given.pop("bias", "none")
    return (
        config.peft_type == "LORA"
        and any(start is known or start == known for known in _STARTS if type(start) is type(known))
        and bias == "none"
        and all(value in (None, False, [], {}) for value in given.values())
    )


def place_by_view(model: nn.Module, config: AdapterConfig, weights: Weights, keywords: Keywords) -> Placed | None:
    """Attach, put the signed tensors in place, and prove that they are there.

    Returns:
        None where empty layers will not do: a base of other than plain tensors, a weight of a kind that this module
        does not know. The model is then half changed.

    Raises:
        LoadMismatch: configuration, weights and model do not belong together. The model is then half changed, too.
        Unavailable: not enough memory.
    """
    try:
        target = attach_empty(model, config, keywords)
    except LoadMismatch:
        return None
    empty = FileTensors.of(target, keywords.adapter_name).own
    places = slots(
        target,
        empty,
        autocast_adapter_dtype=keywords.autocast_adapter_dtype,
        low_cpu_mem_usage=keywords.low_cpu_mem_usage,
    )
    if len(places) < len(empty):
        return None
    signed = matched(target, empty, weights)
    _put(places, signed, writable=keywords.is_trainable)
    views = _prove(places, signed)
    return Placed(
        model=target,
        signed=signed,
        live={slot.key: slot.parameter for slot in places},
        exact=frozenset(slot.key for slot in places if _is_exact(slot, signed[slot.key])),
        views=views,
    )


def _put(places: Iterable[Slot], signed: Mapping[str, torch.Tensor], *, writable: bool) -> None:
    """Replace each empty parameter by the signed tensor, as PEFT would hold it."""
    try:
        for slot in places:
            tensor = owned(converted(signed[slot.key], slot.place), signed[slot.key], writable=writable)
            setattr(slot.module, slot.name, nn.Parameter(tensor, requires_grad=slot.parameter.requires_grad))
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise Unavailable("not enough memory for the adapter", found=str(error)) from error


def _prove(places: Iterable[Slot], signed: Mapping[str, torch.Tensor]) -> int:
    """Look at the model again: each weight must be the signed memory, or the cast of it. Counts the former."""
    views = 0
    for slot in places:
        if is_memory_of(slot.parameter, signed[slot.key]):
            views += 1
        elif not same_bits(slot.parameter, converted(signed[slot.key], slot.place)):
            raise LoadMismatch("a weight on the model is not the signed one", found=slot.key)
    return views


def _is_exact(slot: Slot, signed: torch.Tensor) -> bool:
    return slot.parameter.dtype == signed.dtype and slot.place.through in (None, signed.dtype)
