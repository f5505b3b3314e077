"""`skillwarrant init`: a skill.toml with what the adapter suggests, and placeholders for the rest."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import click

from skillwarrant_cli import output, progress
from skillwarrant_cli.options import json_option

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("written",)
FIELDS: Final = {
    "path": "the file that was written",
}


@click.command("init")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--skill",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it. Default: DIR.skill.toml, beside DIR.",
)
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@json_option
def command(directory: Path, path: Path | None, force: bool, as_json: bool) -> None:
    """Write a skill.toml to fill in, for an adapter.

    What can be derived from the adapter is never asked for; what is left is who, what for and where.
    """
    from skillwarrant_attest.adapter import read_adapter
    from skillwarrant_attest.files import replace
    from skillwarrant_attest.skill_toml import default_path
    from skillwarrant_attest.template import template, write_template

    with progress.hashing("reading the adapter") as callback:
        adapter = read_adapter(directory, progress=callback)
    path = path or default_path(directory)
    if force:
        replace(path, template(adapter).encode())
    else:
        write_template(adapter, path)
    then = f"Fill it in, then:  skillwarrant sign {shlex.quote(str(directory))}"
    text = f"{output.good('wrote')}  {output.place(path)}\n\n{then}"
    output.answer(text, {"path": str(path)}, code="written", as_json=as_json)
