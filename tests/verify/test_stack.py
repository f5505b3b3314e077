"""Several adapters as one activation: all of them or none, judged in each other's company, on one record."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LNTuningConfig, LoraConfig, PeftConfig, PeftModel, PrefixTuningConfig

from skillwarrant_audit import read_records
from skillwarrant_format.errors import (
    AuditError,
    DigestMismatch,
    LoadMismatch,
    ManifestMissing,
    PolicyDenied,
    SkillwarrantError,
    UsageError,
    WrongBase,
)
from skillwarrant_format.observation import Source
from skillwarrant_verify import Combination, LoadOptions, StackItem
from skillwarrant_verify.base import measure
from skillwarrant_verify.loader import load as load_module
from world import PRODUCTION, Failing, World, llama, logits, observed, phases, report, untouched

NAMES = ("k", "b", "c")  # "a" is a part of lora_, which PEFT would mix up
MIX = Combination(adapter_name="mix", combination_type="linear")


@pytest.fixture(scope="module")
def adapters(world: World) -> dict[str, Path]:
    """Three that may share a model."""
    return {name: world.signed(f"stack-{name}", seed=seed) for seed, name in enumerate(NAMES, 11)}


def items(adapters: dict[str, Path], names: str = "kbc", **weights: float) -> list[StackItem]:
    return [StackItem(adapter=adapters[name], adapter_name=name, weight=weights.get(f"w{name}")) for name in names]


def by_peft(adapters: dict[str, Path], names: str = "kbc", active: list[str] | None = None) -> PeftModel:
    """The same by PEFT's own hands."""
    model = PeftModel.from_pretrained(llama(), adapters[names[0]], adapter_name=names[0])
    for name in names[1:]:
        model.load_adapter(adapters[name], adapter_name=name)
    model.base_model.set_adapter(list(names) if active is None else active)
    return model


