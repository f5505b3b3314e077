"""What PEFT does to adapters that are on a model: set several active, mix them, merge them, take them off.

Each function is one operation of PEFT, with what it says against it as one of our errors, and leaves
`requires_grad` of every parameter that stays as it was. It knows names of PEFT that are not promised to stay; tests
hold each of them. Nothing here is taken back: a `Journal` is for that.

It opens no passage: where the gate is enforced, only the gate can mix and merge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from peft import PeftModel, PromptLearningConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from skillwarrant_format.errors import LoadMismatch, Unavailable, UsageError
from skillwarrant_verify.loader.modules import all_modules, parameters_of
from skillwarrant_verify.loader.peft_adapter import BaseTree, base_of, carries_adapters, inner_name
from skillwarrant_verify.stack import Combination

__all__ = [
    "active_adapters",
    "add_weighted",
    "check_mixable",
    "check_stackable",
    "is_finite",
    "merge",
    "merge_targets",
    "method_of",
    "methods_on",
    "set_active",
    "take_off",
]

# Of these PEFT lets one act at a time. It raises, if not before the first answer; or the second of two does nothing
# (OSF), or is given what the first made of the input (C3A).
_ONE_AT_A_TIME: Final = frozenset({"ADAPTION_PROMPT", "C3A", "LN_TUNING", "OSF", "POLY", "SHADOW", "XLORA"})
_MIXABLE: Final = frozenset({"IA3", "LORA"})
# What PEFT raises where adapters do not go together. Anything else is a defect, and keeps its name.
_OBJECTIONS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


def active_adapters(model: nn.Module) -> tuple[str, ...]:
    """The adapters that act now, in PEFT's order."""
    return tuple(model.active_adapters) if isinstance(model, PeftModel) else ()


def method_of(model: PeftModel, adapter_name: str) -> str:
    """Which of PEFT's methods an adapter on a model is of: `LORA`."""
    return str(getattr(model.peft_config[adapter_name].peft_type, "value", "unknown"))


def methods_on(model: nn.Module) -> frozenset[str]:
    """The methods of the adapters on a model."""
    return (
        frozenset(method_of(model, name) for name in model.peft_config)
        if isinstance(model, PeftModel)
        else frozenset()
    )


def check_stackable(methods: Sequence[str], others: frozenset[str], *, mixed: bool) -> None:
    """Whether adapters of these methods may be on a model together, and active unless they are to be mixed.

    Args:
        others: methods of the adapters that are on it already.

    Raises:
        UsageError: of different methods, or of one of which PEFT lets a single adapter act.
    """
    if len({*methods, *others}) > 1:
        raise UsageError(
            "adapters of different methods cannot be on one model",
            expected="one method",
            found=", ".join(sorted({*methods, *others})),
        )
    method = methods[0]
    if not mixed and len(methods) > 1 and (_is_prompt(method) or method in _ONE_AT_A_TIME):
        raise UsageError(
            "PEFT lets one adapter of this method act at a time",
            expected="a method whose layers add up, such as LORA",
            found=method,
            fix="Activate them one by one, and choose with set_adapter.",
        )


