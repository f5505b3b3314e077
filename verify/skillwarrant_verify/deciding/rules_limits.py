"""Rules about how much an adapter is: method, rank, strength, size. Read from its own verified files. Pure.

Where a policy sets a limit and the method has no such number, or writes it so that it cannot be read, nothing is
proved.
"""

from __future__ import annotations

from typing import Final

from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.facts import Facts
from skillwarrant_verify.deciding.requirement import any_of, no, proves, yes
from skillwarrant_verify.policy import Policy

__all__: list[str] = []  # importing this module registers its rules

_RAISE: Final = "Ask the publisher for a smaller release, or raise the policy's limit."


@proves("adapter.method")
def _method(policy: Policy, facts: Facts) -> Finding:
    code, path, allowed, found = (
        "adapter.method",
        "adapter.peftType",
        policy.limits.methods,
        facts.adapter.peft_type,
    )
    if allowed and found not in allowed:
        message = "the policy does not allow this method"
        fix = "If you accept this method, name it in the policy's limits.methods."
        return no(code, message, path, expected=any_of(allowed), found=found, fix=fix)
    return yes(code, f"{found} is allowed" if allowed else "the policy takes any method", path)


@proves("adapter.rank")
def _rank(policy: Policy, facts: Facts) -> Finding:
    return _at_most(facts, "adapter.rank", "rank", policy.limits.max_rank, facts.adapter.rank)


@proves("adapter.scaling")
def _scaling(policy: Policy, facts: Facts) -> Finding:
    limit, found = policy.limits.max_alpha_over_rank, facts.adapter.scaling
    return _at_most(facts, "adapter.scaling", "alpha over rank", limit, found)


@proves("adapter.parameters")
def _parameters(policy: Policy, facts: Facts) -> Finding:
    limit, found = policy.limits.max_parameters, facts.adapter.parameters
    return _at_most(facts, "adapter.parameters", "number of parameters", limit, found)


@proves("adapter.bytes")
def _bytes(policy: Policy, facts: Facts) -> Finding:
    limit, found = policy.limits.max_adapter_bytes, facts.adapter.size
    return _at_most(facts, "adapter.bytes", "size in bytes", limit, found)


def _at_most(facts: Facts, code: str, what: str, limit: float | None, found: float | None) -> Finding:
    """A requirement whose code is the input's path of its number too."""
    if limit is None:
        return yes(code, f"the policy takes any {what}", code)
    if found is None:
        method = facts.adapter.peft_type
        return no(
            code,
            f"the policy limits the {what}, and of this adapter none is known",
            code,
            expected=f"at most {limit}",
            found=f"{method}, which has no {what} that its configuration holds down, or states it so that it "
            "cannot be read",
            fix="Ask the publisher for a LoRA; or take the limit away, and name the methods that you accept in "
            "the policy's limits.methods.",
        )
    if not found <= limit:
        message = f"the adapter's {what} is more than the policy allows"
        return no(code, message, code, expected=f"at most {limit}", found=_number(found), fix=_RAISE)
    return yes(code, f"its {what} is {_number(found)}, of at most {limit}", code)


def _number(found: float) -> str:
    return str(found) if isinstance(found, int) else f"{found:g}"
