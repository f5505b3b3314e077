"""`skillwarrant policy verify`: would a host take this signed policy, now? It takes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from skillwarrant_cli import output
from skillwarrant_cli.options import PATH, TrustChoice, json_option, trust_options
from skillwarrant_format.fields import format_time

if TYPE_CHECKING:
    from skillwarrant_verify.policy import Policy

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("verified",)
FIELDS: Final = {
    "policy": "`name`, `revision`, `digest`, `engine` and `origin`: `bundle`, `signer`, `log`, `notAfter`",
    "trust": "`source`, `digest`, `retrievedAt` of the trust root",
}


@click.command("verify")
@click.argument("path", metavar="DIR|FILE", type=PATH)
@click.option("--identity", metavar="WHO", required=True, help="Whose policy: exact, or with * in its ref.")
@click.option("--issuer", metavar="URL", required=True, help="The OIDC issuer that vouches for the signer.")
@click.option("--name", metavar="NAME", required=True, help="The policy's name: its signer may have signed others.")
@click.option(
    "--least-revision", metavar="N", type=click.IntRange(min=1), default=1, help="Refuse an older one. Default: 1."
)
@trust_options
@json_option
def command(
    *,
    path: Path,
    identity: str,
    issuer: str,
    name: str,
    least_revision: int,
    trust: TrustChoice,
    as_json: bool,
) -> None:
    """Check a signed policy as a gate would before taking it.

    Signature, certificate, transparency log, every file, the times, and that this host has seen no newer revision.
    What the host has seen is beside its activation log, and is not changed. Python rules of the policy's own are
    read and not run, and an OPA server that it names is not contacted.
    """
    from skillwarrant_verify.defaults import default_log_directory
    from skillwarrant_verify.document.policy_reach import NONE
    from skillwarrant_verify.identity import IdentityPattern
    from skillwarrant_verify.signed_policy.policy_verify import SignedPolicy
    from skillwarrant_verify.signed_policy.revisions import RevisionStore

    demand = SignedPolicy(
        path=path,
        name=name,
        signer=IdentityPattern(issuer=issuer, identity=identity),
        least_revision=least_revision,
    )
    root = trust.load()
    seen = RevisionStore(default_log_directory())
    policy = demand.load(trust_root=root, seen=seen, now=datetime.now(UTC), take=False, reach=NONE)
    fields = {"policy": policy.used().to_json(), "trust": root.used().to_json()}
    output.answer(_text(policy, str(root)), fields, code=CODES[0], as_json=as_json)


def _text(policy: Policy, root: str) -> str:
    origin = policy.origin
    rows = [("trust root", root)]
    if origin is not None:
        rows = [
            ("signed by", origin.identity),
            ("issuer", origin.issuer),
            ("until", format_time(origin.not_after)),
            ("log entry", f"{origin.log.index} of {origin.log.origin}"),
            *rows,
        ]
    return f"{output.good('verified')}  {policy.name} revision {policy.revision}\n\n{output.facts(rows)}"
