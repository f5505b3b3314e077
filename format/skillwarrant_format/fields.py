"""Typed reading of a parsed JSON object, with the path in every message.

`Fields` is how every parsing constructor in this package reads: `f.text("name")`, `f.maybe("revision", …)`.
`present` is its counterpart for writing. Neither knows what the fields mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, TypeGuard, TypeVar

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError
from skillwarrant_format.names import like
from skillwarrant_format.strict_json import JsonObject, JsonValue, kind_of
from skillwarrant_format.times import format_time, parse_time

__all__ = ["Fields", "check_text", "format_time", "parse_time", "present"]

T = TypeVar("T")
_SHA256: Final = {"sha256"}


def present(**fields: JsonValue) -> dict[str, JsonValue]:
    """JSON without the fields that say nothing: None, empty lists and empty objects are left out, never written."""
    return {key: value for key, value in fields.items() if value or (value is not None and value not in ([], {}))}


class Fields:
    """A JSON object being read. Every method raises `FormatError` with the field's path.

    It remembers which fields were asked for, and the objects that were read below it, for `refuse_lookalikes`.
    """

    __slots__ = ("_above", "_below", "_known", "_object", "_step")

    def __init__(self, value: JsonValue, path: str, above: Fields | None = None) -> None:
        """
        Args:
            path: of the object; with `above`, its place in the object that holds it.
        """
        self._step = path
        self._above = above
        if type(value) is not dict and not isinstance(value, Mapping):
            raise FormatError(f"{self.path} has the wrong type", expected="an object", found=kind_of(value))
        self._object: JsonObject = value
        self._known: set[str] = set()
        self._below: list[Fields] = []
        if above is not None:
            above._below.append(self)

    def __contains__(self, key: str) -> bool:
        self._known.add(key)
        return key in self._object

    @property
    def path(self) -> str:
        """Where the object is, for messages: put together when there is one, which is hardly ever."""
        return self._step if self._above is None else self._above.at(self._step)

    def keys(self) -> tuple[str, ...]:
        """The object's keys, in document order."""
        return tuple(self._object)

    def at(self, key: str) -> str:
        """The path of a field, for messages."""
        return f"{self.path}.{key}"

    def value(self, key: str) -> JsonValue:
        """A required field of any type; null counts as missing."""
        self._known.add(key)
        found = self._object.get(key)
        if found is None:
            state = "null" if key in self._object else "nothing"
            raise FormatError(f"{self.at(key)} is missing", expected="a value", found=state)
        return found

    def text(
        self,
        key: str,
        *,
        limit: int = limits.MAX_NAME_CHARS,
        pattern: re.Pattern[str] | None = None,
        multiline: bool = False,
    ) -> str:
        """A required, non-empty, printable string; `multiline` allows newlines and tabs in it."""
        self._known.add(key)
        found = self._object.get(key)
        if _is_text(found, limit, pattern):
            return found
        return check_text(self.value(key), self.at(key), limit, pattern, multiline=multiline)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """A required string that is one of `choices`."""
        if (found := self.text(key)) not in choices:
            raise FormatError(f"{self.at(key)} is unknown", expected=" or ".join(choices), found=found)
        return found

    def boolean(self, key: str) -> bool:
        """A required true or false."""
        found = self.value(key)
        if not isinstance(found, bool):
            raise FormatError(f"{self.at(key)} has the wrong type", expected="a boolean", found=kind_of(found))
        return found

    def integer(self, key: str, *, least: int = 0, most: int | None = None) -> int:
        """A required whole number, at least `least`, and at most `most` where that is given."""
        found = self.value(key)
        if type(found) is not int:
            raise FormatError(f"{self.at(key)} has the wrong type", expected="a whole number", found=kind_of(found))
        if found < least:
            raise FormatError(f"{self.at(key)} is too small", expected=f"at least {least}", found=str(found))
        if most is not None and found > most:
            raise FormatError(f"{self.at(key)} is too large", expected=f"at most {most}", found=str(found))
        return found

    def number(self, key: str) -> int | float:
        """A required finite number."""
        found = self.value(key)
        if type(found) is not int and type(found) is not float:
            raise FormatError(f"{self.at(key)} has the wrong type", expected="a number", found=kind_of(found))
        return found

    def time(self, key: str) -> datetime:
        """A required RFC 3339 UTC time."""
        text = self.text(key)
        try:
            return parse_time(text)
        except FormatError:
            return parse_time(text, self.at(key))  # says where it is

    def digest(self, key: str) -> Digest:
        """A required in-toto DigestSet of exactly one sha256."""
        found = self._object.get(key)
        if type(found) is dict and found.keys() == _SHA256:
            try:
                digest = Digest(found["sha256"])
            except FormatError:
                pass  # it is named below
            else:
                self._known.add(key)
                return digest
        return self.object(key).sha256()

    def sha256(self) -> Digest:
        """This object read as an in-toto DigestSet of exactly one sha256.

        Two digest sets match where any algorithm of theirs does (in-toto digest_set.md), so a set with a second
        algorithm could name one thing to us and another to the next verifier.
        """
        self.only("sha256")
        text = self.text("sha256")
        try:
            return Digest(text)
        except FormatError as error:
            raise FormatError(
                f"{self.at('sha256')} is malformed", expected=error.expected, found=error.found
            ) from None

    def object(self, key: str) -> Fields:
        """A required object."""
        return Fields(self.value(key), key, self)

    def items(self, key: str, *, least: int = 0, most: int = limits.MAX_LIST_ITEMS) -> list[JsonValue]:
        """A required list with between `least` and `most` items."""
        found = self.value(key)
        if not isinstance(found, list | tuple):
            raise FormatError(f"{self.at(key)} has the wrong type", expected="a list", found=kind_of(found))
        if not least <= len(found) <= most:
            raise FormatError(
                f"{self.at(key)} has the wrong length",
                expected=f"{least} to {most} items",
                found=str(len(found)),
            )
        return list(found)

    def objects(self, key: str, *, least: int = 0, most: int = limits.MAX_LIST_ITEMS) -> list[Fields]:
        """A required list of objects."""
        found = self.items(key, least=least, most=most)
        return [Fields(item, f"{key}[{index}]", self) for index, item in enumerate(found)]

    def texts(
        self,
        key: str,
        *,
        least: int = 0,
        most: int = limits.MAX_LIST_ITEMS,
        pattern: re.Pattern[str] | None = None,
    ) -> tuple[str, ...]:
        """A required list of strings, none twice."""
        found: list[str] = []
        for item in self.items(key, least=least, most=most):
            if _is_text(item, limits.MAX_NAME_CHARS, pattern):
                found.append(item)
            else:
                place = f"{self.at(key)}[{len(found)}]"
                found.append(check_text(item, place, limits.MAX_NAME_CHARS, pattern))
        if len(set(found)) != len(found):
            raise FormatError(f"{self.at(key)} names something twice")
        return tuple(found)

    def listed(self, key: str, pattern: re.Pattern[str] | None = None) -> tuple[str, ...]:
        """An optional list of strings: nothing where it is absent. An empty one, which says "none", is refused."""
        return self.texts(key, least=1, pattern=pattern) if key in self else ()

    def maybe(self, key: str, read: Callable[[str], T]) -> T | None:
        """`read(key)` where the field is there, else None. A null is not "not there": it is refused."""
        if key in self._object:
            return read(key)
        self._known.add(key)
        return None

    def only(self, *known: str) -> None:
        """Refuse every field that is not listed: for formats that do not grow."""
        if self._object.keys() <= set(known):
            return
        for key in self._object:
            if key not in known:
                raise FormatError(f"{self.path} has an unknown field", expected=", ".join(known), found=key)

    def refuse_lookalikes(self) -> None:
        """Refuse unknown fields, here and in every object read below, that are a known one in another spelling.

        Call it last. Unknown fields are ignored, so `notafter` would drop a restriction without a word; and a
        reader that ignores case (Go's encoding/json) would find in it what we do not.
        """
        if unknown := self._object.keys() - self._known:
            known = {_folded(key): key for key in self._known}
            for key in sorted(unknown):
                if _folded(key) in known:
                    raise FormatError(f"{self.path} has a misspelt field", expected=known[_folded(key)], found=key)
        for child in self._below:
            child.refuse_lookalikes()


