"""Who may share a model: every publisher is asked about every other skill."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders import facts, manifest
from skillwarrant_format.manifest import Composition, SkillManifest
from skillwarrant_verify.composition import Companion, publishers_objection
from skillwarrant_verify.decide import decide
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


def test_the_inputs_digest_covers_the_companions() -> None:
    digests = {facts(companions=given).digest() for given in ((), on(None), on(skill("acme/b")))}
    assert len(digests) == 3
