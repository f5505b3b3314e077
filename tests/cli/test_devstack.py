"""`skillwarrant devstack`: it serves, what it prints works in another shell, and it stops when it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from skillwarrant_cli.commands.devstack import FIELDS

SCRIPT = Path(sys.executable).with_name("skillwarrant")


@contextmanager
def serving(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [SCRIPT, "devstack", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop_and_that_is_no_failure(tmp_path, number):
    with serving("--dir", tmp_path / "d", "--json") as child:
        assert child.stdout
        answer = json.loads(child.stdout.readline())
        child.send_signal(number)
        rest, errors = child.communicate(timeout=20)
    assert (answer.pop("outcome"), answer.pop("code")) == ("ok", "serving")
    assert set(answer) == set(FIELDS)
    assert rest == ""
    assert errors.splitlines()[-1] == "skillwarrant: the devstack has stopped"
    assert "NOT A PRODUCTION CA" in errors
    assert child.returncode == 0


def test_what_it_prints_signs_and_verifies_in_another_shell(tmp_path, world):
    with serving("--dir", tmp_path / "d") as child:
        assert child.stdout
        printed = "".join(iter(child.stdout.readline, "Ctrl-C stops it.\n"))
        commands = printed.partition("verify:\n")[2].replace("DIR", str(world.adapter))
        script = f"set -eu\n{commands}"
        path = f"{SCRIPT.parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", script],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PATH": path},
        )
    assert done.returncode == 0, done.stderr
    assert "signed  acme/support 1.2.0" in done.stdout
    assert "verified  acme/support 1.2.0" in done.stdout


def test_two_in_one_directory_are_refused(run, signed):
    result = run("devstack", "--dir", signed.stack.directory)
    assert result.exit_code in {2, 3}
    assert result.stderr.startswith("skillwarrant: ")


def test_a_missing_extra_is_named(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "skillwarrant_devstack", None)
    result = run("devstack", "--dir", tmp_path / "d")
    assert result.exit_code == 3
    assert "skillwarrant: could not start: the devstack is not installed\n" in result.stderr
    assert "pip install 'skillwarrant[devstack]'" in result.stderr
