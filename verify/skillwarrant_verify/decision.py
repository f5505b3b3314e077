"""`Decision`: what a policy found, in a shape that cannot be mistaken for a yes.

A decision has no truth value. The only way on is `require()`, which gives an `Allowed`, and only an `Allowed`
is what the loader takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn

from skillwarrant_format.errors import PolicyDenied, Unavailable, shown
from skillwarrant_format.observation import Check, Outcome

if TYPE_CHECKING:
    from skillwarrant_format.digest import Digest
    from skillwarrant_format.observation import PolicyUsed
    from skillwarrant_verify.facts import Facts

__all__ = ["Allowed", "Decision", "Finding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of one requirement.

    Args:
        code: the requirement's stable code, `base.matches`.
        outcome: proved, not proved, or not checked because an input is not there.
        message: one sentence.
        path: the input that decided, `context.environment`.
    """

    code: str
    outcome: Outcome
    message: str
    path: str
    expected: str | None = None
    found: str | None = None
    fix: str | None = None

    def __str__(self) -> str:
        parts = [f"expected {self.expected}" if self.expected else "", f"found {self.found}" if self.found else ""]
        details = ", ".join(part for part in parts if part)
        line = f"{self.message}: {details}" if details else self.message
        return f"[{self.code}] {line}. {self.fix}" if self.fix else f"[{self.code}] {line}"

    def check(self, adapter: str | None = None) -> Check:
        """The form that observations keep; `adapter` names whose it is, where there are several."""
        return Check(code=self.code, outcome=self.outcome, message=shown(str(self), 1000), adapter=adapter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """All requirements and what became of each; at least one.

    Args:
        outcome: `allow` when every requirement was proved; `deny` when one was checked and not proved;
            `undecided` when all that is missing are inputs nobody gave.
        checked: every requirement, proved or not.
        policy: which policy decided.
        inputs: digest of the canonical JSON of everything the rules were given.
    """

    outcome: Literal["allow", "deny", "undecided"]
    checked: tuple[Finding, ...]
    policy: PolicyUsed
    inputs: Digest
    facts: Facts

    @property
    def reasons(self) -> tuple[Finding, ...]:
        """The requirements that were not proved."""
        return tuple(finding for finding in self.checked if finding.outcome != "proved")

    def __bool__(self) -> NoReturn:
        raise TypeError("a Decision is neither true nor false: call require(), or read outcome")

    def require(self) -> Allowed:
        """The way on.

        Raises:
            PolicyDenied: a requirement was checked and not proved.
            Unavailable: an input is missing, so that it could not be checked.
        """
        reasons = tuple(str(finding) for finding in self.reasons)
        if self.outcome == "allow" and not reasons and self.checked:
            return Allowed(self)
        if self.outcome == "undecided":
            raise Unavailable(f"policy {self.policy.name!r} could not be checked: " + "; ".join(reasons))
        raise PolicyDenied(f"policy {self.policy.name!r} denies this activation", reasons=reasons or ("no proof",))


@dataclass(frozen=True, slots=True)
class Allowed:
    """A decision that allows. Built by `Decision.require` only."""

    decision: Decision

    def __post_init__(self) -> None:
        if self.decision.outcome != "allow" or self.decision.reasons or not self.decision.checked:
            raise ValueError("only an allowing decision can be Allowed")
