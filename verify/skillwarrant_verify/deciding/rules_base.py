"""Rules about the base model that was measured: is it one the publisher vouches for, and one the policy allows?

Names are for messages: what is compared are fingerprints.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skillwarrant_format.manifest import BaseModel
from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.facts import Facts
from skillwarrant_verify.deciding.requirement import any_of, no, proves, unknown, yes
from skillwarrant_verify.policy import Policy

__all__: list[str] = []  # importing this module registers its rules

UNQUANTIZED: Final = "none"  # what a policy calls a base without any
_MEASURE: Final = "Give the base model, its directory or its fingerprint."


@proves("base.matches")
def _base_matches(_: Policy, facts: Facts) -> Finding:
    code, path = "base.matches", "base.fingerprint"
    bases = facts.manifest.base_models
    if facts.base is None:
        return unknown(code, "no base model was measured", path, _MEASURE)
    found = facts.authorised_base()
    if found is None:
        return no(
            code,
            "the base model is not one the publisher vouches for",
            path,
            expected=any_of(tuple(form for base in bases for form in _forms(base))),
            found=f"a model that measures {facts.base.digest.short}…",
            fix="Load the base model that the manifest names, in one of these forms, or ask the publisher to vouch"
            " for yours.",
        )
    return yes(code, f"the base model measures as {found}", path)


@proves("base.allowed")
def _base_allowed(policy: Policy, facts: Facts) -> Finding:
    code, path = "base.allowed", "base.fingerprint"
    if not policy.bases:
        return yes(code, "the policy leaves the base model to the publisher", path)
    if facts.base is None:
        return unknown(code, "no base model was measured", path, _MEASURE)
    for allowed in policy.bases:
        if allowed.fingerprint == facts.base:
            return yes(code, f"the policy allows {allowed.name}", path)
    return no(
        code,
        "the policy does not allow this base model",
        path,
        expected=any_of(tuple(f"{item.name} ({item.fingerprint.digest.short}…)" for item in policy.bases)),
        found=f"{facts.authorised_base() or 'a model'} ({facts.base.digest.short}…)",
        fix="A cast measures otherwise than its reference: the policy names each that it allows.",
    )


@proves("base.quantization")
def _quantization(policy: Policy, facts: Facts) -> Finding:
    code, path, allowed = "base.quantization", "base.fingerprint", policy.quantizations
    if not allowed:
        return yes(code, "the policy takes any quantisation", path)
    if facts.base is None:
        return unknown(code, "no base model was measured", path, _MEASURE)
    base = facts.authorised_base()
    found = None if base is None else base.base.quantization or UNQUANTIZED
    if found not in allowed:
        return no(
            code,
            "the policy does not allow a base model that is quantised so",
            path,
            expected=any_of(allowed),
            found=found or "a base that nobody vouches for",
            fix="Load the base model in an allowed form, or name this one in the policy's quantizations.",
        )
    return yes(code, f"the base model's quantisation is allowed: {found}", path)


def _forms(base: BaseModel) -> Iterator[str]:
    yield f"{base.name} ({base.dtype}, {base.fingerprint.digest.short}…)"
    for cast in base.casts:
        yield f"{base.name} cast to {cast.dtype} ({cast.fingerprint.digest.short}…)"
