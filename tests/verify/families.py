"""Tiny random models of every family whose files are understood, and of their heads."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
EXPERTS = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
CONFIGS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {key: SMALL[key] for key in list(SMALL)[:5]}),
    "gpt2": (
        "GPT2",
        {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 32, "pad_token_id": 0},
    ),
    "llama": ("Llama", SMALL),
    "mistral": ("Mistral", SMALL),
    "mixtral": ("Mixtral", {**SMALL, "num_local_experts": 12}),
    "qwen2": ("Qwen2", SMALL),
    "qwen2_moe": (
        "Qwen2Moe",
        {**SMALL, **EXPERTS, "shared_expert_intermediate_size": 16, "decoder_sparse_step": 2},
    ),
    "qwen3": ("Qwen3", {**SMALL, "head_dim": 8}),
    "qwen3_moe": ("Qwen3Moe", {**SMALL, **EXPERTS, "head_dim": 8}),
    "t5": ("T5", {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 2}),
    "vit": (
        "ViT",
        {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
        | {"image_size": 16, "patch_size": 4},
    ),
}


def build(family: str, architecture: str, dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any) -> Any:
    """A random model; every weight is drawn, so that no two are equal that are not tied."""
    name, options = CONFIGS[family]
    config = getattr(transformers, f"{name}Config")(**{**options, **changes})
    torch.manual_seed(seed)
    model = getattr(transformers, architecture)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.1)
    return model.to(dtype).eval()


def save(model: Any, directory: Path, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(directory, **options)
    return directory


def load(architecture: str, directory: Path, **options: Any) -> Any:
    return getattr(transformers, architecture).from_pretrained(directory, **options)


def rewrite(directory: Path, change: Callable[[dict[str, torch.Tensor]], Mapping[str, torch.Tensor]]) -> Path:
    """Change the tensors of a saved model."""
    path = directory / "model.safetensors"
    changed = change(load_file(path))
    save_file({name: tensor.clone() for name, tensor in changed.items()}, path, metadata={"format": "pt"})
    return directory


def reconfigure(directory: Path, **changes: Any) -> Path:
    """Change what config.json says; None takes a key out."""
    path = directory / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return directory


@functools.cache
def architectures() -> list[tuple[str, str]]:
    from skillwarrant_format.model_families import FAMILIES

    return [(family, name) for family, found in FAMILIES.items() for name in found.architectures]
