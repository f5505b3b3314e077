"""`skillwarrant demo`: the thin command in front of `skillwarrant_cli.demo.story`."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command("demo")
def command() -> None:
    """Sign, verify, load and refuse on a real model, offline.

    Starts a Sigstore instance on loopback, trains a small adapter, signs it as a CI release would, loads it through
    the gate, and shows what is refused and why.
    """
    from skillwarrant_cli.demo.story import run

    run()
