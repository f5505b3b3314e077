"""Load an adapter through PEFT from verified bytes, never from a path, and prove what got onto the model.

    parse the configuration -> attach empty layers -> compare what they want with what the file has
        -> put the signed tensors in place -> prove that they are there

PEFT writes whatever keys a file has (another adapter's, the base model's) and makes up what it has not. So nothing
is written before the file's keys and shapes are exactly those that the configuration implies. The parameters then
are views of the very buffer that was hashed, wherever dtype, device and alignment allow, so that "the live weights
are the signed bytes" is a comparison of pointers; elsewhere every bit is compared with the cast of the signed.

The result is that of `PeftModel.from_pretrained` with the same keywords, bit by bit, except that no random numbers
are drawn from torch's generator, and that base weights in the file are compared and never written (PEFT's
`low_cpu_mem_usage` unties embeddings with them). Whatever fails, the model is put back as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from peft import PeftModel
from torch import nn

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.errors import FormatError, LoadMismatch, Unavailable
from skillwarrant_format.snapshot import WEIGHTS_NAME, Snapshot
from skillwarrant_verify.attach import attach, check_receiver
from skillwarrant_verify.base import exclusive
from skillwarrant_verify.lora_config import check_lora
from skillwarrant_verify.peft_adapter import Placement, Slot, adapter_tensors, base_keys, converted, slots
from skillwarrant_verify.rollback import Journal
from skillwarrant_verify.weights import Weights, is_memory_of, owned, same_bits

__all__ = ["Loaded", "load", "parse_config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An adapter on a model, proved to be the verified one.

    Args:
        model: the PeftModel: the same object as before, where it got a further adapter.
        config: what the adapter's configuration says.
        tensors: how many tensors the adapter has.
        views: how many of them are the verified memory itself; the others are casts or copies, compared bit by bit.
    """

    model: PeftModel
    adapter_name: str
    config: AdapterConfig
    tensors: int
    views: int
    _receiver: nn.Module = field(repr=False, compare=False)
    _journal: Journal = field(repr=False, compare=False)

    def undo(self) -> None:
        """Make the model what it was before `load`. Only while nothing else has changed it since."""
        with exclusive(self._receiver):
            self._journal.restore()


def parse_config(snapshot: Snapshot) -> AdapterConfig:
    """The adapter's configuration, if this version can load it.

    Raises:
        FilesMismatch: there is none.
        FormatError: it is not strict JSON, not LoRA, or has an option or a value that this version does not load.
    """
    config = AdapterConfig.parse(snapshot.config.data)
    if config.peft_type != "LORA":
        raise FormatError(
            "this version loads LoRA adapters only",
            expected="peft_type LORA",
            found=config.peft_type,
            fix="Nothing of it was loaded; other methods come with a later version.",
        )
    check_lora(config.raw)
    return config


def load(
    model: nn.Module,
    snapshot: Snapshot,
    *,
    adapter_name: str = "default",
    is_trainable: bool = False,
    torch_device: str | None = None,  # noqa: ARG001  # kept for the sake of PEFT's signature, see below
    autocast_adapter_dtype: bool = True,
    low_cpu_mem_usage: bool = False,
) -> Loaded:
    """Put a verified adapter onto a model.

    Args:
        model: a base model, or a `PeftModel` that gets a further adapter, which is not made active.
        snapshot: files whose digests the caller has compared with the signed ones.
        is_trainable: weights are then copies, since training writes to them.
        torch_device: in PEFT, the device on which a file's weights are read before they go to that of their layer;
            here they go there at once, and it makes no difference.
        adapter_name, autocast_adapter_dtype, low_cpu_mem_usage: as in PEFT's `PeftModel.from_pretrained`.

    Raises:
        FilesMismatch, FormatError: the files are no adapter that this version loads.
        LoadMismatch: configuration, weights and model do not belong together.
        UsageError: the name is taken or not usable, or the model carries adapters without being a `PeftModel`.
        Unavailable: the model is not in memory, or the memory does not suffice.
    """
    config = parse_config(snapshot)
    weights = Weights.of(snapshot.weights)
    with exclusive(model):
        check_receiver(model, adapter_name)
        journal = Journal.of(model)
        try:
            target = attach(model, config, adapter_name, is_trainable=is_trainable)
            empty = adapter_tensors(target, adapter_name)
            signed = _matched(target, empty, weights)
            places = slots(
                target, empty, autocast_adapter_dtype=autocast_adapter_dtype, low_cpu_mem_usage=low_cpu_mem_usage
            )
            _put(places, signed, writable=is_trainable)
            views = _prove(places, signed)
            if not is_trainable:
                target.eval()
        except BaseException:
            journal.restore()
            raise
    return Loaded(
        model=target,
        adapter_name=adapter_name,
        config=config,
        tensors=len(signed),
        views=views,
        _receiver=model,
        _journal=journal,
    )


def _matched(model: PeftModel, empty: Mapping[str, torch.Tensor], weights: Weights) -> dict[str, torch.Tensor]:
    """The file's tensors that go onto the model: exactly those that the attached layers want."""
    if missing := sorted(empty.keys() - weights.tensors.keys()):
        raise _mismatch("lacks a tensor that its configuration implies", missing)
    _check_repeated(model, {key: weights.tensors[key] for key in weights.tensors.keys() - empty.keys()})
    for key, parameter in empty.items():
        if parameter.shape != weights.tensors[key].shape:
            raise LoadMismatch(
                f"{WEIGHTS_NAME} has a tensor of another shape than this model and the configuration imply",
                expected=str(list(parameter.shape)),
                found=f"{key}: {list(weights.tensors[key].shape)}",
            )
    return {key: weights.tensors[key] for key in empty}


def _check_repeated(model: PeftModel, others: Mapping[str, torch.Tensor]) -> None:
    """PEFT saves some weights of the base along (embeddings, biases). They are accepted where they are the base's
    own, bit by bit, and never written."""
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
                fix="An adapter may add to its base and change nothing of it: train it with bias='none' and without"
                " resizing the embeddings.",
            )


def _mismatch(what: str, keys: list[str]) -> LoadMismatch:
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return LoadMismatch(
        f"{WEIGHTS_NAME} {what}",
        found=f"{keys[0]}{more}",
        fix="It was made for another model, or with another configuration: get it again from its publisher.",
    )


def _put(places: Iterable[Slot], signed: Mapping[str, torch.Tensor], *, writable: bool) -> None:
    """Replace each empty parameter by the signed tensor, as PEFT would hold it."""
    try:
        for slot in places:
            tensor = owned(converted(signed[slot.key], slot.place), signed[slot.key], writable=writable)
            setattr(slot.module, slot.name, nn.Parameter(tensor, requires_grad=slot.parameter.requires_grad))
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise Unavailable("not enough memory for the adapter", found=str(error)) from error


def _prove(places: Iterable[Slot], signed: Mapping[str, torch.Tensor]) -> int:
    """Look at the model again: each weight must be the signed memory, or the cast of it. Counts the former."""
    views = 0
    for slot in places:
        if is_memory_of(slot.parameter, signed[slot.key]):
            views += 1
        elif not same_bits(slot.parameter, converted(signed[slot.key], slot.place)):
            raise LoadMismatch("a weight on the model is not the signed one", found=slot.key)
    return views
