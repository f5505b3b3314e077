"""A cast of a base is recognised as what it is: computed from files as torch computes it in memory, bit for bit."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
import families
from skillwarrant_format.base_directory import cast_directory, fingerprint_directory
from skillwarrant_format.casts import Caster
from skillwarrant_format.errors import FormatError, UsageError
from skillwarrant_format.manifest_facts import CAST_DTYPES, Cast
from skillwarrant_format.model_families import FAMILIES
from skillwarrant_verify.base import measure
from skillwarrant_verify.deciding.decide import decide
from test_base_families import main_head
from test_decide import policy

CODES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
EDGES = {
    "F32": [
        0x00000000, 0x80000000, 0x00000001, 0x807FFFFF, 0x00800000, 0x3F800000, 0x3F808000, 0x3F818000, 0x3F808001,
        0x3F807FFF, 0x477FE000, 0x477FEFFF, 0x477FF000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F7F8000, 0x7F7F7FFF, 0x7F800000,
        0xFF800000, 0x33000000, 0x33000001, 0x32FFFFFF, 0x387FC000, 0x387FE000, 0x38800000, 0x00008000, 0x00018000,
    ],
}  # fmt: skip


def cast(raw: bytes, code: str, dtype: str) -> tuple[bytes, str]:
    caster = Caster(dtype)
    out = b"".join(bytes(chunk) for chunk in caster.chunks(code, "weight", [memoryview(raw)]))
    return out, caster.kind


def by_torch(raw: bytes, code: str, dtype: str) -> tuple[bytes, str]:
    """torch's own answer, and whether its way back gives the same bits."""
    before = torch.frombuffer(bytearray(raw), dtype=CODES[code])
    after = before.to(getattr(torch, dtype))
    back = bytes(after.to(CODES[code]).view(torch.uint8).numpy())
    return bytes(after.view(torch.uint8).numpy()), "exact" if back == raw else "rounded"


def not_nan(raw: bytes, code: str) -> bool:
    return not torch.frombuffer(bytearray(raw), dtype=CODES[code]).isnan().any()


@settings(max_examples=400)
@given(st.sampled_from(sorted(CODES)), st.sampled_from(CAST_DTYPES), st.binary(min_size=8, max_size=320))
def test_any_bits_are_cast_as_torch_casts_them(code: str, dtype: str, bits: bytes) -> None:
    raw = bits[: len(bits) // 8 * 8]
    if not_nan(raw, code):
        assert cast(raw, code, dtype) == by_torch(raw, code, dtype)


@settings(max_examples=200)
@given(st.sampled_from(CAST_DTYPES), st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_any_double_is_cast_as_torch_casts_it(dtype: str, values: list[float]) -> None:
    raw = struct.pack(f"<{len(values)}d", *values)
    assert cast(raw, "F64", dtype) == by_torch(raw, "F64", dtype)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_ties_subnormals_and_overflows_are_cast_as_torch_casts_them(dtype: str) -> None:
    for bits in EDGES["F32"]:
        raw = struct.pack("<I", bits)
        assert cast(raw, "F32", dtype) == by_torch(raw, "F32", dtype), hex(bits)


@pytest.mark.parametrize("code", ["BF16", "F16"])
@pytest.mark.parametrize("dtype", CAST_DTYPES)
def test_every_short_float_there_is_is_cast_as_torch_casts_it(code: str, dtype: str) -> None:
    every = np.arange(65536, dtype="<u2").tobytes()
    numbers = torch.frombuffer(bytearray(every), dtype=CODES[code])
    raw = bytes(numbers[~numbers.isnan()].view(torch.uint8).numpy())
    assert cast(raw, code, dtype) == by_torch(raw, code, dtype)


def test_a_number_that_is_none_is_not_cast() -> None:
    for bits in (0x7FC00000, 0x7F800001, 0xFFFFFFFF):
        with pytest.raises(FormatError, match="no number"):
            cast(struct.pack("<If", bits, 1.0), "F32", "bfloat16")


def test_whole_numbers_and_what_has_the_dtype_already_stay_as_they_are() -> None:
    nan = struct.pack("<I", 0x7FC00000)
    assert cast(nan, "F32", "float32") == (nan, "exact")
    assert cast(b"\1\2", "U8", "float16") == (b"\1\2", "exact")
    caster = Caster("bfloat16")
    assert [caster.dtype(code, "w") for code in ("F32", "BF16", "I64", "BOOL")] == ["BF16", "BF16", "I64", "BOOL"]


@pytest.mark.parametrize("code", ["F8_E4M3", "F4", "C64", "F8_E8M0"])
def test_packed_and_complex_weights_are_not_cast(code: str) -> None:
    with pytest.raises(FormatError, match="not cast"):
        Caster("bfloat16").dtype(code, "weight")
    with pytest.raises(UsageError, match="no cast"):
        Caster("float8_e4m3fn")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_cast_from_the_files_is_the_cast_of_the_model(tmp_path: Path, family: str, dtype: str) -> None:
    architecture = main_head(family)
    families.save(families.build(family, architecture), tmp_path)
    found = cast_directory(tmp_path, dtype)
    assert found.kind == "rounded"
    model = families.load(architecture, tmp_path).to(getattr(torch, dtype))
    assert measure(model).fingerprint == found.fingerprint != fingerprint_directory(tmp_path).fingerprint


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"t5"}))
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_loaded_in_another_dtype_is_that_cast(tmp_path: Path, family: str, dtype: str) -> None:
    architecture = main_head(family)
    families.save(families.build(family, architecture), tmp_path)
    model = families.load(architecture, tmp_path, dtype=getattr(torch, dtype))
    assert measure(model).fingerprint == cast_directory(tmp_path, dtype).fingerprint