def test_a_stack_is_active_together_as_peft_would_have_it(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    model = world.gate(log).activate_stack(llama(), items(adapters), context=PRODUCTION)
    assert torch.equal(logits(model), logits(by_peft(adapters)))
    assert model.active_adapters == ["k", "b", "c"]
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_stack_is_one_activation_with_all_its_skills_on_record(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    world.gate(log).activate_stack(llama(), items(adapters), context=PRODUCTION)
    intent, activated = observed(log)
    assert (intent.phase, activated.phase) == ("intent", "activated")
    assert intent.activation == activated.activation
    assert activated.adapters == NAMES
    assert [(skill.adapter, skill.name) for skill in activated.skills] == [
        (name, f"acme/stack-{name}") for name in NAMES
    ]
    assert {check.adapter for check in activated.checks} == set(NAMES)
    assert {check.outcome for check in activated.checks} == {"proved"}
    codes = [[check.code for check in activated.checks if check.adapter == name] for name in NAMES]
    assert codes[0] == codes[1] == codes[2]
    assert "composition.limits" in codes[0]
    subjects = report(log).observations[-1].statement.subjects
    assert {subject.digest for subject in subjects} == {skill.manifest for skill in activated.skills}
    assert activated.skills[0].base is not None
    assert activated.skills[0].base.name == "acme/tiny"


def test_a_set_whose_pairs_are_allowed_is_refused_as_a_whole(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    gate = world.gate(log, '[composition]\nconflicts = [["acme/stack-k", "acme/stack-b", "acme/stack-c"]]')
    for pair in ("kb", "bc", "kc"):
        gate.activate_stack(llama(), items(adapters, pair), context=PRODUCTION)
    model = llama()
    with pytest.raises(PolicyDenied, match=r"composition\.limits"):
        gate.activate_stack(model, items(adapters), context=PRODUCTION)
    assert untouched(model)
    assert phases(log) == ["intent", "activated"] * 3 + ["refused"]


def test_one_more_is_refused_where_the_set_with_those_that_are_there_is_not_allowed(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    gate = world.gate(log, "[composition]\nmax_active = 2")
    model = gate.activate(llama(), adapters["k"], context=PRODUCTION, options=LoadOptions(adapter_name="first"))
    before = logits(model)
    with pytest.raises(PolicyDenied, match="3 adapters would be on one model"):
        gate.activate_stack(model, items(adapters, "bc"), context=PRODUCTION)
    assert [*model.peft_config] == ["first"]
    assert torch.equal(logits(model), before)


def test_a_publisher_who_wants_to_be_alone_is_heard_wherever_it_stands(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    given = {**adapters, "l": world.signed("stack-loner", seed=20, alone=True)}
    for names in ("lk", "kl"):
        with pytest.raises(PolicyDenied, match=r"composition\.allowed.*acme/stack-loner must be alone"):
            world.gate(log).activate_stack(llama(), items(given, names), context=PRODUCTION)


def test_a_member_that_denies_the_third_alone_stops_all(world: World, log: Path, adapters: dict[str, Path]) -> None:
    shy = world.signed("stack-shy", seed=21, composition='deny_with = ["acme/stack-c"]')
    model = llama()
    with pytest.raises(PolicyDenied, match="acme/stack-shy may not share a model with acme/stack-c"):
        world.gate(log).activate_stack(model, items({**adapters, "s": shy}, "ksc"), context=PRODUCTION)
    (refused,) = observed(log)
    denied = {check.adapter for check in refused.checks if check.outcome != "proved"}
    assert denied == {"k", "s", "c"}  # it is the set that is refused, and so every decision on it
    assert untouched(model)


def swap_file(adapter: Path, other: Path) -> None:
    shutil.copy(other / "adapter_model.safetensors", adapter / "adapter_model.safetensors")


def swap_bundle(adapter: Path, other: Path) -> None:
    shutil.copy(other / "skillwarrant.sigstore.json", adapter / "skillwarrant.sigstore.json")


def swap_directory(adapter: Path, other: Path) -> None:
    swap_file(adapter, other)
    (adapter / "skillwarrant.sigstore.json").unlink()


@pytest.mark.parametrize(
    ("swap", "error"),
    [(swap_file, DigestMismatch), (swap_bundle, DigestMismatch), (swap_directory, ManifestMissing)],
)
@pytest.mark.parametrize("place", NAMES)
def test_a_member_that_was_swapped_stops_all_and_is_named_on_one_record(
    world: World, log: Path, adapters: dict[str, Path], *, swap: Any, error: type[SkillwarrantError], place: str
) -> None:
    copy = Path(shutil.copytree(adapters[place], log.parent / "copy"))
    swap(copy, adapters["k" if place != "k" else "b"])
    model = llama()
    with pytest.raises(error):
        world.gate(log).activate_stack(model, items({**adapters, place: copy}), context=PRODUCTION)
    assert untouched(model)
    (refused,) = observed(log)
    assert refused.phase == "refused"
    assert refused.adapters == NAMES
    assert refused.message.startswith(f"{place}: ")
    assert [(check.code, check.adapter) for check in refused.checks] == [(error.code, place)]
    assert [skill.adapter for skill in refused.skills] == list("kbc")[: NAMES.index(place)]


class Third:
    """The loader, until it is called for the third time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
        self.real, self.calls, self.error = load_module.load, 0, error
        monkeypatch.setattr(load_module, "load", self)

    def __call__(self, *given: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == 3:
            self.real(*given, **options).undo()
            raise self.error
        return self.real(*given, **options)


@pytest.mark.parametrize(
    "error", [LoadMismatch("a weight is not the signed one"), KeyboardInterrupt(), MemoryError()]
)
def test_a_third_load_that_fails_takes_the_first_two_off_again(
    world: World, log: Path, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    Third(monkeypatch, error)
    model = llama()
    with pytest.raises(type(error)):
        world.gate(log).activate_stack(model, items(adapters), context=PRODUCTION)
    assert untouched(model)
    intent, failed = observed(log)
    assert (intent.phase, failed.phase) == ("intent", "failed")
    assert failed.message.startswith("c: ")
    assert failed.checks[-1].adapter == "c"


def test_a_stack_that_fails_leaves_those_that_were_there_as_they_were(
    world: World, log: Path, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = world.gate(log)
    model = gate.activate(llama(), adapters["k"], context=PRODUCTION, options=LoadOptions(adapter_name="first"))
    before = logits(model)
    third = Third(monkeypatch, LoadMismatch("no"))
    third.calls = 1
    with pytest.raises(LoadMismatch):
        gate.activate_stack(model, items(adapters, "bc"), context=PRODUCTION)
    assert [*model.peft_config] == ["first"]
    assert model.active_adapters == ["first"]
    assert torch.equal(logits(model), before)
    assert gate.check(model).findings == ()


def test_what_cannot_be_put_back_is_said(
    world: World, log: Path, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, real = llama(), load_module.load

    def spoil(*given: Any, **options: Any) -> Any:
        loaded = real(*given, **options)
        model.lm_head.weight.data[0, 0] += 1  # nothing remembers what was there
        raise LoadMismatch("failed after that", found=loaded.adapter_name)

    monkeypatch.setattr(load_module, "load", spoil)
    with pytest.raises(WrongBase, match="could not be put back"):
        world.gate(log).activate_stack(model, items(adapters), context=PRODUCTION)
    assert "could not be put back" in observed(log)[-1].message


@pytest.mark.parametrize("phase", ["intent", "activated"])
def test_a_stack_whose_record_fails_is_undone(
    world: World, log: Path, adapters: dict[str, Path], phase: str
) -> None:
    model = llama()
    gate = world.gate(log, recorder=Failing.at(phase, log))
    with pytest.raises(AuditError, match="could not be written"):
        gate.activate_stack(model, items(adapters), context=PRODUCTION)
    assert untouched(model)
    if phase == "intent":
        assert list(read_records(log / "observations.log")) == []
    else:
        assert phases(log) == ["intent"]
        assert [finding.code for finding in report(log).findings] == ["intent.dangling"]
    Failing.at("", log)
    assert gate.activate_stack(model, items(adapters), context=PRODUCTION) is not None


def test_a_log_that_was_moved_away_between_two_stacks_stops_the_second(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    gate = world.gate(log)
    gate.activate_stack(llama(), items(adapters, "kb"), context=PRODUCTION)
    (log / "observations.log").rename(log / "elsewhere")
    model = llama()
    with pytest.raises(AuditError):
        gate.activate_stack(model, items(adapters, "kb"), context=PRODUCTION)
    assert untouched(model)


# --- mixtures


def test_a_stack_is_mixed_as_peft_would_mix_it(world: World, log: Path, adapters: dict[str, Path]) -> None:
    given = items(adapters, wk=0.7, wb=-0.2, wc=0.5)
    model = world.gate(log).activate_stack(llama(), given, context=PRODUCTION, combine=MIX)
    expected = by_peft(adapters)
    expected.base_model.add_weighted_adapter([*NAMES], [0.7, -0.2, 0.5], "mix", combination_type="linear")
    expected.set_adapter("mix")
    assert torch.equal(logits(model), logits(expected))
    assert model.active_adapters == ["mix"]
    assert not any(parameter.requires_grad for parameter in model.parameters())
    intent, activated = observed(log)
    assert intent.adapters == activated.adapters == (*NAMES, "mix")
    assert intent.change == activated.change
    assert activated.change is not None
    assert activated.change.sources == (
        Source(adapter="k", weight=0.7),
        Source(adapter="b", weight=-0.2),
        Source(adapter="c", weight=0.5),
    )
    assert activated.change.adapter == "mix"
    assert activated.change.options == {"combination_type": "linear"}


@pytest.mark.parametrize(
    ("rule", "weights"),
    [
        ("max_weight = 0.5", {"wk": 0.51, "wb": 0.1}),
        ("max_weight = 0.5", {"wk": 0.1, "wb": -0.51}),
        ("max_total_weight = 1", {"wk": 0.6, "wb": 0.6}),
        ("max_total_weight = 1", {"wk": 1.2, "wb": -0.4}),
    ],
)
def test_weights_out_of_the_policy_are_refused(
    world: World, log: Path, adapters: dict[str, Path], rule: str, weights: dict[str, float]
) -> None:
    model = llama()
    gate = world.gate(log, f"[composition]\n{rule}")
    with pytest.raises(PolicyDenied, match=r"composition\.weights"):
        gate.activate_stack(model, items(adapters, "kb", **weights), context=PRODUCTION, combine=MIX)
    assert untouched(model)
    assert phases(log) == ["refused"]
    gate.activate_stack(model, items(adapters, "kb", wk=0.3, wb=0.3), context=PRODUCTION, combine=MIX)


def test_a_mixture_that_peft_cannot_make_leaves_nothing_behind(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    wide = world.signed("stack-wide", seed=22, config=LoraConfig(r=8, target_modules=["q_proj"]))
    model = llama()
    with pytest.raises(LoadMismatch, match="same r value"):
        world.gate(log).activate_stack(
            model, items({**adapters, "w": wide}, "kw", wk=1, ww=1), context=PRODUCTION, combine=MIX
        )
    assert untouched(model)
    assert phases(log) == ["intent", "failed"]


def test_a_mixture_of_numbers_too_large_is_refused_before_anybody_answers_with_it(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    model = llama()
    with pytest.raises(LoadMismatch, match="NaN or infinite"):
        world.gate(log).activate_stack(
            model, items(adapters, "kb", wk=1e300, wb=1), context=PRODUCTION, combine=MIX
        )
    assert untouched(model)


# --- what PEFT cannot have active together


UNSTACKABLE: dict[str, PeftConfig] = {
    "prefix": PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"),
    "norms": LNTuningConfig(target_modules=["input_layernorm"], task_type="CAUSAL_LM"),
}


@pytest.mark.parametrize("kind", UNSTACKABLE)
def test_methods_of_which_one_acts_at_a_time_are_refused_before_anything_is_loaded(
    world: World, log: Path, kind: str
) -> None:
    adapters = {
        name: world.signed(f"{kind}-{name}", seed=seed, config=UNSTACKABLE[kind])
        for seed, name in enumerate("kb", 30)
    }
    model = llama()
    with pytest.raises(UsageError, match="one adapter of this method act at a time"):
        world.gate(log, 'allow_hazards = ["modules-to-save"]').activate_stack(
            model, items(adapters, "kb"), context=PRODUCTION
        )
    assert untouched(model)
    assert phases(log) == ["refused"]
    if kind == "norms":  # PEFT itself notices when it is asked for an answer
        with pytest.raises(ValueError, match="more than one adapter"):
            logits(by_peft(adapters, "kb"))


def test_adapters_of_different_methods_are_refused_before_anything_is_loaded(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    other = world.signed("stack-ia3", seed=23, config=IA3Config(target_modules=["k_proj"], feedforward_modules=[]))
    model = llama()
    with pytest.raises(UsageError, match="different methods"):
        world.gate(log).activate_stack(model, items({**adapters, "i": other}, "ki"), context=PRODUCTION)
    model = world.gate(log).activate(model, adapters["k"], context=PRODUCTION)
    with pytest.raises(UsageError, match="different methods"):
        world.gate(log).activate_stack(model, items({"i": other}, "i"), context=PRODUCTION)
    assert phases(log) == ["refused", "intent", "activated", "refused"]


def test_who_changes_the_base_takes_it_from_the_others_and_is_refused(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    pissa = world.signed(
        "stack-pissa", seed=24, config=LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights="pissa")
    )
    gate, model = world.gate(log, 'allow_hazards = ["changes-base"]'), llama()
    with pytest.raises(WrongBase, match="must be alone"):
        gate.activate_stack(model, items({**adapters, "p": pissa}, "kp"), context=PRODUCTION)
    assert untouched(model)
    model = gate.activate(model, adapters["k"], context=PRODUCTION)
    with pytest.raises(WrongBase, match="must be alone"):
        gate.activate(model, pissa, context=PRODUCTION, options=LoadOptions(adapter_name="p"))


# --- misuse


@pytest.mark.parametrize(
    ("names", "weights", "combine"),
    [
        ("", {}, None),
        ("kk", {}, None),
        ("kb", {"wk": 0.5, "wb": 0.5}, None),
        ("kb", {"wk": 0.5}, MIX),
        ("kb", {}, MIX),
        ("kb", {"wk": float("nan"), "wb": 1}, MIX),
        ("kb", {"wk": True, "wb": 1}, MIX),
        ("kb", {"wk": 0.5, "wb": 0.5}, Combination(adapter_name="k", combination_type="linear")),
    ],
)
def test_a_stack_that_nobody_can_mean_is_misuse_and_no_verdict(
    world: World,
    log: Path,
    adapters: dict[str, Path],
    *,
    names: str,
    weights: dict[str, float],
    combine: Combination | None,
) -> None:
    with pytest.raises(UsageError):
        world.gate(log).activate_stack(
            llama(), items(adapters, names, **weights), context=PRODUCTION, combine=combine
        )
    assert list(read_records(log / "observations.log")) == []


def test_a_combination_that_peft_does_not_know_is_misuse() -> None:
    with pytest.raises(UsageError, match="no such combination"):
        Combination(adapter_name="mix", combination_type="average")  # type: ignore[arg-type]
    for density in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="density"):
            Combination(adapter_name="mix", density=density)


@pytest.mark.parametrize("name", ["default", "l", "with space", ""])
def test_a_name_that_is_taken_or_of_no_use_is_refused_before_anything_is_loaded(
    world: World, log: Path, adapters: dict[str, Path], name: str
) -> None:
    model = world.gate(log).activate(llama(), adapters["k"], context=PRODUCTION)
    stack = [
        StackItem(adapter=adapters["b"], adapter_name="b"),
        StackItem(adapter=adapters["c"], adapter_name=name),
    ]
    with pytest.raises(UsageError, match="name"):
        world.gate(log).activate_stack(model, stack, context=PRODUCTION)
    assert [*model.peft_config] == ["default"]
    assert phases(log) == ["intent", "activated", "refused"]


# --- company


def test_a_stack_does_not_join_an_adapter_that_did_not_come_through_the_gate(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    model = PeftModel.from_pretrained(llama(), adapters["c"], adapter_name="foreign")
    before = logits(model)
    with pytest.raises(PolicyDenied, match="did not come through the gate"):
        world.gate(log).activate_stack(model, items(adapters, "kb"), context=PRODUCTION)
    assert torch.equal(logits(model), before)
    assert [*model.peft_config] == ["foreign"]


def test_a_stack_takes_the_place_of_what_was_active(world: World, log: Path, adapters: dict[str, Path]) -> None:
    gate = world.gate(log)
    model = gate.activate(llama(), adapters["c"], context=PRODUCTION, options=LoadOptions(adapter_name="c"))
    model = gate.activate_stack(model, items(adapters, "kb"), context=PRODUCTION)
    assert model.active_adapters == ["k", "b"]
    assert torch.equal(logits(model), logits(by_peft(adapters, "ckb", active=["k", "b"])))


@pytest.mark.parametrize("edit", ["data", "replaced", "reloaded"])
def test_nobody_joins_an_adapter_whose_weights_were_changed_since(
    world: World, log: Path, adapters: dict[str, Path], edit: str
) -> None:
    gate = world.gate(log)
    model = gate.activate(llama(), adapters["k"], context=PRODUCTION)
    layer = model.base_model.model.model.layers[1].self_attn.v_proj
    if edit == "data":
        layer.lora_B["default"].weight.data[0, 0] += 1
    elif edit == "replaced":
        layer.lora_B["default"].weight = torch.nn.Parameter(layer.lora_B["default"].weight * 2)
    else:
        model.delete_adapter("default")
        model.load_adapter(adapters["b"], adapter_name="default")
    with pytest.raises(LoadMismatch, match="not what was loaded"):
        gate.activate_stack(model, items(adapters, "bc"), context=PRODUCTION)
    assert [*model.peft_config] == ["default"]
    assert phases(log) == ["intent", "activated", "refused"]


def test_measured_once_a_counted_write_and_a_replaced_tensor_are_seen(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    for edit in ("written", "replaced"):
        gate = world.gate(log, 'measure = "once-verified"')
        model = gate.activate(llama(), adapters["k"], context=PRODUCTION)
        gate.activate(model, adapters["c"], context=PRODUCTION, options=LoadOptions(adapter_name="c"))
        linear = model.base_model.model.model.layers[0].self_attn.q_proj.lora_A["default"]
        with torch.no_grad():
            if edit == "written":
                linear.weight[0, 0] += 1
            else:
                linear.weight = torch.nn.Parameter(linear.weight + 1)
        with pytest.raises(LoadMismatch, match="not what was loaded"):
            gate.activate_stack(model, items(adapters, "b"), context=PRODUCTION)


def test_an_adapter_that_somebody_took_off_is_no_company_any_more(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    gate = world.gate(log, "[composition]\nmax_active = 2")
    model = gate.activate(llama(), adapters["k"], context=PRODUCTION)
    base = model.unload()
    gate.activate_stack(base, items(adapters, "bc"), context=PRODUCTION)


def test_many_threads_with_stacks_on_one_model_leave_whole_stacks_and_one_clean_log(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    gate = world.gate(log)
    model = gate.activate(llama(), adapters["k"], context=PRODUCTION)
    damaged = Path(shutil.copytree(adapters["b"], log.parent / "copy"))
    swap_file(damaged, adapters["k"])
    outcomes: list[str] = []

    def work(number: int) -> None:
        second = damaged if number % 3 == 0 else adapters["b"]
        stack = [
            StackItem(adapter=adapters["c"], adapter_name=f"c{number}"),
            StackItem(adapter=second, adapter_name=f"b{number}"),
        ]
        try:
            gate.activate_stack(model, stack, context=PRODUCTION)
            outcomes.append("in")
            gate.deactivate(model, f"b{number}")
        except DigestMismatch:
            outcomes.append("out")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["in"] * 4 + ["out"] * 2
    assert sorted(model.peft_config) == ["c1", "c2", "c4", "c5", "default"]
    assert gate.check(model).findings == ()
    assert sorted(phases(log)) == sorted(["intent", "activated"] * 5 + ["deactivated"] * 4 + ["refused"] * 2)
    assert measure(model).fingerprint == measure(llama()).fingerprint
