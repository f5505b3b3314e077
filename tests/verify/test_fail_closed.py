"""Deny is the absence of proof: nothing missing, empty, unknown, misspelt, oversize or broken ever allows."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from builders import facts
from skillwarrant_format import limits
from skillwarrant_format.errors import PolicyDenied, PolicyError, Unavailable
from skillwarrant_format.toml import parse_toml
from skillwarrant_verify.deciding import requirement
from skillwarrant_verify.deciding.catalogue import CATALOGUE, Known
from skillwarrant_verify.deciding.decide import decide, decide_document
from skillwarrant_verify.deciding.decision_input import to_document
from skillwarrant_verify.document.policy_reading import KEYS
from skillwarrant_verify.policy import Policy
from test_policy import GOOD


def parse(text: str, name: str = "policy.toml") -> Policy:
    return Policy.parse(text.encode(), name=name)


PLAIN: dict[str, Any] = dict(parse_toml(GOOD.encode(), what="good"))


def as_json(**changes: Any) -> str:
    document = {key: value for key, value in {**PLAIN, **changes}.items() if value is not None}
    return json.dumps(document)


@pytest.mark.parametrize("text", ["", "\n", "# a comment\n", "{}", "[]", "null", "\ufeff", "[policy]\n"])
@pytest.mark.parametrize("name", ["policy.toml", "policy.json"])
def test_an_empty_policy_cannot_be_built(text: str, name: str) -> None:
    with pytest.raises(PolicyError):
        parse(text, name)


@pytest.mark.parametrize(
    "version", ["skillwarrant.dev/policy/v2", "skillwarrant.dev/policy", "v1", "", "skillwarrant.dev/policy/v1 "]
)
def test_another_api_version_is_refused_before_anything_else_is_read(version: str) -> None:
    with pytest.raises(PolicyError, match="api_version"):
        parse(GOOD.replace("skillwarrant.dev/policy/v1", version).replace("revision", "revisio"))


@pytest.mark.parametrize("key", KEYS)
def test_every_key_that_is_misspelt_is_refused_with_the_right_one(key: str) -> None:
    with pytest.raises(PolicyError, match=f"Did you mean '{key}'"):
        parse(f"{key}_ = 1\n{GOOD}")


@pytest.mark.parametrize("key", sorted(set(KEYS) - PLAIN.keys() - {"description"}))
@pytest.mark.parametrize("value", ["[]", "{}", '""', "true", "-1", "[1]", '[""]', "{ x = 1 }"])
def test_no_key_can_say_nothing_or_something_else(key: str, value: str) -> None:
    with pytest.raises(PolicyError):
        parse(f"{key} = {value}\n{GOOD}")


@pytest.mark.parametrize("code", [code for code in CATALOGUE if not CATALOGUE[code].always])
def test_a_misspelt_requirement_is_refused_with_the_nearest(code: str) -> None:
    with pytest.raises(PolicyError, match="Did you mean"):
        parse(f'{GOOD}[requirements."{code}x"]\nmode = "warn"\n')


def test_bytes_beyond_the_limit_are_not_parsed() -> None:
    padding = "#" * limits.MAX_POLICY_BYTES
    for name in ("policy.toml", "policy.json"):
        with pytest.raises(PolicyError, match="too large"):
            parse(f"{GOOD}{padding}", name)


@pytest.mark.parametrize("depth", [65, 10_000, 200_000])
def test_nesting_beyond_the_limit_is_refused_and_no_crash(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    with pytest.raises(PolicyError):
        parse(f"x = {nested}")
    with pytest.raises(PolicyError, match="too deeply"):
        parse(nested, "policy.json")


def test_lists_beyond_the_limit_are_refused() -> None:
    many = ", ".join(f'"e{number}"' for number in range(limits.MAX_LIST_ITEMS + 1))
    with pytest.raises(PolicyError, match="1 to 1000 items"):
        parse(GOOD.replace('["production"]', f"[{many}]"))


def test_json_is_the_same_policy() -> None:
    toml, found = parse(GOOD), parse(as_json(), "policy.json")
    assert {field.name for field in fields(Policy) if getattr(toml, field.name) != getattr(found, field.name)} <= {
        "digest",
        "asked",
    }
    assert decide(found, facts()).outcome == decide(toml, facts()).outcome == "allow"
    assert found.asked_by("environment.allowed") == "policy.json environments"
    timed = parse(as_json(not_after="2030-01-01T00:00:00Z"), "policy.json")
    assert timed.not_after == parse(f"not_after = 2030-01-01T00:00:00Z\n{GOOD}").not_after


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, "not JSON"),
        (as_json()[:-1], "not JSON"),
        (as_json() + "x", "not JSON"),
        ('{"name": "a", ' + as_json()[1:], "twice"),
        (as_json(max_age_days=1e400).replace("Infinity", "1e400"), "double"),
        (as_json(max_age_days=float("nan")), "NaN"),
        (as_json(revision=2**60), "2^53"),
        (as_json(name="a\x00b"), "NUL"),
        (as_json(x=1), "not a known key"),
        (as_json(publishers=None), "missing"),
        (as_json(not_after="2030-01-01"), "not a time"),
        (f"[{as_json()}]", "not a JSON object"),
    ],
)
def test_json_is_read_as_strictly(text: str, expected: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse(text, "policy.json")
    assert expected in str(caught.value)


def test_json_by_another_name_is_no_policy() -> None:
    with pytest.raises(PolicyError, match="not TOML"):
        parse(as_json(), "policy.toml")


@pytest.mark.parametrize("code", list(CATALOGUE))
def test_a_requirement_whose_rule_is_gone_or_silent_is_denied(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(requirement._RULES, code, lambda _policy, _facts: None)
    assert [reason.code for reason in decide(parse(GOOD), facts()).reasons] == [code]
    monkeypatch.delitem(requirement._RULES, code)
    assert [reason.code for reason in decide(parse(GOOD), facts()).reasons] == [code]


def test_a_requirement_without_any_rule_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    from skillwarrant_verify.deciding import decide as module

    monkeypatch.setattr(module, "CATALOGUE", {**CATALOGUE, "new.code": Known("new.code")})
    assert [reason.code for reason in decide(parse(GOOD), facts()).reasons] == ["new.code"]


def test_an_error_in_a_rule_of_ours_is_no_answer_and_nothing_comes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_policy: Policy, _facts: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(requirement._RULES, "base.matches", broken)
    with pytest.raises(ZeroDivisionError):
        decide(parse(GOOD), facts())


@pytest.mark.parametrize("outcome", ["allow", "deny", "undecided"])
def test_a_decision_about_nothing_is_no_way_on(outcome: Any) -> None:
    decision = decide_document(parse(GOOD), {})
    with pytest.raises((PolicyDenied, Unavailable)):
        replace(decision, outcome=outcome, checked=decision.checked if outcome == "deny" else ()).require()


def test_the_engine_reads_its_input_by_value_and_not_by_reference() -> None:
    """What is changed after a decision changes nothing of it."""
    document: Any = json.loads(json.dumps(to_document(facts())))
    decision = decide_document(parse(GOOD), document)
    before = decision.inputs
    document["context"]["environment"] = "staging"
    assert decision.outcome == "allow"
    assert decision.inputs == before
