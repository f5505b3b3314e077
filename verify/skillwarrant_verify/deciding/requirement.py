"""A requirement is a code that must be proved by a rule: the registry of rules, and the words they answer in.

Deny is the absence of proof: a rule that returns nothing, or meets a missing input, proves nothing. The rules
themselves are in the modules `rules_…`, which `decide` imports, and in modules that a policy names (`user_rules`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

from skillwarrant_format.fields import format_time
from skillwarrant_verify.deciding.catalogue import CATALOGUE, nearest
from skillwarrant_verify.deciding.codes import is_reserved
from skillwarrant_verify.deciding.decision import Finding

if TYPE_CHECKING:
    from skillwarrant_verify.deciding.facts import Facts
    from skillwarrant_verify.policy import Policy


__all__ = [
    "OWN",
    "RULES",
    "WITHHELD",
    "Rule",
    "any_of",
    "check_own_code",
    "listed",
    "no",
    "proves",
    "unknown",
    "within",
    "yes",
]

Rule: TypeAlias = "Callable[[Policy, Facts], Finding | None]"
_RULES: Final[dict[str, Rule]] = {}
RULES: Final[Mapping[str, Rule]] = MappingProxyType(_RULES)
"""The rule of every code in the catalogue."""

OWN: Final[ContextVar[dict[str, Rule] | None]] = ContextVar("OWN", default=None)
"""Where the rules of a policy's own module go while it is loaded; None: no such module is being loaded."""


def proves(code: str) -> Callable[[Rule], Rule]:
    """Register the rule that proves `code`.

    In a module that a policy names, it is registered for that policy alone, and the code is the policy's own.

    Raises:
        ValueError: a code that has a rule already, or is none of the catalogue, or a policy's own that has no dot
            or is one of ours.
    """

    def register(rule: Rule) -> Rule:
        own = OWN.get()
        if own is None:
            _register(code, rule)
        else:
            _register_own(own, code, rule)
        return rule

    return register


def _register(code: str, rule: Rule) -> None:
    if code not in CATALOGUE:
        raise ValueError(f"{code} is no requirement. {nearest(code, CATALOGUE) or ''}")
    if code in _RULES:
        raise ValueError(f"two rules for {code}")
    _RULES[code] = rule


def _register_own(own: dict[str, Rule], code: str, rule: Rule) -> None:
    check_own_code(code)
    if code in own:
        raise ValueError(f"two rules for {code}")
    own[code] = rule


def check_own_code(code: str) -> None:
    """Whether a policy's own rule may prove this.

    Raises:
        ValueError: it is no code with a dot, or one of ours.
    """
    from skillwarrant_format.names import LABEL

    if not isinstance(code, str) or not LABEL.fullmatch(code) or "." not in code:
        raise ValueError(f"{code!r} is no code: write letters and digits with a dot, like acme.reviewed")
    if is_reserved(code):
        raise ValueError(f"{code} is a code of skillwarrant's own: choose another, like acme.{code}")


WITHHELD: Final = "Decide from a document that names everybody; what is kept beside a log never does."
"""What to do where a name was taken out of the document."""


def yes(code: str, message: str, path: str) -> Finding:
    """It is proved."""
    # As Finding(…) does it, in half the time: nearly every finding of nearly every decision is made here.
    return tuple.__new__(Finding, (code, "proved", message, path, None, None, None, "deny", None))


def no(code: str, message: str, path: str, *, expected: str, found: str, fix: str | None = None) -> Finding:
    """It was checked, and is not so."""
    return Finding(
        code=code, outcome="not-proved", message=message, path=path, expected=expected, found=found, fix=fix
    )


def unknown(code: str, message: str, path: str, fix: str | None = None) -> Finding:
    """It could not be checked: an input is not there."""
    return Finding(code=code, outcome="not-checked", message=message, path=path, fix=fix)


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
    fix = f"Ask the publisher for a release that sanctions this {what}, or check what the context says of it."
    return no(code, message, path, expected=any_of(allowed), found=found or "nothing", fix=fix)


def within(
    code: str, path: str, message: str, window: tuple[datetime | None, datetime | None], now: datetime, *, fix: str
) -> Finding:
    """A window of time that now must be in; an end that is None is open."""
    before, after = window
    start = format_time(before) if before else "any time"
    end = format_time(after) if after else "any time"
    if (before and now < before) or (after and now >= after):
        return no(code, message, path, expected=f"from {start} until {end}", found=format_time(now), fix=fix)
    return yes(code, f"in force from {start} until {end}", path)
