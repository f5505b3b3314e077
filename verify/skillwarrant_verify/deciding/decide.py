"""Every requirement is checked against the facts; the answer is a `Decision`.

The list of requirements is fixed and a policy cannot shorten it: a policy says what each is compared with.
Pure: no clock, no file, no network. Time is an input.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal

from skillwarrant_format.errors import FormatError
from skillwarrant_format.strict_json import JsonValue

# Importing them registers the rules.
from skillwarrant_verify.deciding import (  # noqa: F401
    rules_adapter,
    rules_base,
    rules_company,
    rules_data,
    rules_evidence,
    rules_limits,
    rules_operator,
    rules_origin,
    rules_place,
    rules_versions,
)
from skillwarrant_verify.deciding.catalogue import CATALOGUE
from skillwarrant_verify.deciding.decision import Decision, Finding
from skillwarrant_verify.deciding.decision_input import from_document
from skillwarrant_verify.deciding.facts import Facts
from skillwarrant_verify.deciding.rego_findings import rego_findings
from skillwarrant_verify.deciding.requirement import RULES
from skillwarrant_verify.deciding.user_rules import run_rule
from skillwarrant_verify.policy import Policy

__all__ = ["Facts", "decide", "decide_document", "requirements"]

_DOCUMENT: Final = "Correct the document: docs/reference/policy-input.md says what it must be."
_PATH: Final = re.compile(r"input\.([^\s:]+)")


def requirements() -> tuple[str, ...]:
    """Every code that must be proved, in the order they are checked."""
    return tuple(CATALOGUE)


def decide(policy: Policy, facts: Facts) -> Decision:
    """Check every requirement; nothing stops at the first failure, so that one answer names all reasons.

    Returns:
        A decision; call `require()` on it.
    """
    checked = (
        *_ours(policy, facts),
        *_own(policy, facts),
        *rego_findings(policy, facts),
    )
    outcomes = {finding.outcome for finding in checked if finding.severity == "deny"}
    unsure: Literal["undecided", "allow"] = "undecided" if "not-checked" in outcomes else "allow"
    return Decision(
        outcome="deny" if "not-proved" in outcomes else unsure,
        checked=checked,
        policy=policy.used(),
        facts=facts,
    )


def decide_document(policy: Policy, document: JsonValue) -> Decision:
    """What would be decided, if an input document were true. Never raises for a document: a bad one is denied.

    Returns:
        A decision of which `require()` gives nothing.
    """
    try:
        facts = from_document(document)
    except FormatError as error:
        path = _PATH.match(error.message)
        finding = Finding(
            code="input.malformed",
            outcome="not-proved",
            message=error.message,
            path=(path and path.group(1)) or "input",
            expected=error.expected,
            found=error.found,
            fix=error.fix or _DOCUMENT,
        )
        return Decision(outcome="deny", checked=(finding,), policy=policy.used(), facts=None)
    return decide(policy, facts)


def _ours(policy: Policy, facts: Facts) -> list[Finding]:
    """Of every requirement of the catalogue."""
    lenient, asked, found = policy.modes.lenient, policy.asked, []
    for code in CATALOGUE:
        rule = RULES.get(code)
        finding = None if rule is None else rule(policy, facts)
        if finding is None or finding.code != code:
            found.append(_nothing(code))
            continue
        if lenient or code in asked:
            severity = policy.severity(code, facts.now) if lenient else "deny"
            finding = finding.judged(severity, asked.get(code))
        found.append(finding)
    return found


def _nothing(code: str) -> Finding:
    """Of a rule of ours that gave no answer; never only a warning."""
    fix = "This is an error in skillwarrant: report it."
    return Finding(code=code, outcome="not-proved", message="the rule proved nothing", path=code, fix=fix)


def _own(policy: Policy, facts: Facts) -> Iterator[Finding]:
    """Of the policy's own rules."""
    for code, rule in policy.rules.items():
        finding = run_rule(code, rule, policy, facts)
        severity = policy.severity(code, facts.now) if finding.code == code else "deny"
        yield finding.judged(severity, policy.asked_by(code))
