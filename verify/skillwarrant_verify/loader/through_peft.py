"""Load an adapter of any method: PEFT attaches and fills it, and what it did is proved afterwards.

    hold the options against the file's shapes -> remember every tensor -> attach
        -> compare what the layers want with what the file has -> fill with copies of the signed tensors
        -> nothing else was written -> every weight is the signed one

The steps and functions are PEFT's own, so the result is that of `PeftModel.from_pretrained`, bit by bit. The only
differences: the caller's random numbers are left alone, and base weights that the file repeats are compared and not
written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from peft import PeftModel
from torch import nn

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.errors import LoadMismatch
from skillwarrant_verify.loader.attach import attach_started, translated
from skillwarrant_verify.loader.match import matched
from skillwarrant_verify.loader.option_shapes import check_shown
from skillwarrant_verify.loader.peft_adapter import BaseState, base_of
from skillwarrant_verify.loader.peft_methods import fill, undisturbed
from skillwarrant_verify.loader.peft_slots import Placement, converted
from skillwarrant_verify.loader.peft_tensors import FileTensors, adapter_state, whole_logits
from skillwarrant_verify.loader.placed import Keywords, Placed
from skillwarrant_verify.loader.untouched import Untouched
from skillwarrant_verify.loader.weights import Weights, is_memory_of, same_bits

__all__ = ["place_through_peft"]


def place_through_peft(model: nn.Module, config: AdapterConfig, weights: Weights, keywords: Keywords) -> Placed:
    """Attach, fill and prove.

    Raises:
        LoadMismatch: configuration, weights and model do not belong together. The model is then half changed.
        Unavailable: not enough memory.
    """
    check_shown(config, {name: tensor.shape for name, tensor in weights.tensors.items()})
    adapter_name, low = keywords.adapter_name, keywords.low_cpu_mem_usage
    base = BaseState.of(base_of(model)).tensors
    before = Untouched.of(model, but={id(tensor) for tensor in base.values()} if config.changes_base else ())
    others = _others(model) if config.changes_base else {}
    with undisturbed():
        target = attach_started(model, config, keywords)
        with translated(low_cpu_mem_usage=low):
            wanted = FileTensors.of(target, adapter_name)
            signed = matched(target, wanted.all, weights)
            _check_shared(before, wanted.own, signed)
            device = next(iter(base.values())).device
            fill(target, {key: _given(tensor, device, low) for key, tensor in signed.items()}, keywords)
            held = FileTensors.held(target, adapter_name)
            live = adapter_state(target, adapter_name, held.own)
    _check_full(live)
    before.check()
    _check_others(target, others)
    exact = _prove(held.all, whole_logits(signed, held.own), {tensor.dtype for tensor in base.values()})
    return Placed(
        model=target,
        signed=signed,
        live=live,
        exact=exact & signed.keys() & live.keys(),
        views=sum(is_memory_of(live[key], signed[key]) for key in live.keys() & signed.keys()),
    )


def _given(tensor: torch.Tensor, device: torch.device, low_cpu_mem_usage: bool) -> torch.Tensor:
    """What PEFT gets: copies, where it may keep what it gets; else it writes the weights into its own."""
    return tensor.to(device, copy=low_cpu_mem_usage or not tensor.is_floating_point())


def _check_shared(
    before: Untouched, wanted: Mapping[str, torch.Tensor], signed: Mapping[str, torch.Tensor]
) -> None:
    """What a method keeps once for all adapters (VeRA's projections) must be in this file as it is on the model:
    PEFT would overwrite it for all of them."""
    shared = {id(tensor) for tensor in before.share(wanted.values())}
    for key, tensor in wanted.items():
        if id(tensor) in shared and not same_bits(converted(signed[key], _place(tensor, None)), tensor):
            raise LoadMismatch(
                "the adapter would overwrite a tensor that other adapters on the model use too",
                found=key,
                fix="Load it onto a model of its own.",
            )


def _others(model: nn.Module) -> dict[str, dict[str, int]]:
    """Which tensors each adapter has that is on the model already."""
    if not isinstance(model, PeftModel):
        return {}
    return {
        name: {key: id(tensor) for key, tensor in adapter_state(model, name).items()} for name in model.peft_config
    }


def _check_others(model: PeftModel, before: Mapping[str, Mapping[str, int]]) -> None:
    """Where layers are moved, an adapter's tensors may end up on others."""
    now = _others(model) if before else {}
    for name, tensors in before.items():
        if now[name] != tensors:
            raise LoadMismatch(
                "loading the adapter moved another one to other layers",
                found=name,
                fix="Load it onto a model of its own.",
            )


def _check_full(live: Mapping[str, torch.Tensor]) -> None:
    if empty := [name for name, tensor in live.items() if tensor.is_meta]:
        raise LoadMismatch(
            "PEFT leaves a tensor of this method empty with low_cpu_mem_usage",
            found=empty[0],
            fix="Try without low_cpu_mem_usage.",
        )


def _prove(
    live: Mapping[str, torch.Tensor], signed: Mapping[str, torch.Tensor], base_dtypes: Iterable[torch.dtype]
) -> frozenset[str]:
    """Look at the model again: each weight must be the signed one or the cast of it, rounded at most once to a
    dtype of the base on the way.

    Returns:
        The keys of those that are the signed ones to the bit.
    """
    if strange := sorted(live.keys() ^ signed.keys()):
        raise LoadMismatch("the weights on the model are not those of the file", found=strange[0])
    through = [dtype for dtype in base_dtypes if dtype.is_floating_point]
    exact = set()
    for key, tensor in live.items():
        if same_bits(tensor, converted(signed[key], _place(tensor, None))):
            exact.update([key] if tensor.dtype == signed[key].dtype else [])
        elif not any(same_bits(tensor, converted(signed[key], _place(tensor, dtype))) for dtype in through):
            raise LoadMismatch("a weight on the model is not the signed one", found=key)
    return frozenset(exact)


def _place(tensor: torch.Tensor, through: torch.dtype | None) -> Placement:
    rounded = through if tensor.is_floating_point() else None
    return Placement(tensor.device, tensor.dtype, rounded)
