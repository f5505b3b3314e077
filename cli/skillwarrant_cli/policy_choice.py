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
    from skillwarrant_verify.document.policy_reach import Reach
    from skillwarrant_verify.policy import Policy
    from skillwarrant_verify.trust import TrustRoot

__all__ = ["PolicyChoice", "PolicySigner", "policy_options", "signer_options"]

_SIGNED = "--policy-name, --policy-identity and --policy-issuer"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySigner:
    """Whose policy it must be, and which of his, as the command line says; or nothing of it."""

    policy_name: str | None
    policy_identity: str | None
    policy_issuer: str | None

    def __post_init__(self) -> None:
        who = (self.policy_name, self.policy_identity, self.policy_issuer)
        if any(who) and not all(who):
            raise UsageError("a signed policy is only half named", expected=_SIGNED)

    def __bool__(self) -> bool:
        """Whether somebody is named."""
        return self.policy_name is not None

    def load(self, path: Path, root: TrustRoot, *, take: bool, reach: Reach) -> Policy:
        """Read and verify the policy of who is named.

        Args:
            path: its directory, or a pack.
            take: this host remembers the revision from now on.
            reach: what of it may act, once it is his.

        Raises:
            SkillwarrantError: as `SignedPolicy.load`.
        """
        from skillwarrant_verify.defaults import default_log_directory
        from skillwarrant_verify.identity import IdentityPattern
        from skillwarrant_verify.signed_policy.policy_verify import SignedPolicy
        from skillwarrant_verify.signed_policy.revisions import RevisionStore

        signer = IdentityPattern(issuer=self.policy_issuer or "", identity=self.policy_identity or "")
        demand = SignedPolicy(path=path, name=self.policy_name or "", signer=signer)
        seen = RevisionStore(default_log_directory())
        return demand.load(trust_root=root, seen=seen, now=datetime.now(UTC), take=take, reach=reach)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChoice:
    """A policy, as the command line says; or none."""

    policy: Path | None
    signer: PolicySigner

    def __post_init__(self) -> None:
        if self.signer and self.policy is None:
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
        from skillwarrant_verify.document.policy_reach import ALL
        from skillwarrant_verify.policy import Policy
        from skillwarrant_verify.signed_policy.policy_place import refuse_inside

        refuse_inside(policy, adapter)
        if self.signer:
            return self.signer.load(policy, root(), take=True, reach=ALL)
        if policy.is_dir():
            raise UsageError(
                "a policy's directory is given, and not whose it must be",
                expected=f"{_SIGNED}, or the document itself",
                found=str(policy),
            )
        return Policy.load(policy)


_POLICY = click.option(
    "--policy", metavar="FILE|DIR", type=PATH, help="What you demand; needs --environment. DIR: a signed one."
)
_SIGNER = (
    click.option("--policy-name", metavar="NAME", help="The signed policy's name."),
    click.option("--policy-identity", metavar="WHO", help="Who must have signed the policy."),
    click.option("--policy-issuer", metavar="URL", help="The OIDC issuer that vouches for who signed it."),
)


def signer_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of who signed a policy, as one `signer: PolicySigner`."""

    @wraps(command)
    def with_signer(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in PolicySigner.__dataclass_fields__}
        command(**given, signer=PolicySigner(**chosen))

    for option in reversed(_SIGNER):
        with_signer = option(with_signer)
    return with_signer


def policy_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a policy, as one `policy: PolicyChoice`."""

    @wraps(command)
    def with_policy(*, policy: Path | None, signer: PolicySigner, **given: Any) -> None:
        command(**given, policy=PolicyChoice(policy=policy, signer=signer))

    return _POLICY(signer_options(with_policy))
