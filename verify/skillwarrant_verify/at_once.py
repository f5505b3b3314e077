"""`verify_and_load`: the whole gate in one call, for whoever has one model, one adapter and one policy.

It makes a `Gate` (`activate`) for one activation, and decides nothing itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from skillwarrant_audit.recorder import Recorder
from skillwarrant_verify import trust
from skillwarrant_verify.activate import Gate
from skillwarrant_verify.arguments import path_of
from skillwarrant_verify.context import Context
from skillwarrant_verify.defaults import default_log_directory
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.proof.fetch import AdapterSource, BundleSource, check_sources
from skillwarrant_verify.signed_policy.policy_place import refuse_inside
from skillwarrant_verify.signed_policy.policy_source import PolicyGiven, check_policy
from skillwarrant_verify.signed_policy.policy_verify import SignedPolicy
from skillwarrant_verify.stack import LoadOptions

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

    from skillwarrant_verify.trust import TrustRoot

__all__ = ["verify_and_load"]


def verify_and_load(
    model: torch.nn.Module,
    adapter: AdapterSource,
    *,
    policy: PolicyGiven | str | os.PathLike[str],
    context: Context,
    manifest: BundleSource | None = None,
    evidence: Sequence[BundleSource] = (),
    trust_root: TrustRoot | None = None,
    log: Path | None = None,
    adapter_name: str = "default",
    is_trainable: bool = False,
    torch_device: str | None = None,
    autocast_adapter_dtype: bool = True,
    low_cpu_mem_usage: bool = False,
) -> PeftModel:
    """Load an adapter if, and only if, it is warranted for this base model, here and now.

    Args:
        model: the base model in memory, or a `PeftModel` that gets a further adapter.
        adapter: directory of the adapter, or a `Snapshot` of it.
        policy: what is demanded: a `Policy`, the path of one, or a `SignedPolicy`, which says whose it must be. It
            never comes from inside the adapter.
        context: where the adapter is to be used.
        manifest: the bundle, where it is not `skillwarrant.sigstore.json` beside the adapter.
        evidence: bundles of further attestations about the adapter, for a policy that asks for them.
        trust_root: whose signatures count; the public Sigstore instance's root, as shipped, by default.
        log: directory of the activation log; `$SKILLWARRANT_LOG`, else the user's state directory, by default.
        adapter_name, is_trainable, torch_device, autocast_adapter_dtype, low_cpu_mem_usage: as in PEFT's
            `PeftModel.from_pretrained`.

    Returns:
        The model with the adapter on it, loaded from the very bytes that were verified. A first adapter is active;
        on a `PeftModel` the one that was active stays so, as with PEFT's `load_adapter`.

    Raises:
        VerificationError, FormatError, PolicyDenied: refused; the model is as it was.
        TrustError, Unavailable: it could not be checked; the model is as it was.
        AuditError: the record could not be written, so nothing was activated.
    """
    options = LoadOptions(
        adapter_name=adapter_name,
        is_trainable=is_trainable,
        torch_device=torch_device,
        autocast_adapter_dtype=autocast_adapter_dtype,
        low_cpu_mem_usage=low_cpu_mem_usage,
    )
    check_sources(adapter, manifest, evidence)
    demanded = _policy_of(policy, adapter)
    gate = Gate(
        policy=demanded,
        trust_root=trust.public_good() if trust_root is None else trust_root,
        recorder=Recorder.open(default_log_directory() if log is None else path_of("log", log)),
    )
    return gate.activate(model, adapter, context=context, manifest=manifest, evidence=evidence, options=options)


def _policy_of(policy: PolicyGiven | str | os.PathLike[str], adapter: AdapterSource) -> PolicyGiven:
    """Raises PolicyRefused for one that lies inside the adapter, UsageError for what is none."""
    if isinstance(policy, str | os.PathLike):
        path = path_of("the policy", policy)
        refuse_inside(path, adapter)
        return Policy.load(path)
    if isinstance(policy, SignedPolicy):
        refuse_inside(policy.path, adapter)
    check_policy(policy)
    return policy
