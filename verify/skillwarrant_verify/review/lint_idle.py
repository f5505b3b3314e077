"""What in a policy changes nothing: revocations of what nobody vouches for, and demands that another one covers.

A revocation that is misspelt revokes nothing, and nobody is told at the time when it matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from skillwarrant_format.semver import SemVerRange
from skillwarrant_verify.document.policy_evidence import EvidenceRule
from skillwarrant_verify.document.policy_terms import Floor, RevokedSigner, RevokedSkill
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.review.lint_remark import Remark, remark
from skillwarrant_verify.review.policy_overlap import (
    Identities,
    Names,
    can_be_a_name,
    covers_identity,
    covers_name,
    semver_candidates,
)

__all__ = ["RULES", "idle"]

RULES: Final = {
    "revocations.idle": "a revocation of what no publisher may vouch for, or of whom nobody believes",
    "revocations.redundant": "a revocation that another one covers",
    "versions.redundant": "a lowest version that another one covers",
    "evidence.redundant": "evidence that another demand asks for already",
}
Item = TypeVar("Item")
_OUT: Final = "Take one of them out."
_FEW: Final = 100  # of one kind that are compared each with each


def idle(policy: Policy) -> Iterator[Remark]:
    """Every remark about what changes nothing."""
    yield from _skills(policy)
    yield from _signers(policy)
    revoked, floors = policy.revocations, policy.versions.floors
    for number, other in _covered(revoked.skills, _skill_covers):
        message = f"skills[{other}] revokes that already"
        yield remark("revocations.redundant", message, "revocations", "skills", number, fix=_OUT)
    for number, other in _covered(revoked.signers, _signer_covers):
        message = f"signers[{other}] revokes that already"
        yield remark("revocations.redundant", message, "revocations", "signers", number, fix=_OUT)
    for number, other in _covered(floors, _floor_covers):
        message = f"floors[{other}] asks for that already, or for more"
        yield remark("versions.redundant", message, "versions", "floors", number, fix=_OUT)
    for number, other in _covered(policy.evidence, _evidence_covers):
        message = f"evidence[{other}] asks for that already, or for more"
        yield remark("evidence.redundant", message, "evidence", number, fix=_OUT)


def _skills(policy: Policy) -> Iterator[Remark]:
    vouched = Names(skill for publisher in policy.publishers for skill in publisher.skills)
    for number, one in enumerate(policy.revocations.skills):
        if not can_be_a_name(one.name):
            message, fix = f"no skill has a name like {one.name}: nothing is revoked", "Correct the name."
        elif not vouched.meet(one.name):
            message = f"no publisher may vouch for {one.name}: nothing is revoked that would be allowed"
            fix = "Correct the name, or take it out."
        else:
            continue
        yield remark("revocations.idle", message, "revocations", "skills", number, "name", fix=fix)


def _signers(policy: Policy) -> Iterator[Remark]:
    """Only a note: who was believed once, and was taken out of the publishers, is rightly on the list still."""
    believed = Identities(
        [
            *(publisher.signer for publisher in policy.publishers),
            *(signer for rule in policy.evidence for signer in rule.signers),
        ]
    )
    for number, one in enumerate(policy.revocations.signers):
        if not believed.may_meet(one.signer):
            yield Remark(
                code="revocations.idle",
                message=f"the policy believes nobody who is {one.signer}",
                at=("revocations", "signers", number),
                fix="Correct the issuer or the identity, unless it is to stay revoked whatever comes.",
                level="note",
            )


def _covered(items: Sequence[Item], covers: Callable[[Item, Item], bool]) -> Iterator[tuple[int, int]]:
    """Each item that another one covers, and which one; of two that cover each other, the later.

    Of more than a few, only the first few are compared.
    """
    few = items[:_FEW]
    for number, one in enumerate(few):
        for place, other in enumerate(few):
            if place != number and covers(other, one) and (place < number or not covers(one, other)):
                yield number, place
                break


def _skill_covers(wide: RevokedSkill, narrow: RevokedSkill) -> bool:
    if not covers_name(wide.name, narrow.name):
        return False
    if wide.versions is None or narrow.versions is None:
        return wide.versions is None
    return _is_within(narrow.versions, wide.versions)


def _is_within(narrow: SemVerRange, wide: SemVerRange) -> bool:
    tried = semver_candidates(bound for versions in (narrow, wide) for _, bound in versions.clauses)
    return all(wide.covers(one) for one in tried if narrow.covers(one))


def _signer_covers(wide: RevokedSigner, narrow: RevokedSigner) -> bool:
    longer = wide.since is None or (narrow.since is not None and wide.since <= narrow.since)
    return longer and covers_identity(wide.signer, narrow.signer)


def _floor_covers(wide: Floor, narrow: Floor) -> bool:
    return wide.least >= narrow.least and covers_name(wide.skill, narrow.skill)


def _evidence_covers(strict: EvidenceRule, lax: EvidenceRule) -> bool:
    """Whether who meets one demand meets the other: it asks for no fewer, of no others, and no older."""
    same = replace(
        strict,
        signers=lax.signers,
        distinct=lax.distinct,
        max_age_days=lax.max_age_days,
        independent=lax.independent,
    )
    younger = lax.max_age_days is None or (
        strict.max_age_days is not None and strict.max_age_days <= lax.max_age_days
    )
    return (
        same == lax
        and younger
        and strict.distinct >= lax.distinct
        and strict.independent >= lax.independent
        and set(strict.signers) <= set(lax.signers)
    )
