"""Rules about the data that an adapter was trained on: what the publisher declares of it. Pure.

A declaration is the publisher's word, and is held to here as that. Names of licences and rights are compared as
they are spelt: what a policy accepts, it names.
"""

from __future__ import annotations

from collections.abc import Callable

from skillwarrant_format.manifest import TrainingData
from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.facts import Facts
from skillwarrant_verify.deciding.requirement import any_of, no, proves, yes
from skillwarrant_verify.policy import Policy

__all__: list[str] = []  # importing this module registers its rules

_PATH = "manifest.trainingData"


@proves("data.declared")
def _declared(policy: Policy, facts: Facts) -> Finding:
    code, data = "data.declared", facts.manifest.training_data
    if not policy.training_data.required:
        return yes(code, "the policy does not ask what it was trained on", _PATH)
    if not data:
        return _nothing(code)
    return yes(code, f"{len(data)} data sets are declared", _PATH)


@proves("data.licences")
def _licences(policy: Policy, facts: Facts) -> Finding:
    allowed = policy.training_data.licences
    return _each("data.licences", "licence", allowed, facts, lambda data: data.licence)


@proves("data.rights")
def _rights(policy: Policy, facts: Facts) -> Finding:
    return _each("data.rights", "rights", policy.training_data.rights, facts, lambda data: data.rights)


def _each(
    code: str, what: str, allowed: tuple[str, ...], facts: Facts, read: Callable[[TrainingData], str]
) -> Finding:
    """Every data set must be allowed; of none at all, nothing is proved."""
    data = facts.manifest.training_data
    if not allowed:
        return yes(code, f"the policy takes any {what}", _PATH)
    if not data:
        return _nothing(code)
    refused = [item for item in data if read(item) not in allowed]
    if refused:
        named = ", ".join(f"{item.name}: {read(item)}" for item in refused[:3])
        more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
        return no(
            code,
            f"it was trained on data whose {what} the policy does not accept",
            _PATH,
            expected=any_of(allowed),
            found=named + more,
            fix=f"If you accept that, add it to the policy's training_data.{_key(code)}, spelt so.",
        )
    return yes(code, f"the {what} of all {len(data)} data sets is accepted", _PATH)


def _key(code: str) -> str:
    return code.partition(".")[2]


def _nothing(code: str) -> Finding:
    return no(
        code,
        "the manifest declares no training data",
        _PATH,
        expected="at least one data set, with licence and rights",
        found="none",
        fix="Ask the publisher for a release whose skill.toml has [[training_data]].",
    )
