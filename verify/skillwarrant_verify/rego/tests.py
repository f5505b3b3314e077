"""Tests in Rego (`test_*` rules), and which lines of the modules they reach."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from skillwarrant_format.errors import shown
from skillwarrant_verify.rego.frames import UNDEFINED
from skillwarrant_verify.rego.lint import RegoRule
from skillwarrant_verify.rego.process import WorkerRefused, WorkerStopped
from skillwarrant_verify.rego.workers import Workers

__all__ = ["LineCoverage", "RegoTest", "RegoTestRun", "run_tests"]

Outcome = Literal["pass", "fail", "error", "skip"]

_SECONDS: Final = 5.0  # of CPU, for one test
_VALUES: Final[Mapping[str, Outcome]] = {"true": "pass", "false": "fail", UNDEFINED: "fail"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegoTest:
    """One test rule and what became of it.

    Args:
        outcome: `pass` for true, `fail` for false or undefined, `error` for all else, `skip` for `todo_test_*`.
        prints: what it printed, one line each, with its place.
    """

    rule: RegoRule
    outcome: Outcome
    message: str = ""
    prints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCoverage:
    """Line numbers of one file, sorted: reached by a test, and by none. Lines that say nothing are in neither."""

    covered: tuple[int, ...]
    missed: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegoTestRun:
    """All tests of a set of modules, and the lines of every file (the tests' own too) that they reach together."""

    tests: tuple[RegoTest, ...]
    coverage: Mapping[str, LineCoverage]


def run_tests(workers: Workers, rules: Sequence[RegoRule], config: bytes) -> RegoTestRun:
    """Each test by itself: one that does not end fails alone.

    Args:
        config: JSON of `data.config`.

    Raises:
        Unavailable: no worker can be started.
    """
    lines = _Lines()
    return RegoTestRun(tests=tuple(_run(workers, rule, config, lines) for rule in rules), coverage=lines.coverage())


class _Lines:
    """What all tests together reached."""

    def __init__(self) -> None:
        self._covered: dict[str, set[int]] = {}
        self._all: dict[str, set[int]] = {}

    def add(self, report: Mapping[str, tuple[list[int], list[int]]]) -> None:
        for file, (covered, missed) in report.items():
            self._covered.setdefault(file, set()).update(covered)
            self._all.setdefault(file, set()).update(covered, missed)

    def coverage(self) -> dict[str, LineCoverage]:
        return {
            file: LineCoverage(
                covered=tuple(sorted(self._covered[file])), missed=tuple(sorted(lines - self._covered[file]))
            )
            for file, lines in sorted(self._all.items())
        }


def _run(workers: Workers, rule: RegoRule, config: bytes, lines: _Lines) -> RegoTest:
    if rule.name.startswith("todo_"):
        return RegoTest(rule=rule, outcome="skip", message="marked as to do")
    try:
        (found,) = workers.ask("test", config, rule.path.encode(), seconds=_SECONDS)
    except (WorkerRefused, WorkerStopped) as error:
        return RegoTest(rule=rule, outcome="error", message=shown(str(error), 1000))
    value, prints, report = json.loads(found)
    lines.add(report)
    outcome: Outcome = _VALUES.get(value, "error")
    message = "" if outcome == "pass" else f"it is {'undefined' if value == UNDEFINED else shown(value)}"
    return RegoTest(rule=rule, outcome=outcome, message=message, prints=tuple(shown(line, 1000) for line in prints))
