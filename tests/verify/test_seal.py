"""A seal tells whether the adapter on a model is still the one that was loaded."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tiny
from catalogue import CASES, Case, answers, base, write
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_verify.loader.by_view import is_plain
from skillwarrant_verify.loader.load import Loaded, load
from skillwarrant_verify.loader.peft_tensors import adapter_state

pytestmark = pytest.mark.filterwarnings("ignore")

NAMED = {case.name: case for case in CASES}
LOADABLE = [case for case in CASES if "identical" not in case.why]
WRITES_TO_ITSELF = "OFT, shared, constrained"


def loaded(case: Case, directory: Path) -> Loaded:
    return load(base(case), Snapshot.read(write(case, directory)))


def touch(tensor: torch.Tensor) -> None:
    """Change one element where torch does not count it."""
    last = tensor.data[(-1,) * tensor.dim()]
    last.copy_(last + 1 if not tensor.is_floating_point() or bool(last.isfinite()) else torch.ones(()))


@pytest.mark.parametrize("case", LOADABLE, ids=lambda case: case.name)
def test_an_edit_of_any_tensor_is_seen_and_an_answer_is_none(tmp_path: Path, case: Case) -> None:
    one = loaded(case, tmp_path)
    state = adapter_state(one.model, "default")
    assert one.seal.tensors.keys() == state.keys()
    assert is_plain(one.config) or one.views == 0  # what PEFT fills is nobody else's memory
    assert one.seal.check(one.model) is None
    for name in {next(iter(state)), next(reversed(state)), *filter(lambda key: "(computed)" in key, state)}:
        tensor = state[name]
        before, version = tensor.detach().clone(), tensor._version
        if before.numel() and case.method != "CARTRIDGE":
            touch(tensor)
            assert tensor._version == version
            assert one.seal.check(one.model) is not None, name
            tensor.data.copy_(before)
    assert one.seal.check(one.model) is None
    answers(one.model, case)
    assert (one.seal.check(one.model) is None) == (case.name != WRITES_TO_ITSELF)


@pytest.mark.parametrize("name", ["VERA, projections not saved", "OSF", "PSOFT", "UNILORA"])
def test_what_peft_computes_and_no_file_has_is_sealed_too(tmp_path: Path, name: str) -> None:
    case = NAMED[name]
    one = loaded(case, tmp_path)
    computed = [key for key in one.seal.tensors if key.startswith("(computed)")]
    assert computed
    touch(adapter_state(one.model, "default")[computed[0]])
    assert computed[0] in str(one.seal.check(one.model))


def test_the_frozen_part_of_a_cartridge_is_sealed(tmp_path: Path) -> None:
    one = loaded(NAMED["CARTRIDGE"], tmp_path)
    encoder: Any = one.model.prompt_encoder["default"]
    touch(encoder.frozen_embedding)
    assert "prompt_embeddings" in str(one.seal.check(one.model))


@pytest.mark.parametrize("name", ["LoRA", "IA3", "PROMPT_TUNING", "ADAPTION_PROMPT", "LoRA, modules to save"])
def test_a_further_adapter_and_a_switch_break_no_seal(tmp_path: Path, name: str) -> None:
    case = NAMED[name]
    one = loaded(case, tmp_path / "one")
    two = load(one.model, Snapshot.read(write(case, tmp_path / "two", 70)), adapter_name="other")
    for active in ("other", "default"):
        one.model.set_adapter(active, inference_mode=name != "ADAPTION_PROMPT")
        assert one.seal.check(one.model) is None
        assert two.seal.check(one.model) is None
    touch(next(iter(adapter_state(one.model, "other").values())))
    assert one.seal.check(one.model) is None
    assert "other" in str(two.seal.check(one.model))


@pytest.mark.parametrize("name", ["LoRA", "IA3", "PROMPT_TUNING", "VERA"])
def test_an_adapter_that_was_removed_or_exchanged_is_seen(tmp_path: Path, name: str) -> None:
    case = NAMED[name]
    one = loaded(case, tmp_path / "one")
    seal, model = one.seal, one.model
    other = write(case, tmp_path / "two", 70)
    load(model, Snapshot.read(other), adapter_name="other")
    model.delete_adapter("default")
    assert "not on the model" in str(seal.check(model))
    model.load_adapter(str(other), "default")
    assert "other values" in str(seal.check(model))
    assert "not on the model" in str(seal.check(base(case)))


def test_an_adapter_whose_layers_are_gone_is_seen(tmp_path: Path) -> None:
    for name in ("LoRA", "UNILORA"):
        one = loaded(NAMED[name], tmp_path / name)
        attention: Any = one.model.get_base_model().model.layers[0].self_attn
        attention.q_proj = attention.q_proj.base_layer
        assert one.seal.check(one.model) is not None or name == "UNILORA"
    del one.model.base_model.unilora_theta_d["default"]
    assert one.seal.check(one.model) is not None


def test_a_cast_is_seen(tmp_path: Path) -> None:
    one = loaded(NAMED["LoRA"], tmp_path)
    one.model.half()
    assert "was F32" in str(one.seal.check(one.model))
    assert "is F16" in str(one.seal.check(one.model))


def test_weights_of_another_shape_are_seen(tmp_path: Path) -> None:
    one = loaded(NAMED["LoRA"], tmp_path)
    layer: Any = one.model.get_base_model().model.layers[0].self_attn.q_proj
    layer.lora_A["default"].weight = nn.Parameter(torch.zeros(8, 64))
    assert "is F32 [8, 64]" in str(one.seal.check(one.model))


def test_casts_are_sealed_as_they_are_on_the_model(tmp_path: Path) -> None:
    directory = tiny.write_lora(tmp_path, dtype=torch.bfloat16)
    for low in (False, True):
        one = load(tiny.llama(torch.float16), Snapshot.read(directory), low_cpu_mem_usage=low)
        assert {digest.dtype for digest in one.seal.tensors.values()} == {"F32"}
        assert one.seal.check(one.model) is None
        touch(next(iter(adapter_state(one.model, "default").values())))
        assert one.seal.check(one.model) is not None


def test_training_breaks_it(tmp_path: Path) -> None:
    directory = tiny.write_lora(tmp_path)
    one = load(tiny.llama(), Snapshot.read(directory), is_trainable=True)
    assert one.seal.check(one.model) is None
    one.model(tiny.TOKENS, labels=tiny.TOKENS).loss.backward()
    torch.optim.SGD((p for p in one.model.parameters() if p.requires_grad), lr=0.1).step()
    assert "other values" in str(one.seal.check(one.model))


def test_it_keeps_no_tensor_alive(tmp_path: Path) -> None:
    seen: list[Any] = []

    def make() -> Any:
        one = loaded(NAMED["LoRA"], tmp_path)
        seen.extend(weakref.ref(tensor) for tensor in adapter_state(one.model, "default").values())
        return one.seal

    seal = make()
    gc.collect()
    assert seal.tensors
    assert all(reference() is None for reference in seen)
