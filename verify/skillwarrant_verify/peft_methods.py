"""What PEFT does when it loads an adapter of any method, step by step, without its readers of files.

The steps are those of `PeftModel.from_pretrained` and `load_adapter`, in their order and with their functions, so
that every method is loaded as PEFT loads it. It knows names of PEFT that are not promised to stay; tests hold each
of them. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy

import torch
from peft import PeftConfig, PeftModel, set_peft_model_state_dict
from peft.auto import MODEL_TYPE_TO_PEFT_MODEL_MAPPING
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING
from torch import nn

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_verify.peft_tensors import swapped_in

__all__ = ["add", "fill", "is_prompt_learning", "peft_config", "prefix_of", "undisturbed"]


def peft_config(config: AdapterConfig, *, is_trainable: bool) -> PeftConfig:
    """A configuration as `PeftConfig.from_pretrained` builds it, of options that `check_options` has checked."""
    owner = PEFT_TYPE_TO_CONFIG_MAPPING[config.peft_type]
    built: PeftConfig = owner(**deepcopy(dict(config.raw)))  # PEFT changes lists in place
    built.inference_mode = not is_trainable
    return built


def is_prompt_learning(config: AdapterConfig) -> bool:
    """Whether the adapter is a prompt that PEFT cannot go on training once it is saved."""
    return bool(PEFT_TYPE_TO_CONFIG_MAPPING[config.peft_type].is_prompt_learning)


def prefix_of(config: AdapterConfig) -> str:
    """What the names of the method's weights begin with. PEFT mixes up adapters whose name is a part of it."""
    return PEFT_TYPE_TO_PREFIX_MAPPING.get(config.peft_type) or ""


def add(
    model: nn.Module,
    adapter_name: str,
    config: PeftConfig,
    *,
    autocast_adapter_dtype: bool,
    low_cpu_mem_usage: bool,
) -> PeftModel:
    """Attach an adapter's layers, with the values that the method starts from."""
    if isinstance(model, PeftModel):
        model.add_adapter(
            adapter_name,
            config,
            low_cpu_mem_usage=low_cpu_mem_usage,
            autocast_adapter_dtype=autocast_adapter_dtype,
        )
        if not config.inference_mode:  # a further adapter is not active, and so comes frozen
            model.set_requires_grad(adapter_name)
        return model
    wrapper: type[PeftModel] = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(config.task_type or "", PeftModel)
    return wrapper(
        model,
        config,
        adapter_name,
        autocast_adapter_dtype=autocast_adapter_dtype,
        low_cpu_mem_usage=low_cpu_mem_usage,
    )


def fill(
    model: PeftModel,
    adapter_name: str,
    tensors: Mapping[str, torch.Tensor],
    *,
    autocast_adapter_dtype: bool,
    low_cpu_mem_usage: bool,
) -> None:
    """Write a file's tensors into the layers. Some of them may become parameters as they are."""
    with swapped_in(model, adapter_name):
        set_peft_model_state_dict(
            model, dict(tensors), adapter_name=adapter_name, low_cpu_mem_usage=low_cpu_mem_usage
        )
    if hasattr(model.base_model, "_cast_adapter_dtype"):
        model.base_model._cast_adapter_dtype(
            adapter_name=adapter_name, autocast_adapter_dtype=autocast_adapter_dtype
        )


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever is drawn inside is not taken from the caller's random numbers."""
    ready = torch.cuda.is_available() and torch.cuda.is_initialized()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if ready else []):
        yield
