"""A staged roll-out: what only warns, until when, and what never does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from builders import IDENTITY, NOW, changed, config, facts, manifest, verified
from skillwarrant_format.errors import PolicyError, Unavailable
from skillwarrant_format.fingerprint import Digest, Fingerprint
from skillwarrant_format.manifest import Deployment
from skillwarrant_verify import Context
from skillwarrant_verify.deciding.catalogue import CATALOGUE
from skillwarrant_verify.deciding.decide import decide
from skillwarrant_verify.deciding.decision import Allowed
from test_decide import denied, policy

OLD = "max_age_days = 9"
TOMORROW = "2026-11-23T12:00:00Z"
YESTERDAY = "2026-11-21T12:00:00Z"


def requirement(code: str, line: str) -> str:
    return f'[requirements."{code}"]\n{line}\n'


def test_a_requirement_in_warn_mode_lets_pass_and_says_so() -> None:
    decision = decide(policy(OLD, requirement("manifest.age", 'mode = "warn"')), facts())
    assert decision.outcome == "allow"
    (warning,) = decision.warnings
    assert (warning.code, warning.outcome, warning.severity) == ("manifest.age", "not-proved", "warn")
    assert warning.check().tolerated
    assert not decision.reasons
    assert isinstance(decision.require(), Allowed)


def test_what_is_proved_in_warn_mode_is_no_warning() -> None:
    decision = decide(policy("max_age_days = 99", requirement("manifest.age", 'mode = "warn"')), facts())
    assert decision.warnings == ()
    assert not any(finding.check().tolerated for finding in decision.checked)


def test_a_policy_in_warn_mode_lets_everything_pass_that_can_be_a_warning() -> None:
    wanted = replace(facts(manifest(policy_class="medical")), alterations=("forward-hook: model",))
    wanted = changed(wanted, context=Context(environment="development"))
    decision = decide(policy(f'{OLD}\nmode = "warn"'), wanted)
    assert decision.outcome == "allow"
    assert [finding.code for finding in decision.warnings] == [
        "class.allowed",
        "manifest.age",
        "runtime.unaltered",
        "environment.allowed",
    ]


ALWAYS: dict[str, dict[str, Any]] = {
    "publisher.trusted": {"verified": verified(identity=IDENTITY.replace("acme", "mallory"))},
    "base.matches": {"base": Fingerprint(digest=Digest.of(b"another"))},
    "adapter.as-declared": {"config": config(peft_type="LOHA")},
    "policy.in-force": {"now": NOW + timedelta(days=9999)},
}


@pytest.mark.parametrize("code", ALWAYS)
def test_a_policy_in_warn_mode_still_denies_what_can_never_be_a_warning(code: str) -> None:
    decision = decide(policy('mode = "warn"\nnot_after = 2030-01-01T00:00:00Z'), facts(**ALWAYS[code]))
    assert code in denied(decision)


@pytest.mark.parametrize("code", [known.code for known in CATALOGUE.values() if known.always])
def test_nobody_can_write_that_it_is_a_warning(code: str) -> None:
    for line in ('mode = "warn"', f"effective_on = {TOMORROW}"):
        with pytest.raises(PolicyError, match="can never be only a warning"):
            policy(publisher=requirement(code, line))
    policy(publisher=requirement(code, 'mode = "enforce"'))


def test_one_requirement_weighs_more_than_the_policy() -> None:
    strict = policy(f'{OLD}\nmode = "warn"', requirement("manifest.age", 'mode = "enforce"'))
    assert denied(decide(strict, facts())) == ("manifest.age",)


@pytest.mark.parametrize(
    ("moment", "outcome"), [(TOMORROW, "allow"), (YESTERDAY, "deny"), ("2026-11-22T12:00:00Z", "deny")]
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_date_is_a_warning_before_it_and_a_denial_from_it_on(moment: str, outcome: str, whole: bool) -> None:
    line = f"effective_on = {moment}"
    wanted = policy(f"{OLD}\n{line}") if whole else policy(OLD, requirement("manifest.age", line))
    assert decide(wanted, facts()).outcome == outcome


def test_what_could_not_be_checked_is_tolerated_too_and_on_record_as_that() -> None:
    needs = manifest(requires=(("peft", ">=0.1"),))
    decision = decide(policy(publisher=requirement("requires.met", 'mode = "warn"')), facts(needs, versions=None))
    assert decision.outcome == "allow"
    assert [(finding.code, finding.outcome) for finding in decision.warnings] == [("requires.met", "not-checked")]
    with pytest.raises(Unavailable):
        decide(policy(), facts(needs, versions=None)).require()


def test_a_warning_hides_no_denial() -> None:
    decision = decide(
        policy(OLD, requirement("manifest.age", 'mode = "warn"')),
        facts(manifest(deployment=Deployment(environments=("staging",)))),
    )
    assert denied(decision) == ("environment.allowed",)
    assert [finding.code for finding in decision.warnings] == ["manifest.age"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('mode = "Warn"', "enforce or warn"),
        ('mode = "off"', "enforce or warn"),
        ("mode = false", "a string"),
        (f'mode = "warn"\neffective_on = {TOMORROW}', "contradicts itself"),
        ("effective_on = 2026-11-23", "no UTC instant"),
        ("effective_on = 2026-11-23T12:00:00", "no UTC instant"),
    ],
)
def test_a_mode_that_says_something_else_is_refused(text: str, expected: str) -> None:
    with pytest.raises(PolicyError, match=expected):
        policy(text)


@pytest.mark.parametrize(
    ("code", "line", "expected"),
    [
        ("manifest.agee", 'mode = "warn"', "Did you mean 'manifest.age'"),
        ("acme.own", 'mode = "warn"', "no requirement"),
        ("rego.deny", 'mode = "warn"', "no requirement"),
        ("manifest.age", "", "says nothing"),
        ("manifest.age", 'mode = "ignore"', "enforce or warn"),
        ("manifest.age", 'modus = "warn"', "Did you mean 'mode'"),
        ("manifest.age", f'mode = "enforce"\neffective_on = {TOMORROW}', "contradicts itself"),
    ],
)
def test_a_requirement_that_is_misspelt_or_says_nothing_is_refused(code: str, line: str, expected: str) -> None:
    with pytest.raises(PolicyError, match=expected):
        policy(publisher=requirement(code, line))


def test_a_table_of_no_requirements_is_refused() -> None:
    with pytest.raises(PolicyError, match="says nothing"):
        policy(publisher="[requirements]")


def test_a_denial_names_the_line_that_asks() -> None:
    text = str(decide(policy(OLD), facts()).reasons[0])
    assert "(asked by policy:7 max_age_days)" in text
    signature = decide(policy(), facts()).checked[0]
    assert signature.asked_by is None
