"""A code says who speaks: nobody else's finding has one of ours, and no denial of a policy passes for an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builders import facts
from modules import checked, codes, judged
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import DigestMismatch, PolicyDenied, PolicyError, SkillwarrantError, TrustError
from skillwarrant_verify import Context, Gate
from skillwarrant_verify.deciding.catalogue import CATALOGUE
from skillwarrant_verify.deciding.codes import STOPS, is_reserved, stop_code
from skillwarrant_verify.deciding.decide import decide
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.review.past import past_decisions
from skillwarrant_verify.review.policy_diff import compare
from test_policy import GOOD
from test_policy_rego import opa
from test_policy_rego import policy as with_rego
from test_user_rules import policy as with_rules
from test_user_rules import rule
from world import PRODUCTION, World, llama

OURS = sorted({*STOPS, *CATALOGUE, "input.malformed", "rego.evaluated", "rego.deny", "rule.failed"})
WARN = 'mode = "warn"'
COMPUTED = """package skillwarrant
deny contains {"code": concat("", ["tr", "ust"]), "msg": "it stays out", "details": {"a": 1}} if input.now
"""


def asking(url: str, extra: str = "") -> Policy:
    text = GOOD.replace("revision = 3", f"revision = 3\n{extra}")
    return Policy.parse(f'{text}\n[opa]\nurl = "{url}"\n'.encode())


def test_no_requirement_has_the_code_of_an_error() -> None:
    assert not STOPS & CATALOGUE.keys()
    assert {"trust", "internal", "policy.denied", "files.digest"} <= STOPS


@pytest.mark.parametrize("code", [*OURS, "Trust", "BASE.matches", "files.mine", "base"])
def test_a_code_of_ours_is_reserved_with_its_family(code: str) -> None:
    assert is_reserved(code)


@pytest.mark.parametrize("code", ["acme.trust", "acme", "x.base.matches", "based.on", "CHG-1", "trusted"])
def test_other_codes_are_not(code: str) -> None:
    assert not is_reserved(code)


@pytest.mark.parametrize("code", [code for code in (*OURS, "files.mine", "Base.matches") if "." in code])
def test_a_rule_of_the_policys_own_cannot_have_one(code: str) -> None:
    with pytest.raises(PolicyError, match="skillwarrant's own"):
        with_rules(rule(f'return yes("{code}", "x", "now")', code))


@pytest.mark.parametrize("name", ["deny", "violation", "deny_x", "warn"])
@pytest.mark.parametrize("code", ["trust", "base.matches", "rego.timeout", "rule.failed", "input.x", "Files.x"])
def test_a_rego_module_that_writes_one_out_is_refused_with_its_line(name: str, code: str) -> None:
    source = f'deny contains "x" if false\n{name} contains {{"msg": "m", "code": `{code}`}} if input.now'
    with pytest.raises(PolicyError, match=rf"policy.rego:3: the code {code} is skillwarrant's own"):
        checked(source)


def test_an_object_that_is_no_message_and_a_test_may_name_one() -> None:
    checked('deny contains "x" if {"code": "trust", "other": 1}.code == input.now')
    message = 'test_a if {"code": "trust", "msg": "m"} == input'
    checked({"a.rego": 'deny contains "x" if input.now', "a_test.rego": f"package skillwarrant_test\n{message}"})


@pytest.mark.parametrize("name", ["deny", "violation_x", "warn"])
def test_a_message_that_is_given_one_denies_and_loses_nothing(name: str) -> None:
    found = judged(COMPUTED.replace("deny contains", f'deny contains "x" if false\n{name} contains'), {"now": 1})
    (denial,) = found.denials
    assert (denial.code, found.warnings) == ("rego.reserved", ())
    assert denial.rule == f"data.skillwarrant.{name}"
    assert "under the code trust" in denial.message
    assert "it stays out" in denial.message
    assert denial.details == {"code": "trust", "msg": "it stays out", "details": {"a": 1}}


def test_it_hides_no_other_message() -> None:
    found = judged(f'{COMPUTED}deny contains "no"', {"now": 1})
    assert sorted(codes(found)) == ["rego.deny", "rego.reserved"]


@pytest.mark.parametrize("code", ["trust", "policy.denied", "base.matches", "rego.error", "usage", "INTERNAL"])
@pytest.mark.parametrize("mode", ["", WARN])
def test_an_opa_server_cannot_give_one_and_warn_mode_tolerates_none(code: str, mode: str) -> None:
    with opa({"result": {"deny": [{"code": code, "msg": "stay out"}], "warn": []}}) as (url, _):
        decision = decide(asking(url, mode), facts())
    assert (decision.outcome, [reason.code for reason in decision.reasons]) == ("deny", ["rego.reserved"])
    assert code in decision.reasons[0].message
    assert "stay out" in decision.reasons[0].message
    assert decision.reasons[0].fix


# On record


class ForeignError(SkillwarrantError):
    code = "manifest.age"


class ForeignTrustError(TrustError):
    code = "acme.ticket"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ForeignError("x"), "error"),
        (ForeignTrustError("x"), "trust"),
        (DigestMismatch("x"), "files.digest"),
        (KeyError("x"), "internal"),
        (KeyboardInterrupt(), "internal"),
    ],
)
def test_an_error_that_somebody_derives_from_ours_goes_on_record_as_ours(error: BaseException, code: str) -> None:
    assert stop_code(error) == code


def denying(world: World, log: Path, source: str) -> Policy:
    """A gate denies for what a module says; the policy that decided."""
    table = f'[[rego]]\nfile = "own.rego"\nsha256 = "{Digest.of(source.encode()).hex}"\n'
    policy = Policy.parse((world.policy_text() + table).encode(), files=lambda _: source.encode())
    gate: Gate = world.gate(log, policy=policy)
    with pytest.raises(PolicyDenied, match="stays out"):
        gate.activate(llama(), world.adapter, context=PRODUCTION)
    return policy


@pytest.mark.parametrize("code", ["trust", "internal", "files.digest", "acme.out"])
def test_a_denial_that_a_policy_gave_stays_one_when_it_is_read_from_the_log(
    world: World, log: Path, code: str
) -> None:
    policy = denying(world, log, COMPUTED.replace('["tr", "ust"]', json.dumps([code])))
    (past,) = past_decisions(log)
    reason = "acme.out" if code == "acme.out" else "rego.reserved"
    assert (past.outcome, past.reasons) == ("deny", {reason})
    (same,) = compare(policy, policy, [past])
    assert (same.old, same.new, same.change) == ("deny", "deny", "same")
    lenient = Policy.parse(world.policy_text().encode())
    (other,) = compare(policy, lenient, [past])
    assert (other.old, other.new, other.change) == ("deny", "allow", "now-allowed")
    assert [check.code for check in other.reasons] == [reason]


# A broken policy is broken under warn mode too


@pytest.mark.parametrize(
    "body",
    [
        'raise RuntimeError("no")',
        "return None",
        'return "acme.x"',
        'return yes("acme.y", "another", "now")',
        'return Finding(code="acme.x", outcome="fine", message="x", path="now")',
    ],
)
@pytest.mark.parametrize("each", ["", '[requirements."acme.x"]\nmode = "warn"\n'])
def test_a_rule_that_gave_no_answer_denies_whatever_only_warns(body: str, each: str) -> None:
    decision = decide(with_rules(rule(body), extra=WARN, after=each), facts())
    assert (decision.outcome, [reason.code for reason in decision.reasons]) == ("deny", ["rule.failed"])


def test_a_rule_that_says_no_is_tolerated() -> None:
    own = rule('return no("acme.x", "no", "now", expected="a", found="b")')
    decision = decide(with_rules(own, extra=WARN), facts())
    assert (decision.outcome, [one.code for one in decision.warnings]) == ("allow", ["acme.x"])


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ('allow := "true"', "rego.malformed"),
        ("allow := 1 if input.now", "rego.malformed"),
        ("allow := null if input.now", "rego.malformed"),
        ("allow := {true} if input.now", "rego.malformed"),
        ('allow if input.now == "never"', "rego.undefined"),
        ("deny contains 1 if input.now", "rego.malformed"),
        ('deny contains "x" if 1 / (input.adapter.bytes - input.adapter.bytes) > 0', "rego.error"),
        ('deny contains "x" if input.context.region == "eu"', "rego.missing"),
        (COMPUTED.partition("\n")[2], "rego.reserved"),
    ],
)
def test_rego_that_is_broken_denies_whatever_only_warns(source: str, code: str) -> None:
    decision = decide(with_rego(f"package skillwarrant\n{source}", WARN), facts())
    assert (decision.outcome, {reason.code for reason in decision.reasons}) == ("deny", {code})


def test_an_allow_that_is_false_is_a_denial_like_another() -> None:
    decision = decide(with_rego("package skillwarrant\ndefault allow := false", WARN), facts())
    assert (decision.outcome, [one.code for one in decision.warnings]) == ("allow", ["rego.allow"])


def test_a_server_that_cannot_be_asked_allows_nothing_whatever_only_warns() -> None:
    decision = decide(asking("http://127.0.0.1:9", WARN), facts(context=Context(environment="production")))
    assert (decision.outcome, [reason.code for reason in decision.reasons]) == ("undecided", ["rego.evaluated"])


def test_the_servers_name_for_its_decision_is_on_record(world: World, log: Path) -> None:
    """So that who reads our log finds the decision in OPA's own."""
    identifier = "4ca636c1-55e4-417a-b1d8-4aceb67960d1"
    reply: Any = {"decision_id": identifier, "result": {"deny": [{"code": "acme.no", "msg": "not today"}]}}
    with opa(reply) as (url, _):
        policy = Policy.parse(f'{world.policy_text()}\n[opa]\nurl = "{url}"\n'.encode())
        with pytest.raises(PolicyDenied):
            world.gate(log, policy=policy).activate(llama(), world.adapter, context=PRODUCTION)
    (past,) = past_decisions(log)
    (check,) = [check for check in past.checks if check.code == "rego.evaluated"]
    assert check.outcome == "proved"
    assert f"decision_id {identifier}" in check.message
