"""Judging: everything that can say no, before anything touches the model.

    fetch -> signature.verify -> base.measure -> are those that are there still what they were? -> decide -> require

Every member of a stack is decided in the company of all the others and of what is on the model, so that a set which
is allowed in pairs only is not allowed. Whoever is on the model already can be judged again, for what is to become
of them; and whether one of them is revoked by now is asked whenever another joins.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import LoadMismatch, PolicyDenied, Unavailable, UsageError, WrongBase, shown
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_verify import base
from skillwarrant_verify.deciding.adapter_seen import AdapterSeen
from skillwarrant_verify.deciding.composition import Companion
from skillwarrant_verify.deciding.decide import Facts, decide
from skillwarrant_verify.deciding.decision import Allowed
from skillwarrant_verify.deciding.facts import History
from skillwarrant_verify.deciding.requires import installed_versions
from skillwarrant_verify.gate.charter import Charter
from skillwarrant_verify.gate.companions import Register, Resident, Skill, prompted
from skillwarrant_verify.gate.observe import Attempt, Candidate
from skillwarrant_verify.gate.version_history import history
from skillwarrant_verify.gate.withdrawn import refuse_withdrawn
from skillwarrant_verify.loader.peft_adapter import adapter_names, base_of
from skillwarrant_verify.proof import signature
from skillwarrant_verify.proof.attestations import verify_evidence
from skillwarrant_verify.proof.fetch import fetch, manifest_bytes
from skillwarrant_verify.signed_policy.policy_place import refuse_inside, refuse_same
from skillwarrant_verify.stack import StackItem

_logger = logging.getLogger("skillwarrant.policy")
__all__ = ["Judged", "Newcomer", "judge_newcomers", "judge_residents", "require_no_newer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """An adapter that may be loaded: what was verified, and the bytes of it."""

    adapter_name: str
    allowed: Allowed
    skill: Skill
    snapshot: Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An allowed operation: what the decisions were about, kept together.

    Args:
        newcomers: to be loaded, in this order.
        before: what the base measured.
        register: what a gate had brought onto the model.
        names: of all adapters on the model.
    """

    newcomers: tuple[Newcomer, ...]
    before: base.Measurement
    register: Register
    names: frozenset[str]


def judge_newcomers(charter: Charter, attempt: Attempt, model: Any, items: Sequence[StackItem]) -> Judged:
    """Judge adapters that are not on the model yet.

    Raises:
        VerificationError, FormatError, PolicyDenied, UsageError: no.
        TrustError, Unavailable: it could not be checked.
    """
    snapshots = [
        _verified(charter, attempt, candidate, item)
        for candidate, item in zip(attempt.candidates, items, strict=True)
    ]
    attempt.about = None
    before, register, present = _measured(charter, attempt, model)
    company = register.companions(present)
    _check_bases(attempt.candidates, company)
    _decide(charter, attempt, company, before.fingerprint)
    allowed = _required(attempt.candidates)
    refuse_withdrawn(charter, register, present)
    newcomers = tuple(
        Newcomer(adapter_name=one.adapter_name, allowed=yes, skill=_skill(one), snapshot=snapshot)
        for one, yes, snapshot in zip(attempt.candidates, allowed, snapshots, strict=True)
    )
    return Judged(newcomers=newcomers, before=before, register=register, names=present)


def judge_residents(charter: Charter, attempt: Attempt, model: Any, residents: Sequence[Resident]) -> Judged:
    """Judge adapters that are on the model, as of now, for what is to be made of them.

    Raises:
        PolicyDenied, VerificationError: no.
        Unavailable: it could not be checked.
    """
    before, register, present = _measured(charter, attempt, model)
    names = frozenset(resident.adapter_name for resident in residents)
    # An adapter that changed its base was vouched for on the base as it was before.
    judged_on = residents[0].base if len(residents) == 1 and _is_after(residents[0], before) else before.fingerprint
    _decide(charter, attempt, register.companions(present, besides=names), judged_on)
    _required(attempt.candidates)
    refuse_withdrawn(charter, register, present, besides=names)
    return Judged(newcomers=(), before=before, register=register, names=present)


def require_no_newer(charter: Charter, attempt: Attempt) -> None:
    """Decide again where other gates put newer versions to use since: what was allowed may be a way back by now.

    An activation that is put on record at the same moment as another counts as before it.

    Raises:
        PolicyDenied: it is.
        AuditError: the log cannot be read.
    """
    for candidate in attempt.candidates:
        facts = None if candidate.decision is None else candidate.decision.facts
        if facts is None or facts.history is None:
            continue
        now = _history(charter, _skill(candidate))
        if now != facts.history and (again := decide(charter.policy, replace(facts, history=now))).reasons:
            candidate.decision = again
            again.require()


