"""Whatever fails, wherever, the model is put back as it was; and what changed a base can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftModel
from peft.tuners.adaption_prompt import AdaptionPromptModel
from peft.tuners.lora import LoraModel

import tiny
from catalogue import CASES, Case, base, write
from sameness import picture
from skillwarrant_format.errors import LoadMismatch
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_verify.base import measure
from skillwarrant_verify.loader import through_peft
from skillwarrant_verify.loader.load import load
from skillwarrant_verify.loader.peft_tensors import FileTensors

pytestmark = pytest.mark.filterwarnings("ignore")

NAMED = {case.name: case for case in CASES}
TOPMOST = "VBLORA, largest logits only"


def one_of(name: str) -> Case:
    return NAMED[name]


class Interrupted(BaseException):
    """Nothing that anybody catches."""


def after(calls: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """A function that fails when it has done its work for so many times."""
    left = iter(range(calls))

    def failing(*arguments: Any, **keywords: Any) -> Any:
        found = real(*arguments, **keywords)
        if next(left, None) is None:
            raise Interrupted
        return found

    return failing


MIDDLE: list[tuple[str, Any, str, int]] = [
    ("LoRA", LoraModel, "_create_and_replace", 2),
    ("LoRA, modules to save", LoraModel, "_create_and_replace", 3),
    ("LoRA, PiSSA", LoraModel, "_create_and_replace", 2),
    ("LoRA, OLoRA", LoraModel, "_create_and_replace", 2),
    ("LoRA, KaSA", LoraModel, "_create_and_replace", 2),
    ("LoRA, replicated layers", LoraModel, "_create_and_replace", 2),
    ("LoRA, target parameters", LoraModel, "_create_and_replace", 1),
    ("IA3", peft.tuners.ia3.IA3Model, "_create_and_replace", 2),
    ("VERA", peft.tuners.vera.VeraModel, "_create_and_replace", 1),
    ("ADAPTION_PROMPT", AdaptionPromptModel, "_create_adapted_attentions", 0),
    ("PROMPT_TUNING", PeftModel, "_setup_prompt_encoder", 0),
    ("PROMPT_TUNING, classifier", PeftModel, "_setup_prompt_encoder", 0),
    ("SHADOW", peft.tuners.shadow.ShadowModel, "_create_and_replace", 1),
]
AT_THE_END = ["LoRA, PiSSA", "LoRA, biases of the base", "IA3", "SHIRA", "ADAPTION_PROMPT", "PREFIX_TUNING"]


@pytest.mark.parametrize("where", MIDDLE, ids=lambda where: where[0])
def test_an_end_in_the_middle_of_attaching_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: tuple[str, Any, str, int]
) -> None:
    name, owner, step, calls = where
    case = one_of(name)
    snapshot = Snapshot.read(write(case, tmp_path))
    model = base(case)
    before, measured = picture(model), measure(model)
    with monkeypatch.context() as patched:
        patched.setattr(owner, step, after(calls, getattr(owner, step)))
        with pytest.raises(Interrupted):
            load(model, snapshot)
    assert picture(model) == before
    assert measured.still_holds(model)
    if "second" not in case.why:
        model = load(model, snapshot).model
        before = picture(model)
        monkeypatch.setattr(owner, step, after(calls, getattr(owner, step)))
        with pytest.raises(Interrupted):
            load(model, snapshot, adapter_name="other")
        assert picture(model) == before


@pytest.mark.parametrize("step", ["fill", "_prove", "whole_logits"])
@pytest.mark.parametrize("name", AT_THE_END)
def test_an_end_after_attaching_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: str
) -> None:
    case = one_of(name)
    snapshot = Snapshot.read(write(case, tmp_path))
    model = base(case)
    before, measured = picture(model), measure(model)
    monkeypatch.setattr(through_peft, step, after(0, getattr(through_peft, step)))
    with pytest.raises(Interrupted):
        load(model, snapshot)
    assert picture(model) == before
    assert measured.still_holds(model) or name == "LoRA, biases of the base"
    assert measure(model).fingerprint == measured.fingerprint


@pytest.mark.parametrize(
    "name", ["LoRA, trainable tokens", "IA3", "PROMPT_TUNING", "C3A", "VBLORA, largest logits only"]
)
def test_a_weight_that_peft_would_fill_otherwise_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    case = one_of(name)
    real = through_peft.fill

    def fill_and_tamper(model: PeftModel, tensors: Any, keywords: Any) -> None:
        real(model, tensors, keywords)
        held = FileTensors.held(model, keywords.adapter_name).own
        next(iter(held.values())).data.view(-1)[0] = 0.125

    monkeypatch.setattr(through_peft, "fill", fill_and_tamper)
    model = base(case)
    before = picture(model)
    with pytest.raises(LoadMismatch, match="not the signed one"):
        load(model, Snapshot.read(write(case, tmp_path)))
    assert picture(model) == before


def test_a_method_that_writes_to_the_base_without_saying_so_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = one_of("IA3")
    real = through_peft.fill

    def fill_and_tamper(model: PeftModel, tensors: Any, keywords: Any) -> None:
        real(model, tensors, keywords)
        with torch.no_grad():
            model.get_base_model().model.norm.weight.add_(1)

    monkeypatch.setattr(through_peft, "fill", fill_and_tamper)
    model = base(case)
    with pytest.raises(LoadMismatch, match="not the adapter's"):
        load(model, Snapshot.read(write(case, tmp_path)))
    assert not model.peft_config if hasattr(model, "peft_config") else True


def test_what_changed_the_base_is_taken_back_and_only_what_was_overwritten_is_kept(tmp_path: Path) -> None:
    for name, overwritten in (("LoRA, PiSSA", 0), ("LoRA, OLoRA", 4), ("LoRA, biases of the base", 8)):
        case = one_of(name)
        model = base(case)
        before = picture(model)
        loaded = load(model, Snapshot.read(write(case, tmp_path / name)))
        assert loaded.changed_base
        assert len(loaded._journal.contents) == overwritten, name
        loaded.undo()
        assert picture(model) == before


def test_biases_that_a_base_does_not_have_change_nothing(tmp_path: Path) -> None:
    tiny.write_lora(tmp_path, bias="all")
    loaded = load(tiny.llama(), Snapshot.read(tmp_path))
    assert loaded.config.changes_base
    assert not loaded.changed_base
