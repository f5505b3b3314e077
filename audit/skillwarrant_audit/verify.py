"""An auditor's check of a log, with the operator's public key and nothing else of ours trusted.

    every leaf is a DSSE envelope -> in its place, naming the leaf before -> a delegation signed by the operator,
    or an observation signed by a key that was delegated earlier for that time -> each load had its intent

A chain cannot show that its end was cut off: an auditor who was told a head (`expected`) can see that too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from skillwarrant_audit.delegation import DELEGATION_TYPE, Delegation
from skillwarrant_audit.keys import PublicKey
from skillwarrant_audit.log import FIRST, Position, Record, records
from skillwarrant_format.digest import Digest
from skillwarrant_format.dsse import Envelope
from skillwarrant_format.errors import AuditError, SkillwarrantError
from skillwarrant_format.fields import Fields
from skillwarrant_format.observation import Observation, Place
from skillwarrant_format.statement import PAYLOAD_TYPE, Statement, Subject

__all__ = ["LogReport", "VerifiedRecord", "verify_log"]

_CONCLUDES: Final = ("activated", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedRecord:
    """An observation whose place and signature were checked."""

    seq: int
    leaf: Digest
    signer: Digest
    subjects: tuple[Subject, ...]
    observation: Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """A log that verified.

    Args:
        head: the last record; None for an empty log. Keep it: with it, the next audit sees whether the end was cut.
        delegations: how many process keys the operator delegated.
        findings: what is no forgery and still wants a look, such as an intent that nothing followed (a crash).
    """

    operator: Digest
    head: Position | None
    delegations: int
    observations: tuple[VerifiedRecord, ...]
    findings: tuple[str, ...]


def verify_log(path: Path, operator: PublicKey | Path, *, expected: Position | None = None) -> LogReport:
    """Verify a log from its first byte to its last.

    Args:
        operator: the operator's public key, from where the auditor trusts it.
        expected: a head that was seen before: it must still be in the log.

    Raises:
        AuditError: naming the record and what is wrong with it; nothing of such a log is reported as true.
    """
    key = operator if isinstance(operator, PublicKey) else PublicKey.load(operator)
    audit = _Audit(key)
    for record in records(path):
        try:
            audit.take(record)
        except SkillwarrantError as error:
            raise AuditError(
                f"record {record.seq} of {path} does not verify: {error.message}",
                expected=error.expected,
                found=error.found,
                fix="Somebody changed this log, or it is another operator's: do not rely on it.",
            ) from error
        if expected is not None and expected.seq == record.seq and expected.leaf != record.digest:
            raise AuditError(f"record {record.seq} of {path} is not the one that was seen before")
    report = audit.report()
    if expected is not None and (report.head is None or report.head.seq < expected.seq):
        found = "an empty log" if report.head is None else f"{report.head.seq + 1} records"
        raise AuditError(f"the end of {path} was cut off", expected=f"at least {expected.seq + 1}", found=found)
    return report


@dataclass(slots=True)
class _Audit:
    """What is known after each record."""

    operator: PublicKey
    delegated: dict[Digest, Delegation] = field(default_factory=dict)
    observations: list[VerifiedRecord] = field(default_factory=list)
    head: Position | None = None
    open_intents: dict[str, int] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def take(self, record: Record) -> None:
        """Check the next record against all before it."""
        envelope = Envelope.loads(record.leaf)
        if envelope.to_bytes() != record.leaf or envelope.payload_type != PAYLOAD_TYPE:
            raise AuditError("the record is not an envelope as we write it", found=envelope.payload_type)
        statement = Statement.parse(envelope.payload)
        self._check_place(statement, record.seq)
        if statement.predicate_type == DELEGATION_TYPE:
            self._delegate(envelope, statement)
        else:
            self._observe(envelope, statement, record)
        self.head = Position(record.seq, record.digest)

    def report(self) -> LogReport:
        return LogReport(
            operator=self.operator.id,
            head=self.head,
            delegations=len(self.delegated),
            observations=tuple(self.observations),
            findings=tuple(self._findings()),
        )

    def _check_place(self, statement: Statement, seq: int) -> None:
        place = Place.parse(Fields(statement.predicate, "predicate"))
        previous = FIRST if self.head is None else self.head.leaf
        if (place.seq, place.previous) != (seq, previous):
            raise AuditError(
                "the record is not in its place",
                expected=f"{seq} after {previous.short}",
                found=f"{place.seq} after {place.previous.short}",
            )

    def _delegate(self, envelope: Envelope, statement: Statement) -> None:
        delegation = Delegation.parse(statement)
        if not self.operator.signed(envelope) or delegation.operator != self.operator.id:
            raise AuditError("a delegation that the operator did not sign", expected=str(self.operator.id))
        if delegation.key.id in self.delegated:
            raise AuditError("a key that was delegated before", found=str(delegation.key.id))
        self.delegated[delegation.key.id] = delegation

    def _observe(self, envelope: Envelope, statement: Statement, record: Record) -> None:
        observation = Observation.parse(statement)
        delegation = self._signer(envelope)
        if not delegation.not_before <= observation.time < delegation.not_after:
            raise AuditError(
                "an observation outside the time for which its key was delegated", found=str(observation.time)
            )
        self._check_order(observation, record.seq)
        self.observations.append(
            VerifiedRecord(
                seq=record.seq,
                leaf=record.digest,
                signer=delegation.key.id,
                subjects=statement.subjects,
                observation=observation,
            )
        )

    def _signer(self, envelope: Envelope) -> Delegation:
        try:
            named = Digest(envelope.signature.keyid)
        except SkillwarrantError:
            raise AuditError("the record does not name its key", found=envelope.signature.keyid) from None
        delegation = self.delegated.get(named)
        if delegation is None or not delegation.key.signed(envelope):
            raise AuditError("an observation that no delegated key signed", found=str(named))
        return delegation

    def _check_order(self, observation: Observation, seq: int) -> None:
        """An intent once; then exactly one conclusion. A refusal stands alone."""
        activation = observation.activation
        if observation.phase in _CONCLUDES:
            if self.open_intents.pop(activation, None) is None:
                raise AuditError(f"{observation.phase!r} without an open intent", found=activation)
            return
        if activation in self.seen:
            raise AuditError("an activation that was recorded before", found=activation)
        self.seen.add(activation)
        if observation.phase == "intent":
            self.open_intents[activation] = seq

    def _findings(self) -> Iterator[str]:
        for activation, seq in self.open_intents.items():
            yield f"record {seq}: activation {activation} was intended and never concluded: its process ended"
