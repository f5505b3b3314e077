"""`Undo`: how a model gets back to what it was, and the proof that it did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from skillwarrant_format.errors import WrongBase
from skillwarrant_verify import base
from skillwarrant_verify.loader.peft_adapter import adapter_names

__all__ = ["Undo", "same"]


@dataclass(slots=True, kw_only=True)
class Undo:
    """What was done to a model, step by step, to be taken back in the reverse order.

    Args:
        model: as the caller gave it.
        before: what its base measured.
        names: the adapters that were on it.
    """

    model: Any
    before: base.Measurement
    names: frozenset[str]
    steps: list[Callable[[], None]] = field(default_factory=list)
    _done: bool = field(default=False, init=False)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Whatever stops the block is taken back before the caller hears of it.

        Who is interrupted while the last record is written has all of it undone, though that may be on disk by
        then. What is put on is then off, and the log names more than is there: the safe side. What was taken off
        is then on again, and the log says that it is gone until it is taken off once more; `Gate.check` finds it.
        """
        try:
            yield
        except BaseException:
            self()
            raise

    def __call__(self) -> None:
        """Take it back, and measure the base in full, however strict a policy is on other days.

        Raises:
            WrongBase: the model is not what it was.
        """
        if self._done:
            return
        while self.steps:
            self.steps[-1]()  # taken from the list when it is through: one that is interrupted can be begun again
            self.steps.pop()
        found, names = base.measure(self.model), adapter_names(self.model)
        if not same(self.before, found) or names != self.names:
            raise WrongBase(
                "what failed changed the base model or its adapters, and they could not be put back",
                expected=f"{self.before.fingerprint} with {_listed(self.names)}",
                found=f"{found.fingerprint} with {_listed(names)}",
                fix="Load the model anew.",
            )
        self._done = True


def same(before: base.Measurement, after: base.Measurement) -> bool:
    """Whether a base model measures what it did."""
    return (before.fingerprint, before.buffers) == (after.fingerprint, after.buffers)


def _listed(names: frozenset[str]) -> str:
    return f"adapters {', '.join(sorted(names))}" if names else "no adapter"
