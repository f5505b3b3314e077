"""`skillwarrant completion`: the script that teaches a shell our commands and options."""

from __future__ import annotations

from typing import Final

import click

from skillwarrant_cli import output
from skillwarrant_cli.options import json_option
from skillwarrant_format.errors import UsageError

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("completion",)
FIELDS: Final = {
    "shell": "the shell",
    "script": "the script",
}

_VARIABLE = "_SKILLWARRANT_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
@click.pass_context
def command(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print the completion script of a shell.

    \b
    bash:  skillwarrant completion bash >> ~/.bashrc
    zsh:   skillwarrant completion zsh >> ~/.zshrc
    fish:  skillwarrant completion fish > ~/.config/fish/completions/skillwarrant.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise UsageError("no completion for this shell", expected="bash, zsh or fish", found=shell)
    # `source_template` and not `source()`: for bash the latter runs the bash it finds, to ask for its version.
    script = found.source_template % found(ctx.find_root().command, {}, "skillwarrant", _VARIABLE).source_vars()
    output.answer(script, {"shell": shell, "script": script}, code="completion", as_json=as_json)
