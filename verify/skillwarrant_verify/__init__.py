"""The consumer's half: trust, signature and log, policy, the base model, loading, observing.

Importing this package imports next to nothing: its names are looked up when first used. A program that only reads a
policy needs neither torch nor sigstore, and every Python of an enforced host can afford it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skillwarrant_verify.activate import Gate
    from skillwarrant_verify.at_once import verify_and_load
    from skillwarrant_verify.context import Context
    from skillwarrant_verify.enforcing.enforcement import enforce
    from skillwarrant_verify.gate.recheck import CheckReport
    from skillwarrant_verify.identity import IdentityPattern
    from skillwarrant_verify.operators.operator_token import OperatorKeys, VerifiedOperator, verify_operator
    from skillwarrant_verify.policy import Policy
    from skillwarrant_verify.signed_policy.policy_source import ReloadingPolicy
    from skillwarrant_verify.signed_policy.policy_verify import SignedPolicy
    from skillwarrant_verify.signed_policy.revisions import RevisionStore
    from skillwarrant_verify.stack import Combination, LoadOptions, StackItem

__all__ = [
    "CheckReport",
    "Combination",
    "Context",
    "Gate",
    "IdentityPattern",
    "LoadOptions",
    "OperatorKeys",
    "Policy",
    "ReloadingPolicy",
    "RevisionStore",
    "SignedPolicy",
    "StackItem",
    "VerifiedOperator",
    "enforce",
    "verify_and_load",
    "verify_operator",
]

_HOMES = {
    "CheckReport": "gate.recheck",
    "Combination": "stack",
    "Context": "context",
    "Gate": "activate",
    "IdentityPattern": "identity",
    "LoadOptions": "stack",
    "OperatorKeys": "operators.operator_token",
    "Policy": "policy",
    "ReloadingPolicy": "signed_policy.policy_source",
    "RevisionStore": "signed_policy.revisions",
    "SignedPolicy": "signed_policy.policy_verify",
    "StackItem": "stack",
    "VerifiedOperator": "operators.operator_token",
    "enforce": "enforcing.enforcement",
    "verify_and_load": "at_once",
    "verify_operator": "operators.operator_token",
}

_LOADING = frozenset({"peft", "safetensors", "torch", "transformers"})


def __getattr__(name: str) -> object:
    """Raises Unavailable where loading is asked for and its packages are not installed."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _LOADING:
            raise
        from skillwarrant_format.errors import Unavailable

        raise Unavailable(
            "loading is not installed",
            expected="the packages of skillwarrant's load extra",
            found=f"no module {error.name}",
            fix="pip install 'skillwarrant[load]'",
        ) from error


if os.environ.get("SKILLWARRANT_ENFORCE"):
    from skillwarrant_verify.enforcing.enforcement import enforce_if_asked

    enforce_if_asked()
