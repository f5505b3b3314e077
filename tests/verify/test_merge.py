"""Mixtures of adapters, and adapters that become a part of their base: judged again, on record, or undone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftConfig, PeftModel, PrefixTuningConfig

from skillwarrant_format.errors import (
    AuditError,
    LoadMismatch,
    PolicyDenied,
    Unavailable,
    UsageError,
    WrongBase,
)
from skillwarrant_format.observation import Ended, Source
from skillwarrant_verify import LoadOptions, StackItem
from skillwarrant_verify.base import measure
from skillwarrant_verify.gate import merging, mixing
from skillwarrant_verify.loader import peft_changes
from world import PRODUCTION, Failing, World, llama, logits, observed, phases, report

NAMES = ("k", "b", "c")


@pytest.fixture(scope="module")
def adapters(world: World) -> dict[str, Path]:
    return {name: world.signed(f"merge-{name}", seed=seed) for seed, name in enumerate(NAMES, 71)}


@pytest.fixture
def three(world: World, log: Path, adapters: dict[str, Path]) -> Any:
    """A model with three adapters, all active."""
    stack = [StackItem(adapter=path, adapter_name=name) for name, path in adapters.items()]
    return world.gate(log).activate_stack(llama(), stack, context=PRODUCTION)


def by_peft(adapters: dict[str, Path], active: list[str]) -> PeftModel:
    model = PeftModel.from_pretrained(llama(), adapters["k"], adapter_name="k")
    for name in ("b", "c"):
        model.load_adapter(adapters[name], adapter_name=name)
    model.base_model.set_adapter(active)
    return model


def mix(world: World, log: Path, model: Any, extra: str = "", **options: Any) -> Any:
    given: dict[str, Any] = {
        "adapters": ["k", "b"],
        "weights": [0.6, 0.3],
        "adapter_name": "mix",
        "combination_type": "linear",
        "context": PRODUCTION,
    }
    return world.gate(log, extra).add_weighted_adapter(model, **{**given, **options})


def merge(world: World, log: Path, model: Any, extra: str = "", **options: Any) -> Any:
    return world.gate(log, extra).merge_and_unload(model, **{"context": PRODUCTION, **options})


# --- mixtures


@pytest.mark.parametrize(
    "options",
    [
        {"combination_type": "linear"},
        {"combination_type": "cat"},
        {"combination_type": "svd", "svd_rank": 3},
        {"combination_type": "ties", "density": 0.5, "majority_sign_method": "frequency"},
        {"combination_type": "magnitude_prune", "density": 0.5},
    ],
)
def test_a_mixture_is_what_peft_makes_of_the_same(
    world: World, log: Path, three: Any, adapters: dict[str, Path], options: dict[str, Any]
) -> None:
    before = logits(three)
    assert mix(world, log, three, **options) is three
    assert torch.equal(logits(three), before)
    expected = by_peft(adapters, [*NAMES])
    expected.base_model.add_weighted_adapter(["k", "b"], [0.6, 0.3], "mix", **options)
    for model in (three, expected):
        model.set_adapter("mix", inference_mode=True)
    assert torch.equal(logits(three), logits(expected))
    assert not any(parameter.requires_grad for parameter in three.parameters())
    activated = observed(log)[-1]
    assert activated.adapters == ("mix",)
    assert activated.change is not None
    assert dict(activated.change.options) == options
    assert world.gate(log).check(three).findings == ()


def test_a_mixture_has_the_skills_of_its_sources_on_record(world: World, log: Path, three: Any) -> None:
    mix(world, log, three)
    stacked, intent, activated = observed(log)[1:]
    assert (intent.phase, activated.phase) == ("intent", "activated")
    assert intent.activation == activated.activation != stacked.activation
    assert [(skill.adapter, skill.name) for skill in activated.skills] == [
        ("k", "acme/merge-k"),
        ("b", "acme/merge-b"),
    ]
    assert activated.change is not None
    assert activated.change.sources == (Source(adapter="k", weight=0.6), Source(adapter="b", weight=0.3))
    assert {check.adapter for check in activated.checks} == {"k", "b"}
    assert {check.outcome for check in activated.checks} == {"proved"}
    subjects = report(log).observations[-1].statement.subjects
    assert {subject.name for subject in subjects} == {"acme/merge-k", "acme/merge-b"}


def test_a_mixture_is_taken_off_by_its_own_activation(world: World, log: Path, three: Any) -> None:
    gate = world.gate(log)
    mix(world, log, three)
    gate.deactivate(three, "mix")
    assert (observed(log)[-1].phase, observed(log)[-1].adapters) == ("deactivated", ("mix",))
    assert sorted(three.peft_config) == sorted(NAMES)
    assert report(log).findings == ()


@pytest.mark.parametrize(
    ("rule", "weights"),
    [
        ("max_weight = 0.5", [0.51, 0.1]),
        ("max_weight = 0.5", [0.1, -0.51]),
        ("max_total_weight = 1.5", [0.3, 0.3]),  # the third adapter is on the model as it is
        ("max_active = 2", [0.1, 0.1]),
    ],
)
def test_a_mixture_out_of_the_policy_is_refused(
    world: World, log: Path, three: Any, *, rule: str, weights: list[float]
) -> None:
    before = logits(three)
    with pytest.raises(PolicyDenied, match=r"composition\.(weights|limits)"):
        mix(world, log, three, f"[composition]\n{rule}", weights=weights)
    assert torch.equal(logits(three), before)
    assert "mix" not in three.peft_config
    assert phases(log) == ["intent", "activated", "refused"]


def test_who_joins_a_mixture_joins_all_that_is_in_it(
    world: World, log: Path, three: Any, adapters: dict[str, Path]
) -> None:
    mix(world, log, three)
    for name in NAMES:
        world.gate(log).deactivate(three, name)
    shy = world.signed("merge-shy", seed=80, composition='deny_with = ["acme/merge-b"]')
    with pytest.raises(PolicyDenied, match="acme/merge-shy may not share a model with acme/merge-b"):
        world.gate(log).activate(three, shy, context=PRODUCTION, options=LoadOptions(adapter_name="shy"))
    gate = world.gate(log, "[composition]\nmax_active = 2")
    with pytest.raises(PolicyDenied, match="3 adapters"):
        gate.activate(three, adapters["c"], context=PRODUCTION, options=LoadOptions(adapter_name="c"))


def test_a_source_that_is_in_a_mixture_counts_once(
    world: World, log: Path, three: Any, adapters: dict[str, Path]
) -> None:
    mix(world, log, three)
    world.gate(log).deactivate(three, "c")
    gate = world.gate(log, "[composition]\nmax_active = 3\nmax_total_weight = 2")
    gate.activate(three, adapters["c"], context=PRODUCTION, options=LoadOptions(adapter_name="c"))
    with pytest.raises(PolicyDenied, match="4 adapters"):
        gate.activate(three, adapters["c"], context=PRODUCTION, options=LoadOptions(adapter_name="c2"))


def test_a_mixture_of_a_mixture_weighs_what_it_comes_to(world: World, log: Path, three: Any) -> None:
    mix(world, log, three, weights=[1.5, 0.5])
    rule = "[composition]\nmax_weight = 1"
    with pytest.raises(PolicyDenied, match="weight"):
        mix(world, log, three, rule, adapters=["mix", "c"], weights=[0.8, 0.5], adapter_name="mix2")
    mix(world, log, three, rule, adapters=["mix", "c"], weights=[0.5, 0.5], adapter_name="mix2")
    names = [(skill.adapter, skill.name) for skill in observed(log)[-1].skills]
    assert names == [("mix", "acme/merge-k"), ("mix", "acme/merge-b"), ("c", "acme/merge-c")]


def test_nothing_is_mixed_of_an_adapter_whose_weights_were_changed(world: World, log: Path, three: Any) -> None:
    three.base_model.model.model.layers[0].self_attn.q_proj.lora_A["b"].weight.data[0, 0] += 1
    with pytest.raises(LoadMismatch, match="not what was loaded"):
        mix(world, log, three)
    assert "mix" not in three.peft_config
    assert phases(log) == ["intent", "activated", "refused"]


def test_nothing_is_mixed_on_a_base_that_was_changed(world: World, log: Path, three: Any) -> None:
    three.base_model.model.lm_head.weight.data[0, 0] += 1
    with pytest.raises(PolicyDenied, match=r"base\.matches"):
        mix(world, log, three)


def test_nothing_is_mixed_of_an_adapter_that_did_not_come_through_the_gate(
    world: World, log: Path, three: Any, adapters: dict[str, Path]
) -> None:
    three.load_adapter(adapters["b"], adapter_name="foreign")
    with pytest.raises(UsageError, match="did not come through a gate"):
        mix(world, log, three, adapters=["k", "foreign"])
    with pytest.raises(PolicyDenied, match="'foreign' on this model did not come through the gate"):
        mix(world, log, three)


def test_a_manifest_that_expired_since_is_judged_as_of_now(world: World, log: Path, three: Any) -> None:
    gate = world.gate(log, "max_age_days = 1", clock=lambda: datetime.now(UTC) + timedelta(days=2))
    for operation in (
        lambda: gate.add_weighted_adapter(three, ["k"], [1], "mix", "linear", context=PRODUCTION),
        lambda: gate.merge_and_unload(three, context=PRODUCTION),
    ):
        with pytest.raises(PolicyDenied, match=r"manifest\.age"):
            operation()


@pytest.mark.parametrize(
    "options",
    [
        {"adapters": [], "weights": []},
        {"adapters": ["k", "k"]},
        {"adapters": ["k", "nobody"]},
        {"weights": [1.0]},
        {"weights": [1.0, float("inf")]},
        {"adapter_name": "k"},
        {"adapter_name": "c"},
        {"adapter_name": "lora"},
        {"combination_type": "average"},
        {"density": 2.0},
    ],
)
def test_a_mixture_that_nobody_can_mean_is_misuse(
    world: World, log: Path, three: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        mix(world, log, three, **options)
    assert sorted(three.peft_config) == sorted(NAMES)


@pytest.mark.parametrize("phase", ["intent", "activated"])
def test_a_mixture_whose_record_fails_is_undone(world: World, log: Path, three: Any, phase: str) -> None:
    before = logits(three)
    gate = world.gate(log, recorder=Failing.at(phase, log))
    with pytest.raises(AuditError):
        gate.add_weighted_adapter(three, ["k", "b"], [1, 1], "mix", "linear", context=PRODUCTION)
    assert torch.equal(logits(three), before)
    assert three.active_adapters == [*NAMES]
    assert gate.check(three).findings == ()


def test_a_mixing_that_changes_the_base_is_noticed_and_undone(
    world: World, log: Path, three: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = peft_changes.add_weighted

    def spoil(model: Any, *given: Any) -> None:
        real(model, *given)
        model.base_model.model.lm_head.weight = torch.nn.Parameter(model.base_model.model.lm_head.weight * 2)

    monkeypatch.setattr(mixing, "add_weighted", spoil)
    with pytest.raises(WrongBase, match="changed the base model"):
        mix(world, log, three)
    assert world.gate(log).check(three).findings == ()
    assert phases(log)[-1] == "failed"


def test_ia3_adapters_are_added_up(world: World, log: Path) -> None:
    config = IA3Config(target_modules=["k_proj", "v_proj"], feedforward_modules=[], task_type="CAUSAL_LM")
    one, other = (
        world.signed(f"ia3-{name}", seed=seed, config=config) for seed, name in ((81, "one"), (82, "two"))
    )
    gate = world.gate(log)
    stack = [StackItem(adapter=one, adapter_name="one"), StackItem(adapter=other, adapter_name="two")]
    model = gate.activate_stack(llama(), stack, context=PRODUCTION)
    with pytest.raises(UsageError, match="can only be added up"):
        gate.add_weighted_adapter(model, ["one", "two"], [0.5, 0.5], "mix", context=PRODUCTION)
    gate.add_weighted_adapter(model, ["one", "two"], [0.5, 0.5], "mix", "linear", context=PRODUCTION)
    expected = PeftModel.from_pretrained(llama(), one, adapter_name="one")
    expected.load_adapter(other, adapter_name="two")
    expected.base_model.add_weighted_adapter(["one", "two"], [0.5, 0.5], "mix")
    for found in (model, expected):
        found.set_adapter("mix", inference_mode=True)
    assert torch.equal(logits(model), logits(expected))


# --- merges


def test_a_merge_is_what_peft_makes_of_the_same_and_its_new_base_is_on_record(
    world: World, log: Path, three: Any, adapters: dict[str, Path]
) -> None:
    base = three.get_base_model()
    merged = merge(world, log, three)
    expected = by_peft(adapters, [*NAMES]).merge_and_unload(safe_merge=True)
    assert merged is base
    assert torch.equal(logits(merged), logits(expected))
    stacked, intent, done = observed(log)[1:]
    assert (intent.phase, done.phase) == ("intent", "merged")
    assert done.adapters == NAMES
    assert (done.base, done.base_after) == (measure(llama()).fingerprint, measure(expected).fingerprint)
    assert intent.base_after is None
    assert done.change is not None
    assert done.change.sources == tuple(Source(adapter=name) for name in NAMES)
    assert done.change.ends == (Ended(activation=stacked.activation, adapters=("b", "c", "k")),)
    assert [skill.name for skill in done.skills] == [f"acme/merge-{name}" for name in NAMES]
    assert report(log).findings == ()


def test_only_the_adapters_that_were_named_are_merged_and_all_go(
    world: World, log: Path, three: Any, adapters: dict[str, Path]
) -> None:
    merged = merge(world, log, three, adapter_names=["b"])
    expected = by_peft(adapters, ["b"]).merge_and_unload(safe_merge=True)
    assert torch.equal(logits(merged), logits(expected))
    done = observed(log)[-1]
    assert done.adapters == ("b",)
    assert done.change is not None
    assert done.change.ends[0].adapters == ("b", "c", "k")
    with pytest.raises(UsageError):
        world.gate(log).deactivate(merged, "k")


def test_each_activation_that_a_merge_ends_is_named(world: World, log: Path, adapters: dict[str, Path]) -> None:
    gate = world.gate(log)
    model = gate.activate(llama(), adapters["k"], context=PRODUCTION)
    gate.activate(model, adapters["b"], context=PRODUCTION, options=LoadOptions(adapter_name="b"))
    gate.merge_and_unload(model, context=PRODUCTION)
    first, second = (seen.activation for seen in observed(log) if seen.phase == "activated")
    change = observed(log)[-1].change
    assert change is not None
    assert {(ended.activation, *ended.adapters) for ended in change.ends} == {(first, "default"), (second, "b")}


def test_a_merged_base_is_another_one_for_which_nobody_vouched(
    world: World, log: Path, three: Any, adapters: dict[str, Path]
) -> None:
    merged = merge(world, log, three)
    assert world.gate(log).check(merged).findings == ()
    with pytest.raises(PolicyDenied, match=r"base\.matches"):
        world.gate(log).activate(merged, adapters["k"], context=PRODUCTION)


def test_what_was_merged_is_still_company(world: World, log: Path, three: Any, adapters: dict[str, Path]) -> None:
    merged = merge(world, log, three, adapter_names=["k"])
    gate = world.gate(log, "[composition]\nmax_active = 1")
    with pytest.raises(PolicyDenied, match="2 adapters would be on one model"):
        gate.activate(merged, adapters["b"], context=PRODUCTION)


def test_a_mixture_can_be_merged(world: World, log: Path, three: Any, adapters: dict[str, Path]) -> None:
    mix(world, log, three)
    merged = merge(world, log, three, adapter_names=["mix"])
    expected = by_peft(adapters, [*NAMES])
    expected.base_model.add_weighted_adapter(["k", "b"], [0.6, 0.3], "mix", combination_type="linear")
    expected.set_adapter("mix")
    assert torch.equal(logits(merged), logits(expected.merge_and_unload(safe_merge=True)))
    assert [skill.name for skill in observed(log)[-1].skills] == ["acme/merge-k", "acme/merge-b"]


def test_a_merge_beside_a_foreign_adapter_is_refused(
    world: World, log: Path, three: Any, adapters: dict[str, Path]
) -> None:
    three.load_adapter(adapters["b"], adapter_name="foreign")
    before = logits(three)
    for tolerant in ("", 'allow_alterations = ["active-adapter"]'):
        with pytest.raises(LoadMismatch, match="did not come through the gate"):
            merge(world, log, three, tolerant, adapter_names=["k"])
    with pytest.raises(UsageError):
        merge(world, log, three, adapter_names=["foreign"])
    assert torch.equal(logits(three), before)
    assert phases(log) == ["intent", "activated", "refused", "refused"]


def test_an_adapter_whose_weights_were_changed_is_not_merged(world: World, log: Path, three: Any) -> None:
    three.base_model.model.model.layers[0].self_attn.q_proj.lora_A["b"].weight.data[0, 0] += 1
    with pytest.raises(LoadMismatch, match="not what was loaded"):
        merge(world, log, three)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """PEFT's own merge, that fails in the middle of the model."""
    from peft.tuners.lora.layer import Linear

    real, calls = Linear.merge, [0]

    def fail(self: Any, *given: Any, **options: Any) -> None:
        calls[0] += 1
        if calls[0] == 3:
            raise ValueError("NaNs detected in the merged weights")
        real(self, *given, **options)

    monkeypatch.setattr(Linear, "merge", fail)
    return calls


