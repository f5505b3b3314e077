"""Rules about what else acts on the model: other skills, and what was hung onto it. Pure."""

from __future__ import annotations

from typing import Final

from skillwarrant_verify.deciding.composition import consumer_objection, publishers_objection, weight_objection
from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.facts import Facts
from skillwarrant_verify.deciding.requirement import any_of, no, proves, yes
from skillwarrant_verify.document.policy_sections import ALTERATIONS
from skillwarrant_verify.policy import Policy

__all__: list[str] = []  # importing this module registers its rules

_FOREIGN: Final = "active-adapter"
_MOST_NAMED: Final = 3


@proves("runtime.unaltered")
def _unaltered(policy: Policy, facts: Facts) -> Finding:
    code, path = "runtime.unaltered", "base.alterations"
    ours = {f"{_FOREIGN}: {member.adapter_name}" for member in facts.companions if member.manifest is not None}
    found = [alteration for alteration in facts.alterations if alteration not in ours]
    refused = [alteration for alteration in found if _kind(alteration) not in policy.allow_alterations]
    if refused:
        return no(
            code,
            "something on the base model can change its answers and is no part of what was measured",
            path,
            expected=any_of(policy.allow_alterations) or "a model as it was built",
            found=_named(refused),
            fix=_remedy(policy, {_kind(alteration) for alteration in refused}),
        )
    return yes(code, f"allowed: {_named(found)}" if found else "nothing was hung onto the base model", path)


def _kind(alteration: str) -> str:
    return alteration.partition(":")[0]


def _named(alterations: list[str]) -> str:
    more = len(alterations) - _MOST_NAMED
    return ", ".join(alterations[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _remedy(policy: Policy, kinds: set[str]) -> str:
    if not kinds <= set(ALTERATIONS):
        return "Take it off."
    listed = ", ".join(f'"{kind}"' for kind in sorted({*policy.allow_alterations, *kinds}))
    return f"Take it off; or, if it is yours, write in the policy: allow_alterations = [{listed}]"


@proves("composition.allowed")
def _publishers(policy: Policy, facts: Facts) -> Finding:
    code, path = "composition.allowed", "manifest.composition"
    tolerate = _FOREIGN in policy.allow_alterations
    found = publishers_objection(facts.members, tolerate_foreign=tolerate)
    if found is not None:
        return no(
            code,
            "these skills may not share a model",
            path,
            expected="the consent of every publisher",
            found=found,
            fix="Load it onto a model of its own.",
        )
    count = len(facts.companions)
    return yes(code, f"it shares its model with {count} others" if count else "it is alone on its model", path)


@proves("composition.limits")
def _consumer(policy: Policy, facts: Facts) -> Finding:
    code, path = "composition.limits", "companions"
    found = consumer_objection(policy.composition, facts.members)
    if found is not None:
        message = "the policy does not let these skills share a model"
        expected = "max_active, allowed_pairs and conflicts kept"
        return no(code, message, path, expected=expected, found=found, fix="Load it onto a model of its own.")
    return yes(code, "the policy lets these skills share a model", path)


@proves("composition.weights")
def _weights(policy: Policy, facts: Facts) -> Finding:
    code, path = "composition.weights", "weight"
    found = weight_objection(policy.composition, facts.members)
    if found is not None:
        message = "the policy does not allow this mixture"
        expected = "finite weights within max_weight and max_total_weight"
        return no(code, message, path, expected=expected, found=found, fix="Mix it in with less weight.")
    return yes(code, "every weight is within the policy's limits", path)
