"""Rules about further attestations: is what the policy asks for there, from whom it asks, and recent enough? Pure.

Evidence was verified before it comes here: that its signature holds, and that it is about this very adapter. What
is asked here is who signed it and what it says, and whether it is revoked. The manifest's own `evidence` is the
publisher's claim, and proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from functools import partial

from skillwarrant_format.endorsement import APPROVAL_TYPE, CERTIFICATION_TYPE, Approval, Certification
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields, format_time
from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.evidence_seen import EvidenceSeen
from skillwarrant_verify.deciding.facts import Facts
from skillwarrant_verify.deciding.matching import matched
from skillwarrant_verify.deciding.requirement import any_of, no, proves, yes
from skillwarrant_verify.deciding.rules_origin import CLOCK_SKEW
from skillwarrant_verify.deciding.rules_versions import revoked
from skillwarrant_verify.document.policy_evidence import EvidenceRule, person
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.proof.certificate import Signer

__all__: list[str] = []  # importing this module registers its rules

_PATH = "evidence"


@proves("evidence.present")
def _present(policy: Policy, facts: Facts) -> Finding:
    return _asked(policy, facts, "evidence.present", "further evidence")


@proves("behaviour.certified")
def _certified(policy: Policy, facts: Facts) -> Finding:
    return _asked(policy, facts, "behaviour.certified", "a certification")


@proves("release.approved")
def _approved(policy: Policy, facts: Facts) -> Finding:
    return _asked(policy, facts, "release.approved", "an approval")


def _asked(policy: Policy, facts: Facts, code: str, what: str) -> Finding:
    """Every item of the policy's `evidence` that belongs to this requirement must be met."""
    rules = [rule for rule in policy.evidence if rule.code == code]
    if not rules:
        return yes(code, f"the policy does not ask for {what}", _PATH)
    said = []
    for rule in rules:
        objections = [(item, _objection(rule, policy, facts, item)) for item in facts.evidence]
        good = [item for item, objection in objections if objection is None]
        signers = {(item.signer.issuer, item.signer.identity): item.signer for item in good}.values()
        persons = [[one for one in signers if person(one.identity) == who] for who in _persons(signers)]
        count = len(matched(rule.signers, persons, lambda pattern, names: any(map(pattern.matches, names))))
        if count < rule.distinct:
            return _missing(code, what, rule, count, [(item, why) for item, why in objections if why])
        said.append(f"{rule.predicate_type} by {any_of(tuple(signer.identity for signer in signers)[:3])}")
    return yes(code, "; ".join(said), _PATH)


def _persons(signers: Iterable[Signer]) -> list[str]:
    return list(dict.fromkeys(person(signer.identity) for signer in signers))


def _objection(rule: EvidenceRule, policy: Policy, facts: Facts, item: EvidenceSeen) -> str | None:
    """Why an attestation does not count; empty where it is of another kind."""
    if item.predicate_type != rule.predicate_type:
        return ""
    if not any(pattern.matches(item.signer) for pattern in rule.signers):
        return f"signed by {item.signer.identity} ({item.signer.issuer})"
    if rule.independent and _is_publisher(policy, facts, item):
        return f"signed by who could have signed the manifest too, {item.signer.identity}"
    if (listed := revoked(policy, item.statement, item.signer, item.signed_at)) is not None:
        return f"revoked: {listed[1]}"
    return _untimely(rule, facts, item) or _content(rule, facts, item)


def _untimely(rule: EvidenceRule, facts: Facts, item: EvidenceSeen) -> str | None:
    age = facts.now - item.signed_at
    if age < -CLOCK_SKEW:
        return f"signed in the future, {format_time(item.signed_at)}"
    if rule.max_age_days is not None and age / timedelta(days=1) > rule.max_age_days:
        return f"signed {age.days} days ago"
    return None


def _is_publisher(policy: Policy, facts: Facts, item: EvidenceSeen) -> bool:
    """Whether the one who signed it signed the manifest too, or could have: one workflow has many names."""
    one, other = item.signer, facts.signer
    return person(one.identity) == person(other.identity) or any(
        rule.signer.matches(one) and rule.signer.matches(other) for rule in policy.publishers
    )


def _content(rule: EvidenceRule, facts: Facts, item: EvidenceSeen) -> str | None:
    """What our own predicates must say, and of what: the same files can be released again, for other places."""
    read = {
        APPROVAL_TYPE: partial(_approval, facts),
        CERTIFICATION_TYPE: partial(_certification, rule, facts, item),
    }.get(item.predicate_type)
    if read is None:
        return None
    if item.about == "files":
        return f"about the files, and not about this release, by {item.signer.identity}"
    try:
        return read(Fields(item.predicate, "predicate"))
    except FormatError as error:
        return str(error)


def _approval(facts: Facts, fields: Fields) -> str | None:
    found = Approval.parse(fields)
    return _another(facts, found.skill, found.version)


def _certification(rule: EvidenceRule, facts: Facts, item: EvidenceSeen, fields: Fields) -> str | None:
    found = Certification.parse(fields)
    if found.result != "passed":
        return f"a certification by {found.suite} that {found.result}"
    if found.expires_at is not None and facts.now >= found.expires_at:
        return f"a certification that expired at {format_time(found.expires_at)}"
    if any(_undoes(rule, facts, item, other) for other in facts.evidence):
        return f"certified by {item.signer.identity}, whose later certification failed"
    return _another(facts, found.skill, found.version)


def _undoes(rule: EvidenceRule, facts: Facts, item: EvidenceSeen, other: EvidenceSeen) -> bool:
    """Whether the same person certified later, or at once, that this release failed."""
    if (
        other.predicate_type != CERTIFICATION_TYPE
        or other.about == "files"
        or other.signed_at < item.signed_at
        or person(other.signer.identity) != person(item.signer.identity)
        or not any(pattern.matches(other.signer) for pattern in rule.signers)
    ):
        return False
    try:
        found = Certification.parse(Fields(other.predicate, "predicate"))
    except FormatError:
        return False
    return found.result == "failed" and _another(facts, found.skill, found.version) is None


def _another(facts: Facts, name: str, version: str) -> str | None:
    skill = facts.manifest.skill
    return None if (name, version) == (skill.name, skill.version) else f"for {name} {version}"


def _missing(
    code: str, what: str, rule: EvidenceRule, count: int, objections: list[tuple[EvidenceSeen, str]]
) -> Finding:
    who = any_of(tuple(map(str, rule.signers)))
    wanted = f"{rule.distinct} different signers of {who}" if rule.distinct > 1 else f"one signed by {who}"
    found = "; ".join(why for _, why in objections[:3]) or "none"
    return no(
        code,
        f"the policy asks for {what} ({rule.predicate_type})",
        _PATH,
        expected=wanted,
        found=f"{count} of {rule.distinct}; {found}" if rule.distinct > 1 else found,
        fix="Get it from who must sign it, and give its bundle to the gate as evidence.",
    )
