"""Reading the TOML that people write (a policy, a skill.toml) as strictly as the JSON that machines write.

An unknown key in a document that grants trust is a misspelt restriction until proven otherwise, so it is refused,
with the nearest known key. It knows nothing of policies or skills.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from datetime import UTC, date, datetime, time
from typing import Any, Final

from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.strict_json import JsonObject, JsonValue, loads_object

__all__ = ["only", "parse_toml"]

# Strings and comments as a whole, so that what is in them is passed over; and what nests and names. A string that
# has no end goes on to where the reader gives up at the latest. Nothing here goes back, so that it is linear.
_TOKEN: Final = re.compile(
    r'''"""(?:[^"\\]++|\\[\s\S]|"(?!""))*+(?:"{3,5})?'''
    r"""|'''(?:[^']++|'(?!''))*+(?:'{3,5})?"""
    r"""|"(?:[^"\\\n]++|\\.)*+"?"""
    r"""|'[^'\n]*+'?"""
    r"""|\#[^\n]*+|[.=,\n\[\]{}]"""
)
_ENDS: Final = frozenset("=,\n[]{}")
_STEP: Final = {"[": 1, "{": 1, "]": -1, "}": -1}


def parse_toml(data: bytes, *, what: str) -> JsonObject:
    """Parse a TOML 1.0 document into plain JSON values.

    Args:
        data: UTF-8 bytes, at most `limits.MAX_POLICY_BYTES`.
        what: the document's name in messages.

    Raises:
        FormatError: not TOML (with line and column), nested deeper than `limits.MAX_JSON_DEPTH` or with more names
            than `limits.MAX_TOML_KEYS`, a local or non-UTC time, or a value that strict JSON refuses.
    """
    if len(data) > limits.MAX_POLICY_BYTES:
        raise FormatError(f"{what} is too large", expected=f"at most {limits.MAX_POLICY_BYTES} bytes")
    try:
        text = data.decode("utf-8")
        _check_size(text, what)
        document = tomllib.loads(text)
        plain = {key: _plain(value, f"{what}: {key}") for key, value in document.items()}
        encoded = json.dumps(plain).encode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{what} is not UTF-8", found=f"a bad byte at offset {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"{what} is not TOML", found=str(error)) from None
    except RecursionError:
        raise FormatError(f"{what} is nested too deeply", expected=f"{limits.MAX_JSON_DEPTH} levels") from None
    except (ValueError, OverflowError) as error:  # Python's own limits on the digits of an integer and on years
        raise FormatError(f"{what} holds a number or a time that is too large", found=str(error)) from None
    # Through JSON once more: one parser decides which numbers and strings are acceptable.
    return loads_object(encoded, what=what)


def only(fields: Fields, *known: str) -> None:
    """Refuse keys that nobody reads.

    Raises:
        FormatError: naming the unknown key and the nearest known one.
    """
    for key in fields.keys():  # noqa: SIM118  # Fields is no mapping
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise FormatError(
                f"{fields.at(key)} is not a known key",
                expected=" | ".join(known),
                found=key,
                fix=f"Did you mean {near[0]!r}?" if near else None,
            )


def _check_size(text: str, what: str) -> None:
    """Refuse what would cost Python's reader far more than its length.

    For a key of n parts it takes n * n steps and words: 20 KB are gigabytes. What nests more deeply than JSON may
    would be refused after it is read, too.
    """
    depth = dots = names = 0
    for piece in map(re.Match[str].group, _TOKEN.finditer(text)):
        depth = max(0, depth + _STEP.get(piece, 0))
        if piece == ".":
            dots += 1
        elif piece in _ENDS:  # of a key, a header or a value
            names += (dots if piece in {"=", "]"} else 0) + (piece in {"=", "["})
            dots = 0
        if depth > limits.MAX_JSON_DEPTH or dots > limits.MAX_JSON_DEPTH:
            raise FormatError(f"{what} is nested too deeply", expected=f"at most {limits.MAX_JSON_DEPTH} levels")
        if names > limits.MAX_TOML_KEYS:
            raise FormatError(f"{what} has too many keys and lists", expected=f"at most {limits.MAX_TOML_KEYS}")


def _plain(value: Any, where: str) -> JsonValue:
    if isinstance(value, dict):
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, where) for item in value]
    if isinstance(value, datetime) and value.tzinfo is not None and value.microsecond == 0:
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, date | time):
        raise FormatError(f"{where} is no UTC instant", expected="2026-11-22T10:00:00Z", found=str(value))
    return value  # type: ignore[no-any-return]  # str, int, float or bool: tomllib makes nothing else
