"""What PEFT does when it loads an adapter of any method, step by step, without its readers of files.

The steps are those of `PeftModel.from_pretrained` and `load_adapter`, in their order and with their functions, so
that every method is loaded as PEFT loads it. It knows names of PEFT that are not promised to stay; tests hold each
of them. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from peft import PeftConfig, PeftModel, PeftType, PromptLearningConfig, set_peft_model_state_dict
from peft.auto import MODEL_TYPE_TO_PEFT_MODEL_MAPPING
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING
from torch import nn

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_verify.loader.peft_tensors import swapped_in
from skillwarrant_verify.loader.placed import Keywords

__all__ = ["add", "fill", "is_prompt_learning", "peft_config", "prefix_of", "undisturbed"]


def peft_config(config: AdapterConfig, *, is_trainable: bool) -> PeftConfig:
    """A configuration as `PeftConfig.from_pretrained` builds it, of options that `check_options` has checked."""
    owner = _owner(config)
    options: Any = deepcopy(dict(config.raw))  # PEFT changes lists in place
    built: PeftConfig = owner(**options)
    built.inference_mode = not is_trainable
    return built


def is_prompt_learning(config: AdapterConfig) -> bool:
    """Whether the adapter is a prompt that PEFT cannot go on training once it is saved."""
    return issubclass(_owner(config), PromptLearningConfig)


def prefix_of(config: AdapterConfig) -> str:
    """What the names of the method's weights begin with. PEFT mixes up adapters whose name is a part of it."""
    return PEFT_TYPE_TO_PREFIX_MAPPING.get(PeftType(config.peft_type)) or ""


def _owner(config: AdapterConfig) -> type[PeftConfig]:
    return PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(config.peft_type)]


def add(model: nn.Module, config: PeftConfig, keywords: Keywords) -> PeftModel:
    """Attach an adapter's layers, with the values that the method starts from."""
    name, casts = keywords.adapter_name, keywords.autocast_adapter_dtype
    low = keywords.low_cpu_mem_usage
    if isinstance(model, PeftModel):
        model.add_adapter(name, config, low_cpu_mem_usage=low, autocast_adapter_dtype=casts)
        if not config.inference_mode:  # a further adapter is not active, and so comes frozen
            model.set_requires_grad(name)
        return model
    wrapper: type[PeftModel] = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(config.task_type or "", PeftModel)
    return wrapper(model, config, name, autocast_adapter_dtype=casts, low_cpu_mem_usage=low)


def fill(model: PeftModel, tensors: Mapping[str, torch.Tensor], keywords: Keywords) -> None:
    """Write a file's tensors into the layers. Some of them may become parameters as they are."""
    name = keywords.adapter_name
    with swapped_in(model, name):
        set_peft_model_state_dict(
            model, dict(tensors), adapter_name=name, low_cpu_mem_usage=keywords.low_cpu_mem_usage
        )
    tuner: Any = model.base_model
    if hasattr(tuner, "_cast_adapter_dtype"):
        tuner._cast_adapter_dtype(adapter_name=name, autocast_adapter_dtype=keywords.autocast_adapter_dtype)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever is drawn inside is not taken from the caller's random numbers. Torch has one generator for all
    threads: what others draw meanwhile is drawn again afterwards."""
    ready = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if ready else []):
        yield
