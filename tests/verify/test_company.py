"""Who acts together, and what was changed past the gate, cannot be hidden from it by ordinary operations."""

from __future__ import annotations

from pathlib import Path

import pytest
from peft import PromptTuningConfig

from skillwarrant_format.errors import PolicyDenied, UsageError
from skillwarrant_verify import LoadOptions
from world import PRODUCTION, World, llama, observed

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


def test_an_active_adapter_does_not_get_lighter_by_being_mixed_in(world: World, log: Path) -> None:
    gate = world.gate(log, "[composition]\nmax_total_weight = 1.5\n")
    model = gate.activate(llama(), world.adapter, context=PRODUCTION, options=named("first"))
    gate.add_weighted_adapter(model, ["first"], [0.01], "light", "linear", context=PRODUCTION)
    assert model.active_adapters == ["first"]
    with pytest.raises(PolicyDenied, match="the weights add up to 2"):
        gate.activate(model, world.adapter, context=PRODUCTION, options=named("second"))


@pytest.mark.parametrize(
    "weight", [10**400, -(10**5000), True, float("inf")], ids=["long", "longer", "bool", "inf"]
)
def test_a_weight_that_is_no_finite_number_is_refused(world: World, log: Path, weight: float) -> None:
    gate = world.gate(log)
    model = gate.activate(llama(), world.adapter, context=PRODUCTION, options=named("first"))
    with pytest.raises(UsageError, match="a weight for each adapter"):
        gate.add_weighted_adapter(model, ["first"], [weight], "light", "linear", context=PRODUCTION)
