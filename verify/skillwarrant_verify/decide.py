"""Every requirement is checked against the facts; the answer is a `Decision`.

The list of requirements is fixed and a policy cannot shorten it: a policy says what each is compared with.
Pure: no clock, no file, no network. Time is an input.
"""

from __future__ import annotations

from typing import Literal

# Importing them registers the rules, in this order.
from skillwarrant_verify import rules_origin  # noqa: F401

# isort: split
from skillwarrant_verify import rules_base, rules_company, rules_operator, rules_place  # noqa: F401
from skillwarrant_verify.decision import Decision, Finding
from skillwarrant_verify.facts import Facts
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.requirement import RULES, Rule

__all__ = ["Facts", "decide", "requirements"]


def requirements() -> tuple[str, ...]:
    """Every code that must be proved, in the order they are checked."""
    return tuple(RULES)


def decide(policy: Policy, facts: Facts) -> Decision:
    """Check every requirement; nothing stops at the first failure, so that one answer names all reasons.

    Returns:
        A decision; call `require()` on it.
    """
    checked = tuple(_run(code, rule, policy, facts) for code, rule in RULES.items())
    outcomes = {finding.outcome for finding in checked}
    unsure: Literal["undecided", "allow"] = "undecided" if "not-checked" in outcomes else "allow"
    return Decision(
        outcome="deny" if "not-proved" in outcomes else unsure,
        checked=checked,
        policy=policy.used(),
        inputs=facts.digest(),
        facts=facts,
    )


def _run(code: str, rule: Rule, policy: Policy, facts: Facts) -> Finding:
    finding = rule(policy, facts)
    if finding is None or finding.code != code:
        return Finding(code=code, outcome="not-proved", message="the rule proved nothing", path=code)
    return finding
