"""A quantised base is a base of its own: bitsandbytes in 4 and 8 bits, as it really runs on this machine."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import _convert_weight_packed_for_cpu
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

import families
import tiny
from skillwarrant_format.base_directory import fingerprint_directory
from skillwarrant_format.errors import FormatError, Unavailable
from skillwarrant_verify.base import Measurement, measure

FORMS: dict[str, dict[str, Any]] = {
    "bitsandbytes nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "bitsandbytes nf4 double": {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
    },
    "bitsandbytes fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    "bitsandbytes int8": {"load_in_8bit": True},
}
FOUR_BITS = [form for form in FORMS if not form.endswith("int8")]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.save(tiny.llama(), tmp_path_factory.mktemp("base"))


def quantised(directory: Path, form: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = BitsAndBytesConfig(**FORMS[form])
        return AutoModelForCausalLM.from_pretrained(directory, quantization_config=config)


def layer(model: Any) -> Any:
    return model.model.layers[0].self_attn.q_proj


@pytest.fixture(scope="module")
def measured(directory: Path) -> dict[str, Measurement]:
    return {form: measure(quantised(directory, form)) for form in FORMS}


def test_each_form_measures_for_itself(directory: Path, measured: dict[str, Measurement]) -> None:
    found = {
        str(fingerprint_directory(directory).fingerprint),
        *(str(one.fingerprint) for one in measured.values()),
    }
    assert len(found) == len(FORMS) + 1
    assert {form: one.facts.quantization for form, one in measured.items()} == {form: form for form in FORMS}


@pytest.mark.parametrize("form", FORMS)
def test_quantising_the_same_base_again_measures_the_same(
    directory: Path, form: str, measured: dict[str, Measurement]
) -> None:
    model = quantised(directory, form)
    assert measure(model).tensors == measured[form].tensors
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model(tiny.TOKENS)
    assert measure(model).fingerprint == measured[form].fingerprint


@pytest.mark.parametrize("form", FOUR_BITS)
@pytest.mark.parametrize("reuse", ["every-load", "once-verified"])
def test_weights_that_bitsandbytes_packed_anew_for_this_processor_are_not_measured(
    directory: Path, form: str, reuse: Any
) -> None:
    """It does so at the first inference where it can, and rounds the scales; asking for the state hides that."""
    model = quantised(directory, form)
    measure(model, reuse=reuse)
    weight = layer(model).weight
    weight.data, weight.quant_state = _convert_weight_packed_for_cpu(weight.data, weight.quant_state)
    with pytest.raises(Unavailable, match="rounded the base model's scales"):
        measure(model, reuse=reuse)
    assert weight.quant_state.packing_format_for_cpu


@pytest.mark.parametrize("form", FORMS)
def test_the_quantised_model_on_disk_measures_as_in_memory(
    directory: Path, tmp_path: Path, form: str, measured: dict[str, Measurement]
) -> None:
    families.save(quantised(directory, form), tmp_path)
    on_disk = fingerprint_directory(tmp_path)
    assert on_disk.tensors == measured[form].tensors
    assert on_disk.facts == measured[form].facts
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert measure(reloaded).fingerprint == measured[form].fingerprint


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reuse", ["once-verified", "sampled"])
def test_an_untouched_quantised_model_is_not_hashed_again(
    directory: Path, form: str, reuse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Part of its state is made anew each time it is asked for."""
    from skillwarrant_verify.measuring import measurement

    model = quantised(directory, form)
    first = measure(model, reuse=reuse)
    monkeypatch.setattr(measurement, "hash_all", lambda *_: pytest.fail("hashed again"))
    assert measure(model, reuse=reuse) is first


def packed_weight(model: Any) -> None:
    layer(model).weight.data[3] ^= 1


def absmax(model: Any) -> None:
    with torch.no_grad():
        layer(model).weight.quant_state.absmax[0] += 1


def code(model: Any) -> None:
    with torch.no_grad():
        layer(model).weight.quant_state.code[7] += 0.25


def block_size(model: Any) -> None:
    layer(model).weight.quant_state.blocksize *= 2


def shape(model: Any) -> None:
    state = layer(model).weight.quant_state
    state.shape = torch.Size([state.shape[1] * 2, state.shape[0] // 2])


def quant_type(model: Any) -> None:
    state = layer(model).weight.quant_state
    state.quant_type = "fp4" if state.quant_type == "nf4" else "nf4"


@pytest.mark.parametrize("edit", [packed_weight, absmax, code, block_size, shape, quant_type])
@pytest.mark.parametrize("form", FOUR_BITS)
def test_an_edit_of_any_part_of_four_bit_weights_is_seen(
    directory: Path, form: str, edit: Callable[[Any], None], measured: dict[str, Measurement]
) -> None:
    model = quantised(directory, form)
    edit(model)
    assert measure(model).fingerprint != measured[form].fingerprint


@pytest.mark.parametrize("edit", [absmax, code, block_size, shape, quant_type])
def test_an_edit_of_the_quantisation_state_is_seen_without_hashing_the_weights(
    directory: Path, edit: Callable[[Any], None]
) -> None:
    model = quantised(directory, "bitsandbytes nf4")
    before = measure(model)
    edit(model)
    assert not before.still_holds(model)


def test_an_edit_of_eight_bit_weights_or_their_scales_is_seen(
    directory: Path, measured: dict[str, Measurement]
) -> None:
    form = "bitsandbytes int8"
    for part in ("CB", "SCB"):
        model = quantised(directory, form)
        weight = layer(model).weight
        tensor = weight.data if part == "CB" else weight.SCB
        tensor.view(-1)[5] += 1
        assert measure(model).fingerprint != measured[form].fingerprint


def test_a_quantised_base_of_another_model_measures_otherwise(
    tmp_path: Path, measured: dict[str, Measurement]
) -> None:
    families.save(tiny.llama(seed=1), tmp_path)
    for form in FORMS:
        assert measure(quantised(tmp_path, form)).fingerprint != measured[form].fingerprint


@pytest.mark.parametrize("form", FORMS)
def test_an_adapter_on_a_quantised_base_is_no_part_of_it(
    directory: Path, form: str, measured: dict[str, Measurement]
) -> None:
    attached = tiny.attach(quantised(directory, form), target_modules=["q_proj", "v_proj"])
    assert measure(attached).fingerprint == measured[form].fingerprint


def test_a_form_of_quantisation_that_is_not_covered_is_refused_on_disk(tmp_path: Path, directory: Path) -> None:
    families.save(tiny.llama(), tmp_path)
    for method in ("gptq", "awq", "fp8", "compressed-tensors"):
        families.reconfigure(tmp_path, quantization_config={"quant_method": method})
        with pytest.raises(FormatError, match=r"quantisation.*base\.measure"):
            fingerprint_directory(tmp_path)
