"""The gate. Read this module from top to bottom and you have read the product.

    fetch -> signature.verify -> base.measure -> decide -> require() -> intent on disk -> load -> measure again
          -> activated on disk

Each step takes the result of the step before, so a forgotten step does not type-check. Whatever stops it becomes
a signed observation before the caller hears of it, and nothing is loaded whose intent is not durable. A stack is
one activation of several adapters: all of them or none. What the gate put on, it can mix, merge, take off and
measure again, by the same rules and on the same record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from skillwarrant_audit.recorder import Recorder
from skillwarrant_verify import base
from skillwarrant_verify.arguments import check_kind
from skillwarrant_verify.context import Context
from skillwarrant_verify.defaults import telling_time, utc_now
from skillwarrant_verify.gate.charter import Charter, Clock
from skillwarrant_verify.gate.judge import judge_newcomers
from skillwarrant_verify.gate.loading import intend, put_on
from skillwarrant_verify.gate.merging import merge_and_unload
from skillwarrant_verify.gate.mixing import mix_residents
from skillwarrant_verify.gate.recheck import CheckReport, check
from skillwarrant_verify.gate.removal import deactivate
from skillwarrant_verify.gate.stacking import Stack
from skillwarrant_verify.proof.fetch import AdapterSource, BundleSource
from skillwarrant_verify.signed_policy.policy_source import PolicyGiven, source_of
from skillwarrant_verify.stack import Combination, CombinationType, LoadOptions, SignMethod, StackItem, SvdDriver
from skillwarrant_verify.trust import TrustRoot

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

__all__ = ["Gate"]


class Gate:
    """A policy, a trust root and a log, built once; all its methods may be called from many threads.

    Operations on one model wait for each other. Every method that changes a model raises as `verify_and_load` does,
    and then the model is as it was, measured.

    Args:
        policy: what is demanded of every activation. A `SignedPolicy` is verified once, now; a `ReloadingPolicy`
            may change between two operations, and never during one.
        trust_root: whose signatures count.
        recorder: where observations go, durably.
        clock: the host's time, UTC; an argument, so that a test or a replay can set it.
    """

    def __init__(
        self, *, policy: PolicyGiven, trust_root: TrustRoot, recorder: Recorder, clock: Clock = utc_now
    ) -> None:
        check_kind("trust_root", trust_root, TrustRoot, "a TrustRoot")
        check_kind("recorder", recorder, Recorder, "a Recorder")
        self._clock = telling_time(clock)
        self._policies = source_of(policy, trust_root=trust_root, directory=recorder.directory, clock=self._clock)
        self._trust_root = trust_root
        self._recorder = recorder

    @property
    def _charter(self) -> Charter:
        """Of one operation, which takes it once: one policy decides it, from beginning to end."""
        policy = self._policies.current()
        return Charter(policy=policy, trust_root=self._trust_root, recorder=self._recorder, clock=self._clock)

    def activate(
        self,
        model: torch.nn.Module,
        adapter: AdapterSource,
        *,
        context: Context,
        manifest: BundleSource | None = None,
        evidence: Sequence[BundleSource] = (),
        options: LoadOptions | None = None,
    ) -> PeftModel:
        """One activation, from bytes to an adapter on the model, or a refusal. See `verify_and_load`.

        Raises:
            SkillwarrantError: as `verify_and_load`.
        """
        options = _options_of(options)
        name = options.adapter_name
        item = StackItem(adapter=adapter, adapter_name=name, manifest=manifest, evidence=evidence)
        return self._activate(model, Stack(items=(item,)), context, options)

    def activate_stack(
        self,
        model: torch.nn.Module,
        items: Sequence[StackItem],
        *,
        context: Context,
        options: LoadOptions | None = None,
        combine: Combination | None = None,
    ) -> PeftModel:
        """Several adapters as one activation: all of them or none, in one observation before and one after.

        Every one is verified, and decided in the company of all the others and of what is on the model.

        Args:
            items: at least one; names that differ.
            options: as for one adapter, but for the name.
            combine: mix them into a further adapter, by the weights of the items, which is then the active one.
                Without it, the items are active together; what was active before is not any more.

        Raises:
            SkillwarrantError: as `verify_and_load`.
            UsageError: also where PEFT cannot have them active together, or mix them.
        """
        stack = Stack.of(items, combine)
        return self._activate(model, stack, context, _options_of(options))

    def _activate(self, model: torch.nn.Module, stack: Stack, context: Context, options: LoadOptions) -> PeftModel:
        charter = self._charter
        attempt = charter.attempt(context, stack.names, stack.candidates(), change=stack.change())
        with base.exclusive(model):
            with charter.recording(attempt, "refused"):
                judged = judge_newcomers(charter, attempt, model, stack.items)
                configs = [newcomer.skill.config for newcomer in judged.newcomers]
                stack.check(model, configs, is_trainable=options.is_trainable)
            intended = intend(charter, attempt, judged, f"about to load {', '.join(attempt.adapters)}")
            return put_on(
                charter, attempt, intended, model, options=options, arrange=stack.arrangement(charter, attempt)
            )

    def deactivate(
        self, model: torch.nn.Module, adapter_name: str, *, context: Context | None = None
    ) -> torch.nn.Module:
        """Take off an adapter that a gate of this process put on.

        Args:
            context: of the record; that of its activation, where none is given.

        Returns:
            `model`; where that was the last adapter, the base model, unwrapped and measured. What is active
            afterwards is as with PEFT's `delete_adapter`.

        Raises:
            UsageError: no such adapter.
            AuditError: it could not be recorded; the adapter stays on the model.
            WrongBase, LoadMismatch: it could not be taken off without changing more; it stays on the model.
        """
        return deactivate(self._charter, model, adapter_name, context)

    def add_weighted_adapter(
        self,
        model: PeftModel,
        adapters: Sequence[str],
        weights: Sequence[float],
        adapter_name: str,
        combination_type: CombinationType = "svd",
        *,
        context: Context,
        svd_rank: int | None = None,
        svd_clamp: float | None = None,
        svd_full_matrices: bool = True,
        svd_driver: SvdDriver | None = None,
        density: float | None = None,
        majority_sign_method: SignMethod = "total",
    ) -> PeftModel:
        """PEFT's `add_weighted_adapter`, of adapters that a gate put on: judged again, with these weights.

        The new adapter is not active. It counts as what it was made of, when others are judged.

        Raises:
            SkillwarrantError: as `verify_and_load`.
            UsageError: also where an adapter did not come through a gate, or PEFT cannot mix these.
        """
        combine = Combination(
            adapter_name=adapter_name,
            combination_type=combination_type,
            svd_rank=svd_rank,
            svd_clamp=svd_clamp,
            svd_full_matrices=svd_full_matrices,
            svd_driver=svd_driver,
            density=density,
            majority_sign_method=majority_sign_method,
        )
        return mix_residents(self._charter, model, adapters, weights, combine=combine, context=context)

    def merge_and_unload(
        self,
        model: PeftModel,
        *,
        context: Context,
        safe_merge: bool = True,
        adapter_names: Sequence[str] | None = None,
    ) -> torch.nn.Module:
        """PEFT's `merge_and_unload`, of adapters that a gate put on: judged again, and the new base measured.

        While it works, it keeps a copy of every layer that an adapter is on.

        Args:
            safe_merge: have PEFT look for NaN first.
            adapter_names: which to merge, the active ones by default. All others are taken off.

        Returns:
            The base model, which no manifest authorises that does not name its new fingerprint.

        Raises:
            SkillwarrantError: as `verify_and_load`.
            LoadMismatch: also where an adapter on the model did not come through a gate, or PEFT cannot merge.
        """
        return merge_and_unload(self._charter, model, context, safe_merge=safe_merge, adapter_names=adapter_names)

    def check(self, model: torch.nn.Module, *, context: Context | None = None) -> CheckReport:
        """Measure the base and every adapter again, in full, and say what is not as the gate left it.

        Args:
            context: where it is given, the report is put on record.

        Raises:
            Unavailable: the base could not be measured.
            AuditError: it could not be recorded.
        """
        return check(self._charter, model, context)


def _options_of(given: LoadOptions | None) -> LoadOptions:
    if given is None:
        return LoadOptions()
    check_kind("options", given, LoadOptions, "LoadOptions")
    return given
