"""What is known of one operation so far, and the observation that it makes at any moment of it.

An `Attempt` and its `Candidate`s are filled step by step while the gate works, so that a refusal at the first step
and a failure at the last are both told with all that was known by then.
"""

from __future__ import annotations

import os
import platform
import socket
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final

from skillwarrant_audit.inputs import inputs_digest
from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import shown
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.observation import (
    BaseSeen,
    Change,
    Check,
    Observation,
    Phase,
    PolicyUsed,
    SkillSeen,
    TrustUsed,
)
from skillwarrant_format.statement import Subject
from skillwarrant_format.strict_json import JsonObject, canonical
from skillwarrant_verify.context import Context
from skillwarrant_verify.deciding.adapter_seen import AdapterSeen
from skillwarrant_verify.deciding.codes import stop_code
from skillwarrant_verify.deciding.decision import Decision
from skillwarrant_verify.deciding.decision_input import for_record, to_document
from skillwarrant_verify.deciding.evidence_seen import EvidenceSeen
from skillwarrant_verify.deciding.requires import RUNTIME, installed_versions
from skillwarrant_verify.proof.signature import Verified

__all__ = ["Attempt", "Candidate"]

_MOST_ALTERATIONS: Final = 10


@dataclass(slots=True, kw_only=True)
class Candidate:
    """One skill of an operation, and what is known of it. Mutable, and private to the gate.

    Args:
        adapter_name: the adapter that has the skill, or would have.
        request: what the caller asked for.
        weight: with which it is to be mixed in.
        config, adapter: its configuration, and what all its files say, once they are verified.
        evidence: further attestations about it, verified.
    """

    adapter_name: str
    request: str
    weight: float | None = None
    bundle: Digest | None = None
    verified: Verified | None = None
    config: AdapterConfig | None = None
    adapter: AdapterSeen | None = None
    evidence: tuple[EvidenceSeen, ...] = ()
    decision: Decision | None = None

    def subject(self) -> Subject:
        """The manifest's digest; where there is none, the digest of what was asked for."""
        if self.verified is not None:
            return Subject(name=self.verified.manifest.skill.name, digest=self.verified.bundle)
        if self.bundle is not None:
            return Subject(name="bundle", digest=self.bundle)
        return Subject(name="request", digest=Digest.of(self.request.encode("utf-8", "surrogatepass")))

    def seen(self) -> tuple[SkillSeen, ...]:
        """The skill, once it is verified."""
        if self.verified is None:
            return ()
        base = None if self.decision is None else self.decision.authorised_base()
        return (
            SkillSeen(
                adapter=_named(self.adapter_name),
                name=self.verified.manifest.skill.name,
                version=self.verified.manifest.skill.version,
                manifest=self.verified.bundle,
                statement=self.verified.statement_digest,
                identity=self.verified.signer.identity,
                issuer=self.verified.signer.issuer,
                log=self.verified.log,
                base=None if base is None else BaseSeen(name=base.name, form=base.form or None),
            ),
        )


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One operation in progress: an activation, and what else the gate does to a model. Mutable, as a candidate.

    Args:
        activation: random id that its observations share.
        adapters: names of the adapters that come, or go, or are looked at.
        candidates: the skills concerned.
        about: the adapter that is being worked on, for the error that stops it.
        measured: checks that no decision made.
    """

    activation: str
    adapters: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    context: Context
    policy: PolicyUsed
    trust: TrustUsed
    base: Fingerprint | None = None
    base_after: Fingerprint | None = None
    alterations: tuple[str, ...] = ()
    change: Change | None = None
    about: str | None = None
    measured: tuple[Check, ...] = ()

    def subjects(self) -> tuple[Subject, ...]:
        """One for each manifest; two of one name and different digests are told apart by these."""
        subjects = {candidate.subject() for candidate in self.candidates} or {
            Subject(name="model", digest=Digest.of(str(self.base).encode()))
        }
        names = [subject.name for subject in subjects]
        return tuple(
            subject
            if names.count(subject.name) == 1
            else Subject(name=f"{subject.name}@{subject.digest.short}", digest=subject.digest)
            for subject in subjects
        )

    def reason(self, error: BaseException) -> str:
        """Why it was stopped, and at which adapter where there are several."""
        text = str(error) or type(error).__name__
        return f"{_named(self.about)}: {text}" if self.about is not None and len(self.candidates) > 1 else text

    def observation(
        self, phase: Phase, message: str, now: datetime, error: BaseException | None = None
    ) -> Observation:
        """The observation of this moment.

        Args:
            phase: what happened.
            message: one sentence; for a refusal or failure, why.
            now: the host's time.
            error: what stopped it, which becomes a check of its own where no decision was reached.
        """
        return Observation(
            phase=phase,
            activation=self.activation,
            time=now,
            message=shown(message, 4000),
            adapters=tuple(_named(name) for name in self.adapters),
            checks=self._checks(error),
            skills=tuple(skill for candidate in self.candidates for skill in candidate.seen()),
            policy=self.policy,
            inputs=inputs_digest(self.inputs()),
            base=self.base,
            base_after=self.base_after,
            trust=self.trust,
            change=self.change,
            context=self.context.record(self.activation),
            runtime={**runtime(), **self._altered()},
        )

    def _decisions(self) -> list[tuple[str, Decision]]:
        return [
            (_named(candidate.adapter_name), candidate.decision)
            for candidate in self.candidates
            if candidate.decision is not None
        ]

    def inputs(self) -> tuple[bytes, ...]:
        """What the decisions were made from, in the form that is kept: canonical JSON, which names nobody."""
        found = (decision.facts for _, decision in self._decisions())
        return tuple(canonical(for_record(to_document(facts))) for facts in found if facts is not None)

    def _altered(self) -> JsonObject:
        """Hooks and patched methods of the base, which measured tensors do not show: for who reads the log."""
        if not self.alterations:
            return {}
        first = [shown(one, 200) for one in self.alterations[:_MOST_ALTERATIONS]]
        return {"baseAlterations": {"count": len(self.alterations), "first": first}}

    def _checks(self, error: BaseException | None) -> tuple[Check, ...]:
        decisions, several = self._decisions(), len(self.candidates) > 1
        found = tuple(
            finding.check(name if several else None) for name, decision in decisions for finding in decision.checked
        )
        if error is None or any(decision.reasons for _, decision in decisions):
            return (*found, *self.measured)
        text = shown(str(error) or type(error).__name__, 1000)
        about = _named(self.about) if several and self.about is not None else None
        stopped = Check(code=stop_code(error), outcome="not-proved", message=text, adapter=about)
        return (*found, *self.measured, stopped)


def _named(adapter_name: str) -> str:
    return shown(adapter_name, 200) or "unnamed"


@cache
def _machine() -> tuple[str, str]:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = "unknown"
    return shown(socket.gethostname(), 200) or "unknown", boot


def runtime() -> JsonObject:
    """Which software on which host: package versions, host name, boot id, process id."""
    host, boot = _machine()
    versions = {"python": platform.python_version(), **_versions()}
    return {"versions": versions, "host": host, "bootId": boot, "pid": os.getpid()}


@cache
def _versions() -> dict[str, str]:
    return installed_versions((*RUNTIME, "skillwarrant"))
