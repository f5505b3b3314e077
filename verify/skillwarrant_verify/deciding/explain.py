"""Why a decision is as it is: each denial with its input, what was expected and found, who asks, and what to do.

For people as text, for programs as JSON; from the decision alone, so that it can be told at any time. A tree of
what was proved is ordered by the part of the input that proves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from skillwarrant_format.errors import shown
from skillwarrant_format.fields import present
from skillwarrant_format.strict_json import JsonObject
from skillwarrant_verify.deciding.decision import Decision, Finding

__all__ = ["Explanation", "explain"]

_OUTCOMES: Final = {"allow": "allowed", "deny": "denied", "undecided": "could not be decided"}
_EVERY: Final = "every policy"
_PARTS: Final = {
    "warrant": "the warrant: who signed, when, where logged, which files",
    "manifest": "the manifest: what the publisher says",
    "adapter": "the adapter: what its own files say",
    "base": "the base model",
    "evidence": "further evidence",
    "companions": "what else is on the model",
    "weight": "what else is on the model",
    "context": "the place",
    "now": "the time",
    "versions": "installed packages",
    "history": "what was in use here",
}
_OWN: Final = "the policy's own rules"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is to be said of a decision."""

    decision: Decision

    def text(self, *, why_allowed: bool = False) -> str:
        """For people: what was not proved, what only warns, and, where asked for, the tree of what was proved."""
        decision = self.decision
        lines = [self._headline(), *self._block("not proved", decision.reasons)]
        lines += self._block("warnings: not proved, and tolerated by the policy", decision.warnings)
        if why_allowed:
            lines += ["", "proved"]
            for part, findings in self.tree():
                lines += [f"  {part}", *(f"    {_proof(finding)}" for finding in findings)]
        return "\n".join(lines)

    def tree(self) -> list[tuple[str, tuple[Finding, ...]]]:
        """What was proved, by the part of the input that proves it."""
        parts: dict[str, list[Finding]] = {}
        for finding in self.decision.checked:
            if finding.outcome == "proved":
                parts.setdefault(_part(finding), []).append(finding)
        return [(part, tuple(findings)) for part, findings in parts.items()]

    def to_json(self) -> JsonObject:
        """For programs. Fields are only ever added."""
        decision, inputs = self.decision, self.decision.inputs
        return {
            "outcome": decision.outcome,
            "hypothetical": decision.facts is None or decision.facts.verified is None,
            "policy": decision.policy.to_json(),
            **present(inputs=None if inputs is None else {"sha256": inputs.hex}),
            "requirements": [_finding_to_json(finding) for finding in decision.checked],
        }

    def _headline(self) -> str:
        policy, count = self.decision.policy, len(self.decision.checked)
        proved = sum(finding.outcome == "proved" for finding in self.decision.checked)
        name = shown(policy.name, 128)
        return (
            f"{_OUTCOMES[self.decision.outcome]} by policy {name} revision {policy.revision}: "
            f"{proved} of {count} requirements proved"
        )

    @staticmethod
    def _block(title: str, findings: Iterable[Finding]) -> list[str]:
        lines = [line for finding in findings for line in _told(finding)]
        return ["", title, *lines] if lines else []


def explain(decision: Decision) -> Explanation:
    """Explain a decision."""
    return Explanation(decision)


def _told(finding: Finding) -> Iterator[str]:
    unsure = " (could not be checked)" if finding.outcome == "not-checked" else ""
    yield f"  {shown(finding.code, 200)}{unsure}"
    yield f"    {shown(finding.message, 1000)}"
    rows = (
        ("input", finding.path),
        ("expected", finding.expected),
        ("found", finding.found),
        ("asked by", finding.asked_by or _EVERY),
        ("fix", finding.fix),
    )
    for name, value in rows:
        if value:
            yield f"      {name:<9} {shown(value, 2000)}"


def _proof(finding: Finding) -> str:
    return f"{shown(finding.code, 200):<22} {shown(finding.message, 1000)} ({finding.asked_by or _EVERY})"


def _part(finding: Finding) -> str:
    return _PARTS.get(finding.path.partition(".")[0].partition("[")[0], _OWN)


def _finding_to_json(finding: Finding) -> JsonObject:
    return present(
        code=finding.code,
        outcome=finding.outcome,
        severity=finding.severity,
        message=finding.message,
        input=finding.path,
        expected=finding.expected,
        found=finding.found,
        fix=finding.fix,
        askedBy=finding.asked_by,
    )
