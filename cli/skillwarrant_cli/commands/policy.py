"""`skillwarrant policy …`: writing, checking, testing, explaining, comparing and signing policies."""

from __future__ import annotations

from typing import Final

import click

from skillwarrant_cli.lazy import LazyGroup

__all__ = ["COMMANDS", "command"]

COMMANDS: Final = {
    "new": "Write a policy and its first cases.",
    "check": "Look a policy over for what is wrong, and for what is suspicious.",
    "test": "Run the cases that lie beside a policy.",
    "explain": "Say what a policy decides, and why.",
    "diff": "Which past decisions of a log another policy would change.",
    "export": "Write the decisions of a log as events of OPA's decision log.",
    "sign": "Sign a policy's directory: every file in it, for a while.",
    "pack": "Pack a signed policy into one file.",
    "verify": "Check a signed policy as a gate would before taking it.",
}


@click.group(
    "policy",
    cls=LazyGroup,
    listed=COMMANDS,
    prefix="skillwarrant_cli.commands.policy_",
    invoke_without_command=True,
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Write, check, test, explain, compare and sign policies.

    \b
    A new one:   skillwarrant policy new; skillwarrant policy test DIR
    A change:    skillwarrant policy check DIR; skillwarrant policy diff OLD NEW --over LOG
    A denial:    skillwarrant policy explain DIR ADAPTER --environment NAME --base BASE
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
