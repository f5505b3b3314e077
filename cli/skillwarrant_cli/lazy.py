"""A group whose commands are imported when they are called, and listed without importing any."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

__all__ = ["LazyGroup"]


class LazyGroup(click.Group):
    """Commands by name, each called `command` in a module of its own.

    Args:
        listed: name -> the first sentence of its help, in the order in which they are used.
        prefix: of the modules' names; `skillwarrant_cli.commands.` and the command's name by default.
    """

    def __init__(
        self,
        *args: Any,
        listed: Mapping[str, str],
        prefix: str = "skillwarrant_cli.commands.",
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.listed = listed
        self.prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """In the order in which they are used, not of the alphabet."""
        return list(self.listed)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self.listed:
            return None
        command: click.Command = import_module(f"{self.prefix}{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """As click does it, without importing a command to ask for its help."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.listed.items()))
