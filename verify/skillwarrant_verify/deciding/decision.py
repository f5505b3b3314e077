"""`Decision`: what a policy found, in a shape that cannot be mistaken for a yes.

A decision has no truth value. The only way on is `require()`, which gives an `Allowed`, and only an `Allowed`
is what the loader takes. A decision of hypothetical facts has no way on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, NoReturn, TypeAlias

from skillwarrant_format.errors import PolicyDenied, Unavailable, UsageError, shown
from skillwarrant_format.observation import Check, Outcome

if TYPE_CHECKING:
    from skillwarrant_format.digest import Digest
    from skillwarrant_format.observation import PolicyUsed
    from skillwarrant_verify.deciding.facts import AuthorisedBase, Facts

__all__ = ["Allowed", "Decision", "Finding", "Severity"]

Severity: TypeAlias = Literal["deny", "warn"]


class Finding(NamedTuple):
    """What became of one requirement. Write its fields by name.

    A tuple, because each decision makes forty: it is as unchangeable as a frozen dataclass, and made in a third of
    the time.

    Args:
        code: the requirement's stable code, `base.matches`.
        outcome: proved, not proved, or not checked because an input is not there.
        message: one sentence.
        path: the field of the input document that decided, `context.environment`.
        severity: whether the policy denies for it, or only warns.
        asked_by: the line of the policy that asks for it, `policy.toml:12 environments`; None where every policy
            does.
    """

    code: str
    outcome: Outcome
    message: str
    path: str
    expected: str | None = None
    found: str | None = None
    fix: str | None = None
    severity: Severity = "deny"
    asked_by: str | None = None

    def __str__(self) -> str:
        parts = [f"expected {self.expected}" if self.expected else "", f"found {self.found}" if self.found else ""]
        details = ", ".join(part for part in parts if part)
        line = f"{self.message}: {details}" if details else self.message
        if self.outcome == "proved":
            asked = ""
        else:
            line = f"{line}, at {self.place}"
            asked = f" (asked by {self.asked_by})" if self.asked_by else ""
        return f"[{self.code}] {line}{asked}. {self.fix}" if self.fix else f"[{self.code}] {line}{asked}"

    @property
    def place(self) -> str:
        """The input's path as Rego writes it: `input.context.environment`."""
        return self.path if self.path == "input" else f"input.{self.path}"

    def judged(self, severity: Severity, asked_by: str | None) -> Finding:
        """With what the policy says of its own requirement, whatever the rule says of itself."""
        return tuple.__new__(Finding, (*self[:_SAID], severity, asked_by))

    @property
    def tolerated(self) -> bool:
        """Whether it is not proved, and the policy lets that pass with a warning."""
        return self.severity == "warn" and self.outcome != "proved"

    def check(self, adapter: str | None = None) -> Check:
        """The form that observations keep; `adapter` names whose it is, where there are several."""
        return Check(
            code=shown(self.code, 200),
            outcome=self.outcome,
            message=shown(str(self), 1000),
            adapter=adapter,
            tolerated=self.tolerated,
        )


_SAID: Final = 7  # how many fields a rule fills in; severity and asked_by are the policy's


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """All requirements and what became of each; at least one.

    Args:
        outcome: `allow` when every requirement was proved, or tolerated; `deny` when one was checked and not
            proved; `undecided` when all that is missing are inputs nobody gave.
        checked: every requirement, proved or not, and what Rego rules say beside them.
        policy: which policy decided.
        facts: what it was decided from; None where that was a document that is none.
    """

    outcome: Literal["allow", "deny", "undecided"]
    checked: tuple[Finding, ...]
    policy: PolicyUsed
    facts: Facts | None

    @property
    def reasons(self) -> tuple[Finding, ...]:
        """What was not proved and is not tolerated."""
        return tuple(
            finding for finding in self.checked if finding.outcome != "proved" and finding.severity == "deny"
        )

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What was not proved and is tolerated."""
        return tuple(finding for finding in self.checked if finding.tolerated)

    @property
    def inputs(self) -> Digest | None:
        """Digest of the canonical JSON of the input document; made when it is asked for."""
        from skillwarrant_verify.deciding.decision_input import input_digest

        return None if self.facts is None else input_digest(self.facts)

    def authorised_base(self) -> AuthorisedBase | None:
        """The base model that the manifest authorises and that was measured; None where it is neither."""
        return None if self.facts is None else self.facts.authorised_base()

    def __bool__(self) -> NoReturn:
        raise TypeError("a Decision is neither true nor false: call require(), or read outcome")

    def require(self) -> Allowed:
        """The way on.

        Raises:
            PolicyDenied: a requirement was checked and not proved.
            Unavailable: an input is missing, so that it could not be checked.
            UsageError: the facts are hypothetical: nobody verified anything.
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
        decision = self.decision
        if decision.outcome != "allow" or decision.reasons or not decision.checked:
            raise ValueError("only an allowing decision can be Allowed")
        if decision.facts is None or decision.facts.verified is None:
            raise UsageError(
                "a decision of hypothetical facts allows nothing",
                expected="facts of a verified manifest",
                found="facts from a document",
            )
