"""`skillwarrant devstack`: a whole Sigstore instance on loopback, until Ctrl-C."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from skillwarrant_cli import output
from skillwarrant_cli.options import json_option
from skillwarrant_format.errors import Unavailable

if TYPE_CHECKING:
    from skillwarrant_devstack import Devstack
    from skillwarrant_format.strict_json import JsonObject

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("serving",)
FIELDS: Final = {
    "url": "of Fulcio and the one server",
    "issuer": "the OIDC issuer in its certificates",
    "identity": "what a CI job of `environment` signs as",
    "trustedRoot": "file for `verify --trust-root`",
    "trustConfig": "file for `sign --trust-config`",
    "trustConfigV2": "the same with Rekor v2",
    "environment": "variables that make a process a CI job of it",
}


@click.command("devstack")
@click.option(
    "--dir",
    "directory",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="Where its keys, logs and client files lie; continued by the next run.",
)
@click.option(
    "--port", metavar="PORT", type=click.IntRange(0, 65535), default=0, help="Default: the last one, or any."
)
@json_option
def command(directory: Path, port: int, as_json: bool) -> None:
    """Run a whole Sigstore instance here, for trials. Loopback only, until Ctrl-C.

    Identity provider, certificate authority (Fulcio), transparency logs (Rekor v1 and v2) and time stamps. What
    it prints makes other shells its clients. With --json: one line once it serves.
    """
    stack = _devstack()(directory, port=port)
    signal.signal(signal.SIGTERM, _stop)
    try:
        with stack:  # logs its own warning, that it is no production CA
            output.answer(_text(stack), _fields(stack), code="serving", as_json=as_json)
            stack.serve_forever()
    except KeyboardInterrupt:
        output.note("skillwarrant: the devstack has stopped")


def _devstack() -> type[Devstack]:
    try:
        from skillwarrant_devstack import Devstack
    except ModuleNotFoundError as error:
        raise Unavailable(
            "the devstack is not installed",
            expected="the packages of skillwarrant's devstack extra",
            found=f"no module {error.name}",
            fix="pip install 'skillwarrant[devstack]'",
        ) from None
    return Devstack


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


def _text(stack: Devstack) -> str:
    directory = shlex.quote(str(stack.directory))
    rows = (
        ("serving", stack.url),
        ("trusted root", str(stack.trusted_root)),
        ("trust config", str(stack.trust_config)),
        ("with Rekor v2", str(stack.trust_config_v2)),
        ("CI identity", stack.ci_identity()),
        ("issuer", stack.issuer),
    )
    return "\n".join(
        (
            output.facts(rows, indent=""),
            "",
            "In another shell, become a CI job of the identity above, sign, and verify:",
            "",
            f"  . {directory}/ci.env",
            f"  skillwarrant sign DIR --trust-config {directory}/client_trust_config.json",
            f"  skillwarrant verify DIR --devstack {directory} \\",
            f"    --identity {shlex.quote(stack.ci_identity())} \\",
            f"    --issuer {stack.issuer}",
            "",
            "Ctrl-C stops it.",
        )
    )


def _fields(stack: Devstack) -> JsonObject:
    return {
        "url": stack.url,
        "issuer": stack.issuer,
        "identity": stack.ci_identity(),
        "trustedRoot": str(stack.trusted_root),
        "trustConfig": str(stack.trust_config),
        "trustConfigV2": str(stack.trust_config_v2),
        "environment": dict(stack.ci_environment()),
    }
