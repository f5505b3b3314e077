"""`skillwarrant policy pack`: a signed policy as one file, that one rename puts in place."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from skillwarrant_cli import output
from skillwarrant_cli.options import FILE, PATH, json_option

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("packed",)
FIELDS: Final = {
    "path": "the file",
    "digest": "`sha256:` of it",
    "policy": "as with `policy sign`; what the bundle claims",
}


@click.command("pack")
@click.argument("directory", metavar="DIR", type=PATH)
@click.argument("file", metavar="FILE", type=FILE)
@json_option
def command(*, directory: Path, file: Path, as_json: bool) -> None:
    """Pack a signed policy into one file.

    FILE is written whole or not at all, and replaces what is there in one step. The same directory gives the same
    bytes. Gates take it wherever they take the directory.
    """
    from skillwarrant_attest import write_pack

    bundle, digest = write_pack(directory, file)
    text = f"{output.good('packed')}  {bundle.name} revision {bundle.revision}  {output.place(file)}"
    output.answer(
        text, {"path": str(file), "digest": str(digest), "policy": bundle.to_json()}, code=CODES[0], as_json=as_json
    )
