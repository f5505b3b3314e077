"""The field paths of a JSON Schema, and of a document as far as a schema describes it: `baseModels.[].name`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def written(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> Iterator[str]:
    """Each field path of a document, as far as the schema describes it, with `[]` for a list's items."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    for key, item in value.items() if isinstance(value, dict) and "properties" in schema else ():
        yield key
        for deeper in written(item, schema["properties"].get(key, {}), root):
            yield f"{key}.{deeper}"
    if isinstance(value, list):
        yield from {f"[].{path}" for item in value for path in written(item, schema.get("items", {}), root)}


def described(schema: dict[str, Any], root: dict[str, Any]) -> Iterator[str]:
    """Each field path that a schema has."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    for key, item in schema.get("properties", {}).items():
        yield key
        yield from (f"{key}.{path}" for path in described(item, root))
    if "items" in schema:
        yield from (f"[].{path}" for path in described(schema["items"], root))
