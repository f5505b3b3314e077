"""docs/reference/cli.md is what the commands say of themselves.

After changing a command: SKILLWARRANT_WRITE_REFERENCE=1 python -m pytest tests/cli/test_reference.py
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from skillwarrant_cli.group import COMMANDS, cli
from skillwarrant_cli.lazy import LazyGroup

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
INTRODUCTION = """\
# Commands

<!-- Written by tests/cli/test_reference.py from the commands themselves. -->

`skillwarrant COMMAND --help` says the same on the terminal.

## Answers

A command's answer goes to stdout, everything else to stderr. What is wrong is told as one block:

```text
skillwarrant: refused: 'README.md' is not the file that was signed
  expected  sha256:69d2a0a4…
  found     sha256:5f1c8e20…
  fix       Get the adapter again from its publisher.
```

| exit code | first word on stderr | `outcome` in JSON | means |
|---|---|---|---|
| 0 | | `ok` | yes: it was checked, and it holds |
| 1 | `refused` | `refused` | no: it was checked, and it does not hold |
| 2 | `misuse` | `misuse` | the question or our own files cannot be used; nothing was checked |
| 3 | `could not …`, `internal error` | `could-not-check` | neither yes nor no: network, disk, trust root |
| 130 | `interrupted` | `interrupted` | Ctrl-C |
| 141 | | | nobody reads our output any more |

With `--json`, stdout gets exactly one line with one object, whatever happens. It always has `outcome` and `code`:
what was done where the outcome is `ok`, else the [error's code](errors.md). An error also has `message`, and where
they are known `expected`, `found`, `fix`, and for a policy's denial `reasons`. Fields are only ever added.

`skillwarrant devstack` is stopped by Ctrl-C and then exits with 0.

## Environment

| variable | does |
|---|---|
| `NO_COLOR` | no colour, whatever it is set to (unless empty); there is none off a terminal either |
| `SKILLWARRANT_DEBUG` | any value: the traceback of every error, on stderr |
| `XDG_CACHE_HOME` | where TUF repositories and the demo are cached |

Progress is shown on stderr, on a terminal only, for what takes longer than a second.
"""


def reference() -> str:
    """The whole page."""
    context = click.Context(cli, info_name="skillwarrant")
    return "\n".join([INTRODUCTION, *(_command(context, name) for name in leaves())])


def leaves() -> Iterator[str]:
    """Every command that does something: `verify`, `policy sign`."""
    for name in COMMANDS:
        command = import_module(f"skillwarrant_cli.commands.{name}").command
        if isinstance(command, LazyGroup):
            yield from (f"{name} {below}" for below in command.listed)
        else:
            yield name


def module_of(name: str) -> Any:
    return import_module(f"skillwarrant_cli.commands.{name.replace(' ', '_')}")


def _command(context: click.Context, name: str) -> str:
    module = module_of(name)
    own = click.Context(module.command, info_name=name, parent=context)
    usage = " ".join(module.command.collect_usage_pieces(own))
    parts = [
        f"## skillwarrant {name}\n",
        f"```text\nskillwarrant {name} {usage}\n```\n",
        f"{_help(module.command)}\n",
        "| option | says |\n|---|---|",
        *_options(module.command, own),
        f"\nIn JSON, `code` is {' or '.join(f'`{code}`' for code in module.CODES)}:\n",
        "| field | is |\n|---|---|",
        *(f"| `{field}` | {meaning} |" for field, meaning in module.FIELDS.items()),
        "",
    ]
    return "\n".join(parts)


def _help(command: click.Command) -> str:
    """Paragraphs as they are; what click is told not to wrap becomes a block."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return "\n\n".join(
        f"```text\n{part.removeprefix(chr(8)).strip()}\n```" if part.startswith("\b") else part
        for part in paragraphs
    )


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context)):
            spelling, says = record
            yield f"| `{spelling}` | {says} |"


def test_the_page_is_what_the_commands_say() -> None:
    if os.environ.get("SKILLWARRANT_WRITE_REFERENCE"):
        PAGE.write_text(reference(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == reference()


@pytest.mark.parametrize("name", [*leaves()])
def test_every_option_says_what_it_does(name: str) -> None:
    module = module_of(name)
    for parameter in module.command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help
            assert parameter.help.endswith((".", "…"))
