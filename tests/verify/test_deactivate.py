"""Adapters are taken off on record, and what stays is as it was; where there is no record, nothing is taken off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LNTuningConfig, LoraConfig, PeftConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig

from skillwarrant_format.errors import AuditError, LoadMismatch, UsageError, WrongBase
from skillwarrant_verify import Context, LoadOptions, StackItem
from skillwarrant_verify.base import measure
from skillwarrant_verify.gate import removal
from skillwarrant_verify.loader import peft_changes
from world import PRODUCTION, Failing, World, llama, logits, observed, phases, report, untouched

NAMES = ("k", "b", "c")


@pytest.fixture(scope="module")
def adapters(world: World) -> dict[str, Path]:
    return {name: world.signed(f"off-{name}", seed=seed) for seed, name in enumerate(NAMES, 41)}


def stack(adapters: dict[str, Path], names: str = "kbc") -> list[StackItem]:
    return [StackItem(adapter=adapters[name], adapter_name=name) for name in names]


def named(name: str) -> LoadOptions:
    return LoadOptions(adapter_name=name)


def test_the_last_adapter_gives_the_base_model_back_unwrapped(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    gate, base = world.gate(log), llama()
    model = gate.activate(base, adapters["k"], context=PRODUCTION)
    assert gate.deactivate(model, "default") is base
    assert untouched(base)
    assert torch.equal(logits(base), logits(llama()))
    assert gate.activate(base, adapters["k"], context=PRODUCTION) is not None
    assert phases(log) == ["intent", "activated", "deactivated", "intent", "activated"]


def test_a_deactivation_belongs_to_its_activation(world: World, log: Path, adapters: dict[str, Path]) -> None:
    gate = world.gate(log)
    model = gate.activate(llama(), adapters["k"], context=PRODUCTION)
    gate.deactivate(model, "default")
    _, activated, gone = observed(log)
    assert gone.activation == activated.activation
    assert (gone.adapters, gone.skills[0].manifest) == (activated.adapters, activated.skills[0].manifest)
    assert gone.context == activated.context
    assert [(check.code, check.outcome) for check in gone.checks] == [("adapter.unchanged", "proved")]
    assert gone.base == measure(llama()).fingerprint
    assert report(log).findings == ()


def test_a_deactivation_may_have_a_context_of_its_own(world: World, log: Path, adapters: dict[str, Path]) -> None:
    gate = world.gate(log)
    model = gate.activate(llama(), adapters["k"], context=PRODUCTION)
    gate.deactivate(model, "default", context=Context(environment="production", region="eu"))
    assert observed(log)[-1].context["region"] == "eu"


def test_members_leave_a_stack_one_by_one_and_the_rest_goes_on_as_with_peft(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    gate = world.gate(log)
    model = gate.activate_stack(llama(), stack(adapters), context=PRODUCTION)
    for name, left in (("b", ["k", "c"]), ("k", ["c"])):
        assert gate.deactivate(model, name) is model
        assert model.active_adapters == left
        expected = PeftModel.from_pretrained(llama(), adapters[left[0]], adapter_name=left[0])
        for other in left[1:]:
            expected.load_adapter(adapters[other], adapter_name=other)
        expected.base_model.set_adapter(left)
        assert torch.equal(logits(model), logits(expected))
        assert not any(parameter.requires_grad for parameter in model.parameters())
    gate.deactivate(model, "c")
    found = observed(log)
    assert [seen.adapters for seen in found] == [NAMES, NAMES, ("b",), ("k",), ("c",)]
    assert len({seen.activation for seen in found}) == 1
    assert report(log).findings == ()


def test_no_adapter_leaves_twice(world: World, log: Path, adapters: dict[str, Path]) -> None:
    gate = world.gate(log)
    model = gate.activate_stack(llama(), stack(adapters), context=PRODUCTION)
    gate.deactivate(model, "b")
    with pytest.raises(UsageError, match="did not come through a gate"):
        gate.deactivate(model, "b")
    assert phases(log) == ["intent", "activated", "deactivated"]


def test_an_adapter_that_did_not_come_through_the_gate_is_not_the_gates_to_take_off(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    model = PeftModel.from_pretrained(llama(), adapters["k"])
    with pytest.raises(UsageError, match="did not come through a gate"):
        world.gate(log).deactivate(model, "default")
    assert [*model.peft_config] == ["default"]


def test_without_a_record_nothing_is_taken_off(world: World, log: Path, adapters: dict[str, Path]) -> None:
    gate = world.gate(log, recorder=Failing.at("deactivated", log))
    for given in (stack(adapters, "k"), stack(adapters)):
        model = gate.activate_stack(llama(), given, context=PRODUCTION)
        before = logits(model)
        with pytest.raises(AuditError, match=r"could not be written; the adapter k stays on the model.*No space"):
            gate.deactivate(model, "k")
        assert torch.equal(logits(model), before)
        assert set(model.active_adapters) == {item.adapter_name for item in given}
        assert gate.check(model).findings == ()
    Failing.at("", log)
    assert gate.deactivate(model, "k") is model
    assert phases(log) == [*["intent", "activated"] * 2, "deactivated"]


@pytest.mark.parametrize("names", ["k", "kbc"])
def test_an_adapter_that_peft_cannot_take_off_stays_whole(
    world: World, log: Path, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    gate = world.gate(log)
    model = gate.activate_stack(llama(), stack(adapters, names), context=PRODUCTION)
    before, real = logits(model), peft_changes.take_off

    def half(*given: Any) -> Any:
        real(*given)
        raise LoadMismatch("PEFT cannot take this adapter off")

    monkeypatch.setattr(removal, "take_off", half)
    with pytest.raises(LoadMismatch):
        gate.deactivate(model, "k")
    assert torch.equal(logits(model), before)
    assert gate.check(model).findings == ()
    assert phases(log) == ["intent", "activated"]


def test_a_base_that_changes_while_an_adapter_is_taken_off_is_noticed(
    world: World, log: Path, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, real = world.gate(log), peft_changes.take_off
    model = gate.activate(llama(), adapters["k"], context=PRODUCTION)

    def spoil(*given: Any) -> Any:
        left = real(*given)
        left.lm_head.weight.data[0, 0] += 1
        return left

    monkeypatch.setattr(removal, "take_off", spoil)
    with pytest.raises(WrongBase, match="could not be put back"):
        gate.deactivate(model, "default")
    assert phases(log) == ["intent", "activated"]


def test_what_was_tampered_with_can_be_taken_off_and_the_record_says_so(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    gate = world.gate(log)
    model = gate.activate(llama(), adapters["k"], context=PRODUCTION)
    model.base_model.model.model.layers[0].self_attn.q_proj.lora_B["default"].weight.data.mul_(3)
    base = gate.deactivate(model, "default")
    (check,) = observed(log)[-1].checks
    assert (check.code, check.outcome) == ("adapter.unchanged", "not-proved")
    assert "holds other values than were loaded" in check.message
    assert untouched(base)


def test_what_somebody_took_off_already_can_be_put_on_record(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    gate = world.gate(log)
    model = gate.activate_stack(llama(), stack(adapters, "kb"), context=PRODUCTION)
    model.delete_adapter("k")
    assert gate.deactivate(model, "k") is model
    gone = observed(log)[-1]
    assert (gone.phase, gone.adapters, gone.checks[0].outcome) == ("deactivated", ("k",), "not-proved")
    assert "not on the model any more" in gone.checks[0].message


OTHERS: dict[str, PeftConfig] = {
    "prefix": PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"),
    "prompt": PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"),
    "norms": LNTuningConfig(target_modules=["input_layernorm"], task_type="CAUSAL_LM"),
    "head": LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM"),
    "pissa": LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="pissa", task_type="CAUSAL_LM"),
    "bias": LoraConfig(r=2, target_modules=["q_proj"], lora_bias=True, task_type="CAUSAL_LM"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_adapters_of_other_methods_leave_the_base_as_it_was_too(world: World, log: Path, kind: str) -> None:
    adapter = world.signed(f"off-{kind}", seed=50, config=OTHERS[kind])
    gate, base = world.gate(log, 'allow_hazards = ["modules-to-save", "changes-base"]'), llama()
    model = gate.activate(base, adapter, context=PRODUCTION)
    assert not torch.equal(logits(model), logits(llama()))
    assert gate.deactivate(model, "default") is base
    assert untouched(base)
    assert torch.equal(logits(base), logits(llama()))
    assert phases(log) == ["intent", "activated", "deactivated"]


def test_an_adapter_that_changed_its_base_gives_it_back_and_both_are_on_record(world: World, log: Path) -> None:
    adapter = world.signed("off-changing", seed=51, config=OTHERS["pissa"])
    gate = world.gate(log, 'allow_hazards = ["changes-base"]')
    model = gate.activate(llama(), adapter, context=PRODUCTION)
    changed = measure(model).fingerprint
    plain = measure(llama()).fingerprint
    assert changed != plain
    assert gate.check(model).findings == ()
    gate.deactivate(model, "default")
    intent, activated, gone = observed(log)
    assert (intent.base, intent.base_after) == (plain, None)
    assert (activated.base, activated.base_after) == (plain, changed)
    assert (gone.base, gone.base_after) == (changed, plain)


def test_an_adapter_that_changed_its_base_and_cannot_be_recorded_stays_with_the_base_it_made(
    world: World, log: Path
) -> None:
    adapter = world.signed("off-staying", seed=52, config=OTHERS["pissa"])
    gate = world.gate(log, 'allow_hazards = ["changes-base"]', recorder=Failing.at("deactivated", log))
    model = gate.activate(llama(), adapter, context=PRODUCTION)
    before = logits(model)
    with pytest.raises(AuditError, match="stays on the model"):
        gate.deactivate(model, "default")
    assert torch.equal(logits(model), before)
    assert gate.check(model).findings == ()
    Failing.at("", log)
    assert untouched(gate.deactivate(model, "default"))


def test_options_do_not_reach_the_record_of_another(world: World, log: Path, adapters: dict[str, Path]) -> None:
    """Two activations on one model: each ends its own."""
    gate = world.gate(log)
    model = gate.activate(llama(), adapters["k"], context=PRODUCTION, options=named("k"))
    gate.activate(model, adapters["b"], context=replace(PRODUCTION, region="eu"), options=named("b"))
    gate.deactivate(model, "k")
    gate.deactivate(model, "b")
    found = {(seen.phase, seen.adapters): seen for seen in observed(log)}
    for name in ("k", "b"):
        assert found["deactivated", (name,)].activation == found["activated", (name,)].activation
    assert found["deactivated", ("b",)].context["region"] == "eu"
    assert "region" not in found["deactivated", ("k",)].context
