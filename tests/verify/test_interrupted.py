"""Whatever stops an operation of the gate, wherever: the model is as it was and nothing says otherwise, or the
operation is through, on record and known to the gate."""

from __future__ import annotations

import unittest.mock
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from skillwarrant_devstack import Devstack
from skillwarrant_format.errors import LoadMismatch, Unavailable
from skillwarrant_verify import LoadOptions, StackItem
from skillwarrant_verify.gate.companions import Register
from world import PRODUCTION, World, llama, logits, phases, untouched

V = "skillwarrant_verify."
STEPS = (
    f"{V}gate.judge._verified",
    f"{V}gate.judge._measured",
    f"{V}gate.judge.decide",
    f"{V}gate.stacking.Stack.check",
    f"{V}activate.intend",
    f"{V}gate.loading._load",
    f"{V}gate.loading._put_on",
    f"{V}gate.loading._check_alone",
    f"{V}gate.loading.require_no_newer",
    f"{V}gate.loading.load.load",
    f"{V}loader.load.place_by_view",
    f"{V}loader.load.place_through_peft",
    f"{V}loader.load.AdapterSeal.of",
    f"{V}loader.by_view._put",
    f"{V}loader.attach.add",
    f"{V}gate.companions.Register.keep",
    f"{V}gate.companions.Register.settled",
    "skillwarrant_audit.recorder.Recorder._append",
    f"{V}activate.put_on",
)
"""Functions that an activation goes through, in order; each is stopped before and after it does what it does."""
KINDS = (KeyboardInterrupt, SystemExit, MemoryError, RecursionError)
CONFIGS = {
    "plain": None,
    "pissa": LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights="pissa", task_type="CAUSAL_LM"),
}
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("world")
    with Devstack(root / "sigstore") as stack:
        made = World(root, stack)
        for name, config in CONFIGS.items():
            made.signed(name, config=config)
        made.signed("second", seed=2)
        yield made


def stopped(target: str, kind: type[BaseException], ask: Callable[[], Any], *, when: str, call: int = 1) -> bool:
    """Ask, and stop at a call of a function, before it does anything or after; whether it came to that."""
    patcher = unittest.mock.patch(target)
    holder, name = patcher.getter(), target.rpartition(".")[2]
    real, raw = getattr(holder, name), vars(holder).get(name)
    left = [call]

    def around(*given: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and when == "before":
            raise kind
        told = real(*given, **named)
        if left[0] == 0:
            raise kind
        return told

    patcher.new = staticmethod(around) if isinstance(raw, classmethod) else around
    with patcher:
        try:
            ask()
        except BaseException as error:
            # For lack of memory it could not be checked; who recurses too deeply within PEFT does not fit.
            if left[0] > 0 or not isinstance(error, kind | Unavailable | LoadMismatch):
                raise
    return left[0] <= 0


def check(log: Path, model: Any, *, through: str, names: set[str]) -> None:
    """Either nothing came of it, and the log's last word is not that it did; or all of it."""
    told = phases(log) if (log / "observations.log").stat().st_size > 100 else []
    residents = set(Register.of(model).residents)
    if untouched(model):
        assert not told or told[-1] != through, told
        assert residents == set()
    else:
        assert told[-1] == through, told
        assert residents == names


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("target", STEPS, ids=lambda name: ".".join(name.split(".")[-2:]))
def test_an_activation_that_is_stopped_leaves_the_model_as_it_was_or_is_through(
    world: World, tmp_path: Path, target: str, when: str
) -> None:
    kinds = [KINDS[(len(target) + number + (when == "after")) % len(KINDS)] for number in range(len(CONFIGS))]
    reached = [
        _stop_one(world, tmp_path / name, target, kind, when) for name, kind in zip(CONFIGS, kinds, strict=True)
    ]
    assert any(reached)


def _stop_one(world: World, log: Path, target: str, kind: type[BaseException], when: str) -> bool:
    """Of the adapter that the log is called after."""
    model, gate = llama(), world.gate(log, 'allow_hazards = ["changes-base"]')

    def ask() -> Any:
        return gate.activate(model, world.root / log.name, context=PRODUCTION)

    reached = stopped(target, kind, ask, when=when)
    check(log, model, through="activated", names={"default"})
    if untouched(model):  # nothing is in the way of trying again
        ask()
        assert phases(log)[-1] == "activated"
    return reached


@pytest.mark.parametrize("call", [1, 2])
def test_who_is_interrupted_once_it_is_on_record_has_it_undone_and_the_log_verifies(
    world: World, tmp_path: Path, call: int
) -> None:
    """The leaf is on disk, and the one who wrote it never heard of it."""
    log, model = tmp_path / "log", llama()
    gate = world.gate(log)

    def ask() -> Any:
        return gate.activate(model, world.root / "plain", context=PRODUCTION)

    assert stopped("skillwarrant_audit.recorder.Recorder.record", KeyboardInterrupt, ask, when="after", call=call)
    assert untouched(model)
    assert Register.of(model).residents == {}
    assert phases(log) == ["intent", "activated"][:call]
    gate.check(ask()).require()
    assert phases(log)[call:] == ["intent", "activated"]


MIX = {f"{V}gate.mixing.add_weighted", f"{V}gate.mixing.mixed", f"{V}gate.companions.Register.keep"}
OFF = {f"{V}gate.removal.take_off", f"{V}gate.removal._check_base", f"{V}gate.companions.Register.keep"}
MERGE = {f"{V}gate.merging.merge", f"{V}gate.companions.Register.keep"}


@pytest.mark.parametrize("when", ["before", "after"])
def test_mixing_merging_and_taking_off_too(world: World, tmp_path: Path, when: str) -> None:
    gate = world.gate(tmp_path)
    items = [StackItem(adapter=world.root / name, adapter_name=name) for name in ("plain", "second")]
    model = gate.activate_stack(llama(), items, context=PRODUCTION)
    before, known = logits(model), dict(Register.of(model).residents)
    mix: dict[str, Any] = {"adapter_name": "mix", "combination_type": "linear", "context": PRODUCTION}
    asks: tuple[tuple[set[str], Callable[[], Any]], ...] = (
        (MIX, lambda: gate.add_weighted_adapter(model, ["plain", "second"], [0.5, 0.5], **mix)),
        (OFF, lambda: gate.deactivate(model, "second", context=PRODUCTION)),
        (MERGE, lambda: gate.merge_and_unload(model, context=PRODUCTION)),
    )
    for targets, ask in asks:
        for target in sorted({*targets, f"{V}gate.charter.Charter.record"}):
            assert stopped(target, KeyboardInterrupt, ask, when=when), target
            assert set(model.peft_config) == {"plain", "second"}
            assert torch.equal(logits(model), before), target
            assert dict(Register.of(model).residents) == known
            gate.check(model).require()


def test_a_further_adapter_too(world: World, tmp_path: Path) -> None:
    gate = world.gate(tmp_path)
    model = gate.activate(llama(), world.root / "plain", context=PRODUCTION)
    before = logits(model)
    second = LoadOptions(adapter_name="second")
    for target in STEPS[5:]:
        for when in ("before", "after"):
            if stopped(
                target,
                KeyboardInterrupt,
                lambda: gate.activate(model, world.root / "second", context=PRODUCTION, options=second),
                when=when,
            ) and set(model.peft_config) == {"default"}:
                assert torch.equal(logits(model), before)
                assert set(Register.of(model).residents) == {"default"}
                gate.check(model).require()
            else:
                gate.deactivate(model, "second")
