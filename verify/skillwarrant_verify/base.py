"""The base model that is really in memory, measured: names and labels prove nothing.

The same fingerprint as `skillwarrant_format.base_directory` takes from files, over the live tensors, with adapters
attached or not. Measuring again is cheap while nothing was touched: a measurement remembers each tensor's identity,
address, version counter and a few sampled elements, and `still_holds` compares those.

Torch does not count writes through `.data` (PEFT merges adapters so), through a raw pointer or by another process.
Such a write is seen only where it meets a sample: an accident will, an attack need not. Where that matters, measure
in full each time, as a policy does by default (`measure = "every-load"`). No measurement of tensors sees the code
that uses them: `alterations` names the hooks and patched methods that can be seen.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

import torch
from torch import nn

from skillwarrant_format import limits
from skillwarrant_format.base_facts import BaseFacts, most_common_dtype
from skillwarrant_format.errors import Unavailable, UsageError
from skillwarrant_format.fingerprint import TORCH_NAMES, Fingerprint, TensorDigest, root
from skillwarrant_format.hashing import Progress, Source, hash_all
from skillwarrant_format.ties import canonical
from skillwarrant_verify.peft_adapter import BaseState, alterations, base_of

__all__ = ["Measurement", "exclusive", "measure"]

Measure = Literal["every-load", "once-verified", "sampled"]

_CODES: Final = {name: code for code, name in TORCH_NAMES.items() if code != "F4"}
_KEPT: weakref.WeakKeyDictionary[nn.Module, Measurement] = weakref.WeakKeyDictionary()
_LOCKS: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
_GUARD: Final = threading.Lock()
_SAMPLE: Final = 64  # bytes, or elements where a tensor must be copied to be seen


@dataclass(frozen=True, slots=True)
class _Witness:
    """What is remembered of one tensor, to tell cheaply whether it is the same and untouched."""

    tensor: weakref.ref[torch.Tensor]
    version: int
    address: int
    layout: tuple[Any, ...]
    sample: bytes

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Self:
        layout = (tensor.dtype, tensor.shape, tensor.stride(), tensor.device)
        return cls(weakref.ref(tensor), tensor._version, tensor.data_ptr(), layout, _sample(tensor.detach()))

    def holds(self, tensor: torch.Tensor) -> bool:
        return self.tensor() is tensor and self == _Witness.of(tensor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A measured base model. Only `measure` makes one.

    Args:
        fingerprint: over the persistent state; this is what is compared with the manifest.
        buffers: the same scheme over the buffers that no file holds, or None where there is none.
        tensors: what `fingerprint` is the root of, sorted by name.
        facts: what the model says of itself.
        alterations: hooks, patched forwards and attached adapters, sorted.
    """

    fingerprint: Fingerprint
    buffers: Fingerprint | None
    tensors: tuple[TensorDigest, ...]
    facts: BaseFacts
    alterations: tuple[str, ...]
    _witness: Mapping[str, _Witness] = field(repr=False, compare=False)

    def still_holds(self, model: nn.Module) -> bool:
        """Whether every tensor of the base is the very one that was measured, and torch saw no write to it."""
        return self._holds(BaseState.of(base_of(model)))

    def _holds(self, state: BaseState) -> bool:
        live = _live(state)
        return live.keys() == self._witness.keys() and _untouched(self._witness, live)


def measure(
    model: nn.Module, *, reuse: Measure = "every-load", progress: Progress | None = None
) -> Measurement:
    """Measure the base model in memory, on any device, without copying it.

    Args:
        model: the model, or a `PeftModel` around it: adapters are no part of the measurement.
        reuse: whether the last measurement of this very model may be given again, if it still holds.
        progress: told (bytes hashed, bytes in total).

    Raises:
        UsageError: not a torch module.
        Unavailable: weights that are not in memory (meta, offloaded), whose bytes cannot be read as they are
            (sharded or wrapped tensors), or that changed during the measurement.
    """
    with exclusive(model):
        base = base_of(model)
        state = BaseState.of(base)
        kept = None if reuse == "every-load" else _KEPT.get(base)
        if kept is None or not kept._holds(state):
            kept = _measure(base, state, progress)
            with _GUARD:
                _KEPT[base] = kept
        return kept


@contextmanager
def exclusive(model: nn.Module) -> Iterator[None]:
    """Nobody else measures or loads onto this base model meanwhile; the same thread may enter again.

    Raises:
        UsageError: not a torch module, or a compiled one, whose tensors go by other names.
    """
    if not isinstance(model, nn.Module):
        raise UsageError("not a model", expected="a torch.nn.Module", found=type(model).__name__)
    if hasattr(model, "_orig_mod"):
        raise UsageError(
            "the model is compiled already",
            found=type(model).__name__,
            fix="Pass it first, and compile what you get.",
        )
    with _GUARD:
        lock = _LOCKS.setdefault(base_of(model), threading.RLock())
    with lock:
        yield


def _live(state: BaseState) -> dict[str, torch.Tensor]:
    return {**state.tensors, **{f"{name} (computed)": tensor for name, tensor in state.buffers.items()}}


