"""Tiny random models and adapters on disk: real transformers, real PEFT, milliseconds each."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

HIDDEN = 64
TOKENS = torch.arange(24).reshape(2, 12)


def config(**changes: Any) -> LlamaConfig:
    options: dict[str, Any] = {
        "vocab_size": 128,
        "hidden_size": HIDDEN,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "num_labels": 3,
        "pad_token_id": 0,
    }
    return LlamaConfig(**{**options, **changes})


def llama(
    dtype: torch.dtype = torch.float32, *, kind: Any = LlamaForCausalLM, seed: int = 0, **changes: Any
) -> Any:
    """The same model for the same arguments."""
    torch.manual_seed(seed)
    return kind(config(**changes)).to(dtype).eval()


def classifier(dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    return llama(dtype, kind=LlamaForSequenceClassification, **changes)


def attach(model: nn.Module, **options: Any) -> PeftModel:
    """A LoRA with random weights that change every output."""
    plain: dict[str, Any] = {"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft_model = get_peft_model(model, LoraConfig(**{**plain, **options}))
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in peft_model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return peft_model  # type: ignore[no-any-return]


def write_lora(
    directory: Path, model: nn.Module | None = None, *, dtype: torch.dtype | None = None, **options: Any
) -> Path:
    """Save a LoRA for a model as PEFT does; `dtype` is that of the file."""
    peft_model = attach(llama() if model is None else model, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft_model.save_pretrained(str(directory))
    if dtype is not None:
        rewrite(directory, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})
    return directory


def rewrite(directory: Path, change: Any) -> None:
    """Change the tensors of a saved adapter."""
    from safetensors.torch import load_file, save_file

    path = directory / "adapter_model.safetensors"
    tensors: Mapping[str, torch.Tensor] = load_file(path)
    save_file({name: tensor.contiguous() for name, tensor in change(dict(tensors)).items()}, path)


def answers(model: Any, tokens: torch.Tensor = TOKENS) -> torch.Tensor:
    with torch.no_grad():
        return torch.Tensor(model(tokens).logits)