def _verified(charter: Charter, attempt: Attempt, candidate: Candidate, item: StackItem) -> Snapshot:
    attempt.about = candidate.adapter_name
    if charter.policy.place is not None:
        refuse_inside(charter.policy.place, item.adapter)
    snapshot = fetch(item.adapter)
    bundle = manifest_bytes(snapshot, item.manifest)
    candidate.bundle = Digest.of(bundle)
    candidate.verified = signature.verify(snapshot, bundle, charter.trust_root, now=charter.clock())
    refuse_same(charter.policy.digest, candidate.verified.subjects)
    candidate.evidence = verify_evidence(item.evidence, candidate.verified, charter.trust_root, now=charter.clock())
    candidate.config = AdapterConfig.parse(snapshot.config.data)
    candidate.adapter = AdapterSeen.of(snapshot, candidate.config)
    return snapshot


def _measured(charter: Charter, attempt: Attempt, model: Any) -> tuple[base.Measurement, Register, frozenset[str]]:
    """The base, what a gate had brought onto the model, and the names of all adapters on it: no decision counts on
    company that is not what it was."""
    before = base.measure(model, reuse=charter.policy.measure)
    register = Register.of(model)
    attempt.base = before.fingerprint
    attempt.alterations = register.unexplained(before.alterations)
    names = adapter_names(model)
    residents = register.present(names)
    if residents and base_of(model) is model:
        raise UsageError(
            "the model carries adapters already",
            expected="the PeftModel around it",
            found=type(model).__name__,
            fix="Pass the model that the gate gave when it put the first one on.",
        )
    if (other := prompted(model)) is not None and (others := register.present(adapter_names(other))):
        raise UsageError(
            "another PeftModel around this base has a prompt that would act together with what is loaded",
            expected="the PeftModel that the gate gave",
            found=f"{type(model).__name__}, and {', '.join(one.adapter_name for one in others)} elsewhere",
            fix="Deactivate the prompt, or drop its PeftModel.",
        )
    for resident in residents:
        if (difference := resident.difference(model, charter.policy.measure)) is not None:
            raise LoadMismatch(
                "an adapter on this model is not what was loaded any more",
                found=difference,
                fix="Deactivate it, and activate it again.",
            )
    return before, register, names


def _check_bases(candidates: Sequence[Candidate], company: tuple[Companion, ...]) -> None:
    """Who changes the base takes it away from all others, who were vouched for as it was."""
    changing = [one for one in candidates if one.config is not None and one.config.changes_base]
    if changing and (len(candidates) > 1 or company):
        raise WrongBase(
            "an adapter that changes the base must be alone on it",
            expected="a model without other adapters",
            found=changing[0].adapter_name,
            fix="Load it onto a model of its own.",
        )


def _decide(charter: Charter, attempt: Attempt, others: tuple[Companion, ...], measured: Fingerprint) -> None:
    """One decision for each candidate; all are made, so that one answer names every reason."""
    for place, candidate in enumerate(attempt.candidates):
        skill = _skill(candidate)
        siblings = [one for where, one in enumerate(attempt.candidates) if where != place]
        company = [
            Companion(adapter_name=one.adapter_name, manifest=_skill(one).verified.manifest, weight=one.weight)
            for one in siblings
        ]
        facts = Facts.of(
            verified=skill.verified,
            adapter=skill.adapter,
            base=measured,
            companions=tuple(sorted((*company, *others), key=lambda companion: companion.adapter_name)),
            context=attempt.context,
            now=charter.clock(),
            versions=installed_versions(
                name for name, _ in (*skill.verified.manifest.requires, *charter.policy.dependencies)
            ),
            alterations=attempt.alterations,
            weight=candidate.weight,
            evidence=skill.evidence,
            history=_history(charter, skill),
        )
        candidate.decision = decide(charter.policy, facts)


def _required(candidates: Sequence[Candidate]) -> tuple[Allowed, ...]:
    """All of them allowed, or nothing. A single one is refused in its own words, several in the name of each."""
    for one in candidates:
        for warning in () if one.decision is None else one.decision.warnings:
            _logger.warning("%s: tolerated by policy: %s", one.adapter_name, shown(str(warning), 1000))
    decisions = [(one.adapter_name, one.decision) for one in candidates if one.decision is not None]
    if len(decisions) == 1:
        return (decisions[0][1].require(),)
    reasons = tuple(f"{name}: {reason}" for name, decision in decisions for reason in decision.reasons)
    if any(decision.outcome == "deny" for _, decision in decisions):
        raise PolicyDenied(f"policy {decisions[0][1].policy.name!r} denies this", reasons=reasons)
    if reasons:
        raise Unavailable(f"policy {decisions[0][1].policy.name!r} could not be checked: " + "; ".join(reasons))
    return tuple(decision.require() for _, decision in decisions)


def _skill(candidate: Candidate) -> Skill:
    if candidate.verified is None or candidate.config is None or candidate.adapter is None:
        raise TypeError("a candidate is judged before it was verified")
    return Skill(
        verified=candidate.verified,
        config=candidate.config,
        adapter=candidate.adapter,
        evidence=candidate.evidence,
        weight=candidate.weight,
    )


def _history(charter: Charter, skill: Skill) -> History | None:
    """Read only for a policy that asks: of a long log, it takes a while."""
    asks = charter.policy.versions.no_rollback
    return history(charter.recorder, skill.verified.manifest.skill.name) if asks else None


def _is_after(resident: Resident, measured: base.Measurement) -> bool:
    return measured.fingerprint == resident.base_after
