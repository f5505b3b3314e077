"""The context: labels are checked, and a record of it never holds a prompt, a name or what a session says."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import idp
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import UsageError
from skillwarrant_verify import Context


@pytest.mark.parametrize("environment", ["", "pro duction", "production\n", "*", "a" * 65, "-x"])
@pytest.mark.parametrize("key", ["environment", "region", "policy_class"])
def test_a_malformed_label_is_refused(key: str, environment: str) -> None:
    with pytest.raises(UsageError, match=key):
        Context(**{"environment": "production", key: environment})


@pytest.mark.parametrize(
    "given",
    [
        {"environment": None},
        {"region": 7},
        {"policy_class": b"general"},
        {"operator": 7},
        {"operator": {"subject": "root", "issuer": idp.ISSUER}},
        {"system_prompt": b"be kind"},
        {"session": [("tenant", "x")]},
        {"session": None},
        {"session": {"tenant": 7}},
        {"session": {7: "x"}},
    ],
)
def test_another_type_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"wrong type"):
        Context(**{"environment": "production", **given})


@pytest.mark.parametrize(
    "session",
    [
        {"": "x"},
        {"ten ant": "x"},
        {"tenant\n": "x"},
        {"tenant": ""},
        {"tenant": "x\ny"},
        {"tenant": "x\x1b[2J"},
        {"tenant": "x" * 513},
        {str(number): "x" for number in range(33)},
    ],
)
def test_a_sessions_attributes_are_few_short_and_printable(session: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="session"):
        Context(environment="production", session=session)


def test_what_the_caller_does_to_a_session_later_changes_nothing() -> None:
    session = {"tenant": "x"}
    context = Context(environment="production", session=session)
    session["tenant"] = "y"
    assert context.session == {"tenant": "x"}


def test_a_context_travels_and_is_a_key() -> None:
    context = Context(environment="production", session={"tenant": "x"}, operator=idp.check(idp.mint()))
    assert pickle.loads(pickle.dumps(context)) == context  # noqa: S301  # our own bytes
    assert {context: 1}[replace(context)] == 1


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_a_record_never_holds_a_name_a_prompt_or_a_sessions_values(name: str, value: str) -> None:
    secret = f"<{name}>", f"<{value}>"
    try:
        context = Context(
            environment="production", operator=secret[0], system_prompt=secret[1], session={"tenant": secret[1]}
        )
    except UsageError:
        return
    text = json.dumps(context.record("salt"), ensure_ascii=False)
    assert secret[0] not in text
    assert secret[1] not in text


def test_two_activations_do_not_show_that_the_operator_or_the_tenant_is_the_same() -> None:
    for operator in ("alice@example.org", idp.check(idp.mint())):
        context = Context(environment="production", operator=operator, session={"tenant": "x"})
        one, two = context.record("one"), context.record("two")
        assert one["operator"] != two["operator"]
        assert one["session"] != two["session"]


def test_who_knows_the_operator_or_the_tenant_can_confirm_it() -> None:
    context = Context(environment="production", operator="alice@example.org", session={"tenant": "x"})
    assert context.record("one") == {
        "environment": "production",
        "operator": {"verified": False, "saltedSha256": Digest.of(b"one\nalice@example.org").hex},
        "session": {"tenant": Digest.of(b"one\ntenant\nx").hex},
    }


def test_a_verified_operator_is_recorded_as_one_with_who_vouches_and_until_when() -> None:
    context = Context(environment="production", operator=idp.check(idp.mint()), policy_class="general")
    assert context.record("one") == {
        "environment": "production",
        "policyClass": "general",
        "operator": {
            "verified": True,
            "saltedSha256": Digest.of(f"one\n{idp.CLAIMS['sub']}".encode()).hex,
            "issuer": idp.ISSUER,
            "audience": idp.AUDIENCE,
            "expiresAt": "2026-11-22T12:10:00Z",
        },
    }


def test_a_claim_is_never_recorded_as_verified() -> None:
    """Not even one that is spelt like a record of a verified one."""
    for claim in ("verified", '{"verified": true}', str(idp.CLAIMS["sub"])):
        record = Context(environment="production", operator=claim).record("")
        assert record["operator"]["verified"] is False  # type: ignore[index,call-overload]


def test_attributes_with_equal_values_do_not_show_that_they_are_equal() -> None:
    session = Context(environment="production", session={"tenant": "x", "ticket": "x"}).record("one")["session"]
    assert len(set(session.values())) == 2  # type: ignore[union-attr]
