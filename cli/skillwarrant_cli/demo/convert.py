"""A Llama GGUF file becomes a directory that transformers loads: weights, config and tokenizer.

transformers can load GGUF itself, but takes 15 s where this takes 3.5. The tensors are equal to what it gives
(rounded to bfloat16), and so are the tokens: `tests/cli/test_demo_model.py` compares them.
Must not know: where the file came from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillwarrant_format.errors import Unavailable

if TYPE_CHECKING:
    import torch

    from .cache import Report

__all__ = ["CONVERSION", "convert"]

CONVERSION = 1
"""Raised whenever the same GGUF file would give other bytes."""

_TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CONTROL_TOKEN = 3  # tokenizer.ggml.token_type of tokens that are never made from text


def convert(gguf_file: Path, out: Path, report: Report) -> None:
    """Write config.json, generation_config.json, the tokenizer's files and model.safetensors into `out`.

    Raises:
        Unavailable: the `gguf` package is missing, or the file is no Llama model in GGUF.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise Unavailable(
            "the package gguf is not installed", fix='Install it: pip install "skillwarrant[demo]".'
        ) from error
    report("reading the packaged model", None)
    try:
        reader = GGUFReader(gguf_file)
        facts = _Facts(reader)
        _write_tokenizer(facts, out)
        _write_config(facts, out)
        _write_weights(reader, facts, out, report)
    except (KeyError, ValueError, IndexError) as error:
        raise Unavailable(
            f"{gguf_file.name} is no Llama model in GGUF that can be converted",
            found=f"{type(error).__name__}: {error}",
            fix="Install the package it came from again.",
        ) from error


class _Facts:
    """The metadata of a GGUF file by key; a missing key raises KeyError."""

    def __init__(self, reader: Any) -> None:
        self._fields = reader.fields
        if (found := self["general.architecture"]) != "llama":
            raise ValueError(f"architecture {found}")

    def __getitem__(self, key: str) -> Any:
        return self._fields[key].contents()

    def llama(self, key: str) -> Any:
        return self[f"llama.{key}"]

    def token(self, role: str) -> int:
        return int(self[f"tokenizer.ggml.{role}_token_id"])


def _write_config(facts: _Facts, out: Path) -> None:
    ids = {
        f"{role}_token_id": facts.token(name) for role, name in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
    }
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "attention_bias": False,
        "head_dim": facts.llama("rope.dimension_count"),
        "hidden_act": "silu",
        "hidden_size": facts.llama("embedding_length"),
        "intermediate_size": facts.llama("feed_forward_length"),
        "max_position_embeddings": facts.llama("context_length"),
        "mlp_bias": False,
        "num_attention_heads": facts.llama("attention.head_count"),
        "num_hidden_layers": facts.llama("block_count"),
        "num_key_value_heads": facts.llama("attention.head_count_kv"),
        "rms_norm_eps": facts.llama("attention.layer_norm_rms_epsilon"),
        "rope_parameters": {"rope_theta": facts.llama("rope.freq_base"), "rope_type": "default"},
        "tie_word_embeddings": True,  # the file has no output.weight; one that had would be refused
        "vocab_size": facts.llama("vocab_size"),
    }
    _write_json(out / "config.json", config | ids)
    _write_json(out / "generation_config.json", ids)


def _write_tokenizer(facts: _Facts, out: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    words = facts["tokenizer.ggml.tokens"]
    merges = [(left, right) for left, right in (pair.split(" ") for pair in facts["tokenizer.ggml.merges"])]
    tokenizer = Tokenizer(models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=merges))
    # What the file calls pre-tokenizer "smollm": every digit by itself, then GPT-2's byte-level split.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = facts["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens(
        [
            AddedToken(word, special=True, normalized=False)
            for word, kind in zip(words, types, strict=True)
            if kind == _CONTROL_TOKEN
        ]
    )
    tokenizer.save(str(out / "tokenizer.json"))
    roles = (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown"))
    settings = {f"{role}_token": words[facts.token(name)] for role, name in roles}
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings["model_max_length"] = facts.llama("context_length")
    _write_json(out / "tokenizer_config.json", settings)
    (out / "chat_template.jinja").write_text(facts["tokenizer.chat_template"], "utf-8")


def _write_weights(reader: Any, facts: _Facts, out: Path, report: Report) -> None:
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    for done, tensor in enumerate(reader.tensors):
        report("converting the weights to bfloat16", done / len(reader.tensors))
        tensors[_name(tensor.name)] = _weights(tensor, facts)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})


def _weights(tensor: Any, facts: _Facts) -> torch.Tensor:
    import numpy as np
    import torch
    from gguf.quants import dequantize

    # Unquantised tensors come as read-only views of the file, which torch must not be given.
    array = np.require(dequantize(tensor.data, tensor.tensor_type), requirements="W")
    for part, heads in ((".attn_q.", "attention.head_count"), (".attn_k.", "attention.head_count_kv")):
        if part in tensor.name:
            array = _unpermuted(array, facts.llama(heads))
    # bfloat16 is what the model was published in, and half as much to load, hash and multiply by as float32.
    return torch.from_numpy(array).to(torch.bfloat16)


def _unpermuted(array: Any, heads: int) -> Any:
    """Rotary pairs side by side (GGUF) to rotary halves (transformers): undoes llama.cpp's `permute`."""
    half = array.shape[0] // heads // 2
    return array.reshape(heads, half, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def _name(gguf_name: str) -> str:
    if gguf_name in _TOP:
        return _TOP[gguf_name]
    block, layer, part, kind = gguf_name.split(".")
    if (block, kind) != ("blk", "weight"):
        raise ValueError(f"tensor {gguf_name}")
    return f"model.layers.{int(layer)}.{_LAYER[part]}.weight"


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", "utf-8")