def test_t5_loaded_in_float16_keeps_some_weights_and_is_no_cast(tmp_path: Path) -> None:
    """transformers keeps `wo` in float32 there: neither the reference nor its cast, and authorised as neither."""
    families.save(families.build("t5", "T5ForConditionalGeneration"), tmp_path)
    model = families.load("T5ForConditionalGeneration", tmp_path, dtype=torch.float16)
    assert {tensor.dtype for tensor in measure(model).tensors} == {"F16", "F32"}
    assert measure(model).fingerprint != cast_directory(tmp_path, "float16").fingerprint
    assert measure(model.to(torch.float16)).fingerprint == cast_directory(tmp_path, "float16").fingerprint
    bf16 = families.load("T5ForConditionalGeneration", tmp_path, dtype=torch.bfloat16)
    assert measure(bf16).fingerprint == cast_directory(tmp_path, "bfloat16").fingerprint


def test_a_longer_dtype_is_an_exact_cast_and_its_way_back_measures_as_the_reference(tmp_path: Path) -> None:
    model = families.build("llama", "LlamaForCausalLM", torch.bfloat16)
    families.save(model, tmp_path)
    found = cast_directory(tmp_path, "float32")
    assert found.kind == "exact"
    loaded = families.load("LlamaForCausalLM", tmp_path, dtype=torch.float32)
    assert measure(loaded).fingerprint == found.fingerprint
    assert measure(loaded.to(torch.bfloat16)).fingerprint == fingerprint_directory(tmp_path).fingerprint
    assert cast_directory(tmp_path, "float16").kind == "exact"  # all within float16's range
    families.rewrite(tmp_path, lambda tensors: {**tensors, "model.norm.weight": torch.full((32,), 1e-6).bfloat16()})
    assert cast_directory(tmp_path, "float16").kind == "rounded"


def test_a_short_model_stored_long_is_an_exact_cast_of_itself(tmp_path: Path) -> None:
    families.save(families.build("llama", "LlamaForCausalLM", torch.bfloat16).float(), tmp_path)
    assert cast_directory(tmp_path, "bfloat16").kind == "exact"


