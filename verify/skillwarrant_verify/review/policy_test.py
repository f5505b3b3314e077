"""Running a policy's cases and its tests in Rego. Reading cases is in `policy_cases`, what they cover next door."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skillwarrant_format.errors import Unavailable, UsageError
from skillwarrant_verify.deciding.decide import decide_document
from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.document.named_files import files_below
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.review.policy_cases import Case, Outcome

if TYPE_CHECKING:
    from skillwarrant_verify.rego.tests import RegoTestRun

__all__ = ["CaseResult", "run_cases", "run_rego_tests"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """What became of a case.

    Args:
        outcome: what was decided.
        findings: every requirement that was looked at.
    """

    case: Case
    outcome: Outcome
    findings: tuple[Finding, ...]

    @property
    def denied(self) -> frozenset[str]:
        """The codes that were not proved and deny."""
        return frozenset(one.code for one in self.findings if one.outcome != "proved" and not one.tolerated)

    @property
    def warned(self) -> frozenset[str]:
        """The codes that were not proved and are tolerated."""
        return frozenset(one.code for one in self.findings if one.tolerated)

    @property
    def complaints(self) -> tuple[str, ...]:
        """How it came out otherwise than the case says, one sentence each; none where it passed."""
        said = (
            [] if self.outcome == self.case.outcome else [f"expected {self.case.outcome}, and it is {self.outcome}"]
        )
        for codes, found, word in (
            (self.case.deny, self.denied, "denied by"),
            (self.case.warn, self.warned, "warned of by"),
        ):
            if codes - found:
                said.append(f"expected to be {word} {_listed(codes - found)}, and it is not")
            if found - codes:
                said.append(f"{word} {_listed(found - codes)}, which was not expected")
        return tuple(said)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Of a case that failed: what was found by the requirements that nobody expected to speak."""
        expected = self.case.deny | self.case.warn
        return tuple(
            str(finding)
            for finding in self.findings
            if finding.outcome != "proved" and finding.code not in expected
        )


def run_cases(policy: Policy, cases: Iterable[Case]) -> tuple[CaseResult, ...]:
    """Decide every case. Nothing of it can lead to a load: its facts are hypothetical."""
    return tuple(_run(policy, case) for case in cases)


def _run(policy: Policy, case: Case) -> CaseResult:
    decision = decide_document(policy, case.document)
    return CaseResult(case=case, outcome=decision.outcome, findings=decision.checked)


def run_rego_tests(policy: Policy, path: Path) -> RegoTestRun | None:
    """Run the `test_*` rules of a policy's Rego modules, and of the `*_test.rego` beside them; None: it names none.

    What only tests need decides nothing, so the policy need not name it.

    Args:
        path: of the policy document.

    Raises:
        UsageError: below the policy lie tests that would not be run.
        PolicyError: the tests' files cannot be used together with the modules.
        Unavailable: a file cannot be read, or the engine is not there.
    """
    named = [file for file in policy.files if file.name.endswith(".rego")]
    _refuse_elsewhere(path.parent, {(path.parent / file.name).parent for file in named})
    if not named:
        return None
    from skillwarrant_verify.rego.modules import RegoModules

    read = files_below(path.parent)
    files = {file.name: file.read(read) for file in named}
    try:
        for folder in {(path.parent / name).parent for name in files}:
            for test in sorted(folder.glob("*_test.rego")):
                files.setdefault(test.relative_to(path.parent).as_posix(), test.read_bytes())
    except OSError as error:
        raise Unavailable("the tests in Rego cannot be read", found=error.strerror) from error
    with RegoModules.load(files) as modules:
        return modules.run_tests(policy.document)


def _refuse_elsewhere(directory: Path, folders: set[Path]) -> None:
    """Tests that nobody runs show nothing. Two folders deep is looked: where people put tests."""
    try:
        for depth in ("", "*/", "*/*/"):
            for test in sorted(directory.glob(f"{depth}*_test.rego")):
                if test.parent not in folders:
                    raise UsageError(
                        f"{test} would not be run",
                        expected="tests in Rego beside a module that the policy names",
                        found=test.name,
                        fix="Move it there, or take it away: what nobody runs shows nothing.",
                    )
    except OSError as error:
        raise Unavailable("the tests in Rego cannot be read", found=error.strerror) from error


def _listed(codes: Iterable[str]) -> str:
    return ", ".join(sorted(codes))
