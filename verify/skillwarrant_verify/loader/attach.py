"""Have PEFT attach an adapter to a model, empty or as its method starts. What PEFT says against it becomes one of
our errors.

It does not see the weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import torch
from peft import PeftModel
from torch import nn
from torch.overrides import TorchFunctionMode

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.errors import LoadMismatch, Unavailable, UsageError
from skillwarrant_verify.loader.modules import all_modules, parameters_of
from skillwarrant_verify.loader.peft_adapter import base_of, carries_adapters
from skillwarrant_verify.loader.peft_methods import add, is_prompt_learning, peft_config, prefix_of
from skillwarrant_verify.loader.placed import Keywords

__all__ = ["attach_empty", "attach_started", "check_receiver", "translated"]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEADS: Final = {  # in the names of transformers' classes, and of the modules that PEFT saves
    "QUESTION_ANS": ("QuestionAnswering", ("qa_outputs",)),
    "SEQ_CLS": ("Classification", ("classifier", "score")),
    "TOKEN_CLS": ("Classification", ("classifier", "score")),
}
_NO_MEMORY: Final = "can't allocate memory"
# What PEFT raises when a configuration and a model do not fit. Anything else is a defect, and keeps its name.
_MISFITS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


def check_receiver(model: nn.Module, config: AdapterConfig, adapter_name: str, *, is_trainable: bool) -> None:
    """Check that a model can be given an adapter of this name.

    Raises:
        UsageError: the name is taken or not usable, the model carries adapters without being a `PeftModel`, or the
            method cannot be trained on.
        LoadMismatch: the task is one of models with an encoder, or with a head, and this one has none.
        Unavailable: the model is not in memory.
    """
    if not _NAME.fullmatch(adapter_name) or adapter_name in prefix_of(config):
        raise UsageError(
            "the adapter name cannot be used",
            expected=f"1 to 64 letters, digits, - and _, and no part of {prefix_of(config)}",
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
    if is_trainable and is_prompt_learning(config):
        raise UsageError(
            "PEFT cannot go on training a saved prompt",
            expected="is_trainable=False",
            found=config.peft_type,
        )
    if (needed := _missing_for(config, base_of(model))) is not None:
        raise LoadMismatch(
            "the adapter's task is not one of this model",
            expected=f"{needed}, for {config.raw['task_type']}",
            found=type(base_of(model)).__name__,
            fix="Load the model that it was trained on, with the class of that task.",
        )
    if any(parameter.is_meta for parameter in parameters_of(all_modules(model))):
        raise Unavailable(
            "the base model is not in memory", found="weights on torch's meta device", fix="Load all of it."
        )


def _missing_for(config: AdapterConfig, base: nn.Module) -> str | None:
    """What a base model lacks for an adapter's task, as far as it can be told.

    Without a head, PEFT attaches the layers all the same, and the answers are another task's. A class of
    transformers says by its name which head it has; of another class, whatever it calls its head, nobody knows.
    """
    task = str(config.raw.get("task_type"))
    if task == "SEQ_2_SEQ_LM" and getattr(getattr(base, "config", None), "is_encoder_decoder", None) is False:
        return "a model with an encoder and a decoder"
    words, names = _HEADS.get(task, ("", ()))
    kind = type(base)
    if not words or kind.__module__.partition(".")[0] != "transformers" or words in kind.__name__:
        return None
    saved = config.raw.get("modules_to_save") or ()
    heads = {*names, *(saved if isinstance(saved, list | tuple) else ())}
    found = any(path.rpartition(".")[2] in heads for path, _ in base.named_modules())
    return None if found else f"a model with a head ({' or '.join(sorted(map(str, heads)))})"


def attach_empty(model: nn.Module, config: AdapterConfig, keywords: Keywords) -> PeftModel:
    """Attach the layers of a plain LoRA empty: on torch's meta device, where nothing is allocated, no random number
    is drawn and nothing is initialised.

    Returns:
        A PeftModel whose parameters of this adapter are on the meta device; `model` itself if it is one.

    Raises:
        LoadMismatch: the configuration does not fit the model. The model may then be half changed.
        Unavailable: not enough memory.
    """
    with translated():
        lora: Any = peft_config(config, is_trainable=keywords.is_trainable)
        # Every weight is replaced, so none needs a start value.
        start, lora.init_lora_weights = lora.init_lora_weights, False
        with torch.device("meta"), _Uninitialised():
            target = add(model, lora, replace(keywords, autocast_adapter_dtype=False, low_cpu_mem_usage=False))
        lora.init_lora_weights = start
    return target


class _Uninitialised(TorchFunctionMode):
    """torch's own way of leaving tensors as they are made: functions of `nn.init` do nothing. On the meta device
    there are no values, but each of those calls costs as much as making the tensor."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)


def attach_started(model: nn.Module, config: AdapterConfig, keywords: Keywords) -> PeftModel:
    """Attach an adapter's layers with the values that its method starts from, in memory.

    Raises:
        LoadMismatch, Unavailable: as `attach_empty`.
        UsageError: PEFT would change the base later, where nobody looks.
    """
    if keywords.low_cpu_mem_usage and config.raw.get("kasa_config") is not None:
        raise UsageError(
            "with low_cpu_mem_usage, PEFT changes the base for KaSA at its first answer, and not when it loads",
            expected="low_cpu_mem_usage=False",
        )
    with translated(low_cpu_mem_usage=keywords.low_cpu_mem_usage):
        return add(model, peft_config(config, is_trainable=keywords.is_trainable), keywords)


@contextmanager
def translated(*, low_cpu_mem_usage: bool = False) -> Iterator[None]:
    """PEFT's objections as ours."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise Unavailable("not enough memory for the adapter", found=str(error)) from error
    except _MISFITS as error:
        if _NO_MEMORY in str(error):  # torch says so in a RuntimeError where it is not a device's
            raise Unavailable("not enough memory for the adapter", found=str(error)) from error
        raise LoadMismatch(
            "the adapter's configuration does not fit this model",
            found=str(error) or type(error).__name__,
            fix="PEFT cannot load every method with low_cpu_mem_usage: try without." if low_cpu_mem_usage else None,
        ) from error
