"""Who may share a model: every publisher is asked about every other skill, and the consumer about them all."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import facts, manifest
from skillwarrant_format.manifest import Composition, SkillManifest
from skillwarrant_format.names import matches
from skillwarrant_verify.deciding.composition import (
    Companion,
    consumer_objection,
    publishers_objection,
    weight_objection,
)
from skillwarrant_verify.deciding.decide import decide
from skillwarrant_verify.deciding.decision_input import input_digest
from skillwarrant_verify.document.policy_sections import CompositionRules
from test_decide import denied, policy


def skill(name: str, **rules: object) -> SkillManifest:
    plain = manifest()
    composition = replace(Composition(stackable=True), **rules)  # type: ignore[arg-type]
    return replace(plain, skill=replace(plain.skill, name=name), composition=composition)


def objection(newcomer: SkillManifest, companions: tuple[Companion, ...]) -> str | None:
    return publishers_objection((Companion(adapter_name="", manifest=newcomer), *companions))


def on(*manifests: SkillManifest | None) -> tuple[Companion, ...]:
    return tuple(Companion(adapter_name=f"a{n}", manifest=one) for n, one in enumerate(manifests))


def test_a_skill_alone_needs_nobodys_consent() -> None:
    assert objection(skill("acme/a", stackable=False), ()) is None


def test_stackable_skills_share_a_model() -> None:
    assert objection(skill("acme/a"), on(skill("acme/b"), skill("globex/c"))) is None


@pytest.mark.parametrize(
    "rules",
    [
        {"stackable": False},
        {"max_skills": 1},
        {"deny_with": ("acme/b",)},
        {"deny_with": ("acme/*",)},
        {"allow_with": ("globex/*",)},
        {"allow_with": ("acme/b-*",)},
        {"allow_with": ("acme/*",), "deny_with": ("acme/b",)},
    ],
)
def test_either_side_can_object(rules: dict[str, object]) -> None:
    strict, plain = skill("acme/a", **rules), skill("acme/b")
    assert objection(strict, on(plain)) is not None
    assert objection(plain, on(skill("acme/b", **rules))) is not None


def test_a_pair_that_is_allowed_may_still_be_too_many_with_a_third() -> None:
    limited = skill("acme/a", max_skills=2)
    assert objection(skill("acme/b"), on(limited)) is None
    assert objection(skill("acme/b"), on(limited, skill("acme/c"))) is not None


def test_two_that_are_there_already_are_asked_about_each_other_too() -> None:
    assert objection(skill("acme/a"), on(skill("acme/b", deny_with=("acme/c",)), skill("acme/c"))) is not None


def test_an_unknown_adapter_has_no_publisher_to_consent() -> None:
    assert "did not come through the gate" in str(objection(skill("acme/a"), on(None)))


def test_a_second_copy_of_the_same_skill_is_another_skill() -> None:
    one = skill("acme/a", deny_with=("acme/a",))
    assert objection(one, on(one)) is not None


def test_the_rule_denies_with_the_publishers_words() -> None:
    crowd = facts(skill("acme/a"), companions=on(skill("acme/b", stackable=False)))
    assert denied(decide(policy(), crowd)) == ("composition.allowed",)


def test_the_inputs_digest_covers_the_companions_and_their_weights() -> None:
    one = on(skill("acme/b"))
    heavy = (replace(one[0], weight=0.5),)
    digests = {input_digest(facts(companions=given)) for given in ((), on(None), one, heavy)}
    assert len(digests) == 4


def weighing(name: str | None, weight: Any = None) -> Companion:
    manifest = None if name is None else skill(name)
    return Companion(adapter_name=name or "theirs", manifest=manifest, weight=weight)


def these(*names: str | None) -> tuple[Companion, ...]:
    return tuple(map(weighing, names))


@pytest.mark.parametrize("rules", [{"deny_with": ("globex/x",)}, {"allow_with": ("acme/*",)}, {"stackable": False}])
def test_a_tolerated_stranger_is_still_company_for_a_publisher_who_restricts_it(rules: dict[str, object]) -> None:
    """It has no name: it may be the very one that is denied, and is none that is allowed."""
    stranger = on(None)
    plain = (Companion(adapter_name="", manifest=skill("acme/a")), *stranger)
    strict = (Companion(adapter_name="", manifest=skill("acme/a", **rules)), *stranger)
    assert publishers_objection(plain) is not None
    assert publishers_objection(plain, tolerate_foreign=True) is None
    assert publishers_objection(strict, tolerate_foreign=True) is not None


def test_a_tolerated_stranger_counts() -> None:
    members = (Companion(adapter_name="", manifest=skill("acme/a", max_skills=2)), *on(None, None))
    assert "at most 2" in str(publishers_objection(members, tolerate_foreign=True))


def test_no_rules_object_to_nothing() -> None:
    assert consumer_objection(CompositionRules(), these("a/x", "b/y", None)) is None


def test_more_adapters_than_the_policy_allows_are_too_many() -> None:
    rules = CompositionRules(max_active=2)
    assert consumer_objection(rules, these("a/x", "b/y")) is None
    assert "3 adapters" in str(consumer_objection(rules, these("a/x", "b/y", "c/z")))


def test_where_pairs_are_named_every_two_must_be_one_of_them() -> None:
    rules = CompositionRules(allowed_pairs=(("a/*", "b/*"), ("b/*", "c/*")))
    assert consumer_objection(rules, these("a/x")) is None
    assert consumer_objection(rules, these("b/y", "a/x")) is None
    assert "a/x and c/z" in str(consumer_objection(rules, these("a/x", "b/y", "c/z")))
    assert consumer_objection(rules, these("a/x", "a/y")) is not None


def test_an_adapter_without_a_name_is_no_allowed_pair_and_every_conflict() -> None:
    assert consumer_objection(CompositionRules(allowed_pairs=(("*/*", "*/*"),)), these("a/x", None)) is not None
    assert consumer_objection(CompositionRules(conflicts=(("a/*", "b/*"),)), these("a/x", None)) is not None


def test_three_that_are_allowed_pairwise_may_not_be_allowed_together() -> None:
    rules = CompositionRules(conflicts=(("a/*", "b/*", "c/*"),))
    for pair in itertools.combinations(("a/x", "b/y", "c/z"), 2):
        assert consumer_objection(rules, these(*pair)) is None
    for order in itertools.permutations(("a/x", "b/y", "c/z")):
        assert "not all of these" in str(consumer_objection(rules, these(*order)))
    assert consumer_objection(rules, these("a/x", "d/q", "b/y", "c/z")) is not None


def test_one_skill_is_in_no_conflict_with_itself() -> None:
    rules = CompositionRules(conflicts=(("a/*", "a/x"),))
    assert consumer_objection(rules, these("a/x")) is None
    assert consumer_objection(rules, these("a/x", "a/y")) is not None
    assert consumer_objection(rules, these("a/x", "a/x")) is not None


def test_a_pattern_that_stands_twice_means_two_skills() -> None:
    rules = CompositionRules(conflicts=(("a/*", "a/*"),))
    assert consumer_objection(rules, these("a/x", "b/y")) is None
    assert consumer_objection(rules, these("a/x", "a/y")) is not None


NAMES = st.sampled_from(["a/x", "a/y", "b/x", "b/y"])
PATTERNS = st.sampled_from(["a/*", "b/*", "*/x", "*/y", "a/x", "*/*"])


@given(st.lists(NAMES, max_size=4), st.lists(PATTERNS, min_size=2, max_size=4))
def test_a_conflict_is_found_exactly_where_some_assignment_shows_it(names: list[str], patterns: list[str]) -> None:
    """Against the definition itself: some choice of different members, one for each pattern."""
    expected = any(
        all(matches(pattern, name) for pattern, name in zip(patterns, chosen, strict=True))
        for chosen in itertools.permutations(names, len(patterns))
    )
    rules = CompositionRules(conflicts=(tuple(patterns),))
    assert (consumer_objection(rules, these(*names)) is not None) == expected


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -float("inf"), "1", True, 1j])
def test_a_weight_that_is_no_finite_number_is_refused_by_every_policy(weight: Any) -> None:
    assert "no finite number" in str(weight_objection(CompositionRules(), (weighing("a/x", weight),)))
    mixed = facts(skill("acme/a"), weight=weight)
    assert denied(decide(policy(), mixed)) == ("composition.weights",)


def test_a_weight_is_bounded_whatever_its_sign() -> None:
    rules = CompositionRules(max_weight=0.5)
    for weight in (0.5, -0.5, 0, 0.0):
        assert weight_objection(rules, (weighing("a/x", weight),)) is None
    for weight in (0.51, -0.51, 1):
        assert "at most 0.5" in str(weight_objection(rules, (weighing("a/x", weight),)))


def test_an_adapter_that_is_loaded_as_it_is_weighs_one() -> None:
    assert "weight 1" in str(weight_objection(CompositionRules(max_weight=0.9), these("a/x")))
    assert weight_objection(CompositionRules(max_total_weight=2), these("a/x", "b/y")) is None
    assert weight_objection(CompositionRules(max_total_weight=1.9), these("a/x", "b/y")) is not None


def test_opposite_weights_do_not_cancel() -> None:
    members = (weighing("a/x", 5.0), weighing("b/y", -5.0))
    assert "add up to 10" in str(weight_objection(CompositionRules(max_total_weight=1), members))


@pytest.mark.parametrize(
    ("section", "companions", "weight", "code"),
    [
        ("max_active = 1", on(skill("acme/b")), None, "composition.limits"),
        ('conflicts = [["acme/a", "globex/*"]]', on(skill("globex/b")), None, "composition.limits"),
        ('allowed_pairs = [["acme/*", "acme/*"]]', on(skill("globex/b")), None, "composition.limits"),
        ("max_weight = 0.5", (), 0.6, "composition.weights"),
        ("max_total_weight = 1.5", on(skill("acme/b")), 0.6, "composition.weights"),
    ],
)
def test_the_consumers_rules_deny_what_every_publisher_consents_to(
    section: str, companions: tuple[Companion, ...], weight: float | None, code: str
) -> None:
    crowd = facts(skill("acme/a"), companions=companions, weight=weight)
    assert decide(policy(), crowd).outcome == "allow"
    strict = decide(policy(publisher=f"[composition]\n{section}"), crowd)
    assert denied(strict) == (code,)
    assert strict.reasons[0].fix
