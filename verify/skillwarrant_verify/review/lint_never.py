"""What in a policy nothing can satisfy, or can never take effect; and whether that leaves anything to be allowed.

A range that is empty, a limit below what any adapter is, a date after the end: each is told where it stands. Where
what was found adds up to a policy that denies everything, that is told at its environments, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from skillwarrant_format.fields import format_time
from skillwarrant_verify.deciding.method_numbers import RANKED
from skillwarrant_verify.document.policy_sections import PublisherRule
from skillwarrant_verify.loader.option_bounds import KNOWN_METHODS
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.review.lint_remark import Remark, remark
from skillwarrant_verify.review.policy_overlap import Names, can_be_a_name
from skillwarrant_verify.review.revoked_skills import RevokedSkills, tried

__all__ = ["RANKLESS", "RULES", "never", "nothing_left"]

RULES: Final = {
    "environments.never": "nothing can be allowed in any environment of the policy",
    "publisher.never": "a publisher for whose skills nothing is left that is not revoked",
    "revocations.never": "a list of revocations that is stale before the policy begins",
    "revocations.empty": "a revocation that revokes no version",
    "versions.never": "a lowest version from which on everything is revoked",
    "versions.idle": "a lowest version of skills for which no publisher may vouch",
    "mode.never": "a requirement that is enforced only after the policy's end",
    "limits.never": "a method that no adapter has, or a limit that no adapter keeps",
    "quantizations.never": "a quantisation that is never called so",
    "composition.only-mixed": "a limit that keeps every adapter from being loaded as it is",
}
RANKLESS: Final = KNOWN_METHODS - RANKED
"""Methods of PEFT without a rank that their configuration holds down: a limit of the rank refuses them."""
_LEAST_BYTES: Final = 64  # a configuration that names its method, and a safetensors file with one tensor
_FORMS: Final = ("nf4", "fp4", "int8")
_DENIES: Final = {"dependencies.never": "dependencies.met", "revocations.never": "revocations.fresh"}
"""Remark that alone leaves nothing to be allowed -> the requirement that then denies, unless it only warns."""


def never(policy: Policy) -> Iterator[Remark]:
    """Every remark about what nothing can satisfy."""
    revoked = RevokedSkills(policy)
    for number, publisher in enumerate(policy.publishers):
        yield from _publisher(revoked, publisher, number)
    yield from _revocations(policy)
    yield from _floors(policy, revoked)
    yield from _modes(policy)
    yield from _limits(policy)
    yield from _quantizations(policy)
    yield from _weights(policy)


def nothing_left(policy: Policy, found: Sequence[Remark], now: datetime) -> Iterator[Remark]:
    """Whether what was found leaves nothing that the policy could allow.

    Args:
        found: all other remarks.
    """
    reason = next(_reasons(policy, found, now), None)
    if reason is not None:
        where = " or ".join(policy.environments)
        message = f"nothing can be allowed in {where}: {reason.message}"
        fix = reason.fix or "Correct what the other remark is about."
        yield Remark(code="environments.never", message=message, at=("environments",), fix=fix)


def _reasons(policy: Policy, found: Sequence[Remark], now: datetime) -> Iterator[Remark]:
    """Each remark that alone, or with others like it, denies everything."""
    dead: dict[int, Remark] = {}
    for one in found:
        if _kills_publisher(policy, one, found):
            dead.setdefault(int(one.at[1]), one)
    if len(dead) == len(policy.publishers):
        yield next(iter(dead.values()))
    methods = [one for one in found if one.at[:2] == ("limits", "methods")]
    for one in found:
        code = _denied_by(policy, one)
        every = one not in methods or len(methods) == len(policy.limits.methods)
        if code is not None and every and policy.severity(code, now) == "deny":
            yield one


def _denied_by(policy: Policy, one: Remark) -> str | None:
    """The requirement that is never proved, because of this."""
    if one.code == "evidence.never":
        return policy.evidence[int(one.at[1])].code
    if one.code == "limits.never":
        return "adapter.method" if one.at[1] == "methods" else "adapter.bytes"
    return _DENIES.get(one.code)


def _kills_publisher(policy: Policy, one: Remark, found: Sequence[Remark]) -> bool:
    """Whether a publisher can do nothing any more, because of this."""
    if one.code in {"publisher.revoked", "publisher.never"}:
        return True
    if one.code == "identity.never":
        return one.at[0] == "publishers"
    if one.code != "skills.never":
        return False
    alike = {other.at for other in found if other.code == one.code and other.at[:2] == one.at[:2]}
    return len(alike) == len(policy.publishers[int(one.at[1])].skills)


def _publisher(revoked: RevokedSkills, rule: PublisherRule, number: int) -> Iterator[Remark]:
    if all(map(revoked.all_of, rule.skills)):
        message = "every version of every skill for which this publisher may vouch is revoked"
        yield remark("publisher.never", message, "publishers", number, fix="Take the publisher out.")


def _revocations(policy: Policy) -> Iterator[Remark]:
    stale, begins = policy.revocations.valid_until, policy.not_before
    if stale is not None and begins is not None and stale <= begins:
        message = f"the list is stale from {format_time(stale)} on, before the policy begins"
        yield remark("revocations.never", message, "revocations", "valid_until", fix="Put a fresh list in.")
    for number, revoked in enumerate(policy.revocations.skills):
        if revoked.versions is not None and not any(map(revoked.versions.covers, tried(revoked.versions))):
            message = f"no version is {revoked.versions}: nothing of {revoked.name} is revoked"
            fix = "Correct the range, or leave it out to revoke every version."
            yield remark("revocations.empty", message, "revocations", "skills", number, "versions", fix=fix)


def _floors(policy: Policy, revoked: RevokedSkills) -> Iterator[Remark]:
    vouched = Names(skill for publisher in policy.publishers for skill in publisher.skills)
    for number, floor in enumerate(policy.versions.floors):
        if not vouched.meet(floor.skill) or not can_be_a_name(floor.skill):
            message = f"no publisher may vouch for {floor.skill}"
            fix = "Correct the name, or take it out."
            yield remark("versions.idle", message, "versions", "floors", number, "skill", fix=fix)
        elif revoked.all_of(floor.skill):
            message = f"every version of {floor.skill} that is high enough is revoked"
            fix = "Raise the lowest version, or correct what is revoked."
            yield remark("versions.never", message, "versions", "floors", number, "least", fix=fix)


def _modes(policy: Policy) -> Iterator[Remark]:
    modes = [((), policy.modes.all), *((("requirements", code), one) for code, one in policy.modes.each.items())]
    for table, mode in modes:
        if policy.not_after is not None and mode.effective_on is not None and mode.effective_on >= policy.not_after:
            message = f"the policy ends at {format_time(policy.not_after)}, and this is only a warning until then"
            fix = "Set an earlier date."
            yield Remark(code="mode.never", message=message, at=(*table, "effective_on"), fix=fix)


def _limits(policy: Policy) -> Iterator[Remark]:
    limits = policy.limits
    for number, method in enumerate(limits.methods):
        if method in KNOWN_METHODS and (limits.max_rank is None or method not in RANKLESS):
            continue
        if method in KNOWN_METHODS:
            message, fix = f"{method} has no rank, so max_rank refuses it", "Take one of them out."
        elif method.upper() in KNOWN_METHODS:
            message = f"no adapter's method is called {method}"
            fix = f"Write {method.upper()}: PEFT's names are in capitals."
        else:
            message = f"no adapter that a gate loads has the method {method}"
            fix = "docs/reference/peft-methods.md has all of them."
        yield remark("limits.never", message, "limits", "methods", number, fix=fix)
    if limits.max_adapter_bytes is not None and limits.max_adapter_bytes < _LEAST_BYTES:
        message = f"no adapter has {limits.max_adapter_bytes} bytes or less"
        fix = "Write the limit in bytes: 80 MB are 80000000."
        yield remark("limits.never", message, "limits", "max_adapter_bytes", fix=fix)


def _quantizations(policy: Policy) -> Iterator[Remark]:
    for number, name in enumerate(policy.quantizations):
        plain = name.lower().replace("-", " ").replace("_", " ").replace("bnb", "bitsandbytes")
        form = next((form for form in _FORMS if plain in {form, f"bitsandbytes {form}"}), None)
        if form is not None and name != (wanted := f"bitsandbytes {form}"):
            message = f"no base model is called quantised as {name}"
            yield remark("quantizations.never", message, "quantizations", number, fix=f"Write {wanted}.")


def _weights(policy: Policy) -> Iterator[Remark]:
    asked = policy.composition
    for key, most in (("max_weight", asked.max_weight), ("max_total_weight", asked.max_total_weight)):
        if most is not None and most < 1:
            message = f"an adapter that is loaded as it is weighs 1, and at most {most:g} is allowed"
            fix = "Allow 1, unless every adapter is to be mixed in with less."
            yield remark("composition.only-mixed", message, "composition", key, fix=fix)
