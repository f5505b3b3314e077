"""The documents that a policy reads: written for an engine, and looked over for what is not there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from skillwarrant_format.strict_json import JsonObject, JsonValue, canonical, loads_object
from skillwarrant_verify.rego.answer import RegoFinding
from skillwarrant_verify.rego.lint import RequiredPath

__all__ = ["encode", "missing"]


def encode(value: JsonObject, what: str) -> bytes:
    """JSON that our strict parser reads as this very value. Several times faster than the canonical form.

    Raises:
        FormatError: there is none.
    """
    try:
        data = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return canonical(value)  # which says what is wrong, or can write it
    return data if loads_object(data, what=what) == value else canonical(value)


def missing(required: Sequence[RequiredPath], documents: JsonObject) -> Iterator[RegoFinding]:
    """A denial for each path that rules read and that is not there, or is no collection where it must be one.

    Args:
        documents: `input` and `data`.
    """
    for item in required:
        if found := _objection(item, documents):
            name = ".".join(item.path)
            message = f"{name} {found}, so what reads it may be undefined; object.get reads what may be absent"
            yield RegoFinding(
                code="rego.missing", message=message, rule=item.rule, details={"path": name}, where=(item.where,)
            )


def _objection(item: RequiredPath, documents: JsonObject) -> str | None:
    value: JsonValue = documents
    for part in item.path:
        if not isinstance(value, Mapping) or part not in value:
            return "is not there"
        value = value[part]
    if item.collection and (isinstance(value, str) or not isinstance(value, Mapping | Sequence)):
        return "is no list and no object"
    return None
