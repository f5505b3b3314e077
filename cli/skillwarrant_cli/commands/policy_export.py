"""`skillwarrant policy export`: the decisions of a log, for tools that read OPA's decision logs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from skillwarrant_cli import output, progress
from skillwarrant_cli.options import FILE, PATH, json_option
from skillwarrant_format.durable import write_new
from skillwarrant_format.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from skillwarrant_format.strict_json import JsonObject

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("exported",)
FIELDS: Final = {"decisions": "how many were written", "file": "where"}


@click.command("export")
@click.argument("log", metavar="LOG", type=PATH)
@click.option("--to", "file", metavar="FILE", type=FILE, required=True, help="The file to write; it is a new one.")
@click.option(
    "--operator-key",
    metavar="FILE",
    type=FILE,
    help="The operator's public key, got by another way than the log. Default: operator.pub beside it.",
)
@click.option("--label", "labels", metavar="NAME=VALUE", multiple=True, help="A label of every event. Repeatable.")
@click.option("--show-input", is_flag=True, help="Each input as it is kept, in place of its digest.")
@json_option
def command(
    *, log: Path, file: Path, operator_key: Path | None, labels: tuple[str, ...], show_input: bool, as_json: bool
) -> None:
    """Write the decisions of a log as events of OPA's decision log.

    A line of JSON each, in a file for you alone, which is there once all of it is. The log is verified first. What
    an event holds is in docs/reference/rego.md. The same decision gives the same event, so that a tool can tell
    those that it has.
    """
    from skillwarrant_verify.review.decision_log import decision_event
    from skillwarrant_verify.review.past import past_decisions

    named = dict(_label(one) for one in labels)
    with progress.waiting("verifying the log"):
        decisions = past_decisions(log, operator_key)
    _write(file, (decision_event(past, labels=named, show_input=show_input) for past in decisions))
    fields: JsonObject = {"decisions": len(decisions), "file": str(file)}
    output.answer(f"{len(decisions)} decisions in {output.place(file)}", fields, code=CODES[0], as_json=as_json)


def _label(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise UsageError("a label has no name or no value", expected="--label NAME=VALUE", found=text)
    return name, value


def _write(file: Path, events: Iterable[JsonObject]) -> None:
    """For its owner alone, as the inputs are where they come from; half of a log would look like all of another."""
    try:
        write_new(file, (f"{json.dumps(event, allow_nan=False)}\n".encode() for event in events))
    except FileExistsError:
        raise UsageError(f"{file} is there already", fix="Name a file that is not.") from None
    except OSError as error:
        raise Unavailable(f"{file} cannot be written", found=error.strerror) from None
