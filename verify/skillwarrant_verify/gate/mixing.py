"""Mixing adapters into a new one, by PEFT's `add_weighted_adapter`: a stack that comes, or adapters that are there.

A mixture is a resident like any other, with a seal, that has the skills of all its sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.errors import LoadMismatch, UsageError, WrongBase
from skillwarrant_format.observation import Change, Source
from skillwarrant_verify import base
from skillwarrant_verify.context import Context
from skillwarrant_verify.gate.charter import Charter
from skillwarrant_verify.gate.companions import Register, Resident, wanted
from skillwarrant_verify.gate.judge import judge_residents
from skillwarrant_verify.gate.loading import Intended, intend, undo_of
from skillwarrant_verify.gate.observe import Attempt
from skillwarrant_verify.gate.undo import same
from skillwarrant_verify.loader.attach import check_receiver
from skillwarrant_verify.loader.peft_changes import add_weighted, check_mixable, is_finite
from skillwarrant_verify.loader.peft_tensors import adapter_state
from skillwarrant_verify.loader.rollback import Journal
from skillwarrant_verify.loader.seal import AdapterSeal
from skillwarrant_verify.passage import passage
from skillwarrant_verify.stack import Combination, check_names, check_weights

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["check_mixture", "mix_residents", "mixed", "mixture_of"]


def mixture_of(names: Sequence[str], weights: Sequence[float | None], combine: Combination) -> Change:
    """What an observation says of a mixture."""
    sources = tuple(Source(adapter=name, weight=weight) for name, weight in zip(names, weights, strict=True))
    return Change(
        kind="add-weighted-adapter", sources=sources, options=combine.options(), adapter=combine.adapter_name
    )


def check_mixture(model: Any, configs: Sequence[AdapterConfig], combine: Combination) -> None:
    """Whether PEFT can mix adapters of these configurations so, before anything is done.

    Raises:
        UsageError: it cannot, or the name is taken or not usable.
    """
    check_mixable([config.peft_type for config in configs], combine.combination_type)
    if any(config.changes_base for config in configs):
        raise UsageError("an adapter that changed its base cannot be mixed", expected="adapters that only add")
    check_receiver(model, configs[0], combine.adapter_name, is_trainable=False)


def mix_residents(
    charter: Charter,
    model: Any,
    names: Sequence[str],
    weights: Sequence[float],
    *,
    combine: Combination,
    context: Context,
) -> PeftModel:
    """Mix adapters on a model into a new one. See `Gate.add_weighted_adapter`."""
    check_names(names, combine)
    check_weights(weights, len(names))
    with base.exclusive(model):
        residents = wanted(model, names)
        attempt = charter.attempt(
            context,
            (combine.adapter_name,),
            tuple(
                candidate
                for one, weight in zip(residents, weights, strict=True)
                for candidate in one.candidates(weight)
            ),
            change=mixture_of(names, weights, combine),
        )
        with charter.recording(attempt, "refused"):
            check_mixture(model, [skill.config for one in residents for skill in one.skills], combine)
            judged = judge_residents(charter, attempt, model, residents)
        intended = intend(charter, attempt, judged, f"about to mix {', '.join(names)} into {combine.adapter_name}")
        return _mix(charter, attempt, intended, model, residents=residents, combine=combine)


def _mix(
    charter: Charter,
    attempt: Attempt,
    intended: Intended,
    model: Any,
    *,
    residents: Sequence[Resident],
    combine: Combination,
) -> PeftModel:
    judged, undo = intended.judged, undo_of(model, intended.judged)
    with undo.guard():
        with charter.recording(attempt, "failed", undo):
            undo.steps.append(Journal.of(model).restore)
            mixture = mixed(charter, attempt, model, residents, combine)
            after = base.measure(model, reuse=charter.policy.measure)
            if not same(judged.before, after):
                raise WrongBase("mixing the adapters changed the base model", fix="The model was put back.")
            register = judged.register.adding(mixture).settled(after)
        undo.steps.append(Register.way_back(model))
        register.keep(model)
        charter.record(attempt, "activated", f"{combine.adapter_name} is on the model")
    return model  # type: ignore[no-any-return]


def mixed(
    charter: Charter, attempt: Attempt, model: PeftModel, residents: Sequence[Resident], combine: Combination
) -> Resident:
    """Put the mixture on the model, not active, and seal it.

    Raises:
        LoadMismatch: PEFT cannot mix these, or what comes of it is no number.
    """
    weights = {source.adapter: source.weight for source in attempt.change.sources} if attempt.change else {}
    named = [(one.adapter_name, float(weights[one.adapter_name] or 0.0)) for one in residents]
    with passage():
        add_weighted(model, named, combine)
    live = adapter_state(model, combine.adapter_name)
    if "non-finite" not in charter.policy.allow_hazards and not is_finite(live.values()):
        raise LoadMismatch("the mixture has weights that are NaN or infinite", found=combine.adapter_name)
    return Resident(
        adapter_name=combine.adapter_name,
        activation=attempt.activation,
        skills=tuple(skill for one in residents for skill in one.mixed_in(weights[one.adapter_name])),
        seal=AdapterSeal.of(model, combine.adapter_name, live, {}),
        context=attempt.context,
        base=residents[0].base,
        base_after=residents[0].base_after,
        mixed=True,
    )
