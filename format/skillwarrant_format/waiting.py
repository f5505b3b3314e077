"""The one way in which something that may hang is bounded in time. It knows nothing of what is waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["within"]

T = TypeVar("T")


def within(seconds: float, work: Callable[[], T]) -> T:
    """Run `work` on a thread of its own, and wait no longer than `seconds`, whatever it hangs in.

    A socket time-out alone bounds neither a name look-up nor a server that sends a byte now and then. A thread that
    is given up is a daemon: what it still gets is thrown away.

    Raises:
        TimeoutError: it takes longer.
        BaseException: whatever `work` raised.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001  # carried to the waiting thread, and raised there
            errors.append(error)

    thread = threading.Thread(target=run, name="skillwarrant-wait", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]
