"""`skillwarrant policy test`: what it answers, what it writes for CI, and what it costs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from skillwarrant_cli.commands.policy_test import FIELDS
from skillwarrant_format.digest import Digest

EXAMPLES = Path(__file__).parents[2] / "policies"
SCRIPT = Path(sys.executable).with_name("skillwarrant")
COLD_CPU_SECONDS = 1.0

REGO = """\
package skillwarrant.region

import rego.v1

deny contains "elsewhere" if object.get(input.context, "region", "none") == "us"

deny contains "never tested" if {
    input.context.environment == "moon"
    object.get(input.context, "region", "none") == "eu"
}
"""
REGO_TEST = """\
package skillwarrant.region_test

import rego.v1
import data.skillwarrant.region

test_us_is_elsewhere if count(region.deny) == 1 with input as {"context": {"region": "us", "environment": "a"}}

test_that_fails if count(region.deny) == 7 with input as {"context": {"region": "us", "environment": "a"}}
"""


@pytest.fixture
def policy(new_policy: Path) -> Path:
    return new_policy


def junit(path: str = "junit.xml") -> ET.Element:
    return ET.parse(path).getroot()  # noqa: S314  # we wrote it


def break_a_case(policy: Path) -> None:
    cases = policy / "cases.toml"
    text = cases.read_text().replace('deny = ["environment.allowed"]', 'deny = ["class.allowed"]')
    cases.write_text(text)


def test_every_example_passes_and_its_cases_are_counted(run: Any) -> None:
    result = run("policy", "test", EXAMPLES)
    assert result.exit_code == 0
    assert result.stdout.count("passed  ") == len(list(EXAMPLES.glob("*/policy.toml")))


def test_a_failed_case_is_exit_1_and_says_why(run: Any, policy: Path) -> None:
    break_a_case(policy)
    result = run("policy", "test", policy)
    assert result.exit_code == 1
    assert result.stderr == "skillwarrant: refused: 1 of 9 cases did not come out as they say\n"
    assert "failed  p revision 1: 1 of 9 cases" in result.stdout
    assert "another environment is refused  (p/cases.toml:" in result.stdout
    assert "expected to be denied by class.allowed, and it is not" in result.stdout
    assert "denied by environment.allowed, which was not expected" in result.stdout
    assert (
        "expected production, found elsewhere, at input.context.environment (asked by policy.toml:" in result.stdout
    )


def test_json_is_one_object_whatever_the_outcome(run: Any, policy: Path) -> None:
    good = json.loads(run("policy", "test", policy, "--json").stdout)
    assert (good["outcome"], good["code"]) == ("ok", "passed")
    break_a_case(policy)
    result = run("policy", "test", policy, "--json")
    bad = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (1, "")
    assert (bad["outcome"], bad["code"]) == ("refused", "policy.failed")
    (one,) = bad["policies"]
    assert {"policies", "skipped", *(f"policies[].{name}" for name in ("cases", "coverage", "rego"))} == set(FIELDS)
    failed = [case for case in one["cases"] if not case["passed"]]
    assert [case["denied"] for case in failed] == [["environment.allowed"]]
    assert failed[0]["reasons"][0].startswith("[environment.allowed]")
    covered = {item["code"]: item for item in one["coverage"]}
    assert covered["environment.allowed"]["askedBy"].startswith("policy.toml:")


def test_what_no_case_shows_is_named_with_its_line(run: Any, policy: Path) -> None:
    cases = policy / "cases.toml"
    cases.write_text(cases.read_text().replace('"policy.in-force"', '"policy.in-force", "x"'))
    text = cases.read_text()
    start = text.index('[[case]]\nname = "after its end')
    cases.write_text(text[:start])
    result = run("policy", "test", policy)
    assert result.exit_code == 0
    assert "policy.in-force        never denied  policy.toml:6 not_after" in result.stdout


def test_folders_that_were_not_looked_at_are_named(run: Any, policy: Path) -> None:
    Path("many/deep").mkdir(parents=True)
    policy.rename("many/p")
    for command in ("test", "check"):
        result = run("policy", command, "many")
        assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "skipped  many/deep")
        assert json.loads(run("policy", command, "many", "--json").stdout)["skipped"] == ["many/deep"]
    shutil.copytree("many/p", "many/p/inner")
    assert run("policy", "test", "many/p").stdout.splitlines()[-1] == "skipped  many/p/inner"
    Path("many/p/policy.toml").rename("many/p/Policy.toml")
    refused = run("policy", "check", "many")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "many/p/Policy.toml is not read" in refused.stderr


@pytest.mark.parametrize("make", ["empty", "none", "misspelt", "broken policy"])
def test_what_cannot_be_tested_is_no_pass(run: Any, policy: Path, make: str) -> None:
    if make == "empty":
        (policy / "cases.toml").write_text("")
    elif make == "none":
        (policy / "cases.toml").unlink()
    elif make == "misspelt":
        (policy / "cases.toml").write_text((policy / "cases.toml").read_text() + "dney = []\n")
    else:
        (policy / "policy.toml").write_text("name = 7\n")
    result = run("policy", "test", policy)
    assert result.exit_code in (1, 2)
    assert result.stdout == ""


class TestJUnit:
    def test_every_case_is_a_test_and_a_failed_one_a_failure(self, run: Any, policy: Path) -> None:
        break_a_case(policy)
        assert run("policy", "test", policy, "--junit", "junit.xml").exit_code == 1
        root = junit()
        assert root.attrib == {"tests": "9", "failures": "1", "errors": "0", "skipped": "0"}
        (suite,) = root
        (failed,) = [case for case in suite if len(case)]
        assert failed.attrib["name"] == "another environment is refused"
        assert failed.attrib["file"] == "p/cases.toml"
        assert int(failed.attrib["line"]) > 1
        assert "class.allowed" in failed[0].attrib["message"]

    def test_what_a_document_quotes_cannot_break_the_file(self, run: Any, policy: Path) -> None:
        folder = policy / "cases"
        folder.mkdir()
        document = {"apiVersion": "\u0007<evil/>\ufffe]]>"}
        (folder / "bad.json").write_text(json.dumps({"input": document, "deny": ["manifest.age"]}))
        assert run("policy", "test", policy, "--junit", "junit.xml").exit_code == 1
        assert junit().attrib["failures"] == "1"


class TestSarif:
    def test_a_failed_case_has_a_result_for_every_code_at_its_line(
        self, run: Any, policy: Path, check_sarif: Any
    ) -> None:
        break_a_case(policy)
        assert run("policy", "test", policy, "--sarif", "out.sarif").exit_code == 1
        log = json.loads(Path("out.sarif").read_text())
        check_sarif(log)
        results = log["runs"][0]["results"]
        assert [result["ruleId"] for result in results] == ["class.allowed", "environment.allowed"]
        place = results[0]["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "p/cases.toml"
        assert place["region"]["startLine"] > 1

    def test_where_all_pass_there_is_no_result(self, run: Any, policy: Path, check_sarif: Any) -> None:
        assert run("policy", "test", policy, "--sarif", "out.sarif").exit_code == 0
        log = json.loads(Path("out.sarif").read_text())
        check_sarif(log)
        assert log["runs"][0]["results"] == []

    def test_a_case_whose_outcome_alone_is_another_is_not_left_out(self, run: Any, policy: Path) -> None:
        text = (policy / "cases.toml").read_text()
        other = text.replace('deny = ["class.allowed"]', 'deny = ["class.allowed"]\noutcome = "undecided"')
        (policy / "cases.toml").write_text(other)
        assert run("policy", "test", policy, "--sarif", "out.sarif").exit_code == 1
        (found,) = json.loads(Path("out.sarif").read_text())["runs"][0]["results"]
        assert found["ruleId"] == "case.outcome"


class TestRego:
    @pytest.fixture
    def rego(self, policy: Path) -> Path:
        (policy / "region.rego").write_text(REGO)
        (policy / "region_test.rego").write_text(REGO_TEST)
        digest = Digest.of(REGO.encode()).hex
        document = policy / "policy.toml"
        document.write_text(document.read_text() + f'\n[[rego]]\nfile = "region.rego"\nsha256 = "{digest}"\n')
        return policy

    def test_tests_in_rego_are_run_and_lines_that_none_reaches_are_named(self, run: Any, rego: Path) -> None:
        result = run("policy", "test", rego)
        assert result.exit_code == 1
        assert "1 of 11 cases" in result.stdout
        assert "data.skillwarrant.region_test.test_that_fails  (region_test.rego:8)" in result.stdout
        assert "lines of Rego that no test in Rego reaches:" in result.stdout

    def test_they_are_in_every_form_of_the_answer(self, run: Any, rego: Path, check_sarif: Any) -> None:
        result = run("policy", "test", rego, "--json", "--junit", "junit.xml", "--sarif", "out.sarif")
        (one,) = json.loads(result.stdout)["policies"]
        assert [test["outcome"] for test in one["rego"]["tests"]] == ["fail", "pass"]
        assert one["rego"]["lines"]["region.rego"]["missed"]
        assert junit().attrib["failures"] == "1"
        log = json.loads(Path("out.sarif").read_text())
        check_sarif(log)
        (found,) = log["runs"][0]["results"]
        place = found["locations"][0]["physicalLocation"]
        assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("p/region_test.rego", 8)

    def test_a_denial_in_rego_is_one_that_a_case_must_expect(self, run: Any, rego: Path) -> None:
        (rego / "region_test.rego").unlink()
        case = '\n[[case]]\nname = "us"\nchange.region = "us"\ndeny = %s\n'
        plain = (rego / "cases.toml").read_text()
        (rego / "cases.toml").write_text(plain + case % "[]")
        result = run("policy", "test", rego)
        assert result.exit_code == 1
        assert "elsewhere" in result.stdout
        (rego / "cases.toml").write_text(plain + case % '["rego.deny"]')
        assert run("policy", "test", rego).exit_code == 0


class TestCost:
    @pytest.fixture
    def hundred(self, policy: Path) -> Path:
        text = (EXAMPLES / "production" / "cases.toml").read_text()
        head, *cases = text.split("[[case]]")
        again = [case.replace('name = "', f'name = "{turn} ', 1) for turn in range(10) for case in cases][:100]
        assert len(again) == 100
        (policy / "cases.toml").write_text("[[case]]".join([head, *again]))
        (policy / "policy.toml").write_bytes((EXAMPLES / "production" / "policy.toml").read_bytes())
        return policy

    def test_a_hundred_cases_cost_less_than_a_second_in_all(self, hundred: Path) -> None:
        def seconds() -> float:
            child = subprocess.Popen([SCRIPT, "policy", "test", hundred], stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            assert child.returncode == 0
            return used.ru_utime + used.ru_stime

        assert min(seconds() for _ in range(3)) < COLD_CPU_SECONDS

    def test_nothing_heavy_is_imported(self, hundred: Path, modules_after: Any) -> None:
        loaded = modules_after("policy", "test", hundred)
        assert not loaded & {"torch", "peft", "sigstore", "requests", "pydantic", "rich", "numpy", "regorus"}
