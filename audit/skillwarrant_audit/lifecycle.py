"""The order in which an activation's observations may stand in a log.

    intent -> activated -> deactivated, until all its adapters are gone
           -> merged
           -> failed
    refused
    checked

An activation puts one adapter or more onto a model, and each leaves it once: taken off by a `deactivated` of the
same activation, or by a merge, which is an activation of its own and names those that it ends. No honest gate
writes any other order. A crash leaves an intent that nothing follows, which is told and not refused.
It knows nothing of signatures or files.
"""

from __future__ import annotations

from typing import Final

from skillwarrant_format.errors import AuditError
from skillwarrant_format.observation import Ended, Observation, Phase

__all__ = ["Lifecycles"]

_AFTER: Final[dict[Phase, tuple[Phase | None, ...]]] = {
    "intent": (None,),
    "refused": (None,),
    "checked": (None,),
    "activated": ("intent",),
    "merged": ("intent",),
    "failed": ("intent",),
    "deactivated": ("activated", "deactivated"),
}


class Lifecycles:
    """Every activation seen so far and the phase it is in."""

    def __init__(self) -> None:
        self._phase: dict[str, Phase] = {}
        self._intent: dict[str, tuple[int, frozenset[str]]] = {}
        self._on_models: dict[str, set[str]] = {}

    def advance(self, seq: int, observation: Observation) -> None:
        """Take the next observation.

        Raises:
            AuditError: this phase may not follow what the log says of the activation so far, or an adapter that was
                not announced comes, or one that is not there goes.
        """
        phase, activation = observation.phase, observation.activation
        found, expected = self._phase.get(activation), _AFTER[phase]
        if found not in expected:
            raise AuditError(
                f"activation {activation} is {phase} out of order",
                expected=" or ".join(
                    f"{before} before it" if before else "nothing before it" for before in expected
                ),
                found=found or "nothing",
            )
        if phase == "intent":
            self._intent[activation] = seq, _some(observation.adapters, activation)
        elif phase == "deactivated":
            self._end(Ended(activation=activation, adapters=observation.adapters))
        elif phase in ("activated", "merged"):
            self._conclude(observation)
        self._phase[activation] = phase
        if phase != "intent":
            self._intent.pop(activation, None)

    def dangling(self) -> tuple[tuple[int, str], ...]:
        """(number, activation) of every intent without an outcome, oldest first."""
        return tuple((seq, activation) for activation, (seq, _) in self._intent.items())

    def _conclude(self, observation: Observation) -> None:
        """What was announced came about; a merge ends the adapters that it names, and nothing else ends others."""
        activation, adapters = observation.activation, frozenset(observation.adapters)
        _, announced = self._intent[activation]
        if adapters != announced:
            raise AuditError(
                f"activation {activation} is {observation.phase} with other adapters than its intent",
                expected=", ".join(sorted(announced)),
                found=", ".join(sorted(adapters)) or "none",
            )
        ends = observation.change.ends if observation.change is not None else ()
        if bool(ends) != (observation.phase == "merged"):
            raise AuditError(
                f"activation {activation} is {observation.phase} and does not end what it must",
                expected="a merge that names the adapters it ends, or another change that ends none",
            )
        for ended in ends:
            self._end(ended)
        if observation.phase == "activated":
            self._on_models[activation] = set(adapters)

    def _end(self, ended: Ended) -> None:
        left = self._on_models.get(ended.activation, set())
        if missing := _some(ended.adapters, ended.activation) - left:
            raise AuditError(
                f"activation {ended.activation} ends adapters that it did not put onto a model, or out of order",
                expected=", ".join(sorted(left)) or "nothing, since all are gone",
                found=", ".join(sorted(missing)),
            )
        left.difference_update(ended.adapters)
        if not left:
            del self._on_models[ended.activation]


def _some(adapters: tuple[str, ...], activation: str) -> frozenset[str]:
    if not adapters:
        raise AuditError(f"activation {activation} is about no adapter", expected="at least one")
    return frozenset(adapters)
