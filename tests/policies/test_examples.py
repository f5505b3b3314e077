"""Every folder of `policies/` is an example that somebody may copy: looked over, tried on cases, and listed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from skillwarrant_verify.policy import Policy
from skillwarrant_verify.review.policy_cases import find_policies, read_cases
from skillwarrant_verify.review.policy_coverage import coverage
from skillwarrant_verify.review.policy_lint import check
from skillwarrant_verify.review.policy_test import run_cases, run_rego_tests

ROOT = Path(__file__).parents[2] / "policies"
POLICIES = find_policies(ROOT)
NOW = datetime(2026, 11, 22, tzinfo=UTC)

each = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.parent.name)


@each
def test_nothing_about_it_is_suspicious(policy: Path) -> None:
    assert check(policy, NOW) == ()


@each
def test_whatever_it_asks_for_is_seen_met_and_failed(policy: Path) -> None:
    loaded = Policy.load(policy)
    covered = coverage(loaded, run_cases(loaded, read_cases(policy)))
    asked = {one.code for one in covered if one.asked_by is not None and not one.fully}
    assert not asked


@each
def test_it_has_cases_enough(policy: Path) -> None:
    assert len(read_cases(policy)) >= 5


@each
def test_its_rego_is_tested_line_by_line(policy: Path) -> None:
    loaded = Policy.load(policy)
    run = run_rego_tests(loaded, policy)
    assert (run is None) == (not list(policy.parent.glob("*.rego")))
    if run is not None:
        assert [test.outcome for test in run.tests] == ["pass"] * len(run.tests)
        assert run.tests
        assert {file: lines.missed for file, lines in run.coverage.items() if lines.missed} == {}


@each
def test_it_says_its_idea_first_and_explains_itself(policy: Path) -> None:
    lines = policy.read_text().splitlines()
    assert lines[0].startswith("# One idea: ")
    assert sum("#" in line for line in lines) >= 5


def test_all_are_in_the_table_of_which_to_take() -> None:
    listed = re.findall(
        r"^\| \[([a-z-]+)\]\(\1/policy\.toml\) \| .{20,} \|$", (ROOT / "README.md").read_text(), re.M
    )
    assert sorted(listed) == sorted(policy.parent.name for policy in POLICIES)
    assert len(listed) >= 8


def test_every_name_is_its_own() -> None:
    names = [Policy.load(policy).name for policy in POLICIES]
    assert names == [policy.parent.name for policy in POLICIES]
