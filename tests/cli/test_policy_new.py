"""`skillwarrant policy new`: what it writes is clean and passes its own cases, whatever was answered."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skillwarrant_cli.commands.policy_new import FIELDS
from skillwarrant_verify.policy import Policy

SCRIPT = Path(sys.executable).with_name("skillwarrant")
REPOSITORY = ("--publisher-repo", "acme/skills", "--workflow", "release.yml")
PRODUCTION = ("--environment", "production")
OTHER = ("--issuer", "https://idp.example")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        (*REPOSITORY, *PRODUCTION),
        (*REPOSITORY, *PRODUCTION, "--max-age-days", "1"),
        (*REPOSITORY, *PRODUCTION, "--max-age-days", "36500"),
        (*REPOSITORY, *PRODUCTION, "--max-age-days", "180", "--name", 'a "quoted" name'),
        (*REPOSITORY, *PRODUCTION, "--environment", "elsewhere", "--environment", "nowhere"),
        (*REPOSITORY, *PRODUCTION, "--policy-class", "another", "--policy-class", "one-more"),
        (*REPOSITORY, *PRODUCTION, "--skill", "mallory/*", "--skill", "acme/support"),
        (*OTHER, "--identity", "release@acme.example", "--skill", "acme/*", *PRODUCTION),
        (*OTHER, "--identity", "https://ci.example/acme/skills/job@refs/tags/v*", "--skill", "acme/*", *PRODUCTION),
        (*OTHER, "--identity", "spiffe://acme.example/release/job", "--skill", "support", *PRODUCTION),
    ],
)
def test_what_it_writes_is_clean_and_its_cases_pass(run: Any, arguments: tuple[str, ...]) -> None:
    made = run("policy", "new", "p", *arguments)
    assert made.exit_code == 0, made.stderr
    assert run("policy", "check", "--strict", "p").exit_code == 0
    tested = run("policy", "test", "p")
    assert tested.exit_code == 0, tested.stdout
    assert "no case shows" not in tested.stdout  # each line that it writes was seen to allow and to deny


def test_a_base_is_measured_and_only_that_one_is_allowed(run: Any, write_base: Any) -> None:
    base = write_base(Path("base-7b"), 0)
    answer = json.loads(run("policy", "new", "p", *REPOSITORY, *PRODUCTION, "--base", base, "--json").stdout)
    assert answer.keys() - {"outcome", "code"} == set(FIELDS)
    assert (answer["code"], answer["remarks"]) == ("written", [])
    (allowed,) = Policy.load(Path("p/policy.toml")).bases
    measured = json.loads(run("fingerprint", base, "--json").stdout)["fingerprint"]
    assert (allowed.name, str(allowed.fingerprint)) == ("base-7b", measured)
    assert run("policy", "test", "p").exit_code == 0


def test_a_wide_answer_is_written_and_told(run: Any) -> None:
    identity = (
        "--identity",
        "https://github.com/acme/**",
        "--issuer",
        "https://token.actions.githubusercontent.com",
    )
    made = run("policy", "new", "p", *identity, "--skill", "acme/*", *PRODUCTION)
    assert made.exit_code == 0
    assert "look at line 15" in made.stdout


def test_where_every_skill_is_covered_no_case_says_that_one_is_not(run: Any) -> None:
    assert run("policy", "new", "p", *REPOSITORY, "--skill", "*", "--skill", "*/*", *PRODUCTION).exit_code == 0
    assert run("policy", "test", "p").exit_code == 0
    assert "another name" not in Path("p/cases.toml").read_text()


@pytest.mark.parametrize("skill", ["acme//", "Acme/*", "acme/[", ".acme/*", ""])
def test_a_name_that_no_skill_has_is_misuse_and_nothing_is_written(run: Any, skill: str) -> None:
    made = run("policy", "new", "p", *REPOSITORY, "--skill", skill, *PRODUCTION)
    assert (made.exit_code, Path("p").exists()) == (2, False)


@pytest.mark.parametrize("name", ["policy.toml", "cases.toml"])
def test_nothing_is_overwritten(run: Any, name: str) -> None:
    Path("p").mkdir()
    (Path("p") / name).write_text("mine")
    result = run("policy", "new", "p", *REPOSITORY, *PRODUCTION)
    assert result.exit_code == 2
    assert [path.name for path in Path("p").iterdir()] == [name]
    assert (Path("p") / name).read_text() == "mine"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        REPOSITORY,
        PRODUCTION,
        (*REPOSITORY[:2], *PRODUCTION),
        ("--publisher-repo", "acme", "--workflow", "a.yml", *PRODUCTION),
        ("--publisher-repo", "*/skills", "--workflow", "a.yml", *PRODUCTION),
        (*OTHER, *PRODUCTION),
        (*OTHER, "--identity", "a@b.c", *REPOSITORY, *PRODUCTION),
        (*OTHER, "--identity", "https://*.example/a", "--skill", "a/*", *PRODUCTION),
        (*REPOSITORY, "--environment", "not a label"),
    ],
)
def test_without_a_terminal_what_is_missing_is_misuse_and_nothing_is_written(
    run: Any, arguments: tuple[str, ...]
) -> None:
    assert run("policy", "new", "p", *arguments).exit_code == 2
    assert not Path("p").exists()


def test_on_a_terminal_it_asks_for_what_is_missing() -> None:
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [SCRIPT, "policy", "new", "p"], stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    os.close(slave)
    os.write(master, b"acme/skills\n\nproduction\n")
    out, err = child.communicate(timeout=60)
    os.close(master)
    assert child.returncode == 0, err
    assert "Which GitHub repository" in err
    assert "[release.yml]" in err
    assert "9 of 9 cases pass" in out
    policy = Policy.load(Path("p/policy.toml"))
    assert policy.environments == ("production",)
