"""`skillwarrant policy diff`: what a change board asks, and how sure the answer is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from history import POLICY, History
from skillwarrant_cli.commands.policy_diff import FIELDS
from skillwarrant_verify import Context

STRICT = POLICY.replace("max_age_days = 30", "max_age_days = 5").replace("revision = 1", "revision = 2")


@pytest.fixture
def history(tmp_path: Path) -> History:
    found = History(tmp_path)
    policy = found.policy(POLICY, "old")
    found.decided(policy)
    found.decided(policy, context=Context(environment="staging"))
    found.write(STRICT, "new")
    return found


def diff(run: Any, history: History, *more: str, old: str = "old", new: str = "new") -> Any:
    policies = (history.directory / f"{name}.toml" for name in (old, new))
    return run("policy", "diff", *policies, "--over", history.log, *more)


def test_what_would_change_is_exit_1_with_the_reason_and_the_line(run: Any, history: History) -> None:
    result = diff(run, history)
    assert result.exit_code == 1
    assert result.stderr == "skillwarrant: refused: 1 of 2 decisions would change\n"
    assert "would be denied now: 1" in result.stdout
    assert "#1  2026-11-22T12:01:00Z  acme/support-lora 1.0.0 in production" in result.stdout
    assert "because of  [manifest.age] the manifest is too old" in result.stdout
    assert "(asked by new.toml:6 max_age_days)" in result.stdout


def test_the_other_way_it_would_be_allowed(run: Any, history: History) -> None:
    log = History(history.directory / "other")
    log.directory.mkdir()
    log.decided(log.policy(STRICT, "new"))
    log.write(POLICY, "old")
    result = diff(run, log, old="new", new="old")
    assert result.exit_code == 1
    assert "would be allowed now: 1" in result.stdout
    assert "was refused for  [manifest.age]" in result.stdout


def test_no_change_is_exit_0(run: Any, history: History) -> None:
    result = diff(run, history, new="old")
    assert result.exit_code == 0
    assert result.stdout.startswith("2 decisions, each made again at its own time\n")
    assert "would" not in result.stdout


def test_json_has_every_change_and_every_doubt(run: Any, history: History) -> None:
    history.inputs()[0].unlink()
    history.inputs()[0].unlink()
    history.decided(history.policy(POLICY, "old"))
    answer = json.loads(diff(run, history, "--json").stdout)
    assert answer.keys() - {"outcome", "code", "message"} == set(FIELDS)
    assert (answer["code"], answer["decisions"], answer["same"]) == ("policy.changes", 3, 0)
    (changed,) = answer["changed"]
    assert (changed["old"], changed["new"], changed["reasons"][0]["code"]) == ("allow", "deny", "manifest.age")
    assert [one["why"].partition(":")[0] for one in answer["unknown"]] == ["its input is not kept"] * 2


def test_what_cannot_be_told_is_no_yes(run: Any, history: History) -> None:
    for path in history.inputs():
        path.unlink()
    result = diff(run, history, new="old")
    assert result.exit_code == 3
    assert result.stderr == "skillwarrant: could not check: 2 of 2 decisions cannot be made again\n"
    assert json.loads(diff(run, history, "--json", new="old").stdout)["outcome"] == "could-not-check"


def test_a_log_without_a_decision_shows_nothing(run: Any, history: History) -> None:
    empty = History(history.directory / "empty")
    empty.directory.mkdir()
    empty.refused_before_a_decision(empty.policy())
    result = run(
        *("policy", "diff", history.directory / "old.toml", history.directory / "old.toml", "--over", empty.log)
    )
    assert (result.exit_code, result.stdout.splitlines()[0][:11]) == (3, "0 decisions")
    assert result.stderr == "skillwarrant: could not check: the log has no decision, so nothing was compared\n"


def test_it_says_whose_key_verified_the_log(run: Any, history: History, tmp_path: Path) -> None:
    beside = diff(run, history, new="old")
    assert "log  with the key beside it, which proves only that it is of one piece" in beside.stdout
    assert json.loads(diff(run, history, "--json", new="old").stdout)["operatorKey"] == "beside the log"
    key = tmp_path / "operator-of-ours.pub"
    key.write_bytes((history.log / "operator.pub").read_bytes())
    given = diff(run, history, "--operator-key", key, new="old")
    assert (given.exit_code, "log  with " in given.stdout, "one piece" in given.stdout) == (0, True, False)
    answer = json.loads(diff(run, history, "--operator-key", key, "--json", new="old").stdout)
    assert answer["operatorKey"] == "given"


def test_a_log_that_does_not_verify_gives_no_answer(run: Any, history: History) -> None:
    path = history.log / "observations.log"
    path.write_bytes(path.read_bytes().replace(b"payload", b"payloax", 1))
    assert diff(run, history).exit_code == 3


def test_the_key_that_was_got_by_another_way_counts(run: Any, history: History, tmp_path: Path) -> None:
    other = History(tmp_path / "mallory")
    other.directory.mkdir()
    other.decided(other.policy())
    assert diff(run, history, "--operator-key", str(history.log / "operator.pub"), new="old").exit_code == 0
    assert diff(run, history, "--operator-key", str(other.log / "operator.pub"), new="old").exit_code == 3


@pytest.mark.parametrize(("old", "new"), [("missing", "new"), ("old", "missing")])
def test_without_two_policies_it_is_misuse(run: Any, history: History, old: str, new: str) -> None:
    assert diff(run, history, old=old, new=new).exit_code == 2


def test_it_needs_neither_torch_nor_sigstore(history: History, modules_after: Any) -> None:
    policy = history.directory / "old.toml"
    assert not modules_after("policy", "diff", policy, policy, "--over", history.log) & {"torch", "sigstore"}
