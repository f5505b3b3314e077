"""The base model that is really in memory, measured: names and labels prove nothing.

The same fingerprint as `skillwarrant_format.base_directory` takes from files, over the live tensors, with adapters
attached or not. A measurement is kept for each live model; how strictly it is held against the model before it is
given again is the caller's choice:

    every-load     nothing is given again: everything is hashed
    once-verified  the tensors are the same objects in the same place, torch counted no write, fixed bytes agree
    sampled        the same, and blocks drawn anew each time hash to what they did

docs/explanation/measuring.md says what each of them costs and does not see. No measurement of tensors sees the code
that uses them: `alterations` names the hooks and patched methods that can be seen, and is looked at every time.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, get_args

from torch import nn

from skillwarrant_format.errors import UsageError
from skillwarrant_verify.loader.peft_adapter import base_of
from skillwarrant_verify.measuring.alterations import alterations
from skillwarrant_verify.measuring.measurement import Measurement, take
from skillwarrant_verify.policy import Measure

if TYPE_CHECKING:
    from skillwarrant_format.hashing import Progress

__all__ = ["Measurement", "exclusive", "measure"]

_KEPT: Final[weakref.WeakKeyDictionary[nn.Module, Measurement]] = weakref.WeakKeyDictionary()
_LOCKS: Final[weakref.WeakKeyDictionary[nn.Module, threading.RLock]] = weakref.WeakKeyDictionary()
_GUARD: Final = threading.Lock()


def measure(model: nn.Module, *, reuse: Measure = "every-load", progress: Progress | None = None) -> Measurement:
    """Measure the base model in memory, on any device, without copying it.

    Args:
        model: the model, or a `PeftModel` around it: adapters are no part of the measurement.
        reuse: how strictly the last measurement of this very model is checked before it is given again.
        progress: told (bytes hashed, bytes in total).

    Raises:
        UsageError: not a torch module, or an unknown word for `reuse`.
        Unavailable: weights that are not in memory (meta, offloaded), whose bytes cannot be read as they are
            (sharded or wrapped tensors), that the model's state does not show, or that changed meanwhile.
    """
    if reuse not in get_args(Measure):
        raise UsageError("unknown strictness", expected=" or ".join(get_args(Measure)), found=str(reuse))
    with exclusive(model):
        base, sampled = base_of(model), reuse == "sampled"
        with _GUARD:
            kept = _KEPT.get(base)
        if reuse != "every-load" and kept is not None and kept.still_holds(model, sampled=sampled):
            return _as_altered(kept, alterations(model))
        kept = take(model, blocks=sampled, progress=progress)
        with _GUARD:
            _KEPT[base] = kept
        return kept


def _as_altered(kept: Measurement, found: tuple[str, ...]) -> Measurement:
    return kept if found == kept.alterations else replace(kept, alterations=found)


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
