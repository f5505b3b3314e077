"""How long signing may take, in all and at each step, and the one way in which a step is bounded.

It knows nothing of what the steps do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Deadline", "Timeouts", "within"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds.

    Args:
        connect: for one TCP and TLS connection.
        answer: for one request, from the first attempt to the last byte of its answer; Rekor v2 answers when the
            entry is in the tree, which takes it up to 20.
        total: for everything between the call to `sign` and its return.
        login: for a person in a browser.
    """

    connect: float = 5
    answer: float = 25
    total: float = 60
    login: float = 300


class Deadline:
    """When everything must be over; and which service was asked last, for messages."""

    def __init__(self, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self.asked = "no service"
        self._end = time.monotonic() + timeouts.total

    def left(self, most: float) -> float:
        """Seconds that one step may take: `most`, or what is left."""
        return max(0.0, min(most, self._end - time.monotonic()))


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
