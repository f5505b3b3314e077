"""`skillwarrant policy check`: errors are a no, warnings are told, and both as SARIF."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from skillwarrant_cli.commands.policy_check import FIELDS

EXAMPLES = Path(__file__).parents[2] / "policies"


@pytest.fixture
def policy(new_policy: Path) -> Path:
    return new_policy / "policy.toml"


def change(policy: Path, old: str, new: str) -> None:
    text = policy.read_text()
    assert old in text
    policy.write_text(text.replace(old, new, 1))


def test_every_example_is_clean(run: Any) -> None:
    result = run("policy", "check", "--strict", EXAMPLES)
    assert result.exit_code == 0, result.stdout
    assert result.stdout.count("clean  ") == len(list(EXAMPLES.glob("*/policy.toml")))


def test_a_warning_is_told_at_its_line_and_only_strict_makes_it_a_no(run: Any, policy: Path) -> None:
    change(policy, "@refs/tags/v*", "@refs/heads/*")
    result = run("policy", "check", policy)
    assert result.exit_code == 0
    assert "warning  p/policy.toml:15  publishers[0].identity  [identity.any-branch]" in result.stdout
    assert "Name the workflow and the tags" in result.stdout
    strict = run("policy", "check", "--strict", policy)
    assert strict.exit_code == 1
    assert strict.stderr == "skillwarrant: refused: 0 errors and 1 warning\n"


def test_an_error_is_a_no_at_its_line(run: Any, policy: Path) -> None:
    change(policy, "policy_classes =", "policy_clases =")
    result = run("policy", "check", policy.parent)
    assert result.exit_code == 1
    assert "error  p/policy.toml:9  policy_clases  [policy.invalid]" in result.stdout
    assert "Did you mean 'policy_classes'?" in result.stdout


def test_json_has_every_remark(run: Any, policy: Path) -> None:
    change(policy, "@refs/tags/v*", "@refs/heads/*")
    answer = json.loads(run("policy", "check", policy, "--json").stdout)
    assert {"policies", "policies[].remarks", "skipped"} == set(FIELDS)
    assert (answer["outcome"], answer["code"]) == ("ok", "checked")
    (remark,) = answer["policies"][0]["remarks"]
    assert remark.keys() == {"code", "level", "message", "key", "line", "fix"}
    strict = run("policy", "check", policy, "--json", "--strict")
    assert (strict.exit_code, json.loads(strict.stdout)["code"]) == (1, "policy.unclean")


def test_sarif_has_every_rule_and_the_remarks_at_their_lines(run: Any, policy: Path, check_sarif: Any) -> None:
    change(policy, "@refs/tags/v*", "@refs/heads/*")
    assert run("policy", "check", policy, "--sarif", "out.sarif").exit_code == 0
    log = json.loads(Path("out.sarif").read_text())
    check_sarif(log)
    (run_,) = log["runs"]
    assert len(run_["tool"]["driver"]["rules"]) > 20
    (result,) = run_["results"]
    assert (result["ruleId"], result["level"]) == ("identity.any-branch", "warning")
    assert result["locations"][0]["physicalLocation"]["region"] == {"startLine": 15}


def test_rego_that_does_not_compile_is_an_error(run: Any, policy: Path) -> None:
    from skillwarrant_format.digest import Digest

    bad = b'package skillwarrant\n\nimport rego.v1\n\ndeny contains "x" if inptu.now\n'
    (policy.parent / "x.rego").write_bytes(bad)
    with policy.open("a") as file:
        file.write(f'\n[[rego]]\nfile = "x.rego"\nsha256 = "{Digest.of(bad).hex}"\n')
    result = run("policy", "check", policy)
    assert result.exit_code == 1
    assert "x.rego:5" in result.stdout


@pytest.mark.parametrize(("arguments", "code"), [(("missing",), 2), ((".",), 2), ((), 2)])
def test_where_there_is_no_policy_nothing_was_checked(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("policy", "check", *arguments).exit_code == code


def test_what_is_to_be_checked_needs_neither_torch_nor_sigstore(policy: Path, modules_after: Any) -> None:
    assert not modules_after("policy", "check", policy) & {"torch", "sigstore", "requests", "pydantic", "rich"}


HOSTILE = (
    "a\x1b]0;pwned\x07\x1b[2Jb",
    "a\x01b",
    "a\nclean  b",
    os.fsdecode(b"a\xffb"),
    'a"<&>]]>b',
    "a\u2028\ufffeb",
)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("command", ["check", "test"])
def test_a_directorys_name_commands_no_terminal_and_breaks_no_report(
    run: Any, policy: Path, check_sarif: Any, command: str, name: str
) -> None:
    here = Path("many", name)
    here.parent.mkdir()
    policy.parent.rename(here)
    change(here / "policy.toml", "@refs/tags/v*", "@refs/heads/*")
    change(here / "cases.toml", 'deny = ["environment.allowed"]', 'deny = ["class.allowed"]')
    written = ["--sarif", "s.json", *(["--junit", "j.xml"] if command == "test" else [])]
    result = run("policy", command, "many", *written)
    assert result.exit_code == (1 if command == "test" else 0)
    assert all(char.isprintable() for line in result.stdout.split("\n") for char in line)
    assert not any(line.startswith("clean") for line in result.stdout.splitlines())
    check_sarif(json.loads(Path("s.json").read_text()))
    if command == "test":
        written_tests = ET.parse("j.xml").getroot()  # noqa: S314  # we wrote it
        assert len(written_tests.findall(".//failure")) == int(written_tests.get("failures", 0)) > 0
