"""From a policy's files to a `Policy` that its signer stands behind: `SignedPolicy.load`.

The steps, in the order they are taken; the numbers are repeated in the code:

    (0)-(5) who signed, that it is logged, and when: as in `signature`
    (6) the payload is an in-toto statement in canonical form
    (7) its predicate is a policy bundle of a known version
    (8) its subjects are exactly the files, by name and by digest
    (9) the signer and the name are those that are demanded, the revision at least the one that is
    (10) the policy is in its time, and was not signed later than now
    (11) it has not gone back behind what this host has seen
    (12) the document and what it names, read from the verified bytes, say the same as the bundle
    (13) from now on nothing older is taken

Files are read once, before all of it: nothing here opens a path. Rules of a policy's own run only after (11), where
the caller's `Reach` lets them; what this host has seen is written last.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from skillwarrant_format.errors import PolicyError, PolicyRefused, UsageError
from skillwarrant_format.fields import format_time
from skillwarrant_format.observation_parts import PolicyOrigin
from skillwarrant_format.policy_bundle import PolicyBundle
from skillwarrant_format.policy_files import POLICY_BUNDLE_NAME, PolicyFiles
from skillwarrant_format.policy_pack import read_policy
from skillwarrant_format.signed_files import check_files, require_statement
from skillwarrant_verify.arguments import check_kind, path_of
from skillwarrant_verify.document.named_files import files_of
from skillwarrant_verify.document.policy_reach import ALL, Reach
from skillwarrant_verify.identity import IdentityPattern
from skillwarrant_verify.policy import API_VERSION, Policy
from skillwarrant_verify.proof.signature import Signature, verify_signature
from skillwarrant_verify.signed_policy.revisions import Mark, RevisionStore
from skillwarrant_verify.trust import TrustRoot

__all__ = ["SignedPolicy"]

_SKEW: Final = timedelta(minutes=5)  # how far apart two clocks may be


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedPolicy:
    """Which policy a host demands, by whom. What lies at `path` is believed only if all of it verifies.

    Args:
        path: of the policy's directory or of a pack of it.
        name: of the policy: its signer may have signed others, for other places.
        signer: whose signature counts.
        least_revision: no older one, whatever this host remembers: for hosts that begin without a memory.
    """

    path: str | os.PathLike[str]
    name: str
    signer: IdentityPattern
    least_revision: int = 1

    def __post_init__(self) -> None:
        path_of("the policy", self.path)
        check_kind("name", self.name, str, "a string")
        check_kind("least_revision", self.least_revision, int, "a whole number")
        if not self.name or not isinstance(self.signer, IdentityPattern) or self.least_revision < 1:
            raise UsageError("a signed policy is named by its signer and its name", expected="both, and a revision")

    def load(
        self, *, trust_root: TrustRoot, seen: RevisionStore, now: datetime, take: bool = True, reach: Reach = ALL
    ) -> Policy:
        """Read, verify and take the policy.

        Args:
            trust_root: whose certificates and logs count.
            seen: what this host has seen; an older revision is refused from now on.
            now: the host's time.
            take: False only looks whether it would be taken.
            reach: whether its own Python runs and its OPA server is asked: as a gate, unless it says otherwise.

        Returns:
            The policy, with its origin, in force no longer than its signer says.

        Raises:
            PolicyRefused: not signed, another signer or name, out of its time, or gone back.
            VerificationError: as `signature.verify`: signature, log, predicate or files.
            FormatError, PolicyError: the files, the bundle or the document are malformed.
            TrustError: the trust root is stale or unusable, or the host's clock is behind.
            AuditError: the store cannot be read or written, or is damaged.
            Unavailable: the files cannot be read, or could not be verified.
        """
        path = Path(self.path)
        policy = self.verify(read_policy(path), trust_root=trust_root, seen=seen, now=now, take=take, reach=reach)
        return replace(policy, place=path.absolute())

    def verify(
        self,
        files: PolicyFiles,
        *,
        trust_root: TrustRoot,
        seen: RevisionStore,
        now: datetime,
        take: bool = True,
        reach: Reach = ALL,
    ) -> Policy:
        """`load`, of files that are in memory."""
        if files.bundle is None:
            raise PolicyRefused(
                f"the policy in {files.source} is not signed",
                expected=f"{POLICY_BUNDLE_NAME} beside its files, signed by {self.signer}",
                found="none",
                fix="Have it signed: `skillwarrant policy sign DIR`.",
            )
        signature = verify_signature(files.bundle, trust_root, now=now)  # (0)-(5)
        require_statement(signature.payload_type)  # (6)
        statement, bundle = PolicyBundle.read(signature.payload)  # (7)
        found = {subject.name: subject.digest for subject in files.subjects}
        check_files(statement.subjects, found, what="policy")  # (8)
        self._check_demand(signature, bundle)  # (9)
        _check_times(signature, bundle, now)  # (10)
        mark = Mark(name=bundle.name, revision=bundle.revision, digest=found[bundle.document], time=now)
        seen.check(mark)  # (11)
        policy = _with_origin(_parsed(files, bundle, reach), signature, bundle)  # (12)
        if take:
            seen.take(mark)  # (13)
        return policy

    def _check_demand(self, signature: Signature, bundle: PolicyBundle) -> None:
        if not self.signer.matches(signature.signer):
            raise PolicyRefused(
                "the policy is signed by somebody else",
                expected=str(self.signer),
                found=f"{signature.signer.identity} ({signature.signer.issuer})",
                fix="If that is who may sign your policy, demand that signer.",
            )
        if bundle.name != self.name:
            raise PolicyRefused("this is another policy of its signer", expected=self.name, found=bundle.name)
        if bundle.revision < self.least_revision:
            raise PolicyRefused(
                f"the policy {bundle.name!r} is older than is demanded",
                expected=f"revision {self.least_revision} or later",
                found=f"revision {bundle.revision}",
            )


def _check_times(signature: Signature, bundle: PolicyBundle, now: datetime) -> None:
    if bundle.not_before is not None and now < bundle.not_before:
        raise PolicyRefused(
            f"the policy {bundle.name!r} is not in force yet",
            expected=f"a time from {format_time(bundle.not_before)} on",
            found=format_time(now),
        )
    if now >= bundle.not_after:
        raise PolicyRefused(
            f"the policy {bundle.name!r} has expired",
            expected=f"a time before {format_time(bundle.not_after)}",
            found=format_time(now),
            fix="Have its current revision signed again, with a later end.",
        )
    if signature.signed_at > now + _SKEW:
        raise PolicyRefused(
            f"the policy {bundle.name!r} was signed in the future",
            expected=f"a signature made by {format_time(now)}",
            found=format_time(signature.signed_at),
            fix="Check this machine's clock.",
        )


def _parsed(files: PolicyFiles, bundle: PolicyBundle, reach: Reach) -> Policy:
    data, named = files.files[files.document], files_of(files.files)
    policy = Policy.parse(data, name=files.document, files=named, reach=reach)
    said = (bundle.name, bundle.revision, bundle.api_version, bundle.document)
    if said != (policy.name, policy.revision, API_VERSION, files.document):
        raise PolicyRefused(
            "the policy is not what its bundle says",
            expected=f"{bundle.name} revision {bundle.revision} in {bundle.document}, {bundle.api_version}",
            found=f"{policy.name} revision {policy.revision} in {files.document}, {API_VERSION}",
        )
    return policy


def _with_origin(policy: Policy, signature: Signature, bundle: PolicyBundle) -> Policy:
    """In force as long as both say so, its document and its bundle."""
    begins = [moment for moment in (policy.not_before, bundle.not_before) if moment is not None]
    ends = [moment for moment in (policy.not_after, bundle.not_after) if moment is not None]
    if begins and max(begins) >= min(ends):
        raise PolicyError(f"the policy {policy.name!r} and its bundle are never in force together")
    origin = PolicyOrigin(
        bundle=signature.bundle,
        identity=signature.signer.identity,
        issuer=signature.signer.issuer,
        log=signature.log,
        not_after=min(ends),
    )
    return replace(policy, not_before=max(begins, default=None), not_after=min(ends), origin=origin)
