"""Instants: RFC 3339 in UTC with whole seconds, one spelling for one instant."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from skillwarrant_format.errors import FormatError, UsageError

__all__ = ["format_time", "parse_time"]

_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z\Z", re.ASCII)


def parse_time(text: str, where: str = "time") -> datetime:
    """RFC 3339 in UTC with whole seconds, `2026-11-22T10:00:00Z`: one spelling for one instant.

    Raises:
        FormatError: for any other spelling.
    """
    if _TIME.match(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:  # the thirtieth of February
            pass
    raise FormatError(
        f"{where} is not a time", expected="RFC 3339 in UTC like 2026-11-22T10:00:00Z", found=repr(text)
    )


def format_time(moment: datetime) -> str:
    """The inverse of `parse_time`; fractions of a second are cut, never rounded up.

    Raises:
        UsageError: for a time without a zone, which would be read in the zone of whichever host this is.
    """
    if moment.tzinfo is None:
        raise UsageError("a time has no time zone", expected="an aware datetime", found=moment.isoformat())
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat()[:19] + "Z"
