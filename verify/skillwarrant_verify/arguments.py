"""What callers hand in: of another type than it should be, it is our `UsageError`, before anything is done with it.

It knows no argument by name, and nothing of what any of them is for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from skillwarrant_format.errors import UsageError

__all__ = [
    "check_callable",
    "check_flag",
    "check_kind",
    "check_names",
    "check_sequence",
    "check_span",
    "check_time",
    "path_of",
]


def check_kind(what: str, found: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Raises UsageError for an object that is of none of these classes; true is no number, unless `bool` is one."""
    asked = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(found, kinds) or (isinstance(found, bool) and bool not in asked):
        raise _wrong(what, expected, found)


def check_callable(what: str, found: object) -> None:
    """Raises UsageError for what cannot be called."""
    if not callable(found):
        raise _wrong(what, "a function", found)


def check_flag(what: str, found: object) -> None:
    """Raises UsageError for what is neither True nor False."""
    check_kind(what, found, bool, "True or False")


def check_span(what: str, found: object) -> None:
    """Raises UsageError for what is no `timedelta`."""
    check_kind(what, found, timedelta, "a datetime.timedelta")


def check_time(what: str, found: object) -> None:
    """Raises UsageError for what is no time, or one without a zone: it would be read in this host's."""
    if not isinstance(found, datetime) or found.utcoffset() is None:
        expected = "a time with its time zone, such as datetime.now(UTC)"
        raise UsageError(f"{what} tells no time", expected=expected, found=str(found))


def check_sequence(what: str, found: object, expected: str) -> None:
    """Raises UsageError for what has no order and length, and for text and bytes, which are no lists of things."""
    if isinstance(found, str | bytes | bytearray) or not isinstance(found, Sequence):
        raise _wrong(what, expected, found)


def check_names(what: str, found: object) -> None:
    """Raises UsageError for what is no sequence of strings."""
    check_sequence(what, found, "a list of adapter names")
    for name in found:  # type: ignore[attr-defined]  # it is a sequence
        check_kind(f"a name in {what}", name, str, "a string")


def path_of(what: str, found: Any) -> Path:
    """A path that an operating system can be asked about.

    Raises:
        UsageError: another type, or text that no path can hold (empty, NUL, half a character).
    """
    try:
        text = os.fspath(found)
        os.fsencode(text)
    except TypeError:
        raise _wrong(what, "a path", found) from None
    except UnicodeEncodeError:
        raise UsageError(f"{what} is no path", expected="text that a path can hold", found=found) from None
    if not isinstance(text, str):
        raise _wrong(what, "a path as text", found)
    if not text or "\0" in text:
        raise UsageError(f"{what} is no path", expected="text that a path can hold", found=text or "nothing")
    return Path(text)


def _wrong(what: str, expected: str, found: object) -> UsageError:
    return UsageError(
        f"{what} has the wrong type",
        expected=expected,
        found=type(found).__name__,
        fix=f"Pass {expected}.",
    )
