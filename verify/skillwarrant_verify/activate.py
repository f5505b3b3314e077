"""The gate. Read this module from top to bottom and you have read the product.

    fetch -> signature.verify -> base.measure -> decide -> require() -> intent on disk -> load -> measure again
          -> activated on disk

Each step takes the result of the step before, so a forgotten step does not type-check. Whatever stops it becomes
a signed observation before the caller hears of it, and nothing is loaded whose intent is not durable.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from skillwarrant_audit.recorder import Recorder
from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import UsageError, WrongBase
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_verify import base, load, signature, trust
from skillwarrant_verify.companions import companions_of, remember
from skillwarrant_verify.context import Context
from skillwarrant_verify.decide import Facts, decide
from skillwarrant_verify.decision import Allowed
from skillwarrant_verify.fetch import AdapterSource, BundleSource, fetch, manifest_bytes
from skillwarrant_verify.observe import Attempt
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.requires import installed_versions

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

    from skillwarrant_verify.trust import TrustRoot

__all__ = ["Gate", "LoadOptions", "verify_and_load"]

Clock = Callable[[], datetime]
STATE_DIRECTORY: Final = "SKILLWARRANT_LOG"


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """PEFT's own keywords of `PeftModel.from_pretrained`, with PEFT's meanings and defaults."""

    adapter_name: str = "default"
    is_trainable: bool = False
    torch_device: str | None = None
    autocast_adapter_dtype: bool = True
    low_cpu_mem_usage: bool = False


def verify_and_load(
    model: torch.nn.Module,
    adapter: AdapterSource,
    *,
    policy: Policy | str | os.PathLike[str],
    context: Context,
    manifest: BundleSource | None = None,
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
        policy: what is demanded: a `Policy`, or the path of one. It never comes from inside the adapter.
        context: where the adapter is to be used.
        manifest: the bundle, where it is not `skillwarrant.sigstore.json` beside the adapter.
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
    gate = Gate(
        policy=policy if isinstance(policy, Policy) else Policy.load(Path(policy)),
        trust_root=trust_root or trust.public_good(),
        recorder=Recorder.open(log or default_log_directory()),
    )
    options = LoadOptions(
        adapter_name=adapter_name,
        is_trainable=is_trainable,
        torch_device=torch_device,
        autocast_adapter_dtype=autocast_adapter_dtype,
        low_cpu_mem_usage=low_cpu_mem_usage,
    )
    return gate.activate(model, adapter, context=context, manifest=manifest, options=options)


def default_log_directory() -> Path:
    """`$SKILLWARRANT_LOG`, else `$XDG_STATE_HOME/skillwarrant`, else `~/.local/state/skillwarrant`."""
    if named := os.environ.get(STATE_DIRECTORY):
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "skillwarrant"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """An allowed activation: what the decision was about, kept together."""

    allowed: Allowed
    snapshot: Snapshot
    measured: base.Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class _Intended:
    """A judged activation whose intent is on disk. The loader takes nothing else."""

    judged: _Judged
    leaf: Digest


class Gate:
    """A policy, a trust root and a log, built once; `activate` may be called from many threads.

    Args:
        policy: what is demanded of every activation.
        trust_root: whose signatures count.
        recorder: where observations go, durably.
        clock: the host's time, UTC; an argument, so that a test or a replay can set it.
    """

    def __init__(
        self, *, policy: Policy, trust_root: TrustRoot, recorder: Recorder, clock: Clock = _utc_now
    ) -> None:
        self._policy = policy
        self._trust = trust_root
        self._recorder = recorder
        self._clock = clock

    def activate(
        self,
        model: torch.nn.Module,
        adapter: AdapterSource,
        *,
        context: Context,
        manifest: BundleSource | None = None,
        options: LoadOptions | None = None,
    ) -> PeftModel:
        """One activation, from bytes to an active adapter, or a refusal. See `verify_and_load`.

        Raises:
            SkillwarrantError: as `verify_and_load`.
        """
        options = options or LoadOptions()
        if not isinstance(context, Context):
            raise UsageError("context is missing", expected="a Context", found=type(context).__name__)
        attempt = Attempt(
            request=getattr(adapter, "source", None) or str(adapter),
            adapter_name=options.adapter_name,
            context=context,
            policy=self._policy.used(),
            trust=self._trust.used(),
        )
        with base.exclusive(model):
            judged = self._judge(attempt, model, adapter, manifest)
            intended = self._intend(attempt, judged)
            loaded = self._load(attempt, intended, model, options)
            return self._conclude(attempt, loaded)

    def _judge(
        self, attempt: Attempt, model: torch.nn.Module, adapter: AdapterSource, manifest: BundleSource | None
    ) -> _Judged:
        """Everything that can say no, before anything touches the model."""
        try:
            snapshot = fetch(adapter)
            bundle = manifest_bytes(snapshot, manifest)
            attempt.bundle = Digest.of(bundle)
            attempt.verified = signature.verify(snapshot, bundle, self._trust, now=self._clock())
            measured = self._measure(model)
            attempt.base, attempt.alterations = measured.fingerprint, measured.alterations
            facts = Facts(
                verified=attempt.verified,
                config=AdapterConfig.parse(snapshot.config.data),
                base=measured.fingerprint,
                companions=companions_of(model),
                context=attempt.context,
                now=self._clock(),
                versions=installed_versions(name for name, _ in attempt.verified.manifest.requires),
                alterations=measured.alterations,
            )
            attempt.decision = decide(self._policy, facts)
            allowed = attempt.decision.require()
        except BaseException as error:
            self._record(attempt, "refused", str(error) or type(error).__name__, error)
            raise
        return _Judged(allowed=allowed, snapshot=snapshot, measured=measured)

    def _intend(self, attempt: Attempt, judged: _Judged) -> _Intended:
        """No ack, no activation."""
        leaf = self._record(attempt, "intent", f"about to load {attempt.adapter_name}")
        return _Intended(judged=judged, leaf=leaf)

    def _load(
        self, attempt: Attempt, intended: _Intended, model: torch.nn.Module, options: LoadOptions
    ) -> load.Loaded:
        """From the verified bytes onto the model; afterwards the base must measure as before."""
        judged = intended.judged
        loaded = None
        try:
            loaded = load.load(
                model,
                judged.snapshot,
                adapter_name=options.adapter_name,
                is_trainable=options.is_trainable,
                torch_device=options.torch_device,
                autocast_adapter_dtype=options.autocast_adapter_dtype,
                low_cpu_mem_usage=options.low_cpu_mem_usage,
            )
            self._check_base(loaded.model, judged.measured)
        except BaseException as error:
            if loaded is not None:
                loaded.undo()
            self._record(attempt, "failed", str(error) or type(error).__name__, error)
            raise
        return loaded

    def _conclude(self, attempt: Attempt, loaded: load.Loaded) -> PeftModel:
        try:
            self._record(attempt, "activated", f"{attempt.adapter_name} is on the model")
        except BaseException:
            loaded.undo()
            raise
        if attempt.verified is not None:
            remember(loaded.model, attempt.adapter_name, attempt.verified.manifest)
        return loaded.model

    def _measure(self, model: torch.nn.Module) -> base.Measurement:
        return base.measure(model, reuse=self._policy.measure)

    def _check_base(self, model: Any, before: base.Measurement) -> None:
        """The adapter may add to the model and change nothing of its base."""
        after = base.measure(model, reuse=self._policy.measure)
        if (after.fingerprint, after.buffers) != (before.fingerprint, before.buffers):
            raise WrongBase(
                "loading the adapter changed the base model",
                expected=f"{before.fingerprint}, buffers {before.buffers}",
                found=f"{after.fingerprint}, buffers {after.buffers}",
                fix="The model was put back; do not use this adapter.",
            )

    def _record(self, attempt: Attempt, phase: Any, message: str, error: BaseException | None = None) -> Digest:
        observation = attempt.observation(phase, message, self._clock(), error)
        return self._recorder.record(observation, attempt.subjects()).leaf
