"""Which adapters are on a live model, and the manifest of each that came through a gate of this process."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Final

from skillwarrant_format.manifest import SkillManifest
from skillwarrant_verify.composition import Companion
from skillwarrant_verify.peft_adapter import adapter_names, base_of

__all__ = ["companions_of", "remember"]

_LOADED: Final[weakref.WeakKeyDictionary[Any, dict[str, SkillManifest]]] = weakref.WeakKeyDictionary()
_GUARD: Final = threading.Lock()


def companions_of(model: Any) -> tuple[Companion, ...]:
    """Every adapter on a model, sorted by name."""
    with _GUARD:
        known = dict(_LOADED.get(base_of(model), {}))
    return tuple(Companion(adapter_name=name, manifest=known.get(name)) for name in sorted(adapter_names(model)))


def remember(model: Any, adapter_name: str, manifest: SkillManifest) -> None:
    """An adapter was put onto a model; one of this name that was there before is gone."""
    with _GUARD:
        _LOADED.setdefault(base_of(model), {})[adapter_name] = manifest
