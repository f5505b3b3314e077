"""Whether two JSON documents are one and the same, and are JSON at all where somebody made them by hand.

One document for any facts: what no field of ours holds, or would be written otherwise, is refused; so is what no
strict parser gives: NaN, an integer that a double cannot hold, a lone surrogate, nesting without an end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError
from skillwarrant_format.strict_json import JsonValue, kind_of

__all__ = ["check_same"]

_PLAIN: Final = frozenset({bool, float, int, str, type(None)})


def check_same(given: JsonValue, wanted: JsonValue, path: str, depth: int = 0) -> None:
    """Compare what is given with what would be written.

    Args:
        path: of both, for messages.
        depth: of both in their document.

    Raises:
        FormatError: naming the first place where they differ, or that no JSON of ours can hold.
    """
    if depth >= limits.MAX_JSON_DEPTH and isinstance(given, Mapping | list | tuple):
        raise FormatError(f"{path} is nested too deeply", expected=f"at most {limits.MAX_JSON_DEPTH} levels")
    if isinstance(given, Mapping) and isinstance(wanted, Mapping):
        for key in given.keys() | wanted.keys():
            if key not in wanted or not isinstance(key, str):
                raise FormatError(f"{path}.{key} is not a known field, or says nothing", found=str(key))
            _check_text(key, path)
            check_same(given[key], wanted[key], f"{path}.{key}", depth + 1)
    elif isinstance(given, list | tuple) and isinstance(wanted, list | tuple) and len(given) == len(wanted):
        for index, (one, other) in enumerate(zip(given, wanted, strict=True)):
            check_same(one, other, f"{path}[{index}]", depth + 1)
    elif given != wanted or type(given) not in _PLAIN or kind_of(given) != kind_of(wanted):
        raise FormatError(f"{path} is not written as it must be", expected=str(wanted), found=str(given))
    elif isinstance(given, str):
        _check_text(given, path)
    elif isinstance(given, int | float) and not _is_number(given):
        raise FormatError(f"{path} is no number that JSON can hold", found=str(given))


def _is_number(given: float) -> bool:
    if isinstance(given, int):
        return abs(given) <= limits.MAX_JSON_INTEGER
    return math.isfinite(given) and not (given.is_integer() and limits.MAX_JSON_INTEGER < abs(given) < 1e21)


def _check_text(text: str, path: str) -> None:
    if not text.isascii() or "\x00" in text:
        try:
            clean = "\x00" not in text and text.encode() is not None
        except UnicodeEncodeError:
            clean = False
        if not clean:
            raise FormatError(f"{path} holds a NUL character or a lone surrogate")
