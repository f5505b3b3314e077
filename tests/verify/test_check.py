"""A model is looked at again: what no gate did shows, and only that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from skillwarrant_format.errors import (
    AuditError,
    LoadMismatch,
    PolicyDenied,
    SkillwarrantError,
    Unavailable,
    WrongBase,
)
from skillwarrant_verify import LoadOptions, StackItem
from skillwarrant_verify.base import measure
from world import PRODUCTION, Failing, World, llama, observed, phases, report

REVOKES_K = '[[revocations.skills]]\nname = "acme/check-k"\n'


@pytest.fixture(scope="module")
def adapters(world: World) -> dict[str, Path]:
    return {name: world.signed(f"check-{name}", seed=seed) for seed, name in enumerate("kb", 61)}


@pytest.fixture
def loaded(world: World, log: Path, adapters: dict[str, Path]) -> Any:
    stack = [StackItem(adapter=path, adapter_name=name) for name, path in adapters.items()]
    return world.gate(log).activate_stack(llama(), stack, context=PRODUCTION)


def test_a_model_that_nobody_touched_is_what_the_gate_left(world: World, log: Path, loaded: Any) -> None:
    found = world.gate(log).check(loaded)
    assert found.findings == ()
    assert found.adapters == ("b", "k")
    assert found.base == measure(llama()).fingerprint
    assert [(check.code, check.adapter) for check in found.checks] == [
        ("base.unchanged", None),
        ("base.unaltered", None),
        ("adapters.known", None),
        ("adapter.unchanged", "b"),
        ("adapter.unchanged", "k"),
        ("adapter.not-revoked", "b"),
        ("adapter.not-revoked", "k"),
    ]
    found.require()
    assert phases(log) == ["intent", "activated"]


def test_choosing_another_active_adapter_is_no_finding(world: World, log: Path, loaded: Any) -> None:
    loaded.set_adapter("k", inference_mode=True)
    assert world.gate(log).check(loaded).findings == ()


def write_base(model: Any, _: dict[str, Path]) -> None:
    model.base_model.model.lm_head.weight.data[0, 0] += 1


def write_buffer(model: Any, _: dict[str, Path]) -> None:
    model.base_model.model.model.rotary_emb.inv_freq.data[0] += 1


def merge_aside(model: Any, _: dict[str, Path]) -> None:
    model.merge_adapter()


def write_adapter(model: Any, _: dict[str, Path]) -> None:
    model.base_model.model.model.layers[0].self_attn.q_proj.lora_A["k"].weight.data[0, 0] += 1


def load_state(model: Any, _: dict[str, Path]) -> None:
    state = {key: value * 2 for key, value in model.state_dict().items() if "lora_B.b" in key}
    model.load_state_dict(state, strict=False)


def reload(model: Any, adapters: dict[str, Path]) -> None:
    model.delete_adapter("k")
    model.load_adapter(adapters["b"], adapter_name="k")


def delete(model: Any, _: dict[str, Path]) -> None:
    model.delete_adapter("k")


def add_foreign(model: Any, adapters: dict[str, Path]) -> None:
    model.load_adapter(adapters["b"], adapter_name="foreign")


def hook(model: Any, _: dict[str, Path]) -> None:
    model.base_model.model.lm_head.register_forward_hook(lambda *_: None)


def patch(model: Any, _: dict[str, Path]) -> None:
    norm = model.base_model.model.model.norm
    norm.forward = lambda hidden: hidden * 2


@pytest.mark.parametrize(
    ("change", "findings", "error"),
    [
        (write_base, [("base.unchanged", None)], WrongBase),
        (write_buffer, [("base.unchanged", None)], WrongBase),
        (merge_aside, [("base.unchanged", None), ("base.unaltered", None)], WrongBase),
        (write_adapter, [("adapter.unchanged", "k")], LoadMismatch),
        (load_state, [("adapter.unchanged", "b")], LoadMismatch),
        (reload, [("adapter.unchanged", "k")], LoadMismatch),
        (delete, [("adapter.unchanged", "k")], LoadMismatch),
        (add_foreign, [("adapters.known", None), ("adapter.not-revoked", "foreign")], LoadMismatch),
        (hook, [("base.unaltered", None)], LoadMismatch),
        (patch, [("base.unaltered", None)], LoadMismatch),
    ],
)
def test_whatever_was_done_beside_the_gate_is_found_and_named(
    world: World,
    log: Path,
    loaded: Any,
    adapters: dict[str, Path],
    *,
    change: Callable[[Any, dict[str, Path]], None],
    findings: list[tuple[str, str | None]],
    error: type[SkillwarrantError],
) -> None:
    change(loaded, adapters)
    found = world.gate(log, 'measure = "once-verified"').check(loaded)  # in full all the same
    assert [(check.code, check.adapter) for check in found.findings] == findings
    assert {check.outcome for check in found.findings if check.code != "adapter.not-revoked"} == {"not-proved"}
    with pytest.raises(error, match="not what the gate left"):
        found.require()


def test_a_model_that_no_gate_knows_could_not_be_checked(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    found = world.gate(log).check(llama())
    assert [(check.code, check.outcome) for check in found.findings] == [("base.unchanged", "not-checked")]
    with pytest.raises(Unavailable, match="could not be checked"):
        found.require()
    foreign = PeftModel.from_pretrained(llama(), adapters["k"])
    told = world.gate(log).check(foreign).findings
    assert [check.code for check in told] == ["base.unchanged", "adapters.known", "adapter.not-revoked"]
    assert (told[-1].outcome, told[-1].message[:11]) == ("not-checked", "nobody know")
    with pytest.raises(LoadMismatch):
        world.gate(log).check(foreign).require()


def test_with_a_context_the_look_is_on_record(world: World, log: Path, loaded: Any) -> None:
    gate = world.gate(log)
    gate.check(loaded, context=PRODUCTION)
    write_adapter(loaded, {})
    found = gate.check(loaded, context=PRODUCTION)
    honest, told = observed(log)[-2:]
    assert phases(log) == ["intent", "activated", "checked", "checked"]
    assert honest.activation != told.activation
    assert told.adapters == ("b", "k")
    assert told.checks == found.checks
    assert {skill.name for skill in told.skills} == {"acme/check-k", "acme/check-b"}
    assert told.base == measure(llama()).fingerprint
    assert (honest.message, told.message) == ("the model is what the gate left", "1 findings")
    assert report(log).findings == ()


def test_a_look_at_a_model_without_adapters_can_be_recorded_too(world: World, log: Path) -> None:
    world.gate(log).check(llama(), context=PRODUCTION)
    (seen,) = observed(log)
    assert (seen.adapters, seen.skills) == ((), ())
    assert report(log).observations[0].statement.subjects[0].name == "model"


def test_a_look_that_cannot_be_recorded_says_so(world: World, log: Path, loaded: Any) -> None:
    with pytest.raises(AuditError):
        world.gate(log, recorder=Failing.at("checked", log)).check(loaded, context=PRODUCTION)


def test_what_one_gate_put_on_another_one_of_the_process_knows(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    model = world.gate(log).activate(llama(), adapters["k"], context=PRODUCTION)
    other = world.gate(log.parent / "other")
    assert other.check(model).findings == ()
    other.activate(model, adapters["b"], context=PRODUCTION, options=LoadOptions(adapter_name="b"))
    assert world.gate(log).check(model).findings == ()


def test_a_check_sees_the_state_after_the_last_operation_and_not_before(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    gate = world.gate(log, 'allow_alterations = ["forward-hook"]')
    base = llama()
    base.lm_head.register_forward_hook(lambda *_: None)
    model = gate.activate(base, adapters["k"], context=PRODUCTION)
    assert gate.check(model).findings == ()
    model.base_model.model.model.norm.register_forward_hook(lambda *_: None)
    (finding,) = gate.check(model).findings
    assert "model.norm" in finding.message
    with torch.no_grad():
        base.lm_head.weight.add_(0)
    assert [check.code for check in gate.check(model).findings] == ["base.unaltered"]


def test_what_was_revoked_since_is_a_finding_and_lets_nothing_join(
    world: World, log: Path, adapters: dict[str, Path]
) -> None:
    model = world.gate(log).activate(llama(), adapters["k"], context=PRODUCTION)
    later = world.gate(log, REVOKES_K)
    (found,) = later.check(model).findings
    assert (found.code, found.outcome, found.adapter) == ("adapter.not-revoked", "not-proved", "default")
    with pytest.raises(PolicyDenied, match=r"revokes what is on the model.*acme/check-k"):
        later.check(model).require()
    options = LoadOptions(adapter_name="b")
    with pytest.raises(PolicyDenied, match=r"default: manifest.not-revoked.*First deactivate 'default'"):
        later.activate(model, adapters["b"], context=PRODUCTION, options=options)
    assert set(model.peft_config) == {"default"}
    assert phases(log)[-1] == "refused"
    bare = later.deactivate(model, "default", context=PRODUCTION)
    model = later.activate(bare, adapters["b"], context=PRODUCTION, options=options)
    assert later.check(model).findings == ()


@pytest.mark.parametrize("what", ["signer", "statement"])
def test_a_resident_is_asked_about_by_its_signer_and_its_statement_too(
    world: World, log: Path, loaded: Any, what: str
) -> None:
    (first, *_) = world.gate(log).check(loaded).checks
    assert first.outcome == "proved"
    seen = observed(log)[-1].skills[0]
    text = (
        f'[[revocations.signers]]\nissuer = "{seen.issuer}"\nidentity = "{seen.identity}"\n'
        if what == "signer"
        else f'[revocations]\nmanifests = ["{seen.statement}"]\n'
    )
    found = world.gate(log, text).check(loaded).findings
    names = ["b", "k"] if what == "signer" else [seen.adapter]
    assert [(one.code, one.adapter) for one in found] == [("adapter.not-revoked", name) for name in names]


def test_a_part_of_a_mixture_and_what_was_merged_are_asked_about_too(world: World, log: Path, loaded: Any) -> None:
    gate, later = world.gate(log), world.gate(log, REVOKES_K)
    gate.add_weighted_adapter(loaded, ["k", "b"], [0.5, 0.5], "mix", context=PRODUCTION, combination_type="linear")
    gate.deactivate(loaded, "k", context=PRODUCTION)
    assert [one.adapter for one in later.check(loaded).findings] == ["mix"]
    with pytest.raises(PolicyDenied, match="revoke"):
        later.merge_and_unload(loaded, adapter_names=["b"], context=PRODUCTION)
    merged = gate.merge_and_unload(loaded, adapter_names=["mix"], context=PRODUCTION)
    assert [one.adapter for one in later.check(merged).findings] == ["(merged into the base)"]