def _is_prompt(method: str) -> bool:
    kinds = {str(getattr(key, "value", key)): kind for key, kind in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    return method in kinds and issubclass(kinds[method], PromptLearningConfig)


def set_active(model: PeftModel, adapter_names: Sequence[str]) -> None:
    """Have exactly these adapters act.

    Raises:
        LoadMismatch: PEFT does not let them.
    """
    with _changing(model, "PEFT does not let these adapters act together"):
        _set_active(model, adapter_names)


def _set_active(model: PeftModel, adapter_names: Sequence[str]) -> None:
    tuner: Any = model.base_model
    if len(adapter_names) == 1:
        model.set_adapter(adapter_names[0])
    else:
        tuner.set_adapter(list(adapter_names))
        model.active_adapter = adapter_names[0]  # which configuration PEFT asks; all are of one method


def check_mixable(methods: Sequence[str], combination_type: str) -> None:
    """Whether PEFT can mix adapters of these methods so.

    Raises:
        UsageError: it cannot.
    """
    if len(set(methods)) > 1 or methods[0] not in _MIXABLE:
        raise UsageError(
            "PEFT cannot mix these adapters",
            expected="adapters of one of " + ", ".join(sorted(_MIXABLE)),
            found=", ".join(sorted(set(methods))),
        )
    if methods[0] == "IA3" and combination_type != "linear":
        raise UsageError(
            "IA3 adapters can only be added up", expected='combination_type="linear"', found=combination_type
        )


def add_weighted(model: PeftModel, weights: Sequence[tuple[str, float]], combine: Combination) -> None:
    """Mix adapters, each with its weight, into a new one, which is not active.

    Raises:
        LoadMismatch: PEFT cannot mix these.
    """
    names, factors = [name for name, _ in weights], [factor for _, factor in weights]
    tuner: Any = model.base_model
    keywords: dict[str, Any] = {} if method_of(model, names[0]) == "IA3" else dict(combine.options())
    with _changing(model, "PEFT cannot mix these adapters"):
        tuner.add_weighted_adapter(names, factors, combine.adapter_name, **keywords)


def is_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether no tensor holds NaN or an infinity."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors if tensor.is_floating_point())


def merge_targets(model: PeftModel) -> list[torch.Tensor]:
    """The base's tensors that a merge writes to: those within PEFT's layers. Quantised ones it replaces instead."""
    found: dict[int, torch.Tensor] = {}
    for module in all_modules(model):
        if (inner := inner_name(module)) is not None:
            held = getattr(module, inner)
            found |= {id(tensor): tensor for tensor in (*held.parameters(), *held.buffers())}
    base = {id(tensor) for _, one in BaseTree.of(base_of(model)).modules.values() for tensor in _own(one)}
    return [tensor for key, tensor in found.items() if key in base]


def _own(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters(recurse=False)
    yield from module.buffers(recurse=False)


def merge(model: PeftModel, adapter_names: Sequence[str], *, safe_merge: bool) -> nn.Module:
    """Make adapters a part of the base, for good, and take all off.

    Returns:
        The base model.

    Raises:
        LoadMismatch: PEFT cannot merge these; the model may then be half changed.
    """
    with _changing(model, "PEFT cannot merge these adapters"):
        if not isinstance(model.base_model, BaseTuner):
            raise NotImplementedError(f"{method_of(model, adapter_names[0])} adapters are no change of weights")
        base = base_of(model)
        _set_active(
            model, adapter_names
        )  # of modules to save, PEFT takes the active one, whichever is to be merged
        model.base_model.merge_and_unload(safe_merge=safe_merge, adapter_names=list(adapter_names))
        return _bare(base)


def take_off(model: PeftModel, adapter_name: str) -> nn.Module:
    """Delete an adapter. What is active afterwards is as PEFT has it.

    Returns:
        `model`; the base model, unwrapped, where that was the last one.

    Raises:
        LoadMismatch: PEFT cannot take it off; the model may then be half changed.
    """
    with _changing(model, "PEFT cannot take this adapter off"):
        if len(model.peft_config) > 1:
            model.delete_adapter(adapter_name)
            return model
        base, tuner = base_of(model), model.base_model
        model.delete_adapter(
            adapter_name
        )  # first: unloading leaves the module that is active in place of the base's
        if isinstance(tuner, BaseTuner):
            tuner.unload()
        return _bare(base)


def _bare(base: nn.Module) -> nn.Module:
    """Methods that have no `unload` leave wrappers around heads, and transformers a list of adapters."""
    for module in list(base.modules()):
        for name, child in list(module.named_children()):
            while (inner := inner_name(child)) is not None:
                child = getattr(child, inner)  # noqa: PLW2901
                setattr(module, name, child)
    vars(base).pop("peft_config", None)
    if carries_adapters(base):
        raise LoadMismatch("PEFT left something of the adapter on the base model")
    return base


@contextmanager
def _changing(model: PeftModel, what: str) -> Iterator[None]:
    trainable = [(parameter, parameter.requires_grad) for parameter in parameters_of(all_modules(model))]
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise Unavailable("not enough memory to change the adapters", found=str(error)) from error
    except _OBJECTIONS as error:
        raise LoadMismatch(what, found=str(error) or type(error).__name__) from error
    finally:
        for parameter, before in trainable:
            parameter.requires_grad_(before)
