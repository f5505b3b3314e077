"""A requirement is a code that must be proved by a rule: the registry of rules, and the words they answer in.

Deny is the absence of proof: a rule that returns nothing, or meets a missing input, proves nothing. The rules
themselves are in the modules `rules_…`, which `decide` imports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from skillwarrant_format.fields import format_time
from skillwarrant_verify.decision import Finding
from skillwarrant_verify.facts import Facts
from skillwarrant_verify.policy import Policy

__all__ = ["RULES", "Rule", "any_of", "listed", "no", "proves", "within", "yes"]

Rule = Callable[[Policy, Facts], "Finding | None"]
_RULES: Final[dict[str, Rule]] = {}
RULES: Final[Mapping[str, Rule]] = MappingProxyType(_RULES)
"""Every requirement's code and its rule, in the order they are checked."""


def proves(code: str) -> Callable[[Rule], Rule]:
    """Register the rule that proves `code`."""

    def register(rule: Rule) -> Rule:
        if code in _RULES:
            raise ValueError(f"two rules for {code}")
        _RULES[code] = rule
        return rule

    return register


def yes(code: str, message: str, path: str) -> Finding:
    """It is proved."""
    return Finding(code=code, outcome="proved", message=message, path=path)


def no(code: str, message: str, path: str, *, expected: str, found: str, fix: str | None = None) -> Finding:
    return Finding(
        code=code, outcome="not-proved", message=message, path=path, expected=expected, found=found, fix=fix
    )


def any_of(names: tuple[str, ...]) -> str:
    """What would have been accepted, in words."""
    return " or ".join(names)


def listed(code: str, path: str, what: str, allowed: tuple[str, ...], found: str | None) -> Finding:
    """A constraint that the publisher may set: where it is set, the context has to meet it."""
    if not allowed:
        return yes(code, f"the publisher sets no {what}", path)
    if found in allowed:
        return yes(code, f"the publisher sanctions this {what}", path)
    message = f"the publisher does not sanction this {what}"
    return no(code, message, path, expected=any_of(allowed), found=found or "nothing")


def within(
    code: str, path: str, message: str, window: tuple[datetime | None, datetime | None], now: datetime
) -> Finding:
    before, after = window
    start = format_time(before) if before else "any time"
    end = format_time(after) if after else "any time"
    if (before and now < before) or (after and now >= after):
        return no(code, message, path, expected=f"from {start} until {end}", found=format_time(now))
    return yes(code, f"in force from {start} until {end}", path)
