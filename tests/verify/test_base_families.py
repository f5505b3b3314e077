"""A model's files measure as the model in memory does, family by family; where that cannot be told, they refuse."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import conversion_mapping
from transformers.models.auto import configuration_auto, modeling_auto

import families
from skillwarrant_format.base_directory import fingerprint_directory
from skillwarrant_format.errors import FormatError
from skillwarrant_format.model_families import CONVERTED, FAMILIES
from skillwarrant_verify.base import measure

Tensors = dict[str, torch.Tensor]
HEADS = {
    "bert": "BertForMaskedLM",
    "gpt2": "GPT2LMHeadModel",
    "t5": "T5ForConditionalGeneration",
    "vit": "ViTForImageClassification",
}


def main_head(family: str) -> str:
    return HEADS.get(family, f"{families.CONFIGS[family][0]}ForCausalLM")


@pytest.mark.parametrize(("family", "architecture"), families.architectures())
def test_files_measure_as_the_model_that_wrote_them_and_as_the_one_that_reads_them(
    tmp_path: Path, family: str, architecture: str
) -> None:
    model = families.build(family, architecture)
    families.save(model, tmp_path)
    written, on_disk = measure(model), fingerprint_directory(tmp_path)
    assert on_disk.tensors == written.tensors
    assert on_disk.fingerprint == written.fingerprint
    assert on_disk.facts == written.facts
    assert measure(families.load(architecture, tmp_path)).fingerprint == written.fingerprint


@pytest.mark.parametrize("family", FAMILIES)
def test_shards_and_short_dtypes_change_nothing_about_that(tmp_path: Path, family: str) -> None:
    architecture = main_head(family)
    model = families.build(family, architecture, torch.bfloat16)
    families.save(model, tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    reloaded = families.load(architecture, tmp_path)
    assert fingerprint_directory(tmp_path).fingerprint == measure(model).fingerprint
    assert measure(reloaded).fingerprint == measure(model).fingerprint


@pytest.mark.parametrize("family", FAMILIES)
def test_one_changed_weight_is_seen_in_files_of_every_family(tmp_path: Path, family: str) -> None:
    families.save(families.build(family, main_head(family)), tmp_path)
    before = fingerprint_directory(tmp_path).fingerprint
    for name in list(families.load_file(tmp_path / "model.safetensors"))[::7]:
        families.rewrite(tmp_path, lambda tensors, name=name: {**tensors, name: tensors[name].add(1e-3)})
        after = fingerprint_directory(tmp_path).fingerprint
        assert after != before
        before = after


@pytest.mark.parametrize(("tied", "head"), [(True, False), (False, True)])
def test_a_tied_output_layer_is_measured_once_and_an_untied_one_for_itself(
    tmp_path: Path, tied: bool, head: bool
) -> None:
    model = families.build("llama", "LlamaForCausalLM", tie_word_embeddings=tied)
    families.save(model, tmp_path)
    found = fingerprint_directory(tmp_path)
    assert ("lm_head.weight" in {tensor.name for tensor in found.tensors}) is head
    assert found.fingerprint == measure(model).fingerprint


def test_a_file_that_repeats_its_tied_weights_measures_as_one_that_does_not(tmp_path: Path) -> None:
    """As older releases of transformers wrote T5, BERT and Llama."""

    def repeat(*names: str, source: str) -> Callable[[Tensors], Mapping[str, torch.Tensor]]:
        return lambda tensors: {**tensors, **{name: tensors[source].clone() for name in names}}

    cases: dict[str, tuple[str, list[tuple[tuple[str, ...], str]]]] = {
        "t5": (
            "T5ForConditionalGeneration",
            [(("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"), "shared.weight")],
        ),
        "bert": (
            "BertForMaskedLM",
            [
                (("cls.predictions.decoder.weight",), "bert.embeddings.word_embeddings.weight"),
                (("cls.predictions.decoder.bias",), "cls.predictions.bias"),
            ],
        ),
        "gpt2": ("GPT2LMHeadModel", [(("lm_head.weight",), "transformer.wte.weight")]),
    }
    for family, (architecture, repeats) in cases.items():
        directory = families.save(families.build(family, architecture), tmp_path / family)
        before = fingerprint_directory(directory).fingerprint
        for names, source in repeats:
            families.rewrite(directory, repeat(*names, source=source))
        assert fingerprint_directory(directory).fingerprint == before
        assert measure(families.load(architecture, directory)).fingerprint == before


def test_an_output_layer_of_t5_that_is_not_tied_is_measured(tmp_path: Path) -> None:
    """As in Flan-T5: transformers ties nothing whose weights differ in the file."""
    families.save(families.build("t5", "T5ForConditionalGeneration"), tmp_path)
    families.rewrite(tmp_path, lambda tensors: {**tensors, "lm_head.weight": tensors["shared.weight"] * 2})
    families.reconfigure(tmp_path, tie_word_embeddings=False)
    found = fingerprint_directory(tmp_path)
    assert "lm_head.weight" in {tensor.name for tensor in found.tensors}
    assert found.fingerprint == measure(families.load("T5ForConditionalGeneration", tmp_path)).fingerprint


def test_gpt2_as_the_hub_has_it_measures_as_it_does_in_memory(tmp_path: Path) -> None:
    """No prefix, and the masks that older releases kept as buffers."""
    families.save(families.build("gpt2", "GPT2LMHeadModel"), tmp_path)
    before = fingerprint_directory(tmp_path).fingerprint

    def as_on_the_hub(tensors: Tensors) -> Tensors:
        bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        masks = {f"h.{layer}.attn.bias": torch.ones(1, 1, 32, 32).tril() for layer in range(2)}
        return {**bare, **masks, "h.0.attn.masked_bias": torch.tensor(-1e4)}

    families.rewrite(tmp_path, as_on_the_hub)
    assert fingerprint_directory(tmp_path).fingerprint == before
    assert measure(families.load("GPT2LMHeadModel", tmp_path)).fingerprint == before


def test_old_names_and_old_buffers_measure_as_what_they_are_loaded_as(tmp_path: Path) -> None:
    bert = families.save(families.build("bert", "BertForSequenceClassification"), tmp_path / "bert")
    llama = families.save(families.build("llama", "LlamaForCausalLM"), tmp_path / "llama")
    t5 = families.save(families.build("t5", "T5ForConditionalGeneration"), tmp_path / "t5")
    before = [fingerprint_directory(directory).fingerprint for directory in (bert, llama, t5)]
    families.rewrite(
        bert,
        lambda tensors: (
            {
                name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                    "LayerNorm.bias", "LayerNorm.beta"
                ): tensor
                for name, tensor in tensors.items()
            }
            | {"bert.embeddings.position_ids": torch.arange(512)}
        ),
    )
    families.rewrite(
        llama, lambda tensors: {**tensors, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    )
    unused = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    families.rewrite(t5, lambda tensors: {**tensors, unused: torch.ones(32, 2)})
    named = ("BertForSequenceClassification", "LlamaForCausalLM", "T5ForConditionalGeneration")
    for directory, architecture, expected in zip((bert, llama, t5), named, before, strict=True):
        assert fingerprint_directory(directory).fingerprint == expected
        assert measure(families.load(architecture, directory)).fingerprint == expected


def test_experts_are_put_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Twelve of them: as text, the tenth would come before the second."""
    model = families.build("mixtral", "MixtralForCausalLM")
    families.save(model, tmp_path, max_shard_size="30KB")  # the experts of one layer lie in several files
    stacked = {tensor.name: tensor.shape for tensor in fingerprint_directory(tmp_path).tensors}
    assert stacked["model.layers.1.mlp.experts.gate_up_proj"] == (12, 96, 32)
    assert stacked["model.layers.1.mlp.experts.down_proj"] == (12, 32, 48)
    assert fingerprint_directory(tmp_path).fingerprint == measure(model).fingerprint


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


