"""Progress for people: on stderr, only on a terminal, only once a job has taken a second. `rich` is imported then.

It knows nothing of the jobs: hashing reports bytes, everything else only that it is still going on.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeAlias

__all__ = ["Callback", "hashing", "waiting"]

Callback: TypeAlias = Callable[[int, int], None]
"""Takes (bytes done, bytes in total)."""

_PATIENCE: Final = 1.0  # seconds before anything is drawn


@contextmanager
def hashing(label: str) -> Iterator[Callback | None]:
    """A callback, or None where nobody would see a bar."""
    if not sys.stderr.isatty():
        yield None
        return
    bar = _Bar(label)
    try:
        yield bar
    finally:
        bar.close()


@contextmanager
def waiting(label: str) -> Iterator[None]:
    """A spinner while the block runs."""
    if not sys.stderr.isatty():
        yield
        return
    spinner = _Spinner(label)
    timer = threading.Timer(_PATIENCE, spinner.draw)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        spinner.close()


class _Bar:
    def __init__(self, label: str) -> None:
        self._label = label
        self._begun = time.monotonic()
        self._progress: Any = None
        self._task: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self._progress is None:
            if time.monotonic() - self._begun < _PATIENCE or done >= total:
                return
            self._draw(total)
        self._progress.update(self._task, completed=done, total=total)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()

    def _draw(self, total: int) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=_console(), transient=True)
        self._task = self._progress.add_task(self._label, total=total)
        self._progress.start()


class _Spinner:
    """Drawn by a timer's thread, cleared by the job's: hence the lock."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._lock = threading.Lock()
        self._status: Any = None
        self._over = False

    def draw(self) -> None:
        from rich.status import Status

        with self._lock:
            if not self._over:
                self._status = Status(self._label, console=_console())
                self._status.start()

    def close(self) -> None:
        with self._lock:
            self._over = True
            if self._status is not None:
                with suppress(OSError):
                    self._status.stop()


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True)
