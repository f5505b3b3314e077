"""What an operation made of adapters that were on a model already: a mixture of them, or a part of the base.

A part of an observation; nothing here decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, TypeAlias, cast, get_args

from skillwarrant_format.fields import Fields, present
from skillwarrant_format.names import ACTIVATION
from skillwarrant_format.strict_json import JsonObject

__all__ = ["Change", "ChangeKind", "Ended", "Source"]

ChangeKind: TypeAlias = Literal["add-weighted-adapter", "merge-and-unload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An adapter that something was made of.

    Args:
        weight: its factor in a mixture; None where it goes in as it is.
    """

    adapter: str
    weight: float | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        return cls(adapter=fields.text("adapter"), weight=fields.maybe("weight", fields.number))

    def to_json(self) -> JsonObject:
        return present(adapter=self.adapter, weight=self.weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Adapters that are no longer on the model, and the activation that had put them there."""

    activation: str
    adapters: tuple[str, ...]

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        return cls(
            activation=fields.text("activation", pattern=ACTIVATION), adapters=fields.texts("adapters", least=1)
        )

    def to_json(self) -> JsonObject:
        return {"activation": self.activation, "adapters": list(self.adapters)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One such operation.

    Args:
        sources: what it was made of, in the order given; at least one.
        options: PEFT's keywords and their values.
        adapter: the name of what was made, where that is an adapter.
        ends: the adapters that were taken off with it, merged or not.
    """

    kind: ChangeKind
    sources: tuple[Source, ...]
    options: JsonObject
    adapter: str | None = None
    ends: tuple[Ended, ...] = ()

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        fields.object("options")
        return cls(
            kind=cast("ChangeKind", fields.choice("kind", get_args(ChangeKind))),
            sources=tuple(Source.parse(item) for item in fields.objects("sources", least=1)),
            options=cast("JsonObject", fields.value("options")),
            adapter=fields.maybe("adapter", fields.text),
            ends=tuple(
                Ended.parse(item) for item in fields.maybe("ends", lambda key: fields.objects(key, least=1)) or ()
            ),
        )

    def to_json(self) -> JsonObject:
        return {
            "kind": self.kind,
            "sources": [source.to_json() for source in self.sources],
            "options": self.options,
            **present(adapter=self.adapter, ends=[ended.to_json() for ended in self.ends]),
        }
