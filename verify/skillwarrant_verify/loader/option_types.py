"""Whether a value of parsed JSON is of the type that a Python annotation says, and within an option's bounds.

Stricter than Python: true is no number, a number is no string, a list holds at most `MAX_ITEMS`, and a dataclass is
an object with some of its fields and no others. It knows no PEFT.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Union, get_args, get_origin

from skillwarrant_format.strict_json import JsonValue

__all__ = ["MAX_ITEMS", "MAX_NAMES", "Bounds", "described", "fits", "leaves"]

MAX_ITEMS: Final = 10_000  # in a list or an object
MAX_NAMES: Final = 2_000  # in a list of strings: PEFT compares each with each
_UNIONS: Final = (Union, types.UnionType)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What numbers and strings of an option may be.

    Args:
        numbers: the least and the most; None accepts no number.
        characters: of a string, at most; None accepts no string.
    """

    numbers: tuple[float, float] | None
    characters: int | None

    def holds(self, value: JsonValue) -> bool:
        """Whether a number or a string is within them."""
        if isinstance(value, str):
            return self.characters is not None and len(value) <= self.characters
        if isinstance(value, int | float):
            return self.numbers is not None and self.numbers[0] <= value <= self.numbers[1]
        return False


def fits(value: JsonValue, kind: Any, bounds: Bounds) -> bool:
    """Whether a value is of a type and within bounds.

    Args:
        kind: an annotation without forward references. One of an unknown form accepts nothing.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin in _UNIONS:
        return any(fits(value, part, bounds) for part in _members(kind))
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin is list:
        return (
            isinstance(value, list)
            and len(value) <= _most(parts[0])
            and all(fits(item, parts[0], bounds) for item in value)
        )
    if origin is tuple:
        return (
            isinstance(value, list)
            and len(value) == len(parts)
            and all(map(fits, value, parts, [bounds] * len(parts)))
        )
    if origin is dict:
        return (
            isinstance(value, Mapping)
            and len(value) <= MAX_ITEMS
            and all(fits(key, parts[0], bounds) and fits(item, parts[1], bounds) for key, item in value.items())
        )
    return _fits_plain(value, kind, bounds)


def _most(item: Any) -> int:
    return MAX_NAMES if item is str else MAX_ITEMS


def _fits_plain(value: JsonValue, kind: Any, bounds: Bounds) -> bool:
    if kind is types.NoneType:
        return value is None
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return isinstance(value, str) and value in {word.value for word in kind}
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    accepted = {int: int, float: int | float, str: str}.get(kind)
    return accepted is not None and isinstance(value, accepted) and bounds.holds(value)


def _members(kind: Any) -> list[Any]:
    """A union's types. `str` beside an enumeration is the enumeration, spelt out."""
    parts = list(get_args(kind))
    spelt = any(isinstance(part, type) and issubclass(part, enum.Enum) for part in parts)
    return [part for part in parts if not (spelt and part is str)]


def leaves(kind: Any) -> Iterator[Any]:
    """The plain types that an annotation is made of, and what is none of those that `fits` knows."""
    if get_origin(kind) in (*_UNIONS, list, tuple, dict):
        for part in _members(kind):
            yield from leaves(part)
    elif get_origin(kind) is not Literal:
        yield kind


def described(kind: Any, bounds: Bounds) -> str:
    """A type and its bounds, for people."""
    parts = get_args(kind)
    if get_origin(kind) in _UNIONS:
        return " or ".join(dict.fromkeys(described(part, bounds) for part in _members(kind)))
    if get_origin(kind) is tuple:
        return f"a list of {len(parts)}: {described(parts[0], bounds)}"
    if get_origin(kind) in (list, dict):
        sort, most = ("an object", MAX_ITEMS) if get_origin(kind) is dict else ("a list", _most(parts[0]))
        return f"{sort} of at most {most}: {described(parts[-1], bounds)}"
    if get_origin(kind) is Literal:
        return " or ".join(map(str, parts))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " or ".join(str(word.value) for word in kind)
    return _described_plain(kind, bounds)


def _described_plain(kind: Any, bounds: Bounds) -> str:
    least, most = bounds.numbers or (0, 0)
    names = {
        types.NoneType: "null",
        bool: "true or false",
        int: f"a whole number from {least} to {most}",
        float: f"a number from {least:g} to {most:g}",
        str: f"a string of at most {bounds.characters} characters",
    }
    return names.get(kind, "nothing that this version knows")
