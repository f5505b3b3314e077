"""What `verify_and_load` uses where its caller says nothing: the host's clock and the place of the log."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

__all__ = ["default_log_directory", "utc_now"]

STATE_DIRECTORY: Final = "SKILLWARRANT_LOG"


def utc_now() -> datetime:
    """The host's time."""
    return datetime.now(UTC)


def default_log_directory() -> Path:
    """`$SKILLWARRANT_LOG`, else `$XDG_STATE_HOME/skillwarrant`, else `~/.local/state/skillwarrant`."""
    if named := os.environ.get(STATE_DIRECTORY):
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "skillwarrant"
