"""`skillwarrant policy export`: every decision of a verified log, once, in a file that was not there."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from history import POLICY, History
from skillwarrant_cli.commands.policy_export import FIELDS
from skillwarrant_verify import Context
from skillwarrant_verify.review import decision_log


@pytest.fixture
def history(tmp_path: Path) -> History:
    found = History(tmp_path)
    policy = found.policy(POLICY, "old")
    found.decided(policy)
    found.decided(policy, context=Context(environment="staging"))
    return found


def export(run: Any, history: History, *more: str) -> Any:
    return run("policy", "export", history.log, "--to", history.directory / "events.jsonl", *more)


def events(history: History) -> list[Any]:
    return [json.loads(line) for line in (history.directory / "events.jsonl").read_text().splitlines()]


def test_every_decision_is_an_event(run: Any, history: History) -> None:
    result = export(run, history, "--label", "id=gate-1", "--label", "site=a=b")
    assert (result.exit_code, result.stdout) == (0, f"2 decisions in {history.directory / 'events.jsonl'}\n")
    found = events(history)
    assert [one["result"]["outcome"] for one in found] == ["allow", "deny"]
    assert {json.dumps(one["labels"]) for one in found} == {'{"id": "gate-1", "site": "a=b"}'}
    assert all(one["input"].keys() == {"digest"} for one in found)


def test_inputs_are_shown_where_that_is_asked(run: Any, history: History) -> None:
    export(run, history, "--show-input")
    assert [one["input"]["context"]["environment"] for one in events(history)] == ["production", "staging"]


def test_json_says_how_many_and_where(run: Any, history: History) -> None:
    answer = json.loads(export(run, history, "--json").stdout)
    assert answer.keys() - {"outcome", "code"} == set(FIELDS)
    assert (answer["code"], answer["decisions"]) == ("exported", 2)


def test_a_file_that_is_there_is_not_written_over(run: Any, history: History) -> None:
    export(run, history)
    before = events(history)
    result = export(run, history)
    assert result.exit_code == 2
    assert "is there already" in result.stderr
    assert events(history) == before


@pytest.mark.parametrize("more", [(), ("--show-input",)])
def test_the_file_is_its_owners_alone_whatever_the_umask(run: Any, history: History, more: tuple[str, ...]) -> None:
    before = os.umask(0)
    try:
        assert export(run, history, *more).exit_code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((history.directory / "events.jsonl").stat().st_mode) == 0o600


@pytest.mark.parametrize("stopped", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_what_is_stopped_half_way_leaves_nothing(
    run: Any, history: History, monkeypatch: pytest.MonkeyPatch, stopped: BaseException
) -> None:
    real, written = decision_log.decision_event, []

    def second_stops(past: Any, **more: Any) -> Any:
        written.append(past)
        if len(written) == 2:
            raise stopped
        return real(past, **more)

    monkeypatch.setattr(decision_log, "decision_event", second_stops)
    before = sorted(history.directory.iterdir())
    assert export(run, history).exit_code != 0
    assert len(written) == 2
    assert sorted(history.directory.iterdir()) == before


def test_nobody_sees_the_file_before_all_of_it_is_there(
    run: Any, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is killed half way, by what no program can catch, has not exported either."""
    real = decision_log.decision_event

    def watched(past: Any, **more: Any) -> Any:
        assert not (history.directory / "events.jsonl").exists()
        return real(past, **more)

    monkeypatch.setattr(decision_log, "decision_event", watched)
    assert export(run, history).exit_code == 0
    assert len(events(history)) == 2


@pytest.mark.parametrize("target", ["elsewhere", "log"])
def test_a_link_that_is_there_is_not_written_through(run: Any, history: History, target: str) -> None:
    (history.directory / "events.jsonl").symlink_to(history.directory / target)
    assert export(run, history).exit_code == 2
    assert not (history.directory / "elsewhere").exists()


def test_a_log_that_does_not_verify_gives_no_events(run: Any, history: History) -> None:
    file = next(file for file in history.log.iterdir() if file.is_file() and file.stat().st_size > 1000)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert export(run, history).exit_code == 3
    assert not (history.directory / "events.jsonl").exists()


@pytest.mark.parametrize("label", ["x", "=x", ""])
def test_a_label_has_a_name_and_a_value(run: Any, history: History, label: str) -> None:
    result = export(run, history, "--label", label)
    assert result.exit_code == 2
    assert not (history.directory / "events.jsonl").exists()
