"""Reading the TOML that people write (a policy, a skill.toml) as strictly as the JSON that machines write.

An unknown key in a document that grants trust is a misspelt restriction until proven otherwise, so it is refused,
with the nearest known key. It knows nothing of policies or skills.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from datetime import UTC, date, datetime, time
from typing import Any

from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.strict_json import JsonObject, JsonValue, loads_object

__all__ = ["only", "parse_toml"]


def parse_toml(data: bytes, *, what: str) -> JsonObject:
    """Parse a TOML 1.0 document into plain JSON values.

    Args:
        data: UTF-8 bytes, at most `limits.MAX_POLICY_BYTES`.
        what: the document's name in messages.

    Raises:
        FormatError: not TOML (with line and column), a local or non-UTC time, or a value that strict JSON refuses.
    """
    if len(data) > limits.MAX_POLICY_BYTES:
        raise FormatError(f"{what} is too large", expected=f"at most {limits.MAX_POLICY_BYTES} bytes")
    try:
        document = tomllib.loads(data.decode("utf-8"))
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
