"""What PEFT does to adapters on a model, for every method: taking one off gives back exactly what was there, a
merge can be undone to the bit, and methods that are said to stack do."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from peft import LoraConfig
from torch import nn
from transformers import BitsAndBytesConfig, LlamaForCausalLM

import catalogue
from catalogue import CASES, Case
from skillwarrant_format.errors import LoadMismatch, UsageError
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_verify.base import measure
from skillwarrant_verify.loader.load import load
from skillwarrant_verify.loader.peft_adapter import adapter_names
from skillwarrant_verify.loader.peft_changes import check_stackable, merge, merge_targets, set_active, take_off
from skillwarrant_verify.loader.rollback import Journal
from world import PRODUCTION, World, llama

SPECIAL: Final = {
    "LoRA, tied embedding targeted",
    "LoRA, modules to save",
    "LoRA, trainable tokens, tied",
    "LoRA, target parameters",
    "LoRA, Conv1D layers",
    "LoRA, BERT classifier",
    "LoRA, convolution",
    "PREFIX_TUNING, projected",
    "PROMPT_TUNING, classifier",
}
FIRST: Final = {case.method: case for case in reversed(CASES) if case.name != "XLORA"}
CHOSEN: Final = [case for case in CASES if case is FIRST.get(case.method) or case.name in SPECIAL]
# They put their own forward between the base's modules, and PEFT has no merge for them.
UNMERGEABLE: Final = {"ADAPTION_PROMPT", "BEFT", "LILY", "POLY", "SHADOW"}


def structure(model: nn.Module) -> list[tuple[str, type]]:
    return [(name, type(module)) for name, module in model.named_modules()]


@pytest.fixture(params=CHOSEN, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def test_taking_it_off_gives_the_base_back_and_a_merge_can_be_undone(case: Case, tmp_path: Path) -> None:
    model = catalogue.base(case)
    plain, before, shape = catalogue.answers(model, case), measure(model), structure(model)
    loaded = load(model, Snapshot.read(catalogue.write(case, tmp_path)), adapter_name="zz")
    wrapped, told = loaded.model, catalogue.answers(loaded.model, case)
    assert not torch.equal(told, plain)

    journal = Journal.of(wrapped, contents=merge_targets(wrapped))
    prompt = wrapped.peft_config["zz"].is_prompt_learning
    if prompt or case.method in UNMERGEABLE:
        with pytest.raises(LoadMismatch, match="PEFT cannot merge"):
            merge(wrapped, ["zz"], safe_merge=True)
    else:
        merged = merge(wrapped, ["zz"], safe_merge=True)
        assert not torch.equal(catalogue.answers(merged, case), plain)
        assert measure(merged).fingerprint != before.fingerprint
    journal.restore()
    assert torch.equal(catalogue.answers(wrapped, case), told)
    assert measure(wrapped).fingerprint == before.fingerprint

    assert take_off(wrapped, "zz") is model
    assert torch.equal(catalogue.answers(model, case), plain)
    assert structure(model) == shape
    assert (measure(model).fingerprint, measure(model).buffers) == (before.fingerprint, before.buffers)
    assert adapter_names(model) == frozenset()
    assert not hasattr(model, "peft_config")


# Two adapters of trainable tokens stack if their tokens differ; here they do not.
STACKING: Final = [
    case
    for case in CHOSEN
    if case.name not in SPECIAL and "second" not in case.why and case.method != "TRAINABLE_TOKENS"
]
PROMPTS: Final = {"CARTRIDGE", "CPT", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "PROMPT_TUNING"}
ALONE: Final = {"ADAPTION_PROMPT", "C3A", "LN_TUNING", "OSF", "POLY", "SHADOW", *PROMPTS}


def two(case: Case, directory: Path) -> Any:
    """A model with two adapters of a kind."""
    model = catalogue.base(case)
    for name, seed in (("yy", 7), ("zz", 8)):
        snapshot = Snapshot.read(catalogue.write(case, directory / name, seed))
        model = load(model, snapshot, adapter_name=name).model
    return model


@pytest.mark.parametrize("case", STACKING, ids=lambda case: case.name)
def test_methods_that_are_said_to_stack_do_and_the_others_are_refused(case: Case, tmp_path: Path) -> None:
    if case.method in ALONE:
        with pytest.raises(UsageError, match="one adapter of this method act at a time"):
            check_stackable([case.method] * 2, frozenset(), mixed=False)
        return
    check_stackable([case.method] * 2, frozenset(), mixed=False)
    model, alone = two(case, tmp_path), []
    for name in ("yy", "zz"):
        set_active(model, [name])
        alone.append(catalogue.answers(model, case))
    set_active(model, ["yy", "zz"])
    both = catalogue.answers(model, case)
    assert not any(torch.equal(both, one) for one in alone)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    take_off(model, "zz")
    assert torch.equal(catalogue.answers(model, case), alone[0])


def test_c3a_would_feed_the_second_adapter_with_what_the_first_made(tmp_path: Path) -> None:
    """Why it is refused in a stack: in PEFT 0.21 the order of two adapters that only add changes the answer."""
    case = next(case for case in CASES if case.method == "C3A")
    square = Case(name="square", method="C3A", options={**case.options, "target_modules": ["q_proj"]})
    model: Any = two(square, tmp_path)
    answers = []
    for order in (["yy", "zz"], ["zz", "yy"]):
        set_active(model, order)
        answers.append(catalogue.answers(model, square))
    assert not torch.allclose(*answers, atol=1e-3)


QUANTISED: Final = {"nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "int8": {"load_in_8bit": True}}


@pytest.mark.parametrize("form", QUANTISED)
def test_a_merge_into_quantised_weights_can_be_undone(tmp_path: Path, form: str) -> None:
    case = Case(name="LoRA", method="LORA", options={"r": 2, "target_modules": ["q_proj"]})
    catalogue.base(case).save_pretrained(tmp_path / "base")
    model = LlamaForCausalLM.from_pretrained(
        tmp_path / "base", quantization_config=BitsAndBytesConfig(**QUANTISED[form])
    ).eval()
    before = measure(model)
    wrapped = load(model, Snapshot.read(catalogue.write(case, tmp_path / "lora")), adapter_name="zz").model
    # When 4-bit weights answer first, bitsandbytes packs them anew for this processor: then they have other bytes.
    told = catalogue.answers(wrapped, case) if form == "int8" else None
    journal = Journal.of(wrapped, contents=merge_targets(wrapped))
    merged = merge(wrapped, ["zz"], safe_merge=True)
    assert measure(merged).fingerprint != before.fingerprint
    journal.restore()
    assert measure(wrapped).fingerprint == before.fingerprint
    assert told is None or torch.equal(catalogue.answers(wrapped, case), told)
    assert measure(take_off(wrapped, "zz")).fingerprint == before.fingerprint


def test_a_model_that_nobody_needs_any_more_is_freed(world: World, log: Path) -> None:
    """What the gate remembers of a model dies with it, also where it remembers how to undo."""
    pissa = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights="pissa", task_type="CAUSAL_LM")
    gate = world.gate(log, 'allow_hazards = ["changes-base"]')
    for adapter in (world.adapter, world.signed("freed", seed=95, config=pissa)):
        base = llama()
        kept = weakref.ref(base)
        model = gate.activate(base, adapter, context=PRODUCTION)
        del base, model
        gc.collect()
        assert kept() is None
