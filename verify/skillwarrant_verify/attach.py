"""Have PEFT attach an adapter's layers to a model, empty: on torch's meta device, where nothing is allocated, no
random number is drawn and nothing is initialised. What PEFT says against it becomes one of our errors.

It does not see the weights.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Final

import torch
from peft import LoraConfig, PeftModel
from torch import nn

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.adapter_files import CONFIG_NAME
from skillwarrant_format.errors import FormatError, LoadMismatch, Unavailable, UsageError
from skillwarrant_verify.peft_adapter import carries_adapters, peft_model_class

__all__ = ["attach", "check_receiver"]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PREFIX: Final = "lora_"  # PEFT mixes up weights of an adapter whose name is a part of this
# What PEFT raises when a configuration and a model do not fit. Anything else is a defect, and keeps its name.
_MISFITS: Final = (
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


def check_receiver(model: nn.Module, adapter_name: str) -> None:
    """Check that a model can be given an adapter of this name.

    Raises:
        UsageError: the name is taken or not usable, or the model carries adapters without being a `PeftModel`.
        Unavailable: the model is not in memory.
    """
    if not _NAME.fullmatch(adapter_name) or adapter_name in _PREFIX:
        raise UsageError(
            "the adapter name cannot be used",
            expected=f"1 to 64 letters, digits, - and _, and no part of {_PREFIX}",
            found=adapter_name,
        )
    if isinstance(model, PeftModel):
        if adapter_name in model.peft_config:
            raise UsageError("the model has an adapter of that name", expected="another name", found=adapter_name)
    elif carries_adapters(model) or hasattr(model, "peft_config"):
        raise UsageError(
            "the model carries adapters already",
            expected="a base model, or the PeftModel around it",
            found=type(model).__name__,
            fix="Pass the PeftModel that verify_and_load gave, or unload the adapters first.",
        )
    if any(parameter.device.type == "meta" for parameter in model.parameters()):
        raise Unavailable(
            "the base model is not in memory", found="weights on torch's meta device", fix="Load all of it."
        )


def attach(model: nn.Module, config: AdapterConfig, adapter_name: str, *, is_trainable: bool) -> PeftModel:
    """Attach empty layers.

    Returns:
        A PeftModel whose parameters of this adapter are on the meta device; `model` itself if it is one.

    Raises:
        FormatError: PEFT does not accept the configuration.
        LoadMismatch: the configuration does not fit the model. The model may then be half changed.
        Unavailable: not enough memory.
    """
    lora = _peft_config(config, is_trainable)
    # Every weight is replaced, so none needs a start value.
    start, lora.init_lora_weights = lora.init_lora_weights, False
    try:
        with torch.device("meta"):
            target = _attached(model, lora, config.task_type, adapter_name, is_trainable)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise Unavailable("not enough memory for the adapter", found=str(error)) from error
    except _MISFITS as error:
        raise LoadMismatch("the adapter's configuration does not fit this model", found=str(error)) from error
    lora.init_lora_weights = start
    return target


def _attached(
    model: nn.Module, lora: LoraConfig, task_type: str | None, adapter_name: str, is_trainable: bool
) -> PeftModel:
    if not isinstance(model, PeftModel):
        return peft_model_class(task_type)(model, lora, adapter_name, autocast_adapter_dtype=False)
    model.add_adapter(adapter_name, lora, autocast_adapter_dtype=False)
    if is_trainable:  # a further adapter is not active, and so comes frozen
        model.set_requires_grad(adapter_name)
    return model


def _peft_config(config: AdapterConfig, is_trainable: bool) -> LoraConfig:
    options = deepcopy(dict(config.raw))  # PEFT extends lists in place
    try:
        lora = LoraConfig(**options)  # type: ignore[arg-type]  # checked one by one by check_lora
    except _MISFITS as error:
        raise FormatError(f"PEFT does not accept {CONFIG_NAME}", found=str(error)) from error
    lora.inference_mode = not is_trainable
    return lora
