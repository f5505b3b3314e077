"""Put a model back as it was, whatever was done to it.

A `Journal` remembers, for every module, its attributes and what its containers held: children, parameters, hooks,
and the plain dictionaries of tuner layers. Restoring puts the same objects back in the same places, so it does not
matter how far an injection came or which method was injected. Each tensor gets its own memory back, too.

What is written into that memory is only undone for the tensors that the journal is told of: it copies them. Those
copies cost as much memory as the tensors until `keep_changed` drops the ones that were not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import torch
from torch import nn

from skillwarrant_verify.loader.modules import all_modules, held_by, parameters_of
from skillwarrant_verify.loader.weights import same_bits

__all__ = ["Journal"]

_CONTAINERS: Final = (dict, list, set)
_QUANTISERS: Final = frozenset({"bitsandbytes"})


@dataclass(frozen=True, slots=True)
class Journal:
    """Everything about a model's structure, at one moment, and the contents of some of its tensors.

    Args:
        tensors: every tensor, and another one on its memory.
        contents: those of which there is a copy. The list shrinks.
    """

    entries: tuple[_Entry, ...]
    trainable: tuple[tuple[nn.Parameter, bool], ...]
    tensors: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    contents: list[_Content]

    @classmethod
    def of(cls, model: nn.Module, *, contents: Iterable[torch.Tensor] = ()) -> Self:
        """Remember a model. Costs a few copies of small dictionaries per module, and the copies of `contents`."""
        modules = all_modules(model)
        tensors = held_by(modules)
        are_containers = _Kinds(_is_container)
        return cls(
            entries=tuple([_Entry.of(item, are_containers) for item in (*modules, *_belongings(modules, tensors))]),
            trainable=tuple([(parameter, parameter.requires_grad) for parameter in parameters_of(modules)]),
            tensors=tuple([(tensor, tensor.data) for tensor in tensors]),
            contents=[_Content(tensor, tensor.data, tensor.detach().clone()) for tensor in contents],
        )

    def keep_changed(self) -> bool:
        """Drop the copies that restoring does not need: of tensors that were not changed, or got other memory.

        Returns:
            Whether any tensor was changed.
        """
        changed = [content for content in self.contents if content.changed]
        self.contents[:] = [content for content in changed if content.overwritten]
        return bool(changed)

    def restore(self) -> None:
        """Make the model what it was."""
        for entry in self.entries:
            entry.restore()
        for tensor, memory in self.tensors:
            if tensor.data_ptr() != memory.data_ptr():
                tensor.data = memory
        for content in self.contents:
            content.restore()
        for parameter, trainable in self.trainable:
            parameter.requires_grad_(trainable)


@dataclass(frozen=True, slots=True)
class _Content:
    """A tensor, its memory, and a copy of what was there."""

    tensor: torch.Tensor
    memory: torch.Tensor
    copy: torch.Tensor

    @property
    def changed(self) -> bool:
        return not same_bits(self.tensor, self.copy)

    @property
    def overwritten(self) -> bool:
        return not same_bits(self.memory, self.copy)

    def restore(self) -> None:
        if self.overwritten:
            self.memory.copy_(self.copy)


class _Kinds(dict[type, bool]):
    """What a question about types answers, asked once for each type: there are few, and many objects of each."""

    def __init__(self, question: Callable[[type], bool]) -> None:
        super().__init__()
        self._question = question

    def __missing__(self, kind: type) -> bool:
        answer = self[kind] = self._question(kind)
        return answer


def _is_container(kind: type) -> bool:
    return issubclass(kind, _CONTAINERS)


def _is_of_quantiser(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _QUANTISERS


def _belongings(modules: Sequence[nn.Module], tensors: Iterable[torch.Tensor]) -> list[Any]:
    """The objects besides modules that PEFT or its libraries change: the model's configuration, those of its
    adapters, and what quantised weights carry along."""
    found: dict[int, Any] = {}
    quantised = _Kinds(_is_of_quantiser)
    for module in modules:
        attributes = vars(module)
        adapters = attributes.get("peft_config") or attributes.get("_peft_config") or {}
        for item in (attributes.get("config"), *(adapters.values() if isinstance(adapters, dict) else ())):
            if hasattr(item, "__dict__"):
                found[id(item)] = item
        if quantised[type(module)]:
            _collect(attributes.values(), found)
    for tensor in tensors:
        if carried := getattr(tensor, "__dict__", None):
            found[id(tensor)] = tensor
            _collect(carried.values(), found)
    return list(found.values())


def _collect(values: Iterable[Any], found: dict[int, Any]) -> None:
    for value in values:
        if _is_of_quantiser(type(value)) and id(value) not in found:
            if isinstance(value, nn.Module | torch.Tensor) or not hasattr(value, "__dict__"):
                continue
            found[id(value)] = value
            _collect(vars(value).values(), found)


class _Entry(NamedTuple):
    """One object's attributes, and a copy of each container among them.

    A module has a score of containers, nearly all of them empty: an object for each would keep the garbage
    collector busier than all the rest of an activation.
    """

    attributes: dict[str, Any]
    saved: dict[str, Any]
    containers: list[Any]
    contents: list[Any]

    @classmethod
    def of(cls, item: Any, are_containers: _Kinds) -> Self:
        attributes = vars(item)
        held = [value for value in attributes.values() if are_containers[type(value)]]
        return cls(attributes, attributes.copy(), held, [value.copy() if value else None for value in held])

    def restore(self) -> None:
        self.attributes.clear()
        self.attributes.update(self.saved)
        for container, content in zip(self.containers, self.contents, strict=True):
            container.clear()
            if content is not None:
                (container.extend if isinstance(container, list) else container.update)(content)
