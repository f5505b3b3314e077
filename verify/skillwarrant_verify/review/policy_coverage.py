"""What the cases of a policy show of it: each requirement proved by one of them, and denied by another.

Each is looked at in every case, so what counts is what came of it; what could not be checked shows nothing.
Several `[[evidence]]` of one kind are one requirement and different demands: each is looked at by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from skillwarrant_format.errors import FormatError
from skillwarrant_verify.deciding.catalogue import CATALOGUE
from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.decision_input import from_document
from skillwarrant_verify.deciding.facts import Facts
from skillwarrant_verify.deciding.requirement import RULES
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.review.policy_test import CaseResult

__all__ = ["Covered", "coverage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """How often cases saw one requirement proved, and not proved.

    Args:
        asked_by: the line of the policy that asks for it; None where every policy does, or none of its lines.
        denied: how often it was not proved, whether that denied or only warned.
    """

    code: str
    asked_by: str | None
    proved: int
    denied: int

    @property
    def fully(self) -> bool:
        """Whether some case shows that it can be met, and some that it can be failed."""
        return self.proved > 0 and self.denied > 0


def coverage(policy: Policy, results: Sequence[CaseResult]) -> tuple[Covered, ...]:
    """Every requirement of the policy, its own rules included, in the order in which they are checked.

    After them, what else came up: what Rego said, and inputs that are none.
    """
    seen = _counted(finding for result in results for finding in result.findings)
    own = (*CATALOGUE, *policy.rules)
    found = [one for code in own for one in _of(policy, code, seen, results)]
    others = dict.fromkeys(code for code, _ in seen if code not in own)
    return (*found, *(_covered(code, None, seen) for code in others))


Seen = Counter[tuple[str, str]]


def _counted(findings: Iterable[Finding]) -> Seen:
    return Counter((finding.code, finding.outcome) for finding in findings)


def _covered(code: str, asked_by: str | None, seen: Seen) -> Covered:
    return Covered(code=code, asked_by=asked_by, proved=seen[code, "proved"], denied=seen[code, "not-proved"])


def _of(policy: Policy, code: str, seen: Seen, results: Sequence[CaseResult]) -> Iterator[Covered]:
    """One requirement; of evidence, each demand."""
    demands = [number for number, rule in enumerate(policy.evidence) if rule.code == code]
    if len(demands) < 2:
        yield _covered(code, policy.asked_by(code), seen)
        return
    inputs = list(_facts(results))
    for number in demands:
        alone = replace(policy, evidence=(policy.evidence[number],))
        answers = (RULES[code](alone, facts) for facts in inputs)
        counted = _counted(answer for answer in answers if answer is not None)
        yield _covered(code, policy.asked_by(f"evidence[{number}]"), counted)


def _facts(results: Iterable[CaseResult]) -> Iterator[Facts]:
    """Of every case whose document is one."""
    for result in results:
        try:
            yield from_document(result.case.document)
        except FormatError:
            continue