@pytest.mark.parametrize("safe_merge", [True, False])
def test_a_merge_that_fails_half_way_leaves_the_model_as_it_was(
    world: World, log: Path, three: Any, broken: list[int], safe_merge: bool
) -> None:
    before = logits(three)
    with pytest.raises(LoadMismatch, match="NaNs detected"):
        merge(world, log, three, safe_merge=safe_merge)
    assert broken == [3]
    assert torch.equal(logits(three), before)
    assert three.active_adapters == [*NAMES]
    assert world.gate(log).check(three).findings == ()
    failed = observed(log)[-1]
    assert (failed.phase, failed.base_after) == ("failed", None)


@pytest.mark.parametrize("phase", ["intent", "merged"])
@pytest.mark.parametrize("safe_merge", [True, False])
def test_a_merge_whose_record_fails_is_undone(
    world: World, log: Path, three: Any, phase: str, safe_merge: bool
) -> None:
    before, recorder = logits(three), Failing.at(phase, log)
    gate = world.gate(log, recorder=recorder)
    with pytest.raises(AuditError):
        gate.merge_and_unload(three, context=PRODUCTION, safe_merge=safe_merge)
    assert torch.equal(logits(three), before)
    assert gate.check(three).findings == ()
    recorder.phase = ""
    gate.merge_and_unload(three, context=PRODUCTION, safe_merge=safe_merge)
    assert phases(log)[-2:] == ["intent", "merged"]


