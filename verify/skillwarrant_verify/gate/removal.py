"""Taking an adapter off, on record.

    measure it once more -> take it off -> is the base what it was? -> deactivated on disk

The record says what happened, so it comes last; where it cannot be written, the adapter is put back, and a model is
never without a record of what is on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from skillwarrant_format.errors import AuditError, UsageError, WrongBase
from skillwarrant_format.observation import Check
from skillwarrant_verify import base
from skillwarrant_verify.context import Context
from skillwarrant_verify.gate.charter import Charter
from skillwarrant_verify.gate.companions import Register, Resident, wanted
from skillwarrant_verify.gate.observe import Attempt
from skillwarrant_verify.gate.undo import Undo
from skillwarrant_verify.gate.way_back import WayBack
from skillwarrant_verify.loader.peft_adapter import BaseState, adapter_names, base_of
from skillwarrant_verify.loader.peft_changes import take_off
from skillwarrant_verify.loader.rollback import Journal

if TYPE_CHECKING:
    import torch

__all__ = ["deactivate"]


_CHANGED: Final = Check(
    code="base.unchanged",
    outcome="not-proved",
    message="the base, or what is hung onto it, was not as a gate had left it",
)


def deactivate(charter: Charter, model: Any, adapter_name: str, context: Context | None) -> torch.nn.Module:
    """Take one adapter off. See `Gate.deactivate`."""
    with base.exclusive(model):
        register = Register.of(model)
        (resident,) = wanted(model, (adapter_name,))
        attempt = charter.attempt(
            resident.context if context is None else context,
            (adapter_name,),
            resident.candidates(),
            activation=resident.activation,
        )
        before = base.measure(model, reuse=charter.policy.measure)
        attempt.base = before.fingerprint
        known = register.describes(before)
        attempt.measured = (_unchanged(resident, model, charter), *(() if known else (_CHANGED,)))
        names = adapter_names(model)
        undo = Undo(model=model, before=before, names=names)
        with undo.guard():
            undo.steps.append(_journal(model, everything=resident.base_after != resident.base).restore)
            left = _taken_off(resident, model, names)
            after = base.measure(left, reuse=charter.policy.measure)
            _check_base(resident, before, after)
            if after.fingerprint != before.fingerprint:
                attempt.base_after = after.fingerprint
            settled = register.without(adapter_name)
            if known:  # what somebody else has changed stays a finding
                settled = settled.settled(after)
            undo.steps.append(Register.way_back(left))
            settled.keep(left)
            _record(charter, attempt)
        return left  # type: ignore[no-any-return]


def _record(charter: Charter, attempt: Attempt) -> None:
    name = attempt.adapters[0]
    try:
        charter.record(attempt, "deactivated", f"{name} was taken off the model")
    except AuditError as error:
        raise AuditError(
            f"{error.message}; the adapter {name} stays on the model",
            expected=error.expected,
            found=error.found,
            fix=error.fix,
        ) from error


def _unchanged(resident: Resident, model: Any, charter: Charter) -> Check:
    """Evidence, and no condition: what was tampered with must be possible to take off."""
    difference = resident.difference(model, charter.policy.measure)
    message = difference or f"{resident.adapter_name} still was what was loaded"
    return Check(code="adapter.unchanged", outcome="not-proved" if difference else "proved", message=message)


def _journal(model: Any, *, everything: bool) -> Journal:
    contents = BaseState.of(base_of(model)).tensors.values() if everything else ()
    return Journal.of(model, contents=contents)


def _taken_off(resident: Resident, model: Any, names: frozenset[str]) -> Any:
    """The model without it. What somebody has taken off already is off."""
    if resident.adapter_name not in names:
        return model
    if resident.base_after == resident.base:
        return take_off(model, resident.adapter_name)
    if len(names) > 1:
        raise UsageError(
            "this adapter changed the base, and others are on what it made of it",
            expected="the others to be taken off first",
            found=", ".join(sorted(names - {resident.adapter_name})),
        )
    way_back = WayBack.take(model)
    if way_back is None:
        raise UsageError(
            "this PeftModel does not know what the base was before the adapter changed it",
            expected="the one that the gate gave",
            fix="Pass that one, or load the base model anew.",
        )
    bare = base_of(model)
    way_back.undo()
    return bare


def _check_base(resident: Resident, before: base.Measurement, after: base.Measurement) -> None:
    """Taking an adapter off leaves the base alone, or gives back what the adapter had changed of it."""
    expected = resident.base if resident.base_after == before.fingerprint else before.fingerprint
    if (after.fingerprint, after.buffers) != (expected, before.buffers):
        raise WrongBase(
            "taking the adapter off changed the base model",
            expected=str(expected),
            found=str(after.fingerprint),
            fix="The adapter was put back.",
        )
