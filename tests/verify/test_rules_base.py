"""The rules about the measured base: fingerprints decide, names and forms only explain."""

from __future__ import annotations

from dataclasses import replace

import pytest

import builders
from builders import BASE, facts, manifest
from skillwarrant_format.digest import Digest
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.manifest import Cast
from skillwarrant_verify.deciding.decide import decide
from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.facts import AuthorisedBase, Facts
from skillwarrant_verify.policy import Policy
from test_decide import policy

HALF = Fingerprint(digest=Digest.of(b"the base in float16"))
OTHER = Fingerprint(digest=Digest.of(b"another model"))
CAST = Cast(dtype="float16", kind="rounded", fingerprint=HALF)


def vouched(*casts: Cast) -> Facts:
    base = replace(builders.manifest().base_models[0], casts=casts)
    return facts(manifest(base_models=(base,)))


def finding(code: str, found: Facts, policy_: Policy | None = None) -> Finding:
    (one,) = (one for one in decide(policy_ or policy(), found).checked if one.code == code)
    return one


def bases(*allowed: Fingerprint) -> Policy:
    return policy(
        "".join(f'[[bases]]\nname = "base {n}"\nfingerprint = "{one}"\n' for n, one in enumerate(allowed))
    )


def test_the_reference_and_each_named_cast_are_authorised_and_nothing_else() -> None:
    found = vouched(CAST)
    assert found.authorised_base() == AuthorisedBase(base=found.verified.manifest.base_models[0])
    half = replace(found, base=HALF).authorised_base()
    assert half is not None
    assert str(half) == "acme/base-7b, cast to float16, rounded"
    for base in (OTHER, None):
        assert replace(found, base=base).authorised_base() is None
    assert replace(vouched(), base=HALF).authorised_base() is None


def test_a_proof_says_in_which_form() -> None:
    assert finding("base.matches", vouched(CAST)).message == "the base model measures as acme/base-7b"
    assert finding("base.matches", replace(vouched(CAST), base=HALF)).message.endswith("cast to float16, rounded")


def test_a_refusal_names_every_form_that_would_do() -> None:
    refused = finding("base.matches", replace(vouched(CAST), base=OTHER))
    assert refused.outcome == "not-proved"
    assert refused.expected == (
        f"acme/base-7b (bfloat16, {BASE.digest.short}…) or acme/base-7b cast to float16 ({HALF.digest.short}…)"
    )


def test_no_measurement_proves_nothing() -> None:
    for code, found in (("base.matches", policy()), ("base.allowed", bases(BASE))):
        assert finding(code, replace(vouched(CAST), base=None), found).outcome == "not-checked"


@pytest.mark.parametrize(
    ("allowed", "measured", "outcome"),
    [
        ((BASE,), BASE, "proved"),
        ((BASE,), HALF, "not-proved"),
        ((HALF,), HALF, "proved"),
        ((HALF,), BASE, "not-proved"),
        ((OTHER, HALF), HALF, "proved"),
        ((OTHER,), BASE, "not-proved"),
    ],
)
def test_a_policy_that_names_bases_allows_what_measures_so_and_no_cast_of_it(
    allowed: tuple[Fingerprint, ...], measured: Fingerprint, outcome: str
) -> None:
    found = finding("base.allowed", replace(vouched(CAST), base=measured), bases(*allowed))
    assert found.outcome == outcome
    if measured == HALF and outcome == "not-proved":
        assert found.found is not None
        assert "cast to float16" in found.found


def test_a_policy_cannot_vouch_in_the_publishers_place() -> None:
    decision = decide(bases(OTHER), replace(vouched(CAST), base=OTHER))
    assert [reason.code for reason in decision.reasons] == ["base.matches"]


def test_a_publisher_who_may_not_name_the_base_may_not_name_its_cast_either() -> None:
    limited = policy(publisher='base_models = ["other/*"]')
    assert finding("publisher.trusted", replace(vouched(CAST), base=HALF), limited).outcome == "not-proved"


def test_a_set_of_bases_proves_each_of_them_and_no_third() -> None:
    first = builders.manifest().base_models[0]
    second = replace(first, name="acme/base-8b", fingerprint=HALF)
    both = facts(manifest(base_models=(first, second)))
    for measured, name in ((BASE, "acme/base-7b"), (HALF, "acme/base-8b")):
        found = replace(both, base=measured)
        assert decide(policy(), found).outcome == "allow"
        assert finding("base.matches", found).message == f"the base model measures as {name}"
    refused = replace(both, base=OTHER)
    assert [reason.code for reason in decide(policy(), refused).reasons] == ["base.matches"]
    assert finding("base.allowed", replace(both, base=HALF), bases(BASE)).outcome == "not-proved"