def test_memory_that_does_not_suffice_for_the_copies_is_no_verdict(
    world: World, log: Path, three: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: Any) -> Any:
        raise Unavailable("not enough memory")

    monkeypatch.setattr(merging, "merge_targets", exhausted)
    with pytest.raises(Unavailable):
        merge(world, log, three)
    assert world.gate(log).check(three).findings == ()


OTHERS: dict[str, PeftConfig] = {
    "head": LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM"),
    "pissa": LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="pissa", task_type="CAUSAL_LM"),
    "dora": LoraConfig(r=2, target_modules=["q_proj"], use_dora=True, task_type="CAUSAL_LM"),
    "ia3": IA3Config(target_modules=["k_proj"], feedforward_modules=[], task_type="CAUSAL_LM"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_adapters_of_other_kinds_are_merged_as_peft_does_or_put_back(world: World, log: Path, kind: str) -> None:
    adapter = world.signed(f"merge-{kind}", seed=90, config=OTHERS[kind])
    extra = 'allow_hazards = ["modules-to-save", "changes-base"]'
    gate = world.gate(log, extra, recorder=Failing.at("merged", log))
    model = gate.activate(llama(), adapter, context=PRODUCTION)
    before = logits(model)
    with pytest.raises(AuditError):
        gate.merge_and_unload(model, context=PRODUCTION)
    assert torch.equal(logits(model), before)
    assert gate.check(model).findings == ()
    Failing.at("", log)
    merged = gate.merge_and_unload(model, context=PRODUCTION)
    expected = PeftModel.from_pretrained(llama(), adapter).merge_and_unload(safe_merge=True)
    assert torch.equal(logits(merged), logits(expected))
    assert observed(log)[-1].base_after == measure(expected).fingerprint


def test_a_prompt_is_no_change_of_weights_and_is_not_merged(world: World, log: Path) -> None:
    config = PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    adapter = world.signed("merge-prefix", seed=91, config=config)
    gate = world.gate(log)
    model = gate.activate(llama(), adapter, context=PRODUCTION)
    before = logits(model)
    with pytest.raises(LoadMismatch, match="PEFT cannot merge"):
        gate.merge_and_unload(model, context=PRODUCTION)
    assert torch.equal(logits(model), before)
    assert gate.check(model).findings == ()


def test_the_head_that_is_merged_is_that_of_the_adapter_that_was_named(world: World, log: Path) -> None:
    """PEFT takes the head of the active adapter, whichever is to be merged."""
    gate = world.gate(log, 'allow_hazards = ["modules-to-save"]')
    heads = [world.signed(f"merge-head-{seed}", seed=seed, config=OTHERS["head"]) for seed in (92, 93)]
    model = gate.activate(llama(), heads[0], context=PRODUCTION)
    gate.activate(model, heads[1], context=PRODUCTION, options=LoadOptions(adapter_name="other"))
    merged = gate.merge_and_unload(model, context=PRODUCTION, adapter_names=["other"])
    expected = PeftModel.from_pretrained(llama(), heads[1]).merge_and_unload(safe_merge=True)
    assert torch.equal(logits(merged), logits(expected))


@pytest.mark.parametrize("names", [[], ["k", "k"], ["nobody"]])
def test_a_merge_that_nobody_can_mean_is_misuse(world: World, log: Path, three: Any, names: list[str]) -> None:
    with pytest.raises(UsageError):
        merge(world, log, three, adapter_names=names)
    with pytest.raises(UsageError):
        merge(world, log, llama())
    assert phases(log) == ["intent", "activated"]
