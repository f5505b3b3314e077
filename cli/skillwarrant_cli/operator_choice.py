"""Who runs the deployment, as a command is told: a name that is only claimed, or a token that proves one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skillwarrant_cli.options import FILE
from skillwarrant_format.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from skillwarrant_verify.operators.verified_operator import VerifiedOperator

__all__ = ["OperatorChoice", "operator_options"]

_DESCRIBED = "--operator-token, --operator-issuer and --operator-audience"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorChoice:
    """An operator, as the command line says; or none."""

    operator: str | None
    operator_token: Path | None
    operator_issuer: str | None
    operator_audience: str | None
    operator_keys: Path | None

    def __post_init__(self) -> None:
        asked = (self.operator_token, self.operator_issuer, self.operator_audience)
        if any(asked) != all(asked) or (self.operator_keys and not all(asked)):
            raise UsageError("an operator's token is only half described", expected=_DESCRIBED)
        if self.operator and self.operator_token:
            raise UsageError("an operator is given twice", expected="--operator or --operator-token")

    def __bool__(self) -> bool:
        return bool(self.operator or self.operator_token)

    def load(self) -> str | VerifiedOperator | None:
        """The claimed name, or what the token proves now.

        Raises:
            OperatorInvalid: the token proves nothing.
            TrustError: the issuer's keys cannot be used.
            Unavailable: a file cannot be read, or the issuer cannot be asked for its keys.
            UsageError: the issuer's URL cannot be used.
        """
        if not (self.operator_token and self.operator_issuer and self.operator_audience):
            return self.operator
        from skillwarrant_verify.operators.issuer_keys import MAX_KEYS_BYTES
        from skillwarrant_verify.operators.operator_token import MAX_TOKEN_BYTES, OperatorKeys, verify_operator

        token = _read(self.operator_token, MAX_TOKEN_BYTES).decode(errors="replace").strip()
        keys = (
            _read(self.operator_keys, MAX_KEYS_BYTES) if self.operator_keys else OperatorKeys(self.operator_issuer)
        )
        return verify_operator(
            token,
            issuer=self.operator_issuer,
            audience=self.operator_audience,
            keys=keys,
            now=datetime.now(UTC),
        )


def _read(path: Path, limit: int) -> bytes:
    """One byte more than is allowed, for what parses it to refuse."""
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise Unavailable(f"cannot read {path}", found=error.strerror) from None


_OPTIONS = (
    click.option("--operator", metavar="WHO", help="By whom: a claim, which a policy can refuse."),
    click.option(
        "--operator-token", metavar="FILE", type=FILE, help="By whom, proved: an OIDC token, verified here and now."
    ),
    click.option("--operator-issuer", metavar="URL", help="Whose token it must be."),
    click.option("--operator-audience", metavar="TEXT", help="For whom it must be made, alone."),
    click.option(
        "--operator-keys", metavar="FILE", type=FILE, help="The issuer's key set. Default: the issuer is asked."
    ),
)


def operator_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of an operator, as one `operator: OperatorChoice`."""

    @wraps(command)
    def with_operator(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in OperatorChoice.__dataclass_fields__}
        command(**given, operator=OperatorChoice(**chosen))

    for option in reversed(_OPTIONS):
        with_operator = option(with_operator)
    return with_operator
