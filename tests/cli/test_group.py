"""The frame: what there is to call, what it costs to ask, and how every way out looks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

from skillwarrant_cli.commands.policy import COMMANDS as POLICY_COMMANDS
from skillwarrant_cli.group import COMMANDS, cli
from skillwarrant_format import errors
from skillwarrant_format.errors import SkillwarrantError, Unavailable, UsageError

SCRIPT = Path(sys.executable).with_name("skillwarrant")
HELP_CPU_SECONDS = 0.15


def script(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, timeout=60, check=False, **options)


def test_bare_skillwarrant_prints_its_help(run):
    bare, asked = run(), run("--help")
    assert bare.exit_code == asked.exit_code == 0
    assert bare.stdout == asked.stdout
    assert "Exit codes: 0 yes, 1 refused, 2 misuse, 3 could not check." in bare.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_short_help_in_the_list_is_the_beginning_of_the_commands_own(name, run):
    command = import_module(f"skillwarrant_cli.commands.{name}").command
    assert isinstance(command, click.Command)
    assert command.name == name
    assert (command.help or "").startswith(COMMANDS[name])
    assert f"  {name:<13}{COMMANDS[name]}\n" in run().stdout
    assert run(name, "--help").exit_code == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_answers_in_json(name):
    command = cli.get_command(click.Context(cli), name)
    below = [command.get_command(None, listed) for listed in command.listed] if hasattr(command, "listed") else []
    for leaf in below or [command]:
        assert "--json" in {option for parameter in leaf.params for option in parameter.opts}


@pytest.mark.parametrize("name", POLICY_COMMANDS)
def test_the_short_help_of_a_policy_command_is_the_beginning_of_its_own(name, run):
    assert f"  {name:<9}{POLICY_COMMANDS[name]}\n" in run("policy").stdout
    command = import_module(f"skillwarrant_cli.commands.policy_{name}").command
    assert command.name == name
    assert (command.help or "").startswith(POLICY_COMMANDS[name])
    assert run("policy", name, "--help").exit_code == 0


def test_help_imports_neither_a_command_nor_anything_heavy(modules_after):
    loaded = modules_after("--help")
    assert not {name for name in loaded if name.startswith("skillwarrant_cli.commands")}
    assert not loaded & {"cryptography", "importlib.metadata", "numpy", "rich", "sigstore", "torch"}


def test_help_costs_little():
    def seconds() -> float:
        child = subprocess.Popen([SCRIPT, "--help"], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        return used.ru_utime + used.ru_stime

    assert min(seconds() for _ in range(5)) < HELP_CPU_SECONDS


def test_the_version_is_the_installed_one(run):
    from importlib.metadata import version

    assert run("--version").stdout == f"skillwarrant {version('skillwarrant')}\n"


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("--nonsense",), ("inspect",), ("inspect", "a", "b"), ("inspect", "--nonsense", "a")],
)
def test_misuse_is_exit_2_and_one_block(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    first, *rest = result.stderr.splitlines()
    assert first.startswith("skillwarrant: misuse: ")
    assert all(line.startswith("  ") for line in rest)
    assert "--help" in result.stderr


def test_misuse_in_json_is_one_object_on_stdout(run):
    result = run("inspect", "--json")
    assert result.exit_code == 2
    assert result.stderr == ""
    answer = json.loads(result.stdout)
    assert (answer["outcome"], answer["code"]) == ("misuse", "usage")


class Boom:
    """A command that fails as told."""

    @pytest.fixture(autouse=True)
    def _command(self, monkeypatch):
        self.error: BaseException = RuntimeError("boom")

        @click.command("inspect")
        @click.option("--json", is_flag=True)
        def command(json: bool) -> None:
            raise self.error

        monkeypatch.setattr("skillwarrant_cli.commands.inspect.command", command)


class TestAnUnforeseenError(Boom):
    def test_is_exit_3_and_says_how_to_get_the_traceback(self, run):
        result = run("inspect")
        assert result.exit_code == 3
        assert result.stderr.startswith("skillwarrant: internal error: RuntimeError: boom\n")
        assert "SKILLWARRANT_DEBUG=1" in result.stderr

    def test_in_json_is_never_a_yes_or_a_no(self, run):
        answer = json.loads(run("inspect", "--json").stdout)
        assert (answer["outcome"], answer["code"]) == ("could-not-check", "internal")

    def test_cannot_move_the_cursor_or_write_a_second_line(self, run):
        self.error = ValueError("evil\x1b[2J\nskillwarrant: verified")
        assert run("inspect").stderr.splitlines()[0] == (
            r"skillwarrant: internal error: ValueError: evil\x1b[2J\nskillwarrant: verified"
        )

    def test_shows_its_traceback_on_demand(self, monkeypatch, capsys):
        monkeypatch.setenv("SKILLWARRANT_DEBUG", "1")
        with pytest.raises(SystemExit) as exit_:
            cli.main(["inspect"])
        assert exit_.value.code == 3
        assert "Traceback (most recent call last)" in capsys.readouterr().err

    def test_of_the_operating_system_is_no_internal_error(self, run):
        self.error = OSError(28, "No space left on device", "/full/disk")
        result = run("inspect")
        assert result.exit_code == 3
        assert "/full/disk: No space left on device" in result.stderr
        assert "internal" not in result.stderr


# The documented tree: modules that other tests import may hold private subclasses with arguments of their own.
TREE = [kind for name, kind in sorted(vars(errors).items()) if name in errors.__all__ and isinstance(kind, type)]


class TestAnErrorOfOurs(Boom):
    @pytest.mark.parametrize("kind", [kind for kind in TREE if kind is not SkillwarrantError])
    def test_has_its_own_exit_code_and_says_everything(self, run, kind):
        reasons = {"reasons": ("because",)} if kind.__name__ == "PolicyDenied" else {}
        self.error = kind("it is wrong", fix="Do it well.", **reasons)
        result, as_json = run("inspect"), run("inspect", "--json")
        assert result.exit_code == as_json.exit_code == kind.exit_code != 0
        words = {1: "refused", 2: "misuse", 3: "could not check"}
        assert result.stderr.startswith(f"skillwarrant: {words[kind.exit_code]}: it is wrong\n")
        assert "  fix       Do it well.\n" in result.stderr
        answer = json.loads(as_json.stdout)
        assert answer["outcome"] == words[kind.exit_code].replace(" ", "-")
        assert answer["code"] == kind.code
        assert answer["message"] == "it is wrong"
        assert answer["fix"] == "Do it well."

    def test_shows_expected_and_found_under_each_other(self, run):
        self.error = UsageError("no", expected="this", found="that")
        assert run("inspect").stderr == "skillwarrant: misuse: no\n  expected  this\n  found     that\n"

    def test_names_what_could_not_be_done(self, run):
        self.error = Unavailable("no")
        assert run("inspect").stderr == "skillwarrant: could not check: no\n"


class TestCtrlC(Boom):
    def test_is_exit_130_and_one_line(self, run):
        self.error = KeyboardInterrupt()
        result = run("inspect")
        assert (result.exit_code, result.stdout, result.stderr) == (130, "", "skillwarrant: interrupted\n")

    def test_in_json_is_an_outcome(self, run):
        self.error = KeyboardInterrupt()
        assert json.loads(run("inspect", "--json").stdout)["outcome"] == "interrupted"


@pytest.mark.parametrize("arguments", [(), ("--help",), ("completion", "bash"), ("inspect", "--json")])
def test_a_reader_that_goes_away_is_quiet_and_no_verdict(arguments):
    read, write = os.pipe()
    os.close(read)
    child = subprocess.run([SCRIPT, *arguments], stdout=write, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(write)
    assert child.stderr == b""
    assert child.returncode == 141


def test_a_terminal_that_lacks_a_character_gets_an_escape_and_no_error(tmp_path):
    result = script("inspect", str(tmp_path / "a→b"), env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert result.returncode == 2
    assert r"a\u2192b" in result.stderr
