"""Where a key stands in a TOML document: the line that a message names, which `tomllib` does not tell.

A hint for people and nothing else: dotted and quoted keys are not looked for, and nothing is decided with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["line_of"]

_ARRAY: Final = re.compile(r"\s*\[\[\s*([\w.-]+)\s*\]\]", re.ASCII)
_TABLE: Final = re.compile(r"\s*\[\s*([\w.-]+)\s*\]", re.ASCII)
_KEY: Final = re.compile(r"\s*([\w-]+)\s*=", re.ASCII)


def line_of(data: bytes, path: str) -> int | None:
    """The line, from 1, of `base[0].name` or of the nearest thing around it; None where nothing is found."""
    places: dict[str, int] = {}
    for place, line in _places(data.decode("utf-8", "replace")):
        places.setdefault(place, line)
    while path:
        if path in places:
            return places[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return None


def _places(text: str) -> Iterator[tuple[str, int]]:
    table, counts, in_string = "", dict[str, int](), False
    for number, line in enumerate(text.split("\n"), start=1):
        inside = in_string
        in_string ^= (line.count('"""') + line.count("'''")) % 2 == 1
        if inside:
            continue
        if header := _ARRAY.match(line):
            name = header[1]
            table = f"{name}[{counts.setdefault(name, 0)}]"
            counts[name] += 1
            yield table, number
        elif header := _TABLE.match(line):
            table = header[1]
            yield table, number
        elif key := _KEY.match(line):
            yield f"{table}.{key[1]}".lstrip("."), number
