"""Which line of a TOML document says what: from the path of a key to its line. It judges nothing.

Python's own reader keeps no places. This one only finds keys, in a document that `tomllib` has already read: what
is no TOML never comes here. A path is a tuple of names and of numbers for items, as `tomllib` nests them.
"""

from __future__ import annotations

import re
import tomllib
from typing import Final, TypeAlias

__all__ = ["KeyPath", "key_lines", "shown_path"]

KeyPath: TypeAlias = "tuple[str | int, ...]"

_SPACE: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BLANK: Final = re.compile(r"[ \t]*")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRINGS: Final = (  # the longest delimiters first
    re.compile(r'"""(?:[^"\\]|\\[\s\S]|"{1,2}(?!"))*+"""(?:""?(?!"))?'),
    re.compile(r"'''(?:[^']|'{1,2}(?!'))*+'''(?:''?(?!'))?"),
    re.compile(r'"(?:[^"\\\n]|\\.)*+"'),
    re.compile(r"'[^'\n]*+'"),
)
_SCALAR: Final = re.compile(r"[^,\]}#\n]+")


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line of every key and of every item of a list, from 1.

    A table that has no header of its own has the line of the first key in it.

    Args:
        text: of a TOML document that is well-formed.
    """
    return _Reader(text.replace("\r\n", "\n")).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self._found: dict[KeyPath, int] = {}
        self._items: dict[KeyPath, int] = {}  # arrays of tables -> the place of their last table

    def read(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self._skip(_SPACE)
        while self._at < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._header(2)
            elif self._text[self._at] == "[":
                table = self._header(1)
            else:
                self._pair(table)
            self._skip(_SPACE)
        return self._found

    def _header(self, brackets: int) -> KeyPath:
        line = self._here()
        self._at += brackets
        names = self._key()
        self._at += brackets
        path = self._resolved((), names[:-1] if brackets == 2 else names, line)
        if brackets == 2:
            path = (*path, names[-1])
            self._found.setdefault(path, line)
            self._items[path] = number = self._items.get(path, -1) + 1
            path = (*path, number)
        self._found[path] = line  # a header says more of its table than a key below it did
        return path

    def _resolved(self, table: KeyPath, names: tuple[str, ...], line: int) -> KeyPath:
        """The path of names below a table; of an array of tables, its last one is meant."""
        path = table
        for name in names:
            path = (*path, name)
            self._found.setdefault(path, line)
            if path in self._items:
                path = (*path, self._items[path])
        return path

    def _pair(self, table: KeyPath) -> None:
        line = self._here()
        names = self._key()
        self._at += 1  # the sign of equality
        self._skip(_BLANK)
        self._value(self._resolved(table, names, line))

    def _value(self, path: KeyPath) -> None:
        first = self._text[self._at]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline(path)
        elif first in "\"'":
            self._at = self._string().end()
        else:
            self._skip(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        self._skip(_SPACE)
        number = 0
        while self._text[self._at] != "]":
            self._found[(*path, number)] = self._here()
            self._value((*path, number))
            number += 1
            self._skip(_SPACE)
            if self._text[self._at] == ",":
                self._at += 1
                self._skip(_SPACE)
        self._at += 1

    def _inline(self, path: KeyPath) -> None:
        self._at += 1
        self._skip(_SPACE)
        while self._text[self._at] != "}":
            self._pair(path)
            self._skip(_SPACE)
            if self._text[self._at] == ",":
                self._at += 1
                self._skip(_SPACE)
        self._at += 1

    def _key(self) -> tuple[str, ...]:
        """A dotted key, and the spaces around its parts."""
        names = []
        while True:
            self._skip(_BLANK)
            if self._text[self._at] in "\"'":
                match = self._string()
                (name,) = tomllib.loads(f"{match.group()} = 0")  # its escapes are read by who knows them
            else:
                match = _matched(_BARE_KEY, self._text, self._at)
                name = match.group()
            names.append(name)
            self._at = match.end()
            self._skip(_BLANK)
            if not self._text.startswith(".", self._at):
                return tuple(names)
            self._at += 1

    def _string(self) -> re.Match[str]:
        for pattern in _STRINGS:
            if match := pattern.match(self._text, self._at):
                return match
        raise ValueError(f"no string at {self._at}")

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._at = _matched(pattern, self._text, self._at).end()

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line


def _matched(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    if (match := pattern.match(text, at)) is None:
        raise ValueError(f"not as expected at {at}")
    return match


def shown_path(path: KeyPath) -> str:
    """As people write it: `publishers[1].skills`, `requirements."manifest.age".mode`."""
    found = ""
    for step in path:
        if isinstance(step, int):
            found += f"[{step}]"
        else:
            name = step if _BARE_KEY.fullmatch(step) else f'"{step}"'
            found += f".{name}" if found else name
    return found
