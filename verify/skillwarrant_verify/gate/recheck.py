"""Looking at a live model again: is everything on it still what a gate put there, and not revoked since?

All of it is measured in full, whatever the policy measures on other days: this is how writes that no gate saw show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from skillwarrant_format.errors import LoadMismatch, PolicyDenied, Unavailable, WrongBase, shown
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.observation import Check
from skillwarrant_verify import base
from skillwarrant_verify.context import Context
from skillwarrant_verify.gate import withdrawn
from skillwarrant_verify.gate.charter import Charter
from skillwarrant_verify.gate.companions import Register
from skillwarrant_verify.loader.peft_adapter import adapter_names

__all__ = ["CheckReport", "check"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a look at a model found.

    Args:
        base: what the base model measures.
        adapters: on the model, sorted.
        checks: everything that was looked at: `base.unchanged`, `base.unaltered`, `adapters.known`, and for each
            adapter that a gate put there `adapter.unchanged` and `adapter.not-revoked`.
    """

    base: Fingerprint
    adapters: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def findings(self) -> tuple[Check, ...]:
        """What is not as a gate left it, is revoked by now, or could not be told."""
        return tuple(check for check in self.checks if check.outcome != "proved")

    def require(self) -> None:
        """Go on only if there is no finding.

        Raises:
            WrongBase: the base model is not what it was.
            LoadMismatch: anything else on it is not.
            PolicyDenied: all else is, and the policy revokes something on it.
            Unavailable: no gate of this process knows the model.
        """
        codes = {finding.code for finding in self.findings if finding.outcome == "not-proved"}
        found = "; ".join(finding.message for finding in self.findings)
        if "base.unchanged" in codes:
            raise WrongBase("the model is not what the gate left", found=found)
        if codes == {withdrawn.CODE}:
            revoked = tuple(f"{one.code}: {one.message}" for one in self.findings if one.code in codes)
            raise PolicyDenied("the policy revokes what is on the model", reasons=revoked, fix="Deactivate it.")
        if codes:
            raise LoadMismatch("the model is not what the gate left", found=found)
        if found:
            raise Unavailable("the model could not be checked", found=found)


def check(charter: Charter, model: Any, context: Context | None) -> CheckReport:
    """Measure a model and all on it. See `Gate.check`."""
    with base.exclusive(model):
        register = Register.of(model)
        measured = base.measure(model)
        names = adapter_names(model)
        report = CheckReport(
            base=measured.fingerprint,
            adapters=tuple(sorted(names)),
            checks=(
                *_checks(register, measured, model, names),
                *withdrawn.withdrawn_checks(charter, register, names),
            ),
        )
        if context is not None:
            _record(charter, context, register, report)
        return report


def _checks(register: Register, measured: base.Measurement, model: Any, names: frozenset[str]) -> Iterator[Check]:
    if register.base is None:
        message = "no gate of this process has done anything to this model"
        yield Check(code="base.unchanged", outcome="not-checked", message=message)
    else:
        same = (measured.fingerprint, measured.buffers) == (register.base, register.buffers)
        found = "what it measured then" if same else f"{measured.fingerprint.digest.short}…"
        then = f"{register.base.digest.short}…"
        yield _told("base.unchanged", same, f"the base measured {then}, and now measures {found}")
        new = sorted(set(register.unexplained(measured.alterations)) - set(register.alterations))
        yield _told("base.unaltered", not new, _listed("hung onto the base since", new))
    foreign = register.foreign(names)
    yield _told("adapters.known", not foreign, _listed("not from a gate of this process", foreign))
    for name, resident in sorted(register.residents.items()):
        difference = resident.seal.check(model)
        message = difference or f"{name} is what was loaded"
        yield _told("adapter.unchanged", difference is None, message, name)


def _told(code: str, proved: bool, message: str, adapter: str | None = None) -> Check:
    return Check(
        code=code, outcome="proved" if proved else "not-proved", message=shown(message, 1000), adapter=adapter
    )


def _listed(what: str, names: tuple[str, ...] | list[str]) -> str:
    return f"{what}: {', '.join(names) or 'nothing'}"


def _record(charter: Charter, context: Context, register: Register, report: CheckReport) -> None:
    candidates = tuple(candidate for one in register.residents.values() for candidate in one.candidates())
    attempt = charter.attempt(context, report.adapters, candidates)
    attempt.base, attempt.measured = report.base, report.checks
    count = len(report.findings)
    charter.record(attempt, "checked", f"{count} findings" if count else "the model is what the gate left")
