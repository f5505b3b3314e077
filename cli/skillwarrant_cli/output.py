"""What people and scripts see: one answer on stdout, one block on stderr, or one JSON object on stdout.

It knows nothing of what the commands do. Colour is only ever decoration, and only on a terminal.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NoReturn

import click

from skillwarrant_format.errors import PolicyDenied, SkillwarrantError, shown
from skillwarrant_format.strict_json import JsonObject, JsonValue

__all__ = [
    "Told",
    "abandon",
    "answer",
    "bad",
    "facts",
    "good",
    "loud",
    "note",
    "place",
    "prepare",
    "refuse",
    "report",
    "report_error",
    "report_internal",
    "skipped",
]

OUTCOMES: Final = {1: "refused", 2: "misuse", 3: "could-not-check"}
"""Exit code -> `outcome` in JSON; 0 is "ok"."""
_OURS: Final = re.compile(r"\x1b\[(?:0|1|31|32|33)m|[\n\t]")  # what `good`, `bad` and `loud` write, and layout
_PATH_CHARS: Final = 4_096  # what Linux takes
_NO: Final = {"demo": "failed"}  # a command whose no is about itself
_COULD_NOT: Final = {
    "approve": "sign",
    "certify": "sign",
    "demo": "run",
    "devstack": "start",
    "init": "write",
    "policy export": "write",
    "policy new": "write",
    "policy pack": "write",
    "policy sign": "sign",
    "sign": "sign",
}


def prepare() -> None:
    """Make the streams take any text: a character the terminal cannot show is escaped, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


def abandon() -> None:
    """Nobody can read our output: send the rest nowhere, so that the interpreter's last flush is quiet."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None where it was closed before we began
        os.dup2(nowhere, stream.fileno())


def answer(text: str, fields: JsonObject, *, code: str, as_json: bool) -> None:
    """A command's yes.

    Args:
        text: for people.
        fields: for scripts; they go beside `outcome` and `code`.
        code: what was done, `verified`.
    """
    if as_json:
        _echo(_dumps({"outcome": "ok", "code": code, **fields}))
    else:
        _echo(text)


class Told(Exception):
    """What is no yes and was told already: there is nothing more to say."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(exit_code)


def refuse(
    text: str, fields: JsonObject, *, code: str, message: str, as_json: bool, exit_code: int = 1
) -> NoReturn:
    """An answer that is no yes and has more to say than an error: as `answer`, and what is wrong on stderr.

    Args:
        message: one sentence, as an error's.
        exit_code: 1 for a no, 3 for neither yes nor no.
    """
    outcome = OUTCOMES[exit_code]
    if as_json:
        _echo(_dumps({"outcome": outcome, "code": code, "message": message, **fields}))
    else:
        _echo(text)
        note(f"skillwarrant: {bad(outcome.replace('-', ' '))}: {message}")
    raise Told(exit_code)


def note(text: str) -> None:
    """A line for people beside the answer, on stderr."""
    _echo(text, err=True)


def report(message: str, *, as_json: bool) -> None:
    """A single line that is neither an answer nor an error of ours."""
    if as_json:
        _echo(_dumps({"outcome": message, "code": message}))
    else:
        note(f"skillwarrant: {message}")


def report_error(error: SkillwarrantError, *, command: str | None, as_json: bool) -> None:
    """An error as one block: what is wrong, then expected, found and what to do."""
    outcome = OUTCOMES[error.exit_code]
    if as_json:
        _echo(_dumps({"outcome": outcome, "code": error.code, **_fields(error)}))
        return
    word = outcome if error.exit_code < 3 else f"could not {_COULD_NOT.get(command or '', 'check')}"
    word = _NO.get(command or "", word) if error.exit_code == 1 else word
    lines = [f"skillwarrant: {bad(word)}: {error.message}"]
    if isinstance(error, PolicyDenied):
        lines += [_wrapped(f"  - {reason}", "    ") for reason in error.reasons]
        details = [("fix", error.fix)]
    else:
        details = [("expected", error.expected), ("found", error.found), ("fix", error.fix)]
    lines += [_wrapped(f"  {name:<8}  {value}", " " * 12) for name, value in details if value]
    note("\n".join(lines))


def report_internal(error: Exception, *, fix: str, as_json: bool) -> None:
    """A failure nobody foresaw: never a yes, never a no."""
    message = shown(f"{type(error).__name__}: {error}")
    if as_json:
        _echo(_dumps({"outcome": OUTCOMES[3], "code": "internal", "message": message, "fix": fix}))
    else:
        note(f"skillwarrant: {bad('internal error')}: {message}\n  fix       {fix}")


def facts(rows: Iterable[tuple[str, str]], *, indent: str = "  ") -> str:
    """Names and values in two columns; a row without a name goes on with the value above."""
    listed = list(rows)
    width = max((len(name) for name, _ in listed), default=0)
    return "\n".join(f"{indent}{name:<{width}}  {value}".rstrip() for name, value in listed)


def place(path: Path | str) -> str:
    """A path for people, in one line: a directory's name can hold line ends, and colours."""
    return shown(str(path), _PATH_CHARS)


def skipped(folders: Iterable[Path]) -> list[str]:
    """What was not looked at, as one block; none where that is nothing."""
    lines = [f"{loud('skipped')}  {place(folder)}" for folder in folders]
    return ["\n".join(lines)] if lines else []


def good(text: str) -> str:
    """Decoration for a yes."""
    return click.style(text, fg="green", bold=True)


def bad(text: str) -> str:
    """Decoration for a no."""
    return click.style(text, fg="red", bold=True)


def loud(text: str) -> str:
    """Decoration for what must not be overlooked."""
    return click.style(text, fg="yellow", bold=True)


def _wrapped(line: str, indent: str) -> str:
    """On a terminal, a long line continued under its own beginning; elsewhere, where programs read, one line."""
    if not sys.stderr.isatty():
        return line
    width = max(shutil.get_terminal_size().columns, 40)
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _fields(error: SkillwarrantError) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {"message": error.message}
    if isinstance(error, PolicyDenied):
        found["reasons"] = list(error.reasons)
    else:
        found |= {"expected": error.expected, "found": error.found}
    return {name: value for name, value in {**found, "fix": error.fix}.items() if value is not None}


def _dumps(fields: JsonObject) -> str:
    return json.dumps(fields)


def _echo(text: str, *, err: bool = False) -> None:
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    click.echo(_safe(text), err=err, color=False if plain else None)


def _safe(text: str) -> str:
    """Nothing in it commands a terminal but the decoration of ours: what was forgotten upstream is escaped here."""
    found, at = [], 0
    for ours in _OURS.finditer(text):
        found += [shown(text[at : ours.start()], len(text)), ours.group()]
        at = ours.end()
    return "".join(found) + shown(text[at:], len(text))
