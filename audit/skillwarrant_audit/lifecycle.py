"""The order in which an activation's observations may stand in a log.

    intent -> activated -> deactivated
           -> failed
    refused

No honest gate writes any other order. A crash leaves an intent that nothing follows, which is told and not refused.
It knows nothing of signatures or files.
"""

from __future__ import annotations

from typing import Final

from skillwarrant_format.errors import AuditError
from skillwarrant_format.observation import Observation, Phase

__all__ = ["Lifecycles"]

_AFTER: Final[dict[Phase, Phase | None]] = {
    "intent": None,
    "refused": None,
    "activated": "intent",
    "failed": "intent",
    "deactivated": "activated",
}


class Lifecycles:
    """Every activation seen so far and the phase it is in."""

    def __init__(self) -> None:
        self._phase: dict[str, Phase] = {}
        self._intent: dict[str, int] = {}

    def advance(self, seq: int, observation: Observation) -> None:
        """Take the next observation.

        Raises:
            AuditError: this phase may not follow what the log says of the activation so far.
        """
        found, expected = self._phase.get(observation.activation), _AFTER[observation.phase]
        if found != expected:
            raise AuditError(
                f"activation {observation.activation} is {observation.phase} out of order",
                expected=f"{expected} before it" if expected else "nothing before it",
                found=found or "nothing",
            )
        self._phase[observation.activation] = observation.phase
        if observation.phase == "intent":
            self._intent[observation.activation] = seq
        else:
            self._intent.pop(observation.activation, None)

    def dangling(self) -> tuple[tuple[int, str], ...]:
        """(number, activation) of every intent without an outcome, oldest first."""
        return tuple((seq, activation) for activation, seq in self._intent.items())