def test_a_cast_that_changes_nothing_and_one_of_a_quantised_model_are_refused(tmp_path: Path) -> None:
    families.save(families.build("llama", "LlamaForCausalLM"), tmp_path)
    with pytest.raises(UsageError, match="changes nothing"):
        cast_directory(tmp_path, "float32")
    families.reconfigure(tmp_path, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    with pytest.raises(FormatError, match="quantised"):
        cast_directory(tmp_path, "float16")


def test_a_weight_that_is_no_number_is_named(tmp_path: Path) -> None:
    families.save(families.build("llama", "LlamaForCausalLM"), tmp_path)
    families.rewrite(tmp_path, lambda tensors: {**tensors, "model.norm.weight": torch.full((32,), torch.nan)})
    with pytest.raises(FormatError, match=r"model\.norm\.weight"):
        cast_directory(tmp_path, "bfloat16")


def vouched_for(directory: Path, *dtypes: str) -> Any:
    """A manifest for a model in `directory` and these casts of it."""
    base = builders.manifest().base_models[0]
    casts = tuple(cast_directory(directory, dtype) for dtype in dtypes)
    found = replace(base, fingerprint=fingerprint_directory(directory).fingerprint, casts=casts)
    return builders.manifest(base_models=(found,))


def test_a_cast_that_the_manifest_names_is_authorised_and_named_in_the_answer(tmp_path: Path) -> None:
    families.save(families.build("llama", "LlamaForCausalLM"), tmp_path)
    manifest = vouched_for(tmp_path, "float16")
    model = families.load("LlamaForCausalLM", tmp_path, dtype=torch.float16)
    facts = builders.facts(manifest, base=measure(model).fingerprint)
    authorised = facts.authorised_base()
    assert authorised is not None
    assert (authorised.name, authorised.form) == ("acme/base-7b", "cast to float16, rounded")
    (finding,) = (one for one in decide(policy(), facts).checked if one.code == "base.matches")
    assert finding.outcome == "proved"
    assert finding.message == "the base model measures as acme/base-7b, cast to float16, rounded"


def test_a_cast_that_the_manifest_does_not_name_is_another_model(tmp_path: Path) -> None:
    families.save(families.build("llama", "LlamaForCausalLM"), tmp_path)
    manifest = vouched_for(tmp_path, "float16")
    model = families.load("LlamaForCausalLM", tmp_path, dtype=torch.bfloat16)
    decision = decide(policy(), builders.facts(manifest, base=measure(model).fingerprint))
    (reason,) = decision.reasons
    assert reason.code == "base.matches"
    assert reason.expected is not None
    assert "cast to float16" in reason.expected


def test_a_cast_of_another_model_is_no_cast_of_this_one(tmp_path: Path) -> None:
    """A fine-tune that rounds to nearly the same is told apart by a single weight."""
    families.save(families.build("llama", "LlamaForCausalLM"), tmp_path)
    manifest = vouched_for(tmp_path, "bfloat16")
    model = families.load("LlamaForCausalLM", tmp_path, dtype=torch.bfloat16)
    with torch.no_grad():
        weight = model.model.layers[0].mlp.up_proj.weight
        weight.view(torch.int16)[3, 5] ^= 1
    assert builders.facts(manifest, base=measure(model).fingerprint).authorised_base() is None


def test_a_cast_with_a_made_up_fingerprint_authorises_only_what_measures_so() -> None:
    base = builders.manifest().base_models[0]
    made_up = Cast(dtype="float16", kind="exact", fingerprint=builders.verified().manifest.adapter.tensors_digest)
    manifest = builders.manifest(base_models=(replace(base, casts=(made_up,)),))
    assert builders.facts(manifest).authorised_base() is not None
    other = replace(builders.BASE, digest=type(builders.BASE.digest).of(b"another"))
    assert builders.facts(manifest, base=other).authorised_base() is None
    assert builders.facts(manifest, base=None).authorised_base() is None
