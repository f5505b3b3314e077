"""What can change a model's answers without changing a tensor of it: hooks, patched methods, active adapters.

Structural facts, each `kind: place`, for the policy to judge. What is looked at are the objects that torch calls: a
`forward` is as it was written when every function around it comes from the module of its class or from a library
that this product runs on anyway. Not seen: functions that a `forward` calls, an exchanged class, and code that
forges where it comes from. Backward hooks do not touch answers.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import FunctionType
from typing import Any, Final

from peft import AdaptionPromptModel, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils.parametrize import is_parametrized

from skillwarrant_verify.loader.peft_adapter import BaseTree, base_of

__all__ = ["KINDS", "alterations"]

KINDS: Final = (
    "accelerate-hook",
    "active-adapter",
    "forward-hook",
    "global-hook",
    "merged-adapter",
    "parametrization",
    "patched-forward",
)

_CALLED: Final = ("forward", "__call__", "_call_impl")
_TORCH: Final = {  # what torch calls its own
    "forward": "_forward_unimplemented",
    "__call__": "Module._wrapped_call_impl",
    "_call_impl": "Module._call_impl",
}
_LIBRARIES: Final = frozenset({"accelerate", "bitsandbytes", "diffusers", "peft", "torch", "transformers"})
_OF_PEFT: Final = (PeftModel, BaseTunerLayer, AuxiliaryTrainingWrapper)
_GETATTR: Final = nn.Module.__getattr__
_TOUCHED: Final = frozenset({"_call_impl", "forward", "parametrizations"})  # usually not of a module's own
_GLOBAL_HOOKS: Final = ("_global_forward_hooks", "_global_forward_pre_hooks")
_ACCELERATE: Final = "accelerate.hooks"
_RECORDER: Final = "transformers.utils.output_capturing"


def alterations(model: nn.Module) -> tuple[str, ...]:
    """Everything of this sort that can be seen on a model, sorted; each is `kind: place`, its kind one of `KINDS`.

    An adapter that came through a gate is an active adapter like any other: whose it is, the caller knows.
    """
    found = {f"global-hook: {name}" for name in _GLOBAL_HOOKS if getattr(torch_module, name)}
    classes: dict[type, bool] = {}
    strange = []
    for path, module in _acting(model):
        kind = type(module)
        if kind not in classes:
            classes[kind] = _is_plain(kind)
        if not (classes[kind] and _is_untouched(module)):
            found.update(_adapters(module))
            strange += [(path, module)]
    found.update(_labelled(model, strange))
    found.update(f"patched-forward: {owner}" for kind in classes for owner in _patched(kind))
    return tuple(sorted(found))


def _is_plain(kind: type[nn.Module]) -> bool:
    """Whether all that can be found on a module of this class lies in the module itself."""
    return not issubclass(kind, _OF_PEFT) and kind.__getattr__ is _GETATTR and not hasattr(kind, "parametrizations")


def _is_untouched(module: nn.Module) -> bool:
    """Whether a module has nothing that `_kinds` looks at more closely: nearly all of them."""
    own = vars(module)
    return not (
        own["_forward_hooks"]
        or own["_forward_pre_hooks"]
        or not _TOUCHED.isdisjoint(own)
        or own.get("_compiled_call_impl") is not None
        or "parametrizations" in own["_modules"]
    )


def _labelled(model: nn.Module, modules: list[tuple[str, nn.Module]]) -> Iterator[str]:
    kinds = [(path, module, kind) for path, module in modules for kind in _kinds(module)]
    names = BaseTree.of(base_of(model)).modules.values() if kinds else ()
    labels = {id(module): name for name, module in names}
    for path, module, kind in kinds:
        yield f"{kind}: {labels.get(id(module), path) or '(the model)'}"


def _acting(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module with its path, but for those of adapters that are not active: there may be thousands."""
    pending, seen = [("", model)], set()
    while pending:
        path, module = pending.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield path, module
        start = f"{path}." if path else ""
        if not isinstance(module, _OF_PEFT):
            pending += [(start + name, child) for name, child in module._modules.items() if child is not None]
            continue
        active = module.active_adapters
        for name, child in module._modules.items():
            if isinstance(child, nn.ModuleDict):
                pending += [(f"{start}{name}.{key}", child[key]) for key in active if key in child]
            elif child is not None:
                pending.append((start + name, child))


def _kinds(module: nn.Module) -> Iterator[str]:
    own = vars(module)
    if own["_forward_pre_hooks"] or not all(map(_only_records, own["_forward_hooks"].values())):
        yield "forward-hook"
    if is_parametrized(module):
        yield "parametrization"
    if "forward" in own and not _is_of_wrapper(module):
        yield "accelerate-hook" if _is_of_accelerate(module) else "patched-forward"
    if "_call_impl" in own or own.get("_compiled_call_impl") is not None:
        yield "patched-forward"


def _only_records(hook: Any) -> bool:
    """Whether it is what transformers leaves behind once it was asked for hidden states: it returns nothing."""
    return _home(hook) == _RECORDER and hook.__name__ == "output_capturing_hook"


def _is_of_wrapper(module: nn.Module) -> bool:
    """Whether it is LLaMA-Adapter's wrapper, which borrows the `forward` of the model in it as that stands."""
    forward, inner = vars(module)["forward"], module._modules.get("model")
    return (
        isinstance(module, AdaptionPromptModel)
        and inner is not None
        and getattr(forward, "__self__", None) is inner
        and getattr(forward, "__func__", None) is getattr(type(inner), "forward", ...)
    )


def _is_of_accelerate(module: nn.Module) -> bool:
    """Whether a module's own `forward` is accelerate's, with hooks of accelerate, around what its class says."""
    own = vars(module)
    forward, hook, inner = own["forward"], own.get("_hf_hook"), own.get("_old_forward")
    wrapper = forward.func if isinstance(forward, functools.partial) else None
    hooks = getattr(hook, "hooks", (hook,))
    return (
        _home(wrapper) == _ACCELERATE
        and all(type(one).__module__ == _ACCELERATE for one in (hook, *hooks))
        and getattr(inner, "__func__", None) is type(module).forward
        and getattr(inner, "__self__", None) is module
    )


def _patched(kind: type[nn.Module]) -> Iterator[str]:
    """The classes above `kind`, itself included, whose methods that torch calls are not as they were written."""
    for name in _CALLED:
        owner = next(one for one in kind.__mro__ if name in vars(one))
        if not _is_own(owner, name):
            yield f"{owner.__module__}.{owner.__qualname__}.{name}"


def _is_own(owner: type, name: str) -> bool:
    """Decorators of known libraries may be around a method; at the core is a function of the class itself."""
    function: Any = vars(owner)[name]
    while (inner := getattr(function, "__wrapped__", None)) is not None:
        home = _home(function)
        if home != owner.__module__ and home.partition(".")[0] not in _LIBRARIES:
            return False
        function = inner
    written = _TORCH.get(name) if owner is nn.Module else f"{owner.__qualname__}.{name}"
    return _home(function) == owner.__module__ and function.__qualname__ == written


def _home(function: Any) -> str:
    """The module whose globals a function runs with, which is harder to forge than its `__module__`."""
    return str(function.__globals__.get("__name__")) if isinstance(function, FunctionType) else ""


def _adapters(module: nn.Module) -> Iterator[str]:
    if isinstance(module, _OF_PEFT):
        yield from (f"active-adapter: {name}" for name in module.active_adapters)
    if isinstance(module, BaseTunerLayer):
        yield from (f"merged-adapter: {name}" for name in module.merged_adapters)
