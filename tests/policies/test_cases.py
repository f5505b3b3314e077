"""Every example policy does what the cases beside it say, and has cases of both kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from skillwarrant_verify.policy import Policy
from skillwarrant_verify.review.policy_cases import Case, find_policies, read_cases
from skillwarrant_verify.review.policy_test import run_cases

POLICIES = find_policies(Path(__file__).parents[2] / "policies")
ALL = [
    pytest.param(policy, case, id=f"{policy.parent.name}: {case.name}")
    for policy in POLICIES
    for case in read_cases(policy)
]


@pytest.mark.parametrize(("policy", "case"), ALL)
def test_the_policy_decides_as_its_case_says(policy: Path, case: Case) -> None:
    (result,) = run_cases(Policy.load(policy), [case])
    assert not result.complaints, result.reasons


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.parent.name)
def test_every_policy_has_cases_that_allow_and_cases_that_deny(policy: Path) -> None:
    assert {case.outcome for case in read_cases(policy)} >= {"allow", "deny"}


def test_no_example_was_lost() -> None:
    assert len(POLICIES) >= 3
    assert len(ALL) >= 53
