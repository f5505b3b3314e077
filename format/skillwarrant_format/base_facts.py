"""What a base model says of itself, for manifests and for people. None of it is compared: the fingerprint is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from skillwarrant_format.fingerprint import TORCH_NAMES, TensorDigest

__all__ = ["BaseFacts", "most_common_dtype", "quantization_of"]

_BITSANDBYTES: Final = "bitsandbytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFacts:
    """What a base model says of itself.

    Args:
        architecture: the class that runs it, such as `LlamaForCausalLM`.
        parameters: number of elements in the fingerprint's tensors.
        dtype: the dtype of most of them, by torch's name (`bfloat16`).
        model_type: the family, by transformers' name (`llama`).
        quantization: the method, and for bitsandbytes its form: `bitsandbytes nf4`.
    """

    architecture: str
    parameters: int
    dtype: str
    model_type: str | None = None
    quantization: str | None = None


def most_common_dtype(tensors: Iterable[TensorDigest]) -> str:
    """The torch name of the dtype that most elements have."""
    counts: dict[str, int] = {}
    for tensor in tensors:
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.parameters
    return TORCH_NAMES[max(counts, key=lambda dtype: (counts[dtype], dtype))]


def quantization_of(config: Mapping[str, object]) -> str:
    """A name for what a model's `quantization_config` says.

    Args:
        config: as config.json holds it, or `to_dict()` of the live one.
    """
    method = config.get("quant_method")
    name = str(getattr(method, "value", method) or "unknown")
    if name != _BITSANDBYTES:
        return name
    if config.get("load_in_8bit") is True:
        return f"{name} int8"
    form = config.get("bnb_4bit_quant_type")
    double = " double" if config.get("bnb_4bit_use_double_quant") is True else ""
    return f"{name} {form}{double}" if config.get("load_in_4bit") is True and isinstance(form, str) else name
