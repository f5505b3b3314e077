"""Making adapters a part of their base model, for good, by PEFT's `merge_and_unload`.

They are judged again, as of now. What the merge writes to is copied first, so that one that fails or cannot be
recorded leaves the model as it was; the copies cost as much memory as the layers that the adapters are on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from skillwarrant_format.errors import LoadMismatch
from skillwarrant_format.observation import Change, Ended, Source
from skillwarrant_verify import base
from skillwarrant_verify.arguments import check_flag
from skillwarrant_verify.context import Context
from skillwarrant_verify.gate.charter import Charter
from skillwarrant_verify.gate.companions import Register, Resident, wanted
from skillwarrant_verify.gate.judge import judge_residents
from skillwarrant_verify.gate.loading import Intended, intend, undo_of
from skillwarrant_verify.gate.observe import Attempt
from skillwarrant_verify.loader.peft_adapter import adapter_names
from skillwarrant_verify.loader.peft_changes import active_adapters, merge, merge_targets
from skillwarrant_verify.loader.rollback import Journal
from skillwarrant_verify.passage import passage

if TYPE_CHECKING:
    import torch

__all__ = ["merge_and_unload"]


def merge_and_unload(
    charter: Charter, model: Any, context: Context, *, safe_merge: bool, adapter_names: Sequence[str] | None
) -> torch.nn.Module:
    """Merge adapters into the base, and take all others off. See `Gate.merge_and_unload`."""
    check_flag("safe_merge", safe_merge)
    with base.exclusive(model):
        register = Register.of(model)
        residents = wanted(model, active_adapters(model) if adapter_names is None else adapter_names)
        names = tuple(one.adapter_name for one in residents)
        attempt = charter.attempt(
            context,
            names,
            tuple(candidate for one in residents for candidate in one.candidates()),
            change=Change(
                kind="merge-and-unload",
                sources=tuple(Source(adapter=name) for name in names),
                options={"safe_merge": safe_merge},
                ends=_ended(register.residents.values()),
            ),
        )
        with charter.recording(attempt, "refused"):
            _check_own(register, model)
            judged = judge_residents(charter, attempt, model, residents)
        intended = intend(charter, attempt, judged, f"about to merge {', '.join(names)} into the base model")
        return _merge(charter, attempt, intended, model, residents, safe_merge=safe_merge)


def _merge(
    charter: Charter,
    attempt: Attempt,
    intended: Intended,
    model: Any,
    residents: Sequence[Resident],
    *,
    safe_merge: bool,
) -> torch.nn.Module:
    judged, undo = intended.judged, undo_of(model, intended.judged)
    with undo.guard():
        with charter.recording(attempt, "failed", undo):
            undo.steps.append(Journal.of(model, contents=merge_targets(model)).restore)
            with passage():
                merged = merge(model, attempt.adapters, safe_merge=safe_merge)
            after = base.measure(merged)
            attempt.base_after = after.fingerprint
            skills = tuple(skill for one in residents for skill in one.skills)
            register = Register(merged=(*judged.register.merged, *skills)).settled(after)
        undo.steps.append(Register.way_back(merged))
        register.keep(merged)
        charter.record(attempt, "merged", f"merged into the base model: {', '.join(attempt.adapters)}")
    return merged


def _check_own(register: Register, model: Any) -> None:
    """A merge takes all adapters off, and what the gate did not bring is not its to take."""
    if foreign := register.foreign(adapter_names(model)):
        raise LoadMismatch(
            "an adapter on this model did not come through the gate",
            expected="adapters that a gate of this process loaded",
            found=", ".join(foreign),
            fix="Take it off with PEFT's delete_adapter.",
        )


def _ended(residents: Iterable[Resident]) -> tuple[Ended, ...]:
    """Every adapter goes, merged or not, from the activation that had brought it."""
    found: dict[str, list[str]] = {}
    for one in sorted(residents, key=lambda one: one.adapter_name):
        found.setdefault(one.activation, []).append(one.adapter_name)
    return tuple(Ended(activation=activation, adapters=tuple(names)) for activation, names in found.items())
