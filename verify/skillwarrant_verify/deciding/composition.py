"""Who may share a model: what the publishers of all its skills say, and what the consumer's policy says. Pure.

Everything here is asked about a whole set, and of every member: a set is not allowed because its pairs are. An
adapter without a manifest has no name: every prohibition covers it, and no permission does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import isfinite

from skillwarrant_format.manifest import SkillManifest
from skillwarrant_format.names import matches, matches_any
from skillwarrant_verify.deciding.matching import matched
from skillwarrant_verify.document.policy_sections import CompositionRules

__all__ = ["Companion", "consumer_objection", "publishers_objection", "weight_objection"]

_FOREIGN = "an adapter that did not come through the gate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """An adapter that is on the model already, or comes onto it at the same moment.

    Args:
        adapter_name: its name on the model.
        manifest: None where it did not come through a gate.
        weight: with which it is mixed in; None: as it is, which counts as 1.
        skill: its skill's name, where it has one.
    """

    adapter_name: str
    manifest: SkillManifest | None
    weight: float | None = None
    skill: str | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "skill", None if self.manifest is None else self.manifest.skill.name)

    def __str__(self) -> str:
        return self.skill or f"{_FOREIGN} ({self.adapter_name})"


def publishers_objection(members: Sequence[Companion], *, tolerate_foreign: bool = False) -> str | None:
    """The first reason of a publisher why these may not share a model; None where there is none.

    Every publisher is asked about every other skill.

    Args:
        tolerate_foreign: adapters without a manifest have nobody to consent, and are let pass as far as no other
            publisher restricts its company.
    """
    for place, member in enumerate(members):
        if member.manifest is None:
            if not tolerate_foreign:
                return f"the adapter {member.adapter_name!r} on this model did not come through the gate"
            continue
        others = (*members[:place], *members[place + 1 :])
        if others and (found := _against(member.manifest, others)):
            return found
    return None


def _against(one: SkillManifest, others: tuple[Companion, ...]) -> str | None:
    rules, name = one.composition, one.skill.name
    if not rules.stackable:
        return f"{name} must be alone on its model"
    if rules.max_skills is not None and len(others) + 1 > rules.max_skills:
        return f"{name} allows at most {rules.max_skills} skills on one model"
    for other in others:
        if rules.deny_with and (other.skill is None or matches_any(rules.deny_with, other.skill)):
            return f"{name} may not share a model with {other}"
        if rules.allow_with and (other.skill is None or not matches_any(rules.allow_with, other.skill)):
            return f"{name} may share a model with {' or '.join(rules.allow_with)} only, and not with {other}"
    return None


def consumer_objection(rules: CompositionRules, members: Sequence[Companion]) -> str | None:
    """The first rule of the policy that this set breaks, by number or by name; None where it breaks none."""
    if rules.max_active is not None and len(members) > rules.max_active:
        return f"{len(members)} adapters would be on one model, and at most {rules.max_active} may be"
    for one, other in combinations(members, 2) if rules.allowed_pairs else ():
        if not _is_pair(rules.allowed_pairs, one.skill, other.skill):
            return f"{one} and {other} are none of the allowed pairs"
    for conflict in rules.conflicts:
        if (found := _represented(conflict, members)) is not None:
            return f"not all of these may be on one model: {', '.join(map(str, found))}"
    return None


def weight_objection(rules: CompositionRules, members: Sequence[Companion]) -> str | None:
    """The first weight, or the sum of them, that the policy does not allow; None where there is none."""
    total = 0.0
    for member in members:
        weight = 1.0 if member.weight is None else member.weight
        if not _is_finite(weight):
            found = repr(weight) if isinstance(weight, float) else f"of type {type(weight).__name__}"
            return f"{member} has a weight {found}, which is no finite number"
        if rules.max_weight is not None and abs(weight) > rules.max_weight:
            return f"{member} has the weight {weight:g}, and at most {rules.max_weight:g} is allowed"
        total += abs(weight)
    if rules.max_total_weight is not None and total > rules.max_total_weight:
        return f"the weights add up to {total:g}, and at most {rules.max_total_weight:g} is allowed"
    return None


def _is_finite(weight: object) -> bool:
    """Also as a float, which an integer of many digits is not."""
    try:
        return not isinstance(weight, bool) and isinstance(weight, int | float) and isfinite(weight)
    except OverflowError:
        return False


def _may_be(pattern: str, member: Companion) -> bool:
    return member.skill is None or matches(pattern, member.skill)


def _is_pair(pairs: tuple[tuple[str, ...], ...], one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return False
    for first, second in pairs:
        if (matches(first, one) and matches(second, other)) or (matches(first, other) and matches(second, one)):
            return True
    return False


def _represented(patterns: tuple[str, ...], members: Sequence[Companion]) -> list[Companion] | None:
    """A member of its own for every pattern, or None."""
    for pattern in patterns:  # first what is cheap, and the end of it nearly always
        for member in members:
            if _may_be(pattern, member):
                break
        else:
            return None
    places = matched(patterns, members, _may_be)
    return [members[place] for place in places] if len(places) == len(patterns) else None
