"""The one JSON parser that all input from outside passes, and the one serialiser of what we sign.

Two readers of the same bytes must never see two documents, so everything on which JSON parsers are known to
differ is refused: duplicate keys, NaN and infinities, integers a double cannot hold, NUL, lone surrogates,
a byte-order mark, invalid UTF-8, deep nesting (RFC 8259 sections 4 to 9, RFC 7493 I-JSON).
It knows nothing of statements or manifests.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, TypeAlias

from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError

__all__ = ["JsonObject", "JsonValue", "canonical", "kind_of", "loads", "loads_canonical", "loads_object"]

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
JsonObject: TypeAlias = Mapping[str, JsonValue]


def loads(data: bytes | bytearray | memoryview, *, what: str, limit: int = limits.MAX_JSON_BYTES) -> JsonValue:
    """Parse one JSON document.

    Args:
        data: UTF-8 bytes.
        what: the document's name in error messages ("adapter_config.json").
        limit: most bytes accepted.

    Raises:
        FormatError: on anything the module's docstring lists.
    """
    if len(data) > limit:
        raise FormatError(f"{what} is too large", expected=f"at most {limit} bytes", found=f"{len(data)} bytes")
    raw = bytes(data)
    # Before parsing: the parser recurses, and where a host has raised Python's recursion limit (notebooks do) it
    # would run off the end of the C stack.
    if _is_too_deep(raw):
        raise _too_deep(what)
    try:
        value: JsonValue = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise FormatError(f"{what} is not UTF-8", found=f"a bad byte at offset {error.start}") from None
    except json.JSONDecodeError as error:
        raise FormatError(
            f"{what} is not JSON",
            found=f"{error.msg.removesuffix(' at')} at line {error.lineno} column {error.colno}",
        ) from None
    except RecursionError:  # our caller is itself near the limit
        raise _too_deep(what) from None
    except _RefusedError as error:
        raise FormatError(f"{what} is not acceptable JSON", found=str(error)) from None
    if b"\\u" in raw:  # NUL and lone surrogates can only come from escapes: the rest was UTF-8, without controls
        _check(value, what)
    return value


def loads_object(
    data: bytes | bytearray | memoryview, *, what: str, limit: int = limits.MAX_JSON_BYTES
) -> JsonObject:
    """`loads`, and the document must be an object.

    Raises:
        FormatError: as `loads`, or for any other type.
    """
    value = loads(data, what=what, limit=limit)
    if not isinstance(value, dict):
        raise FormatError(f"{what} is not a JSON object", expected="an object", found=kind_of(value))
    return value


def loads_canonical(data: bytes, *, what: str, limit: int = limits.MAX_JSON_BYTES) -> JsonObject:
    """`loads_object`, and the bytes must be the RFC 8785 form of what they say.

    Raises:
        FormatError: as `loads_object`, or when re-encoding gives other bytes.
    """
    value = loads_object(data, what=what, limit=limit)
    if canonical(value) != data:
        raise FormatError(f"{what} is not in canonical form", expected="RFC 8785 JSON", found="another encoding")
    return value


def canonical(value: JsonValue) -> bytes:
    """The RFC 8785 (JCS) bytes of a value: the same facts give the same bytes, everywhere.

    Raises:
        FormatError: for what JCS cannot express (NaN, integers beyond 2^53 - 1, lone surrogates, keys that are no
            strings, types that are not JSON's), and for what `loads` would refuse to read back.
    """
    import rfc8785  # imported late: small, but `--help` and plain parsing do without it

    _check(value, "value")
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise FormatError("value has no canonical form", found=str(error)) from None


def kind_of(value: object) -> str:
    """The JSON name of a value's type, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an object" if isinstance(value, Mapping) else "a list"


class _RefusedError(ValueError):
    """Raised inside the decoder's hooks, turned into FormatError by `loads`."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _RefusedError(f"the key {twice!r} twice in one object")
    return found


def _integer(text: str) -> int:
    # Length first: int() of a million digits is quadratic.
    if len(text) > 17 or abs(value := int(text)) > limits.MAX_JSON_INTEGER:
        raise _RefusedError(f"the integer {text[:24]}, beyond 2^53 - 1")
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _RefusedError(f"the number {text[:24]}, beyond a double")
    return value


def _constant(text: str) -> None:
    raise _RefusedError(f"{text}, which is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=_float, parse_constant=_constant, strict=True
)

# A string, or all that is left where it does not end. Possessive: it must stay linear on hostile input.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[{]}")
_STEP: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def _too_deep(what: str) -> FormatError:
    return FormatError(f"{what} is nested too deeply", expected=f"at most {limits.MAX_JSON_DEPTH} levels")


def _is_too_deep(raw: bytes) -> bool:
    """Whether a document is nested beyond the limit, without recursion. What is no JSON may seem deeper."""
    if raw.count(b"[") + raw.count(b"{") <= limits.MAX_JSON_DEPTH:
        return False  # nearly every document
    outside = _STRING.sub(b"", raw) if b"\\" in raw else b"".join(raw.split(b'"')[::2])
    brackets = outside.translate(None, _NOT_BRACKETS)
    depths = accumulate(map(_STEP.__getitem__, brackets))
    return next(filter(limits.MAX_JSON_DEPTH.__lt__, depths), None) is not None


def _check(value: JsonValue, what: str) -> None:
    """Level by level, without recursion: depth, and every string and key."""
    level: list[Any] = [value]
    for depth in range(limits.MAX_JSON_DEPTH + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _check_string(item, what)
            elif isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
            elif isinstance(item, list | tuple):
                below.extend(item)
        if depth == limits.MAX_JSON_DEPTH and any(isinstance(item, dict | list | tuple) for item in level):
            raise _too_deep(what)
        level = below


def _check_string(text: str, what: str) -> None:
    if "\x00" in text:
        raise FormatError(f"{what} holds a NUL character in a string")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise FormatError(f"{what} holds a lone surrogate in a string") from None
