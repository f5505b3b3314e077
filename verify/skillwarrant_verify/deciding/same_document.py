"""Whether two JSON documents are one and the same, and are JSON at all where somebody made them by hand.

One document for any facts: what no field of ours holds, or would be written otherwise, is refused; so is what no
strict parser gives: NaN, an integer that a double cannot hold, a lone surrogate, nesting without an end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError
from skillwarrant_format.strict_json import JsonObject, JsonValue, kind_of

__all__ = ["check_json", "check_same"]

_PLAIN: Final = frozenset({bool, float, int, str, type(None)})


class _DifferenceError(Exception):
    """What is wrong, without its place: `steps` to it, from the inside out. Most places are never named."""

    def __init__(self, what: str, *, expected: str | None = None, found: str | None = None) -> None:
        super().__init__(what)
        self.expected, self.found = expected, found
        self.steps: list[str] = []


def check_same(given: JsonValue, wanted: JsonValue, path: str) -> None:
    """Compare what is given with what would be written.

    Args:
        path: of both, for messages.

    Raises:
        FormatError: naming a place where they differ, or that no JSON of ours can hold.
    """
    if _is_plain(given, wanted) and given == wanted:
        return
    _check(given, wanted, path)


def check_json(given: object, path: str) -> None:
    """That a strict parser could have given this.

    Raises:
        FormatError: naming a place where it is something else: a set, a whole number of a thousand digits.
    """
    _check(given, given, path)


def _check(given: Any, wanted: Any, path: str) -> None:
    try:
        _compare(given, wanted, 0)
    except _DifferenceError as error:
        place = path + "".join(reversed(error.steps))
        raise FormatError(f"{place} {error}", expected=error.expected, found=error.found) from None


def _is_plain(given: JsonValue, wanted: JsonValue) -> bool:
    """Whether `_compare` would only ask of it that it is equal. So is nearly every document, and that is quick.

    Of true and 1, and of false and 0, Python says that they are equal: each must stand where its like does.
    """
    texts: list[str] = []
    level: list[tuple[Any, Any]] = [([given], [wanted])]
    try:
        for _ in range(limits.MAX_JSON_DEPTH + 1):
            below: list[tuple[Any, Any]] = []
            for holder, other in level:
                if type(holder) is dict:
                    texts += holder  # its keys
                for place, item in holder.items() if type(holder) is dict else enumerate(holder):
                    kind = type(item)
                    if kind is str:
                        texts.append(item)
                    elif kind is dict or kind is list:
                        below.append((item, other[place]))
                    elif kind is bool or kind is int or kind is float:
                        if (type(other[place]) is bool) is not (kind is bool) or not _is_number(item):
                            return False
                    elif item is not None:
                        return False
            if not below:
                together = "".join(texts) if set(map(type, texts)) == {str} else "\x00"
                return together.isascii() and "\x00" not in together
            level = below
    except (LookupError, TypeError):
        pass  # there is nothing at this place of the other
    return False


def _compare(given: JsonValue, wanted: JsonValue, depth: int) -> None:
    if type(given) is str and given == wanted:
        _check_text(given)
    elif isinstance(given, Mapping) and isinstance(wanted, Mapping):
        _check_depth(depth)
        _compare_objects(given, wanted, depth)
    elif isinstance(given, list | tuple) and isinstance(wanted, list | tuple) and len(given) == len(wanted):
        _check_depth(depth)
        for index, (one, other) in enumerate(zip(given, wanted, strict=True)):
            try:
                _compare(one, other, depth + 1)
            except _DifferenceError as error:
                error.steps.append(f"[{index}]")
                raise
    elif given != wanted or type(given) not in _PLAIN or kind_of(given) != kind_of(wanted):
        raise _DifferenceError("is not written as it must be", expected=_told(wanted), found=_told(given))
    elif isinstance(given, int | float) and not _is_number(given):
        raise _DifferenceError("is no number that JSON can hold", found=_told(given))


def _compare_objects(given: JsonObject, wanted: JsonObject, depth: int) -> None:
    for key in given.keys() ^ wanted.keys():
        what = "is missing" if key in wanted else "is not a known field, or says nothing"
        raise _at(f".{key}", _DifferenceError(what, found=str(key)))
    for key, value in given.items():
        if type(key) is not str:
            raise _at(f".{key}", _DifferenceError("is not a known field, or says nothing", found=str(key)))
        try:
            _check_text(key)
            _compare(value, wanted[key], depth + 1)
        except _DifferenceError as error:
            raise _at(f".{key}", error) from None


def _at(step: str, error: _DifferenceError) -> _DifferenceError:
    error.steps.append(step)
    return error


def _check_depth(depth: int) -> None:
    if depth >= limits.MAX_JSON_DEPTH:
        raise _DifferenceError("is nested too deeply", expected=f"at most {limits.MAX_JSON_DEPTH} levels")


def _is_number(given: float) -> bool:
    if isinstance(given, int):
        return abs(given) <= limits.MAX_JSON_INTEGER
    return math.isfinite(given) and not (given.is_integer() and limits.MAX_JSON_INTEGER < abs(given) < 1e21)


def _told(value: object) -> str:
    """In words that do not grow with it, and can always be found: Python writes no number of 5,000 digits."""
    if type(value) not in _PLAIN:
        return type(value).__name__
    if isinstance(value, int) and value.bit_length() > limits.MAX_JSON_INTEGER.bit_length():
        return f"a whole number of {value.bit_length()} bits"
    return str(value)


def _check_text(text: str) -> None:
    if text.isascii() and "\x00" not in text:
        return
    try:
        clean = "\x00" not in text and text.encode() is not None
    except UnicodeEncodeError:
        clean = False
    if not clean:
        raise _DifferenceError("holds a NUL character or a lone surrogate")
