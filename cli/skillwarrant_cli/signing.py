"""Who signs, and where: the options of every command that signs, spelt once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skillwarrant_cli import output, progress
from skillwarrant_cli.options import FILE
from skillwarrant_format.errors import UsageError

if TYPE_CHECKING:
    from skillwarrant_attest import Credential
    from skillwarrant_format.statement import Statement

__all__ = ["SigningChoice", "signing_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningChoice:
    """An identity and an instance, as the command line says."""

    trust_config: Path | None
    token_file: Path | None
    browser: bool
    timeout: float

    def __post_init__(self) -> None:
        if self.token_file is not None and self.browser:
            raise UsageError("two identities are given", expected="--token-file or --browser")

    @property
    def instance(self) -> str:
        """For people."""
        return str(self.trust_config or "the public Sigstore instance: visible to all, for ever")

    def credential(self) -> Credential:
        """A token file, else the CI job that this is, else a person at a terminal."""
        from skillwarrant_attest import Credential, ambient_credential, browser_credential

        if self.token_file is not None:
            return Credential.from_file(self.token_file)
        if not self.browser:
            try:
                with progress.waiting("asking for the CI job's identity"):
                    return ambient_credential()
            except UsageError:
                if not sys.stdin.isatty():
                    raise
        output.note("Sign in with your browser: the identity that you choose there signs.")
        return browser_credential(self.trust_config)

    def sign(self, statement: Statement, credential: Credential) -> bytes:
        """The bundle. Raises as `skillwarrant_attest.sign`."""
        from skillwarrant_attest import Timeouts, sign

        with progress.waiting("signing"):
            return sign(
                statement,
                credential=credential,
                trust_config=self.trust_config,
                timeouts=Timeouts(total=self.timeout),
            )


_OPTIONS = (
    click.option(
        "--trust-config",
        metavar="FILE",
        type=FILE,
        help="A client trust config: which Sigstore instance signs. Default: the public one.",
    ),
    click.option(
        "--token-file", metavar="FILE", type=FILE, help="An OIDC identity token for the audience sigstore."
    ),
    click.option(
        "--browser", is_flag=True, help="Sign in with a browser. Default: as the CI job, else so at a terminal."
    ),
    click.option(
        "--timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=1),
        default=60,
        help="For all services together: 60.",
    ),
)


def signing_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of who signs, as one `signing: SigningChoice`."""

    @wraps(command)
    def with_signing(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in SigningChoice.__dataclass_fields__}
        command(**given, signing=SigningChoice(**chosen))

    for option in reversed(_OPTIONS):
        with_signing = option(with_signing)
    return with_signing
