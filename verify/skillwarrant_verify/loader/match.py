"""Which of a file's tensors go onto a model: exactly those that the attached layers want, and no others.

PEFT writes whatever keys a file has (another adapter's, the base model's) and makes up what it has not. So nothing
is written before keys, shapes and kinds are those that the configuration implies.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from peft import PeftModel

from skillwarrant_format.errors import LoadMismatch
from skillwarrant_format.snapshot import WEIGHTS_NAME
from skillwarrant_verify.loader.peft_adapter import base_keys
from skillwarrant_verify.loader.peft_slots import Placement, converted
from skillwarrant_verify.loader.weights import Weights, same_bits

__all__ = ["matched"]


def matched(model: PeftModel, wanted: Mapping[str, torch.Tensor], weights: Weights) -> dict[str, torch.Tensor]:
    """The file's tensors that go onto the model.

    Args:
        wanted: key in the file -> a tensor as the configuration implies it; its values do not matter.

    Raises:
        LoadMismatch: the file lacks a tensor, has one too many, or one that is not as implied.
    """
    if missing := sorted(wanted.keys() - weights.tensors.keys()):
        raise _mismatch("lacks a tensor that its configuration implies", missing)
    _check_repeated(model, {key: weights.tensors[key] for key in weights.tensors.keys() - wanted.keys()})
    for key, implied in wanted.items():
        tensor = weights.tensors[key]
        if tensor.shape != implied.shape:
            raise LoadMismatch(
                f"{WEIGHTS_NAME} has a tensor of another shape than this model and the configuration imply",
                expected=str(list(implied.shape)),
                found=f"{key}: {list(tensor.shape)}",
            )
        if _kind(tensor) != _kind(implied):
            raise LoadMismatch(
                f"{WEIGHTS_NAME} has a tensor of another kind than the configuration implies",
                expected=_kind(implied),
                found=f"{key}: {tensor.dtype}",
            )
    return {key: weights.tensors[key] for key in wanted}


def _kind(tensor: torch.Tensor) -> str:
    """Weights may be stored in any precision; an index that is stored as a weight is no index any more."""
    return "weights" if tensor.is_floating_point() else str(tensor.dtype)


def _check_repeated(model: PeftModel, others: Mapping[str, torch.Tensor]) -> None:
    """PEFT saves some weights of the base along (embeddings). They are accepted where they are the base's own, bit
    by bit, and never written."""
    base = base_keys(model) if others else {}
    if unknown := sorted(others.keys() - base.keys()):
        raise _mismatch("has a tensor that its configuration does not imply", unknown)
    for key, tensor in others.items():
        live = base[key]
        if live.shape != tensor.shape or not same_bits(converted(tensor, Placement(live.device, live.dtype)), live):
            raise LoadMismatch(
                f"{WEIGHTS_NAME} would overwrite a weight of the base model",
                expected="the base model's own weight, or none",
                found=key,
                fix="An adapter may add to its base and change nothing of it: train it without resizing the"
                " embeddings.",
            )


def _mismatch(what: str, keys: list[str]) -> LoadMismatch:
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return LoadMismatch(
        f"{WEIGHTS_NAME} {what}",
        found=f"{keys[0]}{more}",
        fix="It was made for another model, or with another configuration: get it again from its publisher.",
    )
