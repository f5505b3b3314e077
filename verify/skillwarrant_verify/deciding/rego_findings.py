"""Rego beside the native rules: what modules of the policy, or the user's own OPA server, add to a decision.

They can only add: a denial, a warning, and that they were asked at all. Who cannot be asked leaves it undecided.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from skillwarrant_format.errors import FormatError, Unavailable, shown
from skillwarrant_format.strict_json import JsonObject
from skillwarrant_verify.deciding.decision import Finding, Severity
from skillwarrant_verify.deciding.decision_input import to_document
from skillwarrant_verify.deciding.requirement import WITHHELD, unknown, yes

if TYPE_CHECKING:
    from skillwarrant_verify.deciding.facts import Facts
    from skillwarrant_verify.policy import Policy
    from skillwarrant_verify.rego.answer import RegoAnswer, RegoFinding

__all__ = ["BROKEN", "rego_findings"]

BROKEN: Final = frozenset(
    {"rego.error", "rego.malformed", "rego.missing", "rego.reserved", "rego.timeout", "rego.undefined"}
)
"""Denials because the policy is broken, or nothing can be read of its answer: those are never only a warning."""
_REPAIR: Final = "Correct the policy's Rego; docs/reference/rego.md says what is accepted."
_FIXES: Final = {
    **dict.fromkeys(("rego.error", "rego.malformed", "rego.undefined"), _REPAIR),
    "rego.allow": "Meet a condition of `allow`, or ask who wrote it which of them is not met.",
    "rego.missing": "Read what may be absent with object.get, or give what is missing.",
    "rego.reserved": "Give the message a code of the policy's own, like acme.region.",
    "rego.timeout": "Make the rules cheaper: docs/reference/rego.md has the limits.",
}
_THEIRS: Final = "Do as the rule asks, or ask who wrote it."
_EVALUATED: Final = "rego.evaluated"


def rego_findings(policy: Policy, facts: Facts) -> Iterator[Finding]:
    """What Rego rules say of these facts; nothing where the policy names none."""
    modules, opa = policy.modules, policy.opa
    if modules is not None:
        yield from _asked(policy, facts, "rego", lambda document: modules.evaluate(document, policy.document))
    if opa is not None:
        yield from _asked(policy, facts, "opa", opa.evaluate)


def _asked(policy: Policy, facts: Facts, key: str, ask: Callable[[JsonObject], RegoAnswer]) -> Iterator[Finding]:
    if facts.context.redacted:
        message = "names were taken out of this document, which Rego rules may read"
        yield unknown(_EVALUATED, message, "context.redacted", WITHHELD)
        return
    try:
        answer = ask(to_document(facts))
    except Unavailable as error:
        yield unknown(_EVALUATED, f"Rego rules could not be asked: {error.message}", key, error.fix)
        return
    except FormatError as error:
        yield Finding(
            code="rego.error",
            outcome="not-proved",
            message=f"Rego rules were not asked: {error}",
            path=key,
            fix=_FIXES["rego.error"],
        )
        return
    asked = policy.asked_by(key)
    yield yes(_EVALUATED, _who(answer), key)
    for denial in answer.denials:
        severity = "deny" if denial.code in BROKEN else policy.modes.all.at(facts.now)
        yield _finding(denial, severity, asked)
    for warning in answer.warnings:
        yield _finding(warning, "warn", asked)


def _who(answer: RegoAnswer) -> str:
    """Which rules were asked; of a server, its own name for this decision too, which its decision log has."""
    rules = f"{len(answer.evaluated)} rules: {', '.join(answer.evaluated[:5])}"
    return rules if answer.decision_id is None else f"{rules}; decision_id {answer.decision_id}"


def _finding(said: RegoFinding, severity: Severity, asked: str | None) -> Finding:
    details = None if said.details is None else shown(json.dumps(said.details, ensure_ascii=False), 300)
    return Finding(
        code=said.code,
        outcome="not-proved",
        message=shown(said.message, 1000),
        path=said.rule,
        found=details,
        fix=_FIXES.get(said.code, _THEIRS),
        severity=severity,
        asked_by=" ".join((*said.where[:1], said.rule)) if said.where else asked,
    )
