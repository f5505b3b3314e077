"""`Charter`: what a gate was built with, and how all its operations are put on record.

It knows neither models nor PEFT.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from skillwarrant_audit.recorder import Recorder
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import UsageError
from skillwarrant_format.observation import Change, Phase
from skillwarrant_verify.context import Context
from skillwarrant_verify.gate.observe import Attempt, Candidate
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.trust import TrustRoot

__all__ = ["Charter", "Clock"]

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Charter:
    """What is demanded, whose signatures count, where it is recorded, and the host's time."""

    policy: Policy
    trust_root: TrustRoot
    recorder: Recorder
    clock: Clock

    def attempt(
        self,
        context: Context,
        adapters: tuple[str, ...],
        candidates: tuple[Candidate, ...],
        *,
        change: Change | None = None,
        activation: str | None = None,
    ) -> Attempt:
        """The beginning of an operation, of which nothing is known yet.

        Args:
            activation: the one that it goes on with; a new one where none is given.

        Raises:
            UsageError: no context.
        """
        if not isinstance(context, Context):
            raise UsageError("context is missing", expected="a Context", found=type(context).__name__)
        return Attempt(
            adapters=adapters,
            candidates=candidates,
            context=context,
            policy=self.policy.used(),
            trust=self.trust_root.used(),
            change=change,
            activation=activation or secrets.token_hex(16),
        )

    def record(self, attempt: Attempt, phase: Phase, message: str, error: BaseException | None = None) -> Digest:
        """Put what is known now on record; it is on disk when this returns.

        Raises:
            AuditError: it is not.
        """
        observation = attempt.observation(phase, message, self.clock(), error)
        return self.recorder.record(observation, attempt.subjects(), attempt.inputs()).leaf

    @contextmanager
    def recording(self, attempt: Attempt, phase: Phase, undo: Callable[[], None] | None = None) -> Iterator[None]:
        """Whatever stops the block is undone, and on record before the caller hears of it.

        Raises:
            AuditError: where that record could not be written.
        """
        try:
            yield
        except BaseException as error:
            told = error if undo is None else _undone(undo, error)
            if undo is not None:
                attempt.base_after = None
            self.record(attempt, phase, attempt.reason(told), told)
            if told is error:
                raise
            raise told from error


def _undone(undo: Callable[[], None], error: BaseException) -> BaseException:
    """What there is to tell: the error, or that worse came of it."""
    try:
        undo()
    except BaseException as worse:  # noqa: BLE001  # it is told, and raised
        return worse
    return error
