"""Tests that are written in Rego, and which lines they reach."""

from __future__ import annotations

import pytest

from modules import files
from skillwarrant_verify.rego import tests as rego_tests
from skillwarrant_verify.rego.modules import RegoModules
from skillwarrant_verify.rego.tests import RegoTestRun

POLICY = """package skillwarrant.region

deny contains "not here" if {
    input.context.region != "eu"
}

deny contains "too old" if {
    input.context.region == "eu"
    age(input.now) > data.config.most
}

age(now) := 1 if {
    now == "today"
} else := 2
"""
TESTS = """package skillwarrant.region_test

import data.skillwarrant.region

test_here if count(region.deny) == 0 with input as {"context": {"region": "eu"}, "now": "today"}

test_elsewhere if "not here" in region.deny with input as {"context": {"region": "us"}, "now": "today"}

test_wrong if "not here" in region.deny with input as {"context": {"region": "eu"}, "now": "today"}

test_undefined if region.deny[input.now.nothing]

test_false := false

test_a_word := "true"

test_error if 1 / 0 == 1

test_prints if {
    print("region", region.deny)
    count(region.deny) == 1 with input as {"context": {"region": "us"}, "now": "today"}
}

todo_test_later if false
"""


def run(tests: str, policy: str = POLICY) -> RegoTestRun:
    with RegoModules.load(files({"region.rego": policy, "region_test.rego": tests})) as modules:
        return modules.run_tests({"most": 1})


def test_each_test_has_its_own_outcome() -> None:
    found = {test.rule.name: (test.outcome, test.message) for test in run(TESTS).tests}
    assert found == {
        "test_a_word": ("error", 'it is "true"'),
        "test_elsewhere": ("pass", ""),
        "test_error": ("error", "region_test.rego:17: divide by zero"),
        "test_false": ("fail", "it is false"),
        "test_here": ("pass", ""),
        "test_prints": ("pass", ""),
        "test_undefined": ("fail", "it is undefined"),
        "test_wrong": ("fail", "it is undefined"),
        "todo_test_later": ("skip", "marked as to do"),
    }


def test_a_test_is_known_by_its_place() -> None:
    rules = {test.rule.path: test.rule.where for test in run("package skillwarrant_test\ntest_a if true").tests}
    assert rules == {"data.skillwarrant_test.test_a": ("region_test.rego:2",)}


def test_what_a_test_prints_is_kept_with_its_line() -> None:
    tests = 'package skillwarrant_test\ntest_a if {\n    print("one", [1, "\\u001b[2J"])\n    print("two")\n}'
    (test,) = run(tests).tests
    assert test.prints[0].startswith("region_test.rego:3: one")
    assert test.prints[1] == "region_test.rego:4: two"
    assert all(line.isprintable() for line in test.prints)


def test_lines_are_reached_by_all_tests_together() -> None:
    tests = (
        "package skillwarrant_test\nimport data.skillwarrant.region\n"
        'test_one if region.deny with input as {"context": {"region": "us"}, "now": ""}\n'
    )
    first = run(tests).coverage["region.rego"]
    assert 4 in first.covered
    assert 9 in first.missed
    more = tests + 'test_two if region.deny with input as {"context": {"region": "eu"}, "now": ""}\n'
    second = run(more).coverage["region.rego"]
    assert 9 in second.covered
    assert set(first.covered) < set(second.covered)
    assert not set(second.covered) & set(second.missed)


def test_tests_see_the_configuration_and_may_replace_it() -> None:
    tests = (
        "package skillwarrant_test\nimport data.skillwarrant.region\n"
        "test_given if data.config.most == 1\n"
        'test_another if count(region.deny) == 0 with data.config as {"most": 9}'
        ' with input as {"context": {"region": "eu"}, "now": ""}\n'
    )
    assert [test.outcome for test in run(tests).tests] == ["pass", "pass"]


def test_a_test_without_end_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rego_tests, "_SECONDS", 0.3)
    tests = (
        "package skillwarrant_test\ntest_a if true\ntest_c if true\ntest_b if {\n"
        "    some a in numbers.range(1, 100000)\n    some b in numbers.range(1, 100000)\n    a * b < 0\n}"
    )
    found = run(tests)
    assert [test.outcome for test in found.tests] == ["pass", "error", "pass"]
    assert "CPU time" in found.tests[1].message


def test_no_tests_are_no_outcome() -> None:
    with RegoModules.load(files('deny contains "x"')) as modules:
        found = modules.run_tests()
    assert (found.tests, found.coverage) == ((), {})


def test_tests_change_no_evaluation() -> None:
    with RegoModules.load(files({"region.rego": POLICY, "region_test.rego": TESTS})) as modules:
        assert all(not rule.name.startswith("test") for rule in modules.rules)
        modules.run_tests({"most": 1})
        found = modules.evaluate({"context": {"region": "eu"}, "now": "today"}, {"most": 1})
    assert found.denials == ()
