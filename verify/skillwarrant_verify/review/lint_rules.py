"""What is suspicious in the rest of a policy: times, modes, what it allows, and rules that nothing can meet."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from skillwarrant_format.endorsement import CERTIFICATION_TYPE
from skillwarrant_format.fields import format_time
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_verify.document.policy_lines import KeyPath
from skillwarrant_verify.document.policy_modes import Mode
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.review.lint_remark import Remark, remark
from skillwarrant_verify.review.policy_overlap import Names, can_be_a_name, covers_name, range_is_empty

__all__ = ["LONG", "RULES", "SOON", "rules"]

RULES: Final = {
    "policy.expired": "the policy is not in force any more, and denies everything",
    "policy.expires-soon": "the policy will soon deny everything",
    "policy.not-yet": "the policy is not in force yet, and denies everything",
    "revocations.stale": "the list of revocations is stale",
    "revocations.expires-soon": "the list of revocations will soon be stale",
    "evidence.for-ever": "a certification counts whatever its age, unless who made it said when it ends",
    "mode.warns": "what is not proved is only a warning, for ever",
    "mode.past": "a date of a staged roll-out has passed",
    "mode.distant": "what is not proved is only a warning for more than a year",
    "hazards.code": "adapters may bring code, or name further files",
    "alterations.code": "anything in the process may change what the model answers",
    "measure.weak": "in production, most of the base model's weights are not looked at",
    "base.duplicate": "a base model is listed twice",
    "dependencies.never": "a range that no version is in",
    "composition.never": "a rule about skills for which no publisher may vouch",
    "composition.redundant": "a rule that another one makes idle",
    "composition.contradiction": "pairs that are allowed, and always in conflict",
}
SOON: Final = timedelta(days=30)
LONG: Final = timedelta(days=366)
_CODE: Final = {
    "imports-modules": "lets an adapter's configuration name Python modules that PEFT imports",
    "loads-paths": "lets an adapter's configuration name files and models that nobody signed",
}
_ALTERATIONS: Final = {
    "active-adapter": "lets adapters be active that came past the gate",
    "global-hook": "lets any code of this process act on every module of every model",
    "patched-forward": "lets any code of this process replace what a module computes",
}
_PRODUCTION: Final = ("prod", "live")


def rules(policy: Policy, now: datetime) -> Iterator[Remark]:
    """Every remark about what a policy asks."""
    yield from _times(policy, now)
    yield from _certifications(policy)
    yield from _modes(policy, now)
    yield from _allowances(policy)
    yield from _never(policy)
    yield from _composition(policy)


def _times(policy: Policy, now: datetime) -> Iterator[Remark]:
    after, before, stale = policy.not_after, policy.not_before, policy.revocations.valid_until
    renew = "Look it over, and set another date and revision."
    if after is not None and after <= now:
        yield remark("policy.expired", f"the policy ended at {format_time(after)}", "not_after", fix=renew)
    elif after is not None and after - now <= SOON:
        message = f"the policy ends in {(after - now).days} days, at {format_time(after)}"
        yield remark("policy.expires-soon", message, "not_after", fix=renew)
    if before is not None and before > now:
        yield remark("policy.not-yet", f"the policy begins at {format_time(before)}", "not_before")
    if stale is not None and stale - now <= SOON:
        code = "revocations.stale" if stale <= now else "revocations.expires-soon"
        message = f"the list of revocations is good until {format_time(stale)}"
        yield remark(code, message, "revocations", "valid_until", fix="Put a fresh list in.")


def _certifications(policy: Policy) -> Iterator[Remark]:
    """A certification is about one signed release: where that may have an age only, so has its certification."""
    if policy.max_age_days is not None:
        return
    for number, rule in enumerate(policy.evidence):
        if rule.predicate_type == CERTIFICATION_TYPE and rule.max_age_days is None:
            message = "nothing here ends this certification: tests that passed once count for ever"
            fix = "Set its max_age_days to how long you believe in what was tested."
            yield remark("evidence.for-ever", message, "evidence", number, fix=fix)


def _modes(policy: Policy, now: datetime) -> Iterator[Remark]:
    ends = policy.not_after or datetime.max.replace(tzinfo=UTC)
    yield from _mode(policy.modes.all, now, (), "everything that can be", ends)
    for code, mode in policy.modes.each.items():
        yield from _mode(mode, now, ("requirements", code), code, ends)


def _mode(mode: Mode, now: datetime, table: KeyPath, what: str, ends: datetime) -> Iterator[Remark]:
    if mode.severity == "warn":
        fix = "Set effective_on to a date from which it is enforced."
        message = f"{what} is only a warning, and nothing ends that"
        yield Remark(code="mode.warns", message=message, at=(*table, "mode"), fix=fix)
    elif mode.effective_on is not None and mode.effective_on <= now:
        message = f"{what} is enforced since {format_time(mode.effective_on)}"
        fix = "Take the date out: the roll-out is over."
        yield Remark(code="mode.past", message=message, at=(*table, "effective_on"), fix=fix)
    elif mode.effective_on is not None and mode.effective_on - now > LONG and mode.effective_on < ends:
        message = f"{what} is only a warning for more than a year, until {format_time(mode.effective_on)}"
        fix = "Set a date at which you will look at it, or take it out to enforce it now."
        yield Remark(code="mode.distant", message=message, at=(*table, "effective_on"), fix=fix)


def _allowances(policy: Policy) -> Iterator[Remark]:
    for number, word in enumerate(policy.allow_hazards):
        if word in _CODE:
            message = f"{word} {_CODE[word]}"
            yield remark("hazards.code", message, "allow_hazards", number, fix="Take it out, if you can.")
    for number, word in enumerate(policy.allow_alterations):
        if word in _ALTERATIONS:
            message = f"{word} {_ALTERATIONS[word]}"
            yield remark("alterations.code", message, "allow_alterations", number, fix="Take it out, if you can.")
    production = [name for name in policy.environments if name.lower().startswith(_PRODUCTION)]
    if policy.measure == "sampled" and production:
        message = f"in {production[0]}, only samples of the base's weights are compared"
        fix = 'Use "once-verified" or "every-load" there.'
        yield remark("measure.weak", message, "measure", fix=fix)


def _never(policy: Policy) -> Iterator[Remark]:
    for name, wanted in policy.dependencies:
        if range_is_empty(wanted):
            yield remark("dependencies.never", f"no version of {name} is {wanted}", "dependencies", name)
    seen: dict[Fingerprint, str] = {}
    for number, base in enumerate(policy.bases):
        if base.fingerprint not in seen:
            seen[base.fingerprint] = base.name
        else:
            message = f"{base.name} measures what {seen[base.fingerprint]} does"
            yield remark("base.duplicate", message, "bases", number, fix="Take one of them out.")


def _composition(policy: Policy) -> Iterator[Remark]:
    asked = policy.composition
    vouched = Names(skill for publisher in policy.publishers for skill in publisher.skills)
    for key, groups in (("allowed_pairs", asked.allowed_pairs), ("conflicts", asked.conflicts)):
        for number, group in enumerate(groups):
            unknown = [name for name in group if not vouched.meet(name) or not can_be_a_name(name)]
            if unknown:
                message = f"no publisher may vouch for {unknown[0]}"
                fix = "Correct the name, or take the rule out."
                yield remark("composition.never", message, "composition", key, number, fix=fix)
    yield from _pairs(asked.allowed_pairs, asked.conflicts)
    for number, group in enumerate(asked.conflicts):
        if asked.max_active is not None and len(group) > asked.max_active:
            message = f"max_active = {asked.max_active} allows no {len(group)} adapters at all"
            yield remark("composition.redundant", message, "composition", "conflicts", number)
    most, each, total = asked.max_active, asked.max_weight, asked.max_total_weight
    if most is not None and each is not None and total is not None and most * each <= total:
        message = f"{most} adapters of at most {each:g} never weigh more than {total:g}"
        yield remark("composition.redundant", message, "composition", "max_total_weight")


def _pairs(allowed: tuple[tuple[str, ...], ...], conflicts: tuple[tuple[str, ...], ...]) -> Iterator[Remark]:
    for number, (one, other) in enumerate(allowed):
        for conflict in (group for group in conflicts if len(group) == 2):
            first, second = conflict
            straight = covers_name(first, one) and covers_name(second, other)
            if straight or (covers_name(first, other) and covers_name(second, one)):
                message = f"{one} and {other} are allowed, and always in conflict by {first} and {second}"
                fix = "Take one of them out: a conflict always wins."
                place: KeyPath = ("composition", "allowed_pairs", number)
                yield Remark(code="composition.contradiction", message=message, at=place, fix=fix)
