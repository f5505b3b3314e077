"""`skillwarrant policy test`: the cases beside a policy, and its tests in Rego."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from skillwarrant_cli import output
from skillwarrant_cli.options import FILE, PATH, json_option
from skillwarrant_cli.reach_choice import ReachChoice, reach_options

if TYPE_CHECKING:
    from skillwarrant_cli.junit import Test
    from skillwarrant_cli.sarif import Result
    from skillwarrant_format.strict_json import JsonObject
    from skillwarrant_verify.document.policy_reach import Reach
    from skillwarrant_verify.policy import Policy
    from skillwarrant_verify.rego.tests import RegoTest, RegoTestRun
    from skillwarrant_verify.review.policy_coverage import Covered
    from skillwarrant_verify.review.policy_test import CaseResult

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("passed", "policy.failed")
FIELDS: Final = {
    "policies": "each: `file`, `name`, `revision`, `cases`, `coverage`, and where it names Rego `rego`",
    "policies[].cases": "each: `name`, `place`, `passed`, `outcome`, `denied`, `warned`; of a failed one "
    "`complaints` and `reasons`",
    "policies[].coverage": "each requirement: `code`, how often it was `proved` and `denied` (a warning counts, "
    "what could not be checked does not), `askedBy`, the line that asks for it, and `covered`: both",
    "skipped": "folders in DIR that were not looked at: they hold no policy, or DIR holds one itself",
    "policies[].rego": "`tests` (`name`, `place`, `outcome`, `message`) and `lines` (of each file `covered` and "
    "`missed`)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tested:
    """One policy, and what came of it."""

    file: Path
    policy: Policy
    results: tuple[CaseResult, ...]
    covered: tuple[Covered, ...]
    rego: RegoTestRun | None

    @property
    def failed(self) -> list[CaseResult | RegoTest]:
        rego = () if self.rego is None else self.rego.tests
        return [
            *(result for result in self.results if result.complaints),
            *(test for test in rego if test.outcome in ("fail", "error")),
        ]

    @property
    def unseen(self) -> list[Covered]:
        """What the policy itself asks for, and no case shows both ways."""
        return [one for one in self.covered if one.asked_by is not None and not one.fully]

    @property
    def count(self) -> int:
        return len(self.results) + (0 if self.rego is None else len(self.rego.tests))


@click.command("test")
@click.argument("path", metavar="DIR|FILE", type=PATH)
@click.option("--junit", metavar="FILE", type=FILE, help="Also write the results as JUnit's XML.")
@click.option("--sarif", metavar="FILE", type=FILE, help="Also write what failed as SARIF 2.1.0.")
@reach_options
@json_option
def command(*, path: Path, junit: Path | None, sarif: Path | None, reach: ReachChoice, as_json: bool) -> None:
    """Run the cases that lie beside a policy.

    Cases are in cases.toml and cases/*.json; tests in Rego are run where the policy names Rego. DIR may hold one
    policy, or directories with one each. A policy without cases is an error. What no case shows both proved and
    denied is named: nobody has seen that line of the policy work.

    A policy with Python rules of its own, or with an OPA server, is tested only with --run-rules or --contact-opa:
    deciding by it runs the one and sends inputs to the other.
    """
    from skillwarrant_verify.review.policy_cases import find_policies, skipped_folders

    tested = [_test(file, reach.reach()) for file in find_policies(path)]
    if junit is not None:
        from skillwarrant_cli.junit import write_junit

        write_junit(junit, {str(one.file): list(_junit_tests(one)) for one in tested})
    if sarif is not None:
        from skillwarrant_cli.sarif import write_sarif

        write_sarif(sarif, [result for one in tested for result in _sarif_results(one)], {})
    _tell(tested, skipped_folders(path), as_json=as_json)


def _test(file: Path, reach: Reach) -> _Tested:
    from skillwarrant_verify.policy import Policy
    from skillwarrant_verify.review.policy_cases import read_cases
    from skillwarrant_verify.review.policy_coverage import coverage
    from skillwarrant_verify.review.policy_test import run_cases, run_rego_tests

    policy = Policy.load(file, reach=reach)
    results = run_cases(policy, read_cases(file))
    return _Tested(
        file=file,
        policy=policy,
        results=results,
        covered=coverage(policy, results),
        rego=run_rego_tests(policy, file),
    )


def _tell(tested: Sequence[_Tested], skipped: Sequence[Path], *, as_json: bool) -> None:
    text = "\n\n".join(["\n".join(_lines(one)) for one in tested] + output.skipped(skipped))
    fields: JsonObject = {"policies": [_fields(one) for one in tested], "skipped": list(map(str, skipped))}
    count, failed = sum(one.count for one in tested), sum(len(one.failed) for one in tested)
    if failed:
        message = f"{failed} of {count} cases did not come out as they say"
        output.refuse(text, fields, code=CODES[1], message=message, as_json=as_json)
    output.answer(text, fields, code=CODES[0], as_json=as_json)


def _lines(one: _Tested) -> Iterator[str]:
    failed = one.failed
    word = output.bad("failed") if failed else output.good("passed")
    counted = f"{len(failed)} of {one.count}" if failed else str(one.count)
    yield f"{word}  {one.policy.name} revision {one.policy.revision}: {counted} cases  ({output.place(one.file)})"
    for result in one.results:
        if result.complaints:
            yield from ("", f"  {result.case.name}  ({output.place(result.case.place)})")
            yield from (f"    {complaint}" for complaint in result.complaints)
            yield from (f"      {reason}" for reason in result.reasons)
    yield from _rego_lines(one.rego)
    if one.unseen:
        yield from ("", "  asked for, and no case shows it both proved and denied:")
        yield from (f"    {_seen(covered)}" for covered in one.unseen)


def _seen(one: Covered) -> str:
    found = "never denied" if one.proved else "never proved" if one.denied else "never told"
    return f"{one.code:<22} {found:<13} {one.asked_by}"


def _rego_lines(run: RegoTestRun | None) -> Iterator[str]:
    for test in () if run is None else run.tests:
        if test.outcome in ("fail", "error"):
            yield from ("", f"  {test.rule.path}  ({', '.join(test.rule.where)})", f"    {test.message}")
    missed = {} if run is None else {file: one.missed for file, one in run.coverage.items() if one.missed}
    if missed:
        yield from ("", "  lines of Rego that no test in Rego reaches:")
        yield from (f"    {file}: {', '.join(map(str, lines))}" for file, lines in missed.items())


def _fields(one: _Tested) -> JsonObject:
    fields: dict[str, JsonObject | str | int | list[JsonObject]] = {
        "file": str(one.file),
        "name": one.policy.name,
        "revision": one.policy.revision,
        "cases": [_case(result) for result in one.results],
        "coverage": [
            {
                "code": found.code,
                "proved": found.proved,
                "denied": found.denied,
                "askedBy": found.asked_by,
                "covered": found.fully,
            }
            for found in one.covered
        ],
    }
    if one.rego is not None:
        fields["rego"] = {
            "tests": [
                {
                    "name": test.rule.path,
                    "place": ", ".join(test.rule.where),
                    "outcome": test.outcome,
                    "message": test.message,
                }
                for test in one.rego.tests
            ],
            "lines": {
                file: {"covered": list(lines.covered), "missed": list(lines.missed)}
                for file, lines in one.rego.coverage.items()
            },
        }
    return fields


def _case(result: CaseResult) -> JsonObject:
    failed: JsonObject = {}
    if result.complaints:
        failed = {"complaints": list(result.complaints), "reasons": list(result.reasons)}
    return {
        "name": result.case.name,
        "place": result.case.place,
        "passed": not result.complaints,
        "outcome": result.outcome,
        "denied": sorted(result.denied),
        "warned": sorted(result.warned),
        **failed,
    }


def _junit_tests(one: _Tested) -> Iterator[Test]:
    from skillwarrant_cli.junit import Test

    for result in one.results:
        yield Test(
            name=result.case.name,
            outcome="fail" if result.complaints else "pass",
            place=result.case.place,
            messages=(*result.complaints, *result.reasons),
        )
    for test in () if one.rego is None else one.rego.tests:
        yield Test(
            name=test.rule.path,
            outcome=test.outcome,
            place=test.rule.where[0],
            messages=(test.message, *test.prints),
        )


def _sarif_results(one: _Tested) -> Iterator[Result]:
    """A result for every code on which a case and the decision do not agree."""
    from skillwarrant_cli.sarif import Result

    for result in one.results:
        case, said = result.case, (*result.complaints, *result.reasons)
        codes = (case.deny ^ result.denied) | (case.warn ^ result.warned)
        for code in sorted(codes) or ["case.outcome"] * bool(said):
            message = "; ".join(text for text in said if code in text or not codes)
            yield Result(
                rule=code, level="error", message=f"{case.name}: {message}", file=case.file, line=case.line
            )
    for test in () if one.rego is None else one.rego.tests:
        if test.outcome in ("fail", "error"):
            file, _, line = test.rule.where[0].rpartition(":")
            message = f"{test.rule.path} {test.message}"
            where = one.file.parent / file
            yield Result(rule=test.rule.path, level="error", message=message, file=where, line=int(line))
