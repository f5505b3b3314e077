"""Which policy a command is to judge by: a document, or a signed policy of somebody who is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skillwarrant_cli.options import PATH
from skillwarrant_format.errors import UsageError

if TYPE_CHECKING:
    from skillwarrant_verify.policy import Policy
    from skillwarrant_verify.trust import TrustRoot

__all__ = ["PolicyChoice", "policy_options"]

_SIGNED = "--policy-name, --policy-identity and --policy-issuer"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChoice:
    """A policy, as the command line says; or none."""

    policy: Path | None
    policy_name: str | None
    policy_identity: str | None
    policy_issuer: str | None

    def __post_init__(self) -> None:
        who = (self.policy_name, self.policy_identity, self.policy_issuer)
        if any(who) and not (all(who) and self.policy):
            raise UsageError("a signed policy is only half named", expected=f"--policy DIR with {_SIGNED}")

    def load(self, policy: Path, adapter: Path, root: Callable[[], TrustRoot]) -> Policy:
        """Read the policy; of a signed one, this host remembers the revision from now on.

        Args:
            policy: `self.policy`, which is there.
            adapter: the directory that it will be asked about, and must not lie in.
            root: whose signatures count.

        Raises:
            UsageError, PolicyError: it cannot be used; or a directory is given, and not whose it must be.
            PolicyRefused: it lies inside the adapter, or as `SignedPolicy.load`.
            SkillwarrantError: as `SignedPolicy.load`.
        """
        from skillwarrant_verify.identity import IdentityPattern
        from skillwarrant_verify.policy import Policy
        from skillwarrant_verify.signed_policy.policy_place import refuse_inside

        refuse_inside(policy, adapter)
        if not (self.policy_name and self.policy_identity and self.policy_issuer):
            if policy.is_dir():
                raise UsageError(
                    "a policy's directory is given, and not whose it must be",
                    expected=f"{_SIGNED}, or the document itself",
                    found=str(policy),
                )
            return Policy.load(policy)
        from skillwarrant_verify.gate.defaults import default_log_directory
        from skillwarrant_verify.signed_policy.policy_verify import SignedPolicy
        from skillwarrant_verify.signed_policy.revisions import RevisionStore

        signer = IdentityPattern(issuer=self.policy_issuer, identity=self.policy_identity)
        demand = SignedPolicy(path=policy, name=self.policy_name, signer=signer)
        return demand.load(trust_root=root(), seen=RevisionStore(default_log_directory()), now=datetime.now(UTC))


_OPTIONS = (
    click.option(
        "--policy", metavar="FILE|DIR", type=PATH, help="What you demand; needs --environment. DIR: a signed one."
    ),
    click.option("--policy-name", metavar="NAME", help="The signed policy's name."),
    click.option("--policy-identity", metavar="WHO", help="Who must have signed the policy."),
    click.option("--policy-issuer", metavar="URL", help="The OIDC issuer that vouches for who signed it."),
)


def policy_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a policy, as one `policy: PolicyChoice`."""

    @wraps(command)
    def with_policy(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in PolicyChoice.__dataclass_fields__}
        command(**given, policy=PolicyChoice(**chosen))

    for option in reversed(_OPTIONS):
        with_policy = option(with_policy)
    return with_policy
