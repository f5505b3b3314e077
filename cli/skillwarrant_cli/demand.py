"""What a caller of `verify` demands: a policy, or, like other Sigstore tools, no more than a signer.

Both are judged by the policy rules, so that there is one meaning of each check. What nobody asked for is not
checked, and is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import PolicyDenied
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.observation import PolicyUsed
from skillwarrant_verify.context import Context
from skillwarrant_verify.deciding.adapter_seen import AdapterSeen
from skillwarrant_verify.deciding.composition import Companion
from skillwarrant_verify.deciding.decide import Facts, decide
from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.evidence_seen import EvidenceSeen
from skillwarrant_verify.deciding.facts import History
from skillwarrant_verify.deciding.requires import installed_versions
from skillwarrant_verify.document.policy_sections import PublisherRule
from skillwarrant_verify.identity import IdentityPattern
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.proof.signature import Verified
from skillwarrant_verify.signed_policy.policy_place import refuse_same

__all__ = ["Demand", "Given", "Judgement", "PolicyDemand", "SignerDemand"]

_NOWHERE: Final = Context(environment="unstated")
_ALWAYS: Final = frozenset(
    {
        "signature.valid",
        "log.included",
        "files.exact",
        "files.safe",
        "publisher.trusted",
        "time.window",
        "manifest.age",
        "adapter.as-declared",
    }
)
_WHERE: Final = frozenset({"environment.allowed", "region.allowed", "operator.allowed", "prompt.allowed"})
_NEEDS_A_MODEL: Final = frozenset(
    {
        "composition.allowed",
        "composition.limits",
        "composition.weights",
        "runtime.unaltered",
        "version.no-rollback",
    }
)
_COMPANY: Final = "what else is on the model, skills and hooks: verify_and_load sees them"
_USED: Final = "which versions were in use here: the gate's log has them"
_NOT_MY_POLICY: Final = "If that is whom you trust, name it with --identity and --issuer."


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What is verified or measured, and the host's time.

    Args:
        packages: versions of the deployment's packages by name; they replace those installed here.
        evidence: further attestations about the adapter, verified.
        companions, alterations: what else is supposed to be on the model; nobody looked at one.
        weight: with which it is supposed to be mixed in; by default, it is not.
    """

    verified: Verified
    adapter: AdapterSeen
    base: Fingerprint | None
    now: datetime
    packages: Mapping[str, str]
    evidence: tuple[EvidenceSeen, ...] = ()
    companions: tuple[Companion, ...] = ()
    alterations: tuple[str, ...] = ()
    weight: float | None = 0.0

    def facts(self, context: Context, policy: Policy) -> Facts:
        """The rules' input."""
        required = [name for name, _ in (*self.verified.manifest.requires, *policy.dependencies)]
        return Facts.of(
            verified=self.verified,
            adapter=self.adapter,
            base=self.base,
            companions=self.companions,
            context=context,
            now=self.now,
            versions={**installed_versions(required), **self.packages},
            alterations=self.alterations,
            weight=self.weight,
            evidence=self.evidence,
            history=History(),  # there is no log here of what was in use
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A yes. `unchecked` says in words what it does not cover."""

    checked: tuple[Finding, ...]
    unchecked: tuple[str, ...]
    policy: PolicyUsed | None


class Demand(Protocol):
    """`judge` returns or raises: PolicyDenied for a no, Unavailable where an input is missing."""

    def judge(self, given: Given) -> Judgement: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDemand:
    """Everything the policy requires, for this context."""

    policy: Policy
    context: Context

    def judge(self, given: Given) -> Judgement:
        refuse_same(self.policy.digest, given.verified.subjects)
        decision = decide(self.policy, given.facts(self.context, self.policy)).require().decision
        checked = tuple(finding for finding in decision.checked if finding.code not in _NEEDS_A_MODEL)
        used = (_USED,) if self.policy.versions.no_rollback else ()
        return Judgement(checked=checked, unchecked=(_COMPANY, *used), policy=decision.policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerDemand:
    """This signer, and that the publisher's own limits are kept as far as the caller tells of his deployment."""

    signer: IdentityPattern
    context: Context | None

    def judge(self, given: Given) -> Judgement:
        policy = self._policy(given)
        decision = decide(policy, given.facts(self.context or _NOWHERE, policy))
        asked = (
            _ALWAYS | ({"base.matches"} if given.base else frozenset()) | (_WHERE if self.context else frozenset())
        )
        checked = tuple(finding for finding in decision.checked if finding.code in asked)
        reasons = [_for_signer(finding) for finding in checked if finding.outcome != "proved"]
        if reasons or {finding.code for finding in checked} != asked:
            raise PolicyDenied(
                "the adapter is not what is asked for", reasons=tuple(map(str, reasons)) or ("no proof",)
            )
        return Judgement(checked=checked, unchecked=self._unchecked(given), policy=None)

    def _policy(self, given: Given) -> Policy:
        """The rules want a policy: this one demands the signer, and takes the rest as the manifest has it."""
        manifest = given.verified.manifest
        return Policy(
            name="command line",
            revision=1,
            digest=Digest.of(str(self.signer).encode()),
            environments=manifest.deployment.environments if self.context is None else (self.context.environment,),
            policy_classes=(manifest.policy_class,),
            publishers=(PublisherRule(signer=self.signer, skills=(manifest.skill.name,)),),
        )

    def _unchecked(self, given: Given) -> tuple[str, ...]:
        hazards = (*given.adapter.hazards, *(("changes-base",) if given.adapter.changes_base else ()))
        lines = (
            "" if given.base else "the base model: give --base DIR or --base-fingerprint",
            "" if self.context else "where it is used: give --environment",
            f"THE ADAPTER'S HAZARDS: {', '.join(hazards)}" if hazards else "",
            "your policy (policy class, hazards, age, versions): give --policy FILE",
            _COMPANY,
        )
        return tuple(line for line in lines if line)


def _for_signer(finding: Finding) -> Finding:
    return finding._replace(fix=_NOT_MY_POLICY) if finding.code == "publisher.trusted" else finding
