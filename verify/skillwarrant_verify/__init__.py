"""The consumer's half: trust, signature and log, policy, the base model, loading, observing.

Importing this package imports neither torch nor sigstore: `verify_and_load` and `Gate` are looked up when first
used, so that a program which only reads a policy stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skillwarrant_verify.context import Context

if TYPE_CHECKING:
    from skillwarrant_verify.activate import Gate, LoadOptions, verify_and_load
    from skillwarrant_verify.policy import Policy

__all__ = ["Context", "Gate", "LoadOptions", "Policy", "verify_and_load"]

_HOMES = {
    "Gate": "activate",
    "LoadOptions": "activate",
    "Policy": "policy",
    "verify_and_load": "activate",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
