"""Ctrl-C, remembered. Some libraries turn the KeyboardInterrupt that hits them into an error of their own (pydantic
does, while it builds its models), and that must not be told as a failure."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Final

__all__ = ["happened", "watch"]

_HAPPENED: Final = threading.Event()


def watch() -> None:
    """From now on remember it; KeyboardInterrupt is raised as ever. What a shell tells to ignore it goes on so."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _remember)


def happened() -> bool:
    """Whether the user has pressed Ctrl-C since `watch`."""
    return _HAPPENED.is_set()


def _remember(number: int, frame: FrameType | None) -> None:
    _HAPPENED.set()
    signal.default_int_handler(number, frame)
