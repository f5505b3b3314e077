"""Who may share a model: the publishers' own `composition` rules, both ways. Pure; the gate says who is there."""

from __future__ import annotations

from dataclasses import dataclass

from skillwarrant_format.manifest import SkillManifest
from skillwarrant_format.names import matches

__all__ = ["Companion", "objection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """An adapter that is on the model already, or comes onto it at the same moment.

    Args:
        adapter_name: its name on the model.
        manifest: None where it did not come through a gate.
        weight: with which it is mixed in; None: as it is, which counts as 1.
    """

    adapter_name: str
    manifest: SkillManifest | None
    weight: float | None = None


def objection(newcomer: SkillManifest, companions: tuple[Companion, ...]) -> str | None:
    """The first reason why these skills may not share a model; None where there is none.

    Every publisher is asked about every other skill, the newcomer about those that are there and they about it.
    """
    together = [newcomer]
    for companion in companions:
        if companion.manifest is None:
            return f"the adapter {companion.adapter_name!r} on this model did not come through the gate"
        together.append(companion.manifest)
    if len(together) == 1:
        return None
    for place, one in enumerate(together):
        others = [other.skill.name for where, other in enumerate(together) if where != place]
        if found := _against(one, others):
            return found
    return None


def _against(one: SkillManifest, others: list[str]) -> str | None:
    rules, name = one.composition, one.skill.name
    if not rules.stackable:
        return f"{name} must be alone on its model"
    if rules.max_skills is not None and len(others) + 1 > rules.max_skills:
        return f"{name} allows at most {rules.max_skills} skills on one model"
    for other in others:
        if any(matches(pattern, other) for pattern in rules.deny_with):
            return f"{name} may not share a model with {other}"
        if rules.allow_with and not any(matches(pattern, other) for pattern in rules.allow_with):
            return f"{name} may share a model with {' or '.join(rules.allow_with)} only, and not with {other}"
    return None
