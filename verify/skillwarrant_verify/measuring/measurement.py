"""A base model, measured: `take` hashes every tensor of it, under the names and ties that files have.

It keeps no model, and decides nothing about using a measurement again: that is `base`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from skillwarrant_format.base_facts import BaseFacts, most_common_dtype, quantization_of
from skillwarrant_format.errors import Unavailable
from skillwarrant_format.fingerprint import Fingerprint, TensorDigest, root
from skillwarrant_format.hashing import Progress, Source, hash_all
from skillwarrant_format.ties import canonical
from skillwarrant_verify.loader.peft_adapter import BaseState, base_of
from skillwarrant_verify.measuring.alterations import alterations
from skillwarrant_verify.measuring.tensor_bytes import chunks, code_of, require_readable
from skillwarrant_verify.measuring.witness import Blocks, Evidence

__all__ = ["Measurement", "take"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A measured base model. Only `take` makes one.

    Args:
        fingerprint: over the persistent state; this is what is compared with the manifest.
        buffers: the same scheme over the buffers that no file holds, or None where there is none.
        tensors: what `fingerprint` is the root of, sorted by name.
        facts: what the model says of itself.
        alterations: hooks, patched methods and adapters, each `kind: place`, sorted; see `alterations`.
        evidence: what tells whether the model is still the one that was measured.
    """

    fingerprint: Fingerprint
    buffers: Fingerprint | None
    tensors: tuple[TensorDigest, ...]
    facts: BaseFacts
    alterations: tuple[str, ...]
    evidence: Evidence = field(repr=False, compare=False)

    def still_holds(self, model: nn.Module, *, sampled: bool = False) -> bool:
        """Whether every tensor of the base is the very one that was measured, and no write to it is seen.

        Args:
            sampled: hash some blocks again, drawn anew; a measurement that kept no blocks then does not hold.
        """
        return self.evidence.holds(_live(BaseState.of(base_of(model))), sampled=sampled)


def take(model: nn.Module, *, blocks: bool = False, progress: Progress | None = None) -> Measurement:
    """Hash the base of a model.

    Args:
        blocks: keep what `Measurement.still_holds(sampled=True)` needs.

    Raises:
        Unavailable: as `base.measure`.
    """
    base = base_of(model)
    state = BaseState.of(base)
    live = _live(state)
    for name, tensor in live.items():
        require_readable(name, tensor)
    kept = Blocks() if blocks else None
    evidence = Evidence.of(live, _live(BaseState.of(base)), kept)
    counted = {**_without_ties(base, state.tensors), **_computed(state)}
    digests = _digests(counted, kept, progress)
    if not evidence.holds(_live(BaseState.of(base))):
        raise Unavailable("the model changed while it was measured", fix="Measure when nothing trains or edits it.")
    tensors = canonical(tensor for name, tensor in digests.items() if name in state.tensors)
    buffers = [tensor for name, tensor in digests.items() if name not in state.tensors]
    return Measurement(
        fingerprint=root(tensors),
        buffers=root(buffers) if buffers else None,
        tensors=tensors,
        facts=_facts(base, tensors),
        alterations=alterations(model),
        evidence=evidence,
    )


def _live(state: BaseState) -> dict[str, torch.Tensor]:
    return {**state.tensors, **_computed(state)}


def _computed(state: BaseState) -> dict[str, torch.Tensor]:
    return {f"{name} (computed)": tensor for name, tensor in state.buffers.items()}


def _without_ties(base: nn.Module, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each storage once, under the name that `save_pretrained` would write: the source of a tie, not its target."""
    targets = set(getattr(base, "all_tied_weights_keys", None) or ())
    chosen: dict[tuple[Any, ...], str] = {}
    for name in sorted(tensors, key=lambda name: (name in targets, name)):
        tensor = tensors[name]
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.device)
        chosen.setdefault(place if tensor.numel() else (name,), name)
    return {name: tensors[name] for name in chosen.values()}


def _digests(
    tensors: Mapping[str, torch.Tensor], blocks: Blocks | None, progress: Progress | None
) -> dict[str, TensorDigest]:
    digests = hash_all([_source(name, tensor, blocks) for name, tensor in tensors.items()], progress)
    return {
        name: TensorDigest(name=name, dtype=code_of(tensor.dtype) or "", shape=tuple(tensor.shape), digest=digest)
        for (name, tensor), digest in zip(tensors.items(), digests, strict=True)
    }


def _source(name: str, tensor: torch.Tensor, blocks: Blocks | None) -> Source:
    plain = tensor.detach()

    def read() -> Iterable[memoryview]:
        return chunks(plain) if blocks is None else blocks.tap(name, chunks(plain))

    return Source(size=plain.numel() * plain.element_size(), chunks=read)


def _facts(base: nn.Module, tensors: tuple[TensorDigest, ...]) -> BaseFacts:
    config = getattr(base, "config", None)
    model_type = getattr(config, "model_type", None)
    quantized = getattr(config, "quantization_config", None)
    if quantized is not None and not isinstance(quantized, Mapping):
        quantized = quantized.to_dict()
    return BaseFacts(
        architecture=type(base).__name__,
        parameters=sum(tensor.parameters for tensor in tensors),
        dtype=most_common_dtype(tensors),
        model_type=model_type if isinstance(model_type, str) and model_type else None,
        quantization=quantization_of(quantized) if isinstance(quantized, Mapping) else None,
    )
