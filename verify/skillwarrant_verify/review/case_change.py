"""Changing a JSON document for a test case: fields put in, fields taken out. What it says is not known here."""

from __future__ import annotations

from collections.abc import Mapping

from skillwarrant_format.errors import FormatError
from skillwarrant_format.strict_json import JsonValue

__all__ = ["merged", "taken_out"]


def merged(plain: JsonValue, over: JsonValue) -> JsonValue:
    """Objects are merged, field by field; anything else replaces what was there."""
    if not isinstance(plain, Mapping) or not isinstance(over, Mapping):
        return over
    return {**plain, **{key: merged(plain.get(key), value) for key, value in over.items()}}


def taken_out(value: JsonValue, path: list[str], where: str) -> JsonValue:
    """All but the field that a path leads to.

    Raises:
        FormatError: there is no such field; `where` says who names it.
    """
    first, *rest = path
    if not isinstance(value, Mapping) or first not in value:
        raise FormatError(f"{where} names a field that is not there", found=first)
    kept = {key: item for key, item in value.items() if key != first}
    return {**kept, first: taken_out(value[first], rest, where)} if rest else kept
