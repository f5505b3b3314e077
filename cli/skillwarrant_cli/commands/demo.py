"""`skillwarrant demo`: the thin command in front of `skillwarrant_cli.demo.story`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from skillwarrant_cli.options import PATH, json_option

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("played",)
FIELDS: Final = {
    "seconds": "how long it took",
    "directory": "what it made, left for a look",
    "steps": "each step: `step`, `title`, `expected`, `seen`, `asTold`, `seconds`",
    "next": "commands to try",
}


@click.command("demo")
@click.option(
    "--dir",
    "directory",
    metavar="DIR",
    type=PATH,
    help="Where it works and leaves what it made. Default: in the user's cache, replaced by each demo.",
)
@json_option
def command(directory: Path | None, as_json: bool) -> None:
    """Sign, verify, load and refuse on a real model, offline.

    Starts a Sigstore instance on loopback, trains a small adapter, signs it as a CI release would, loads it through
    the gate, and shows what is refused and why. Exit code 1 when any step goes otherwise than told.
    """
    from skillwarrant_cli.demo.story import run

    run(directory=directory, as_json=as_json)
