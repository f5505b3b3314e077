"""Whether a policy that was only handed to a command may act: run its own Python, ask the server that it names.

`policy test`, `diff` and `explain` take any file. A stranger's policy would run a stranger's code, or send inputs,
and a token of this machine, where it says; so neither happens unless it is said here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from skillwarrant_format.errors import Unavailable

if TYPE_CHECKING:
    from skillwarrant_format.fields import Fields
    from skillwarrant_verify.deciding.requirement import Rule
    from skillwarrant_verify.document.policy_reach import Reach
    from skillwarrant_verify.rego.opa_http import OpaServer

__all__ = ["ReachChoice", "reach_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachChoice:
    """What is allowed, as the command line says."""

    run_rules: bool
    contact_opa: bool

    def reach(self) -> Reach:
        """For `Policy.load`, which then raises Unavailable where the policy needs what was not allowed."""
        from skillwarrant_verify.document.policy_reach import ALL, Reach

        return Reach(
            rules=ALL.rules if self.run_rules else _refuse_rules,
            opa=ALL.opa if self.contact_opa else _refuse_opa,
        )


def _refuse_rules(modules: Mapping[str, bytes]) -> Mapping[str, Rule]:
    if not modules:
        return {}
    raise Unavailable(
        "this policy decides by Python of its own, which would run here with all your rights",
        expected="--run-rules",
        found=", ".join(modules),
        fix="Read these files, or have `skillwarrant policy verify` tell whose they are; then add --run-rules.",
    )


def _refuse_opa(fields: Fields) -> OpaServer:
    name = fields.maybe("token_env", fields.text)
    token = "" if name is None else f", with what is in ${name} as a token"
    raise Unavailable(
        f"this policy has a server decide, and would send it each input{token}",
        expected="--contact-opa",
        found=fields.text("url", limit=2048),
        fix="If that is a server of yours, add --contact-opa.",
    )


_OPTIONS = (
    click.option(
        "--run-rules",
        is_flag=True,
        help="Let the policy's own Python ([[rules]]) run here, with all your rights.",
    ),
    click.option(
        "--contact-opa", is_flag=True, help="Let the OPA server that the policy names ([opa]) be sent each input."
    ),
)


def reach_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command what a policy may do, as one `reach: ReachChoice`."""

    @wraps(command)
    def with_reach(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in ReachChoice.__dataclass_fields__}
        command(**given, reach=ReachChoice(**chosen))

    for option in reversed(_OPTIONS):
        with_reach = option(with_reach)
    return with_reach