EXPERT = "model.layers.0.block_sparse_moe.experts"
REFUSED: dict[str, tuple[str, str, Callable[[Tensors], Mapping[str, torch.Tensor]], dict[str, Any], str]] = {
    "an expert's part is missing": (
        "mixtral", "MixtralForCausalLM", without(f"{EXPERT}.1.w3.weight"), {}, "do not make one tensor",
    ),
    "an expert is missing": (
        "mixtral", "MixtralForCausalLM",
        lambda tensors: {key: tensor for key, tensor in tensors.items() if f"{EXPERT}.1." not in key},
        {}, "do not make one tensor",
    ),
    "experts of two dtypes": (
        "mixtral", "MixtralForCausalLM",
        lambda tensors: {**tensors, f"{EXPERT}.1.w2.weight": tensors[f"{EXPERT}.1.w2.weight"].half()},
        {}, "do not make one tensor",
    ),
    "experts once apart and once together": (
        "mixtral", "MixtralForCausalLM",
        lambda tensors: {**tensors, "model.layers.0.mlp.experts.down_proj": torch.ones(12, 32, 48)},
        {}, "no name twice",
    ),
    "a head that the class has not": (
        "bert", "BertForMaskedLM", lambda tensors: {**tensors, "cls.seq_relationship.weight": torch.ones(2, 32)},
        {}, "does not load",
    ),
    "a pooler that the class has not": (
        "bert", "BertForMaskedLM", lambda tensors: {**tensors, "bert.pooler.dense.weight": torch.ones(32, 32)},
        {}, "does not load",
    ),
    "a class that is not known": (
        "llama", "LlamaForCausalLM", dict, {"architectures": ["LlamaForEverything"]}, "names no class",
    ),
    "no class": ("llama", "LlamaForCausalLM", dict, {"architectures": None}, "names no class"),
    "no embedding": (
        "llama", "LlamaForCausalLM", without("model.embed_tokens.weight"), {}, "lack a tensor",
    ),
    "no head where it is not tied": (
        "llama", "LlamaForCausalLM", without("lm_head.weight"), {"tie_word_embeddings": False}, "lack the head",
    ),
    "no head that could be tied": (
        "llama", "LlamaForSequenceClassification", without("score.weight"), {}, "lack the head",
    ),
    "a family that transformers converts": (
        "llama", "LlamaForCausalLM", dict, {"model_type": "dinov2"}, "converts",
    ),
    "a part of such a family": (
        "llama", "LlamaForCausalLM", dict,
        {"model_type": "pairs", "parts": [{"vision": {"model_type": "vit"}}]}, "converts",
    ),
    "a quantisation that packs its weights anew": (
        "llama", "LlamaForCausalLM", dict, {"quantization_config": {"quant_method": "gptq"}}, "quantisation",
    ),
    "a tie of unknown names": (
        "llama", "LlamaForCausalLM",
        lambda tensors: {**tensors, "lm_head.extra": tensors["model.embed_tokens.weight"].clone()},
        {}, "under two names",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_told_from_the_files_is_refused(tmp_path: Path, case: Any) -> None:
    family, architecture, change, config, why = case
    families.save(families.build(family, architecture), tmp_path)
    families.rewrite(tmp_path, change)
    families.reconfigure(tmp_path, **config)
    with pytest.raises(FormatError, match=why):
        fingerprint_directory(tmp_path)


def test_layers_that_repeat_each_other_each_count() -> None:
    """A model made of repeated layers is not the model without them, nor the one with others repeated."""
    one, other = (families.build("llama", "LlamaModel", num_hidden_layers=3) for _ in range(2))
    one.layers[2].load_state_dict(one.layers[0].state_dict())
    other.layers[2].load_state_dict(other.layers[1].state_dict())
    assert measure(one).fingerprint != measure(other).fingerprint
    assert len(measure(one).tensors) == len(
        measure(families.build("llama", "LlamaModel", num_hidden_layers=3)).tensors
    )


def test_a_model_of_repeated_layers_measures_the_same_from_its_files(tmp_path: Path) -> None:
    model = families.build("llama", "LlamaForCausalLM")
    model.model.layers[1].load_state_dict(model.model.layers[0].state_dict())
    families.save(model, tmp_path)
    assert fingerprint_directory(tmp_path).fingerprint == measure(model).fingerprint


def test_every_family_that_transformers_converts_is_known_to_be() -> None:
    """The contract with transformers' own table: what it converts is described here, or refused."""
    mapping = conversion_mapping._build_checkpoint_conversion_mapping()
    types = set(configuration_auto.CONFIG_MAPPING_NAMES)
    classes: dict[str, set[str]] = {}
    for name in dir(modeling_auto):
        if name.endswith("_MAPPING_NAMES"):
            for model_type, found in getattr(modeling_auto, name).items():
                for one in found if isinstance(found, tuple | list) else [found]:
                    classes.setdefault(one, set()).add(model_type)
    converted = {key for key in mapping if key in types}.union(*(classes.get(key, set()) for key in mapping))
    assert converted
    assert converted <= CONVERTED | {name for name, family in FAMILIES.items() if family.is_converted}


def test_a_family_that_is_not_described_is_taken_as_its_files_name_it(tmp_path: Path) -> None:
    from transformers import Phi3Config, Phi3ForCausalLM

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Phi3ForCausalLM(Phi3Config(**families.SMALL))
    families.save(model, tmp_path)
    assert fingerprint_directory(tmp_path).fingerprint == measure(model).fingerprint