def _measure(base: nn.Module, state: BaseState, progress: Progress | None) -> Measurement:
    live = _live(state)
    for name, tensor in live.items():
        _check_readable(name, tensor)
    # Quantised layers make some of their state anew each time: there is nothing to hold it against later.
    again = _live(BaseState.of(base))
    witness = {name: _Witness.of(tensor) for name, tensor in live.items() if again.get(name) is tensor}
    untied = _without_ties(base, state.tensors)
    digests = _digests(
        {**untied, **{f"{name} (computed)": state.buffers[name] for name in state.buffers}}, progress
    )
    tensors = canonical(tensor for name, tensor in digests.items() if name in untied)
    buffers = [tensor for name, tensor in digests.items() if name not in untied]
    if not _untouched(witness, _live(BaseState.of(base))):
        raise Unavailable("the model changed while it was measured", fix="Measure when nothing trains or edits it.")
    return Measurement(
        fingerprint=root(tensors),
        buffers=root(buffers) if buffers else None,
        tensors=tensors,
        facts=_facts(base, tensors),
        alterations=alterations(base),
        _witness=witness,
    )


def _untouched(witnesses: Mapping[str, _Witness], live: Mapping[str, torch.Tensor]) -> bool:
    return all(name in live and witness.holds(live[name]) for name, witness in witnesses.items())


def _check_readable(name: str, tensor: torch.Tensor) -> None:
    why = None
    if tensor.is_inference():
        why = "it was made in torch.inference_mode, where torch sees no writes; make it outside"
    elif tensor.device.type == "meta":
        why = "it is not in memory (meta device: offloaded or never loaded)"
    elif type(tensor.data) is not torch.Tensor or tensor.layout is not torch.strided:
        why = f"it is a {type(tensor.data).__name__} of layout {tensor.layout}"
    elif _name_of(tensor.dtype) not in _CODES:
        why = f"its dtype {tensor.dtype} has no name in safetensors"
    if why is not None:
        raise Unavailable(
            "the base model could not be measured", found=f"{name}: {why}", fix="Load the whole model into memory."
        )


def _without_ties(base: nn.Module, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each storage once, under the name that `save_pretrained` would write: the source of a tie, not its target."""
    targets = set(getattr(base, "all_tied_weights_keys", None) or ())
    chosen: dict[tuple[Any, ...], str] = {}
    for name in sorted(tensors, key=lambda name: (name in targets, name)):
        tensor = tensors[name]
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.device)
        chosen.setdefault(place if tensor.numel() else (name,), name)
    return {name: tensors[name] for name in chosen.values()}


def _digests(tensors: Mapping[str, torch.Tensor], progress: Progress | None) -> dict[str, TensorDigest]:
    digests = hash_all([_source(tensor) for tensor in tensors.values()], progress)
    return {
        name: TensorDigest(
            name=name, dtype=_CODES[_name_of(tensor.dtype)], shape=tuple(tensor.shape), digest=digest
        )
        for (name, tensor), digest in zip(tensors.items(), digests, strict=True)
    }


def _source(tensor: torch.Tensor) -> Source:
    plain = tensor.detach()
    return Source(size=plain.numel() * plain.element_size(), chunks=lambda: _chunks(plain))


def _chunks(tensor: torch.Tensor) -> Iterator[memoryview]:
    """A tensor's elements in row-major order; only what is not laid out like that, or not here, is copied."""
    if tensor.numel() == 0:
        return
    if tensor.device.type == "cpu" and tensor.is_contiguous() and not (tensor.is_conj() or tensor.is_neg()):
        yield _bytes(tensor)
        return
    row = tensor[:1].numel() * tensor.element_size() if tensor.dim() else tensor.element_size()
    step = max(1, limits.READ_CHUNK // row)
    for part in torch.split(tensor, step) if tensor.dim() else (tensor,):
        yield _bytes(part.resolve_conj().resolve_neg().contiguous().cpu())


def _sample(tensor: torch.Tensor) -> bytes:
    """A few elements from the beginning, the middle and the end."""
    if tensor.device.type == "cpu" and tensor.is_contiguous():
        view = _bytes(tensor)
        middle = len(view) // 2
        return bytes(view[:_SAMPLE]) + bytes(view[middle : middle + _SAMPLE]) + bytes(view[-_SAMPLE:])
    rows = tensor.reshape(1, -1) if tensor.dim() < 2 else tensor
    parts = [rows[index].reshape(-1)[:_SAMPLE] for index in (0, len(rows) // 2, -1)] if tensor.numel() else []
    return b"".join(bytes(_bytes(part.contiguous().cpu())) for part in parts)


def _bytes(tensor: torch.Tensor) -> memoryview:
    flat = tensor.reshape(-1).view(torch.uint8).numpy()
    return memoryview(flat)  # type: ignore[arg-type]  # numpy 2.4 hides the buffer protocol from Python < 3.12


def _facts(base: nn.Module, tensors: tuple[TensorDigest, ...]) -> BaseFacts:
    config = getattr(base, "config", None)
    model_type = getattr(config, "model_type", None)
    quantized = getattr(config, "quantization_config", None)
    method = (
        quantized.get("quant_method") if isinstance(quantized, dict) else getattr(quantized, "quant_method", None)
    )
    return BaseFacts(
        architecture=type(base).__name__,
        parameters=sum(tensor.parameters for tensor in tensors),
        dtype=most_common_dtype(tensors),
        model_type=model_type if isinstance(model_type, str) and model_type else None,
        quantization=None if quantized is None else str(getattr(method, "value", method) or "unknown"),
    )


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
