"""Load an adapter through PEFT from verified bytes, never from a path, and prove what got onto the model.

    parse the configuration -> measure the file's tensors -> attach the method's layers
        -> compare what they want with what the file has -> put the signed tensors in place -> prove that they are

The result is that of `PeftModel.from_pretrained` with the same keywords, bit by bit, except that no random numbers
are drawn from torch's generator, and that base weights in the file are compared and never written (PEFT's
`low_cpu_mem_usage` unties embeddings with them). Whatever fails, the model is put back as it was.

A configuration that changes the base (PiSSA, biases) is loaded like any other: whether it may be is for a policy to
say, before. To be able to take it back, all of the base is then copied while loading, and what was overwritten in
place is kept as long as its `Loaded`.

It opens no passage: where the gate is enforced, only the gate can call it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from peft import PeftModel
from torch import nn

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.errors import LoadMismatch
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_verify.base import exclusive
from skillwarrant_verify.loader.attach import check_receiver
from skillwarrant_verify.loader.by_view import is_plain, place_by_view
from skillwarrant_verify.loader.patterns import check_patterns, has_patterns
from skillwarrant_verify.loader.peft_adapter import BaseState, base_of
from skillwarrant_verify.loader.peft_options import check_options, matched_names
from skillwarrant_verify.loader.placed import Keywords, Placed
from skillwarrant_verify.loader.rollback import Journal
from skillwarrant_verify.loader.seal import AdapterSeal
from skillwarrant_verify.loader.through_peft import place_through_peft
from skillwarrant_verify.loader.weights import Weights, all_finite, same_bits

__all__ = ["Loaded", "load", "parse_config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An adapter on a model, proved to be the verified one.

    Args:
        model: the PeftModel: the same object as before, where it got a further adapter.
        config: what the adapter's configuration says.
        tensors: how many tensors the adapter's file has on the model.
        views: how many of them are the verified memory itself; the others are casts or copies, compared bit by bit.
        changed_base: the method changed weights of the base, or their number; its configuration says so.
        seal: tells later whether the adapter is still this one.
    """

    model: PeftModel = field(repr=False)
    adapter_name: str
    config: AdapterConfig
    tensors: int
    views: int
    changed_base: bool
    seal: AdapterSeal = field(repr=False)
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
        FormatError: it is not strict JSON, or has an option or a value that this version does not load.
        Unavailable: PEFT needs a package for this method that is not installed.
    """
    config = AdapterConfig.parse(snapshot.config.data)
    check_options(config)
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
    signed: Fingerprint | None = None,
    allow_non_finite: bool = False,
    undo: list[Callable[[], None]] | None = None,
) -> Loaded:
    """Put a verified adapter onto a model.

    Args:
        model: a base model, or a `PeftModel` that gets a further adapter, which is not made active.
        snapshot: files whose digests the caller has compared with the signed ones.
        is_trainable: weights are then copies, since training writes to them.
        torch_device: in PEFT, the device on which a file's weights are read before they go to that of their layer;
            here they go there at once, and it makes no difference.
        adapter_name, autocast_adapter_dtype, low_cpu_mem_usage: as in PEFT's `PeftModel.from_pretrained`.
        signed: what the adapter's tensors must measure together, on the model.
        allow_non_finite: accept NaN and infinities among them.
        undo: gets what makes the model what it was, before anything is done to it: who is interrupted between this
            function's end and the next step has it then.

    Raises:
        FilesMismatch, FormatError: the files are no adapter that this version loads.
        LoadMismatch: configuration, weights and model do not belong together.
        UsageError: the name is taken or not usable, or the model carries adapters without being a `PeftModel`.
        Unavailable: the model is not in memory, or the memory does not suffice.
    """
    config = parse_config(snapshot)
    weights = Weights.of(snapshot.weights, signed=signed, allow_non_finite=allow_non_finite)
    keywords = Keywords(
        adapter_name=adapter_name,
        is_trainable=is_trainable,
        autocast_adapter_dtype=autocast_adapter_dtype,
        low_cpu_mem_usage=low_cpu_mem_usage,
    )
    with exclusive(model):
        check_receiver(model, config, adapter_name, is_trainable=is_trainable)
        check_patterns(config, matched_names(base_of(model)) if has_patterns(config) else ())
        base = BaseState.of(base_of(model)).tensors if config.changes_base else {}
        journal = Journal.of(model, contents=base.values())
        if undo is not None:
            undo.append(journal.restore)
        try:
            placed = _placed(model, config, weights, keywords, journal)
            if not allow_non_finite:
                _check_casts(placed)
            if not is_trainable:
                placed.model.eval()
            known = {key: weights.digests[key] for key in placed.exact}
            seal = AdapterSeal.of(placed.model, adapter_name, placed.live, known)
            changed_base = journal.keep_changed() | _replaced(base, placed.model)
        except BaseException:
            journal.restore()
            raise
    return Loaded(
        model=placed.model,
        adapter_name=adapter_name,
        config=config,
        tensors=len(placed.signed),
        views=placed.views,
        changed_base=changed_base,
        seal=seal,
        _receiver=model,
        _journal=journal,
    )


def _placed(
    model: nn.Module, config: AdapterConfig, weights: Weights, keywords: Keywords, journal: Journal
) -> Placed:
    """The fast way where it is known to give the same, else PEFT's own."""
    if is_plain(config):
        placed = place_by_view(model, config, weights, keywords)
        if placed is not None:
            return placed
        journal.restore()
    return place_through_peft(model, config, weights, keywords)


def _check_casts(placed: Placed) -> None:
    """What is finite in the file may be beyond what the model's own type can hold."""
    for key in sorted((placed.live.keys() & placed.signed.keys()) - placed.exact):
        if not all_finite(placed.live[key]):
            raise LoadMismatch(
                "a weight is NaN or infinite in the type that this model has",
                expected="values that survive the cast",
                found=f"{key}: {placed.live[key].dtype}",
                fix="If the method gives it a meaning, name non-finite in the policy's allow_hazards.",
            )


def _replaced(before: Mapping[str, torch.Tensor], model: nn.Module) -> bool:
    """Whether a base that its adapter may change has other tensors now, or more of them."""
    if not before:
        return False
    now = BaseState.of(base_of(model)).tensors
    return now.keys() != before.keys() or any(
        now[name] is not tensor and not same_bits(now[name], tensor) for name, tensor in before.items()
    )