def _is_text(value: JsonValue, limit: int, pattern: re.Pattern[str] | None) -> TypeGuard[str]:
    """Whether `check_text` would take it: nearly all is, and needs no path. What is not, `check_text` names."""
    return (
        type(value) is str
        and 0 < len(value) <= limit
        and value.isprintable()
        and (pattern is None or pattern.fullmatch(value) is not None)
    )


def _folded(key: str) -> str:
    return key.casefold().replace("_", "").replace("-", "")


def check_text(
    value: JsonValue,
    where: str,
    limit: int,
    pattern: re.Pattern[str] | None = None,
    *,
    multiline: bool = False,
) -> str:
    """A non-empty string of printable characters (`str.isprintable`), and of newlines and tabs if `multiline`.

    Raises:
        FormatError: for another type or length, for characters that a terminal would act on or not show, or for
            text that `pattern` does not match as a whole.
    """
    if not isinstance(value, str):
        raise FormatError(f"{where} has the wrong type", expected="a string", found=kind_of(value))
    if not 0 < len(value) <= limit:
        raise FormatError(
            f"{where} has the wrong length", expected=f"1 to {limit} characters", found=str(len(value))
        )
    bare = value.replace("\n", " ").replace("\t", " ") if multiline else value
    if not bare.isprintable():
        raise FormatError(f"{where} holds control characters", found=value)
    if pattern is not None and not pattern.fullmatch(value):
        raise FormatError(f"{where} is malformed", expected=like(pattern), found=value)
    return value
