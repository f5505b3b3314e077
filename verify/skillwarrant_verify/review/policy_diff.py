"""Which past decisions another policy would change.

Each is made again under both policies, from what it was made from, and **at its own time**: what is asked is what
would have been decided then, so an adapter that was fresh then is fresh here too. Of a decision that the old policy
made, the record says what came of it, and making it again must give the same.

What cannot be told is said and never guessed: an input that is not kept, a name that was taken out of it, a package
whose version nobody looked up. What was taken out matters only where a policy asks for it: what is on record stands
for it where both policies ask the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from skillwarrant_format.observation import Check
from skillwarrant_verify.deciding.catalogue import CATALOGUE
from skillwarrant_verify.deciding.decide import decide_document
from skillwarrant_verify.deciding.decision import Decision, Finding
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.review.past import PastDecision
from skillwarrant_verify.review.policy_cases import Outcome

__all__ = ["Change", "Remade", "compare"]

Change = Literal["same", "now-denied", "now-allowed", "otherwise", "unknown"]
_MALFORMED: Final = "input.malformed"
_REGO: Final = "rego.evaluated"
_WITHHELD: Final = ("context.operator", "context.redacted", "history", "opa", "rego", "versions")
"""Paths of what a record may not hold, and of whom nobody may be able to ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remade:
    """A past decision under two policies.

    Args:
        change: `otherwise` is from or to undecided; `unknown` says why in `unknown`.
        old, new: what each policy decides; None where it cannot be told.
        reasons: why the new one does not allow it, or, of what it now allows, why the old one did not.
        unknown: why it cannot be told.
    """

    past: PastDecision
    change: Change
    old: Outcome | None = None
    new: Outcome | None = None
    reasons: tuple[Check, ...] = ()
    unknown: str | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a policy decides: an outcome, or why it cannot be told."""

    outcome: Outcome | None
    reasons: tuple[Check, ...] = ()
    unknown: str | None = None


def compare(old: Policy, new: Policy, decisions: Iterable[PastDecision]) -> tuple[Remade, ...]:
    """Make past decisions again under both policies."""
    return tuple(_compared(old, new, past) for past in decisions)


def _compared(old: Policy, new: Policy, past: PastDecision) -> Remade:
    if past.document is None:
        return Remade(past=past, change="unknown", unknown=past.missing)
    before, after = (_answer(policy, past, also=old) for policy in (old, new))
    if before.outcome is None or after.outcome is None:
        return Remade(past=past, change="unknown", unknown=before.unknown or after.unknown)
    change = _change(before.outcome, after.outcome)
    return Remade(
        past=past,
        change=change,
        old=before.outcome,
        new=after.outcome,
        reasons=before.reasons if change == "now-allowed" else after.reasons,
    )


def _change(before: Outcome, after: Outcome) -> Change:
    if before == after:
        return "same"
    if after == "allow":
        return "now-allowed"
    return "now-denied" if before == "allow" and after == "deny" else "otherwise"


def _answer(policy: Policy, past: PastDecision, *, also: Policy) -> _Answer:
    """What a policy decides; what is on record, where it is the one that did."""
    if past.policy.digest != policy.digest:
        return _made_by_another(policy, past, also)
    decision = decide_document(policy, past.document)
    if why := _unlike(decision, past):
        return _Answer(None, unknown=f"making it again does not give what is on record: {why}")
    return _Answer(past.outcome, tuple(check for check in past.checks if check.code in past.reasons))


def _unlike(decision: Decision, past: PastDecision) -> str | None:
    """How a decision that was made again differs from the record, beside what the record does not keep."""
    withheld = {finding.code for finding in decision.checked if _is_withheld(finding)}
    again = {(one.code, one.outcome, one.tolerated) for one in decision.checked if one.code not in withheld}
    record = {(one.code, one.outcome, one.tolerated) for one in past.checks if one.code not in withheld}
    if _REGO in withheld:  # what its rules said then is on record, and cannot be said again
        record = {one for one in record if one[0] in CATALOGUE}
    different = sorted(again ^ record)
    if not different:
        return None
    where = "on record, and not now" if different[0] in record else "so now, and not on record"
    return f"{different[0][0]} {different[0][1]} is {where}"


def _made_by_another(policy: Policy, past: PastDecision, also: Policy) -> _Answer:
    """What a policy decides that is not the one on record; `also` may be that one."""
    decision = decide_document(policy, past.document)
    if any(finding.code == _MALFORMED for finding in decision.checked):
        return _Answer(None, unknown=f"its input cannot be read by this release: {decision.checked[0]}")
    findings = [_filled(finding, policy, past, also) for finding in _looked_up(decision, policy, past, also)]
    reasons = tuple(one for one in findings if one.outcome != "proved" and one.severity == "deny")
    if denials := tuple(one for one in reasons if one.outcome == "not-proved"):
        return _Answer("deny", _checks(denials))
    if withheld := [one for one in reasons if _is_withheld(one)]:
        codes = ", ".join(one.code for one in withheld)
        return _Answer(None, unknown=f"{codes}: {withheld[0].message}")
    return _Answer("undecided" if reasons else "allow", _checks(reasons))


def _checks(findings: Iterable[Finding]) -> tuple[Check, ...]:
    return tuple(finding.check() for finding in findings)


def _is_withheld(finding: Finding) -> bool:
    """Whether it cannot be told because of what is not there, and not because of what is."""
    return finding.outcome == "not-checked" and finding.path in _WITHHELD


def _filled(finding: Finding, policy: Policy, past: PastDecision, also: Policy) -> Finding:
    """With what is on record, where that is the answer to the very same question."""
    same = finding.code == "operator.allowed" or (
        finding.code == "operator.verified"
        and past.policy.digest == also.digest
        and policy.operators == also.operators
    )
    if not same or not _is_withheld(finding):
        return finding
    for check in past.checks:
        if check.code == finding.code:
            return finding._replace(outcome=check.outcome, message=f"on record: {check.message}")
    return finding


def _looked_up(decision: Decision, policy: Policy, past: PastDecision, also: Policy) -> tuple[Finding, ...]:
    """A package whose version nobody asked for then is not one that was missing."""
    facts = decision.facts
    if facts is None or facts.versions is None:
        return decision.checked
    asked = {name for name, _ in facts.manifest.requires} | facts.versions.keys()
    if past.policy.digest == also.digest:
        asked |= {name for name, _ in also.dependencies}
    nobody = [name for name, _ in policy.dependencies if name not in asked]
    if not nobody:
        return decision.checked
    known = tuple((name, wanted) for name, wanted in policy.dependencies if name in asked)
    others = decide_document(replace(policy, dependencies=known), past.document)
    return tuple(
        finding._replace(
            outcome="not-checked",
            message=f"nobody looked then which version of {nobody[0]} is installed",
        )
        if finding.code == "dependencies.met" and finding.outcome == "proved"
        else finding
        for finding in others.checked
    )
