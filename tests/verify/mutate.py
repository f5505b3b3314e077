"""Mutations of a bundle: of its bytes, of its JSON, and of the binary inside its base64."""

from __future__ import annotations

import base64
import binascii
import json
from copy import deepcopy
from random import Random
from typing import Any

_ODD: list[Any] = [
    *(None, True, 0, -1, 1.5, 2**63, 2**64, [], {}, [[]], {"": 0}, ["AA=="]),
    *(
        "",
        "0",
        "-1",
        "1",
        "é",
        "\ud800",
        "\x00",
        "A" * 5000,
        "AAAA",
        "====",
        "dsse",
        "hashedrekord",
        "0.0.1",
        "0.0.2",
    ),
    *("99999999999999999999", "18446744073709551615"),
]


def mutated(honest: dict[str, Any], other: dict[str, Any], random: Random) -> bytes:
    """One to three mutations of `honest`, now and then with parts of `other`."""
    document = deepcopy(honest)
    for _ in range(random.randint(1, 3)):
        choice = random.choices(range(5), weights=(1, 2, 6, 2, 2))[0]
        if choice == 0:
            return _bytes(json.dumps(document).encode(), random)
        path = random.choice(_paths(document))
        parent, key = _parent(document, path)
        if choice == 1:
            parent[key] = deepcopy(random.choice(_ODD))
        elif choice == 2 and isinstance(parent[key], str):
            parent[key] = _inside(parent[key], random)
        elif choice == 3:
            _splice(parent, key, other, path)
        else:
            _restructure(parent, key, random)
        if not isinstance(document, dict) or not document:
            break
    return json.dumps(document).encode()


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path else []
    for key, item in items:
        found += _paths(item, (*path, key))
    return found


def _parent(document: Any, path: tuple[Any, ...]) -> tuple[Any, Any]:
    for key in path[:-1]:
        document = document[key]
    return document, path[-1]


def _bytes(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(changed) or 1)
        choice = random.randrange(4)
        if choice == 0:
            changed[place : place + 1] = _junk(random, 1)
        elif choice == 1:
            del changed[place : place + random.randint(1, 40)]
        elif choice == 2:
            changed[place:place] = _junk(random, random.randint(1, 4))
        else:
            changed = changed[: place + 1]
    return bytes(changed)


def _junk(random: Random, size: int) -> bytes:
    """Mostly characters that JSON and base64 have, so that not everything fails in the first parser."""
    return random.randbytes(size) if random.random() < 0.1 else bytes(random.choices(b'aZ09+/=_"{}[]:, .-', k=size))


def _inside(text: str, random: Random) -> str:
    """Bits of the binary behind base64, or one character of the text."""
    try:
        data = bytearray(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        data = bytearray()
    if not data or random.random() < 0.2:
        place = random.randrange(len(text) + 1)
        odd = random.choice(["0", " ", "\n", "é", "=", "_", ""])
        return text[:place] + odd + text[place + random.randint(0, 1) :]
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(data))
        if random.random() < 0.7:
            data[place] ^= 1 << random.randrange(8)
        else:
            data[place : place + random.randint(0, 3)] = random.randbytes(random.randint(0, 3))
        data = data or bytearray(b"\0")
    return base64.b64encode(data).decode()


def _splice(parent: Any, key: Any, other: Any, path: tuple[Any, ...]) -> None:
    try:
        for step in path:
            other = other[step]
    except (KeyError, IndexError, TypeError):
        return
    parent[key] = deepcopy(other)


def _restructure(parent: Any, key: Any, random: Random) -> None:
    """Remove, double, rename or wrap."""
    choice = random.randrange(4)
    value = parent[key]
    if choice == 0:
        del parent[key]
    elif choice == 1 and isinstance(parent, list):
        parent.append(deepcopy(value))
    elif choice == 2 and isinstance(parent, dict):
        snake = "".join(f"_{char.lower()}" if char.isupper() else char for char in key)
        parent[snake] = value if random.random() < 0.5 else parent.pop(key)
    else:
        parent[key] = [value] if random.random() < 0.5 else {"value": value}
