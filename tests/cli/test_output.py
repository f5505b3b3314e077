"""What a terminal shows: colour where it is wanted, long lines under their own beginning, no control code."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout

import pytest

from skillwarrant_cli import output
from skillwarrant_format.errors import PolicyDenied, UsageError

RED = "\x1b[31m"
LONG = UsageError("no", expected=" ".join(["something"] * 20), found="else", fix="Do it well.")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)


def shown(error: PolicyDenied | UsageError, stream: io.StringIO) -> str:
    with redirect_stderr(stream):
        output.report_error(error, command="verify", as_json=False)
    return stream.getvalue()


def test_a_terminal_gets_colour_and_a_pipe_does_not():
    assert RED in shown(LONG, Terminal())
    assert "\x1b" not in shown(LONG, io.StringIO())


@pytest.mark.parametrize(
    ("name", "value", "coloured"), [("NO_COLOR", "1", False), ("NO_COLOR", "", True), ("TERM", "dumb", False)]
)
def test_colour_is_left_out_on_request(monkeypatch, name, value, coloured):
    monkeypatch.setenv(name, value)
    assert ("\x1b" in shown(LONG, Terminal())) == coloured


def test_a_long_line_goes_on_under_its_own_beginning():
    lines = shown(LONG, Terminal()).splitlines()
    assert all(len(line) <= 60 for line in lines[1:])
    assert lines[1].startswith("  expected  something")
    assert lines[2].startswith("            something")


def test_a_program_that_reads_gets_a_line_for_each_part():
    assert len(shown(LONG, io.StringIO()).splitlines()) == 4


def test_each_reason_of_a_denial_has_its_own_line():
    denied = PolicyDenied("no", reasons=("one", "two"), fix="Ask.")
    assert shown(denied, io.StringIO()) == "skillwarrant: refused: no\n  - one\n  - two\n  fix       Ask.\n"


def test_json_is_one_ascii_line_whatever_is_in_it():
    with redirect_stdout(io.StringIO()) as stream:
        output.answer("", {"name": "näher\n\x1b[2J"}, code="done", as_json=True)
    assert stream.getvalue().isascii()
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    assert json.loads(stream.getvalue()) == {"outcome": "ok", "code": "done", "name": "näher\n\x1b[2J"}


def test_columns_line_up_and_a_row_without_a_name_goes_on():
    assert output.facts([("a", "1"), ("bcd", "2"), ("", "3")]) == "  a    1\n  bcd  2\n       3"


@pytest.mark.parametrize(
    "text", ["\x1b]0;pwned\x07", "\x1b[2J", "\x1b[8m", "\x9b2J", "\rclean", "\u202e", "\udcff"]
)
def test_what_commands_a_terminal_is_escaped_whoever_printed_it(text):
    stream = Terminal()
    with redirect_stdout(stream):
        output.answer(f"{output.good('passed')}\n  {text} x", {}, code="passed", as_json=False)
    assert stream.getvalue() == f"\x1b[32m\x1b[1mpassed\x1b[0m\n  {ascii(text)[1:-1]} x\n"
