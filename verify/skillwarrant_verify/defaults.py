"""What `verify_and_load` uses where its caller says nothing: the host's clock and the place of the log."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from skillwarrant_verify.arguments import check_callable, check_time

__all__ = ["default_log_directory", "telling_time", "utc_now"]

STATE_DIRECTORY: Final = "SKILLWARRANT_LOG"


def utc_now() -> datetime:
    """The host's time."""
    return datetime.now(UTC)


def telling_time(clock: Callable[[], datetime]) -> Callable[[], datetime]:
    """A clock that refuses what another one gives and no record can hold.

    Raises:
        UsageError: what it was given cannot be called; and later, where it gives no time, or one without a zone.
    """
    check_callable("the clock", clock)

    def checked() -> datetime:
        now = clock()
        check_time("the clock", now)
        return now

    return checked


def default_log_directory() -> Path:
    """`$SKILLWARRANT_LOG`, else `$XDG_STATE_HOME/skillwarrant`, else `~/.local/state/skillwarrant`."""
    if named := os.environ.get(STATE_DIRECTORY):
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "skillwarrant"
