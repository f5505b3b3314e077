"""The command group: which commands there are, and what becomes of their errors.

A command's module is imported when the command is called, so that `skillwarrant --help` costs an import of click
and nothing else. Every way out of a command ends here, as one exit code: 0 yes, 1 refused, 2 misuse, 3 could not
check, 130 interrupted, 141 nobody reads our output any more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import click

from skillwarrant_cli import interrupt, output
from skillwarrant_cli.lazy import LazyGroup
from skillwarrant_format.errors import SkillwarrantError, Unavailable, UsageError

__all__ = ["COMMANDS", "DEBUG", "OWN_PROCESS", "cli"]

DEBUG: Final = "SKILLWARRANT_DEBUG"
OWN_PROCESS: Final = "own process"  # the context's object where nobody but us lives in this process
COMMANDS: Final = {
    "demo": "Sign, verify, load and refuse on a real model, offline.",
    "init": "Write a skill.toml to fill in, for an adapter.",
    "sign": "Vouch for an adapter: sign its manifest and log it.",
    "approve": "Agree to a release: sign that you have looked at it.",
    "certify": "Certify a release: sign what came out of testing its behaviour.",
    "verify": "Check an adapter against its manifest and your policy.",
    "inspect": "Show what a bundle claims, without verifying it.",
    "policy": "Write, check, test, explain, compare and sign policies.",
    "fingerprint": "Measure the weights of a model or an adapter.",
    "devstack": "Run a whole Sigstore instance here, for trials.",
    "completion": "Print the completion script of a shell.",
}


class Group(LazyGroup):
    """All commands, and every way out of them."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002
        **extra: Any,
    ) -> NoReturn:
        """Run, report, exit. Never returns; `standalone_mode` is click's and has no effect."""
        arguments = list(sys.argv[1:] if args is None else args)
        output.prepare()
        try:
            sys.exit(self._run(arguments, prog_name, complete_var, extra))
        except (_ReaderGone, BrokenPipeError):
            output.abandon()
            sys.exit(141)

    def _run(
        self, arguments: list[str], prog_name: str | None, complete_var: str | None, extra: dict[str, Any]
    ) -> int:
        as_json = "--json" in arguments
        try:
            super().main(arguments, prog_name, complete_var, standalone_mode=False, **extra)
        except (click.Abort, KeyboardInterrupt):
            return _interrupted(as_json)
        except _ReaderGone:
            raise
        except output.Told as told:
            return told.exit_code
        except Exception as error:  # noqa: BLE001  # the last handler: what was not foreseen is exit 3, never a yes
            return _interrupted(as_json) if interrupt.happened() else _failed(error, arguments, as_json)
        return 0

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """As click does it."""
        with _ours():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does it."""
        with _ours():
            return super().invoke(ctx)


class _ReaderGone(Exception):
    """Nobody reads our output any more: `skillwarrant … | head -1`."""


@contextmanager
def _ours() -> Iterator[None]:
    """Keep click from answering these itself: an empty line for Ctrl-C, and exit 1, a no, for a broken pipe."""
    try:
        yield
    except KeyboardInterrupt:
        raise click.Abort from None
    except BrokenPipeError:
        raise _ReaderGone from None


def _interrupted(as_json: bool) -> int:
    if sys.stderr.isatty():
        output.note("")  # after the terminal's own ^C
    output.report("interrupted", as_json=as_json)
    return 130


def _failed(error: Exception, arguments: Sequence[str], as_json: bool) -> int:
    if os.environ.get(DEBUG):
        import traceback

        traceback.print_exception(error)
    known = _known(error, arguments)
    with _told_if_it_can_be():
        if known is None:
            output.report_internal(error, fix=f"Set {DEBUG}=1 for the traceback, and report it.", as_json=as_json)
        else:
            output.report_error(known, command=_command(arguments), as_json=as_json)
    return 3 if known is None else known.exit_code


@contextmanager
def _told_if_it_can_be() -> Iterator[None]:
    """A message that no disk has room for must not become Python's exit 1, which would be a no of ours."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError:
        output.abandon()


def _known(error: Exception, arguments: Sequence[str]) -> SkillwarrantError | None:
    """The error as one of ours, where it is one or where click or the operating system raised it."""
    if isinstance(error, SkillwarrantError):
        return error
    if isinstance(error, click.ClickException):
        usage = f"skillwarrant {_command(arguments) or ''}".rstrip()
        return UsageError(_sentence(error.format_message()), fix=f"Run '{usage} --help' for what it takes.")
    if isinstance(error, OSError):
        found = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        return Unavailable("the operating system refused", found=found or str(error))
    return None


def _command(arguments: Sequence[str]) -> str | None:
    """`verify`, `policy sign`; as far as that can be told."""
    from skillwarrant_cli.commands import policy

    named = [argument for argument in arguments if not argument.startswith("-")]
    first, second = (*named, "", "")[:2]
    if first == "policy" and second in policy.COMMANDS:
        return f"{first} {second}"
    return next((argument for argument in named if argument in COMMANDS), None)


def _sentence(text: str) -> str:
    """Click's messages in the form of ours: lower case, no full stop."""
    text = " ".join(text.split()).removesuffix(".")
    return text[:1].lower() + text[1:]


@click.group(
    cls=Group,
    listed=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
)
@click.version_option(package_name="skillwarrant", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Signed skill manifests for PEFT adapters: who vouches for an adapter, for which base model, where.

    \b
    A publisher:  skillwarrant init DIR; skillwarrant sign DIR --base BASE
    A consumer:   skillwarrant verify DIR --policy FILE --environment NAME --base BASE

    Exit codes: 0 yes, 1 refused, 2 misuse, 3 could not check.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
