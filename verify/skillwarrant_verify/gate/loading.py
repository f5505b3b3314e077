"""Loading what was judged: intent on disk, every member from its verified bytes, the base measured again, all or
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import LoadMismatch, WrongBase
from skillwarrant_verify import base
from skillwarrant_verify.gate.charter import Charter
from skillwarrant_verify.gate.companions import Register, Resident
from skillwarrant_verify.gate.judge import Judged, Newcomer, require_no_newer
from skillwarrant_verify.gate.observe import Attempt
from skillwarrant_verify.gate.undo import Undo, same
from skillwarrant_verify.gate.way_back import WayBack
from skillwarrant_verify.loader import load
from skillwarrant_verify.loader.peft_adapter import adapter_names
from skillwarrant_verify.passage import passage
from skillwarrant_verify.stack import LoadOptions

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["Arrange", "Intended", "intend", "put_on", "undo_of"]

Arrange = Callable[["PeftModel", list[Resident]], list[Resident]]
"""What is done with a stack when all of it is on the model; gives the residents that come of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intended:
    """A judged operation whose intent is on disk. Nothing else may touch a model."""

    judged: Judged
    leaf: Digest


def intend(charter: Charter, attempt: Attempt, judged: Judged, message: str) -> Intended:
    """No ack, no activation.

    Raises:
        AuditError: the intent is not on disk.
    """
    return Intended(judged=judged, leaf=charter.record(attempt, "intent", message))


def undo_of(model: Any, judged: Judged) -> Undo:
    """The way back for a model to which nothing was done since it was judged."""
    return Undo(model=model, before=judged.before, names=judged.names)


def put_on(
    charter: Charter,
    attempt: Attempt,
    intended: Intended,
    model: Any,
    *,
    options: LoadOptions,
    arrange: Arrange | None = None,
) -> PeftModel:
    """All newcomers onto the model, proved and on record, or none of them.

    Raises:
        VerificationError, FormatError, UsageError, Unavailable: it failed; the model is as it was.
        AuditError: it could not be recorded; the model is as it was.
    """
    judged, undo = intended.judged, undo_of(model, intended.judged)
    with undo.guard():
        with charter.recording(attempt, "failed", undo):
            model, register = _put_on(charter, attempt, judged, model, undo, options=options, arrange=arrange)
        undo.steps.append(Register.way_back(model))
        register.keep(model)
        charter.record(attempt, "activated", _told(attempt))
    return model  # type: ignore[no-any-return]


def _put_on(
    charter: Charter,
    attempt: Attempt,
    judged: Judged,
    model: Any,
    undo: Undo,
    *,
    options: LoadOptions,
    arrange: Arrange | None,
) -> tuple[Any, Register]:
    """All but the record: the model as it is then, and its register."""
    loaded = []
    for newcomer in judged.newcomers:
        attempt.about = newcomer.adapter_name
        loaded.append(_load(charter, newcomer, model, options, undo))
        model = loaded[-1].model
    attempt.about = None
    residents = [
        _resident(attempt, judged, newcomer, one) for newcomer, one in zip(judged.newcomers, loaded, strict=True)
    ]
    if arrange is not None:
        residents = arrange(model, residents)
    after = base.measure(model, reuse=charter.policy.measure)
    _check_alone(model, judged, residents)
    _check_unaltered(charter, judged.before, after)
    if not same(judged.before, after):
        _check_says_so(judged.before, after, loaded)
        attempt.base_after = after.fingerprint
        residents = [replace(one, base_after=after.fingerprint) for one in residents]
        WayBack(loaded[0].undo).keep(loaded[0].model)
    require_no_newer(charter, attempt)
    return model, judged.register.adding(*residents).settled(after)


def _load(charter: Charter, newcomer: Newcomer, model: Any, options: LoadOptions, undo: Undo) -> load.Loaded:
    with passage():
        return load.load(
            model,
            newcomer.snapshot,
            adapter_name=newcomer.adapter_name,
            is_trainable=options.is_trainable,
            torch_device=options.torch_device,
            autocast_adapter_dtype=options.autocast_adapter_dtype,
            low_cpu_mem_usage=options.low_cpu_mem_usage,
            signed=newcomer.skill.verified.manifest.adapter.tensors_digest,
            allow_non_finite="non-finite" in charter.policy.allow_hazards,
            undo=undo.steps,
        )


def _check_alone(model: Any, judged: Judged, residents: list[Resident]) -> None:
    """What was judged is what is there: nobody put another adapter on meanwhile, or took one off."""
    expected = judged.names | {resident.adapter_name for resident in residents}
    if (found := adapter_names(model)) != expected:
        raise LoadMismatch(
            "adapters came onto the model, or went, while this was loaded",
            expected=", ".join(sorted(expected)),
            found=", ".join(sorted(found)) or "none",
            fix="Let one thread at a time change a model's adapters, through the gate.",
        )


def _check_unaltered(charter: Charter, before: base.Measurement, after: base.Measurement) -> None:
    """Nothing was hung onto the base since it was judged, but what the policy lets be there anyway."""
    allowed = {*charter.policy.allow_alterations, "active-adapter"}  # whose the adapters are, was looked at
    new = sorted(set(after.alterations) - set(before.alterations))
    if found := [one for one in new if one.partition(":")[0] not in allowed]:
        raise LoadMismatch(
            "something that changes answers was hung onto the model while the adapter was loaded",
            expected="what was there when it was judged",
            found=", ".join(found[:3]),
            fix="If the adapter's own method does this and it is meant, name the kind in the policy's"
            " allow_alterations.",
        )


def _check_says_so(before: base.Measurement, after: base.Measurement, loaded: list[load.Loaded]) -> None:
    """Adapters add to the model and change nothing of its base, but for one that says so and is alone on it."""
    says_so = len(loaded) == 1 and loaded[0].changed_base and loaded[0].config.changes_base
    if not says_so or after.buffers != before.buffers:
        raise WrongBase(
            "loading the adapter changed the base model",
            expected=f"{before.fingerprint}, buffers {before.buffers}",
            found=f"{after.fingerprint}, buffers {after.buffers}",
            fix="The model was put back; do not use this adapter.",
        )


def _resident(attempt: Attempt, judged: Judged, newcomer: Newcomer, loaded: load.Loaded) -> Resident:
    return Resident(
        adapter_name=newcomer.adapter_name,
        activation=attempt.activation,
        skills=(replace(newcomer.skill, weight=None),),
        seal=loaded.seal,
        context=attempt.context,
        base=judged.before.fingerprint,
        base_after=judged.before.fingerprint,
    )


def _told(attempt: Attempt) -> str:
    if len(attempt.adapters) == 1:
        return f"{attempt.adapters[0]} is on the model"
    active = attempt.change.adapter if attempt.change is not None else None
    return f"{', '.join(attempt.adapters)} are on the model, " + (f"{active} active" if active else "all active")
