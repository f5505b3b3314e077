"""The context: labels are checked, and a record of it never holds a prompt or a name."""

from __future__ import annotations

import json

import pytest

from skillwarrant_format.errors import UsageError
from skillwarrant_verify import Context


@pytest.mark.parametrize("environment", ["", "pro duction", "production\n", "*", "a" * 65, "-x"])
def test_a_malformed_environment_is_refused(environment: str) -> None:
    with pytest.raises(UsageError, match="environment"):
        Context(environment=environment)


def test_an_environment_of_another_type_is_refused() -> None:
    with pytest.raises(UsageError, match="a string"):
        Context(environment=None)  # type: ignore[arg-type]


def test_a_record_never_holds_the_prompt_or_the_operator() -> None:
    context = Context(environment="production", operator="alice@example.org", system_prompt="be kind")
    text = json.dumps(context.record("salt"))
    assert "alice" not in text
    assert "kind" not in text


def test_two_activations_do_not_show_that_the_operator_is_the_same() -> None:
    context = Context(environment="production", operator="alice@example.org")
    assert context.record("one")["operator"] != context.record("two")["operator"]


def test_who_knows_the_operator_can_confirm_it() -> None:
    context = Context(environment="production", operator="alice@example.org")
    assert context.record("one") == Context(environment="production", operator="alice@example.org").record("one")
