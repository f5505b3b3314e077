"""A real gate's decisions, allowed and denied, alone and in a stack, are made again from what it kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from skillwarrant_format.errors import DigestMismatch, PolicyDenied
from skillwarrant_verify import Context, StackItem
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.review.past import past_decisions
from skillwarrant_verify.review.policy_diff import compare
from world import PRODUCTION, World, llama, observed


def test_what_a_gate_decided_is_made_again_from_its_log(world: World, log: Path) -> None:
    gate, model = world.gate(log), llama()
    model = gate.activate(model, world.adapter, context=PRODUCTION)
    with pytest.raises(PolicyDenied):
        gate.activate(llama(), world.adapter, context=Context(environment="elsewhere"))
    gate.deactivate(model, "default", context=PRODUCTION)
    policy = Policy.parse(world.policy_text().encode(), name="policy.toml")
    past = past_decisions(log)
    assert [one.outcome for one in past] == ["allow", "deny"]
    assert {one.policy.digest for one in past} == {policy.digest}
    assert [one.change for one in compare(policy, policy, past)] == ["same", "same"]
    other = Policy.parse(world.policy_text().replace("revision = 1", "revision = 2\nmax_age_days = 1").encode())
    assert [one.change for one in compare(policy, other, past)] == ["same", "same"]


def test_a_stack_that_was_refused_is_made_again_member_by_member(world: World, log: Path) -> None:
    items = [StackItem(adapter=world.adapter, adapter_name=name) for name in ("one", "two")]
    with pytest.raises(PolicyDenied):
        world.gate(log).activate_stack(llama(), items, context=Context(environment="elsewhere"))
    policy = Policy.parse(world.policy_text().encode(), name="policy.toml")
    found = compare(policy, policy, past_decisions(log))
    assert [(one.past.adapter, one.old, one.change) for one in found] == [
        ("one", "deny", "same"),
        ("two", "deny", "same"),
    ]
    assert {check.code for one in found for check in one.reasons} == {"environment.allowed"}


def test_what_was_refused_before_any_policy_was_asked_is_no_decision(
    world: World, log: Path, tmp_path: Path
) -> None:
    (tmp_path / "adapter").mkdir()
    for file in world.adapter.iterdir():
        (tmp_path / "adapter" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "adapter" / "README.md").write_text("nobody signed this")
    with pytest.raises(DigestMismatch):
        world.gate(log).activate(llama(), tmp_path / "adapter", context=PRODUCTION)
    assert [one.phase for one in observed(log)] == ["refused"]
    assert past_decisions(log) == ()
