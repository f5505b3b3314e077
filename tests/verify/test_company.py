"""Who acts together, and what was changed past the gate, cannot be hidden from it by ordinary operations."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, PromptTuningConfig

from skillwarrant_format.errors import LoadMismatch, UsageError
from skillwarrant_verify import Combination, LoadOptions, StackItem
from skillwarrant_verify.gate.way_back import ATTRIBUTE
from skillwarrant_verify.loader import load
from world import PRODUCTION, World, llama, observed, phases, save_lora

PROMPT = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)


def named(name: str) -> LoadOptions:
    return LoadOptions(adapter_name=name)


@pytest.fixture(scope="module")
def prompt(world: World) -> Path:
    return world.signed("company-prompt", alone=True, config=PROMPT)


def test_nothing_is_put_into_a_base_behind_the_prompt_of_another_peft_model(
    world: World, log: Path, prompt: Path
) -> None:
    gate, base = world.gate(log), llama()
    prompted = gate.activate(base, prompt, context=PRODUCTION, options=named("first7"))
    with pytest.raises(UsageError, match="another PeftModel around this base") as caught:
        gate.activate(base, world.adapter, context=PRODUCTION, options=named("second"))
    assert "first7" in str(caught.value)
    gate.check(prompted).require()


def test_a_prompt_that_was_taken_off_or_dropped_is_in_nobodys_way(world: World, log: Path, prompt: Path) -> None:
    gate, base = world.gate(log), llama()
    prompted = gate.activate(base, prompt, context=PRODUCTION, options=named("first7"))
    gate.deactivate(prompted, "first7")
    again = gate.activate(base, prompt, context=PRODUCTION, options=named("first7"))
    del again
    gate.activate(base, world.adapter, context=PRODUCTION, options=named("second"))


@pytest.mark.parametrize("what", ["weight", "hook", "buffer"])
def test_taking_an_adapter_off_does_not_cover_what_was_done_to_the_base(world: World, log: Path, what: str) -> None:
    gate, base = world.gate(log), llama()
    model = gate.activate(base, world.adapter, context=PRODUCTION, options=named("first"))
    model = gate.activate(model, world.adapter, context=PRODUCTION, options=named("second"))
    if what == "weight":
        base.model.embed_tokens.weight.data[0, 0] += 1
    elif what == "hook":
        base.model.norm.register_forward_hook(lambda *given: given[2] * 2)
    else:
        base.model.rotary_emb.inv_freq.data[0] += 1
    before = gate.check(model).findings
    assert before
    gate.deactivate(model, "first")
    assert gate.check(model).findings == before
    checks = {check.code: check.outcome for check in observed(log)[-1].checks}
    assert checks["base.unchanged"] == "not-proved"


def test_a_further_adapter_does_not_cover_an_edited_buffer(world: World, log: Path) -> None:
    gate, base = world.gate(log), llama()
    model = gate.activate(base, world.adapter, context=PRODUCTION, options=named("first"))
    base.model.rotary_emb.inv_freq.data[0] += 1
    model = gate.activate(model, world.adapter, context=PRODUCTION, options=named("second"))
    assert [finding.code for finding in gate.check(model).findings] == ["base.unchanged"]


@pytest.mark.parametrize("weight", [10**400, -(10**5000), True], ids=["long", "longer", "bool"])
def test_a_weight_that_is_no_finite_number_is_refused(world: World, log: Path, weight: float) -> None:
    gate = world.gate(log)
    model = gate.activate(llama(), world.adapter, context=PRODUCTION, options=named("first"))
    with pytest.raises(UsageError, match="a weight for each adapter"):
        gate.add_weighted_adapter(model, ["first"], [weight], "light", "linear", context=PRODUCTION)


def test_an_adapter_that_changed_its_base_is_taken_off_by_the_model_that_the_gate_gave(
    world: World, log: Path
) -> None:
    config = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights="pissa", task_type="CAUSAL_LM")
    pissa = world.signed("company-pissa", config=config)
    gate = world.gate(log, 'allow_hazards = ["changes-base"]')
    model = gate.activate(llama(), pissa, context=PRODUCTION, options=named("first"))
    other = copy(model)
    vars(other).pop(ATTRIBUTE)
    with pytest.raises(UsageError, match="does not know what the base was"):
        gate.deactivate(other, "first")
    gate.check(model).require()
    gate.deactivate(model, "first")


def test_a_hook_that_is_hung_onto_the_base_between_decision_and_load_stops_the_load(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, real = llama(), load.load

    def slow(model: Any, *given: Any, **options: Any) -> Any:
        model.lm_head.register_forward_hook(lambda *_: None)
        return real(model, *given, **options)

    monkeypatch.setattr(load, "load", slow)
    with pytest.raises(LoadMismatch, match="hung onto the model"):
        world.gate(tmp_path).activate(model, world.adapter, context=PRODUCTION)
    assert phases(tmp_path) == ["intent", "failed"]


def test_an_adapter_that_comes_past_the_gate_during_a_load_stops_the_load(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = load.load

    def beside(model: Any, *given: Any, **options: Any) -> Any:
        loaded = real(model, *given, **options)
        loaded.model.add_adapter("stowaway", LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
        return loaded

    monkeypatch.setattr(load, "load", beside)
    with pytest.raises(LoadMismatch, match="stowaway"):
        world.gate(tmp_path).activate(llama(), world.adapter, context=PRODUCTION)


def test_an_adapter_exchanged_by_hand_is_seen_though_somebody_keeps_its_weights(
    world: World, tmp_path: Path
) -> None:
    gate = world.gate(tmp_path / "log", 'measure = "once-verified"')
    model = gate.activate(llama(), world.adapter, context=PRODUCTION)
    kept = [tensor for name, tensor in model.named_parameters() if "lora_" in name]  # an optimizer does
    save_lora(tmp_path / "other", seed=9)
    model.add_adapter("spare", model.peft_config["default"])
    model.set_adapter("spare")
    model.delete_adapter("default")
    model.load_adapter(str(tmp_path / "other"), "default")
    model.delete_adapter("spare")
    with pytest.raises(LoadMismatch):
        gate.activate(
            model, world.signed("second", seed=5), context=PRODUCTION, options=LoadOptions(adapter_name="b")
        )
    assert kept


@pytest.mark.parametrize("name", [5, None, b"x", ["x"]])
def test_a_name_that_is_no_string_is_a_misuse_in_our_words(name: Any) -> None:
    with pytest.raises(UsageError, match="needs a name"):
        LoadOptions(adapter_name=name)
    with pytest.raises(UsageError, match="needs a name"):
        StackItem(adapter="somewhere", adapter_name=name)


@pytest.mark.parametrize(
    "option",
    [
        {"svd_rank": -1},
        {"svd_rank": 10**12},
        {"svd_clamp": 2.0},
        {"svd_driver": "x"},
        {"majority_sign_method": "x"},
    ],
)
def test_an_option_of_mixing_that_means_nothing_is_refused(option: Any) -> None:
    with pytest.raises(UsageError):
        Combination(adapter_name="mix", **option)
