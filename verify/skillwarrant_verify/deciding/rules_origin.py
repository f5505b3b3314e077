"""Rules about the warrant: who vouches for what, and how long ago. Pure: time is an input."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from skillwarrant_format.fields import format_time
from skillwarrant_format.names import matches_any
from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.facts import Facts
from skillwarrant_verify.deciding.requirement import any_of, no, proves, yes
from skillwarrant_verify.policy import Policy

__all__ = ["CLOCK_SKEW"]  # importing this module registers its rules

CLOCK_SKEW: Final = timedelta(minutes=5)  # of the clocks of a signing service and of this host


@proves("signature.valid")
def _signature(_: Policy, facts: Facts) -> Finding:
    signed = format_time(facts.signed_at)
    return yes("signature.valid", f"signed by {facts.signer.identity} at {signed}", "warrant.signer")


@proves("log.included")
def _logged(_: Policy, facts: Facts) -> Finding:
    log = facts.warrant.log
    return yes("log.included", f"entry {log.index} of {log.origin}", "warrant.log")


@proves("publisher.trusted")
def _publisher(policy: Policy, facts: Facts) -> Finding:
    code, path = "publisher.trusted", "warrant.signer"
    signer, skill = facts.signer, facts.manifest.skill.name
    known = [rule for rule in policy.publishers if rule.signer.matches(signer)]
    if not known:
        return no(
            code,
            "the signer is no trusted publisher",
            path,
            expected=any_of(tuple(str(rule.signer) for rule in policy.publishers)),
            found=f"{signer.identity} ({signer.issuer})",
            fix="If you trust this signer, add it to the policy's publishers.",
        )
    covering = [rule for rule in known if matches_any(rule.skills, skill)]
    if not covering:
        return no(
            code,
            "the publisher may not vouch for this skill",
            "manifest.skill.name",
            expected=any_of(tuple(pattern for rule in known for pattern in rule.skills)),
            found=skill,
            fix="If you trust this publisher with it, add the name to the skills of its entry in the policy.",
        )
    base = facts.authorised_base()
    if base is not None and not any(_may_name(rule.base_models, base.name) for rule in covering):
        return no(
            code,
            "the publisher may not vouch for this base model",
            "manifest.baseModels",
            expected=any_of(tuple(pattern for rule in covering for pattern in rule.base_models)),
            found=base.name,
            fix="If you trust this publisher with it, add the name to the base_models of its entry in the policy.",
        )
    return yes(code, f"{signer.identity} may vouch for {skill}", path)


def _may_name(patterns: tuple[str, ...], name: str) -> bool:
    return not patterns or matches_any(patterns, name)


@proves("class.allowed")
def _policy_class(policy: Policy, facts: Facts) -> Finding:
    code, path, found = "class.allowed", "manifest.policyClass", facts.manifest.policy_class
    stated = facts.context.policy_class
    if stated is not None and found != stated:
        message = "the skill is made for another class of policy than this deployment is under"
        fix = "Get a release that is made for this class of policy; or check the context's policy class."
        return no(code, message, path, expected=stated, found=found, fix=fix)
    if found not in policy.policy_classes:
        expected = any_of(policy.policy_classes)
        fix = "If this policy is meant for such skills, name the class in its policy_classes."
        message = "the skill is made for another class of policy"
        return no(code, message, path, expected=expected, found=found, fix=fix)
    return yes(code, f"policy class {found} is allowed", path)


@proves("manifest.age")
def _age(policy: Policy, facts: Facts) -> Finding:
    code, path = "manifest.age", "warrant.signedAt"
    age = facts.now - facts.signed_at
    if age < -CLOCK_SKEW:
        return no(
            code,
            "the manifest is signed in the future",
            path,
            expected=f"at most {format_time(facts.now)}",
            found=format_time(facts.signed_at),
            fix="Check this machine's clock.",
        )
    if policy.max_age_days is not None and age / timedelta(days=1) > policy.max_age_days:
        return no(
            code,
            "the manifest is too old for this policy",
            path,
            expected=f"signed within {policy.max_age_days} days",
            found=f"{age.days} days",
            fix="Ask the publisher for a fresh release.",
        )
    return yes(code, f"signed {max(age.days, 0)} days ago", path)
