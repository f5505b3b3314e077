"""How long signing may take, in all and at each step. It knows nothing of what the steps do."""

from __future__ import annotations

import time
from dataclasses import dataclass

__all__ = ["Deadline", "Timeouts"]


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
