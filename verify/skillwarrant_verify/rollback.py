"""Put a model back as it was, whatever was done to its structure.

A `Journal` remembers, for every module, its attributes and what its containers held: children, parameters, hooks,
and the plain dictionaries of tuner layers. Restoring puts the same objects back in the same places, so it does not
matter how far an injection came or which method was injected. It remembers no tensor's content: nothing may write
to a tensor that is in the journal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from torch import nn

__all__ = ["Journal"]

_CONTAINERS = (dict, list, set)


@dataclass(frozen=True, slots=True)
class Journal:
    """Everything about a model's structure, at one moment."""

    entries: tuple[_Entry, ...]
    trainable: tuple[tuple[nn.Parameter, bool], ...]

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """Remember a model. Costs a few copies of small dictionaries per module, and no tensor."""
        modules = list(model.modules())
        configs = {
            id(config): config for module in modules if hasattr(config := module.__dict__.get("config"), "__dict__")
        }
        return cls(
            entries=tuple(_Entry.of(item) for item in (*modules, *configs.values())),
            trainable=tuple((parameter, parameter.requires_grad) for parameter in model.parameters()),
        )

    def restore(self) -> None:
        """Make the model what it was."""
        for entry in self.entries:
            entry.restore()
        for parameter, trainable in self.trainable:
            parameter.requires_grad_(trainable)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One object's attributes, and a copy of each container among them."""

    attributes: dict[str, Any]
    saved: dict[str, Any]
    contents: tuple[tuple[Any, Any], ...]

    @classmethod
    def of(cls, item: Any) -> Self:
        attributes = vars(item)
        held = [value for value in attributes.values() if isinstance(value, _CONTAINERS)]
        return cls(attributes, dict(attributes), tuple((value, value.copy() if value else ()) for value in held))

    def restore(self) -> None:
        self.attributes.clear()
        self.attributes.update(self.saved)
        for container, content in self.contents:
            container.clear()
            (container.extend if isinstance(container, list) else container.update)(content)
