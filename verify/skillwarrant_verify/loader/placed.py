"""What the ways of loading an adapter take and give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from peft import PeftModel

__all__ = ["Keywords", "Placed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keywords:
    """PEFT's own keywords of `PeftModel.from_pretrained`, as far as they make a difference."""

    adapter_name: str
    is_trainable: bool
    autocast_adapter_dtype: bool
    low_cpu_mem_usage: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """An adapter on a model, proved to be the signed one.

    Args:
        signed: the file's tensors that are on the model, by key.
        live: every tensor of the adapter on the model; those of the file by their key.
        exact: keys of those that are the file's tensors to the bit, not cast.
        views: how many of these are the verified memory itself.
    """

    model: PeftModel
    signed: Mapping[str, torch.Tensor]
    live: Mapping[str, torch.Tensor]
    exact: frozenset[str]
    views: int
