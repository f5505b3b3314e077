"""An auditor's check of a whole log, with the operator's public key and nothing else.

What makes it fail is what nobody without a key could have written, or no honest gate would: a broken chain, a wrong
signature, an outcome without an intent. What can happen to an honest host (a crash, a clock set back) is a finding.

**What this cannot see.** A log whose end was cut off, down to none of it, is a shorter log, and a chain cannot show
what followed. That shows only against a head (number and digest) that somebody else kept: give it as `head`.
Whoever has the operator's key can write another log. What the observations say of the world is the gate's word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from skillwarrant_audit import signing
from skillwarrant_audit.framing import Record, TornTail
from skillwarrant_audit.lifecycle import Lifecycles
from skillwarrant_audit.log import GENESIS, Position, read_records
from skillwarrant_audit.observer import CLOCK_TOLERANCE, Delegation
from skillwarrant_format.digest import Digest
from skillwarrant_format.dsse import Envelope
from skillwarrant_format.errors import AuditError, FormatError, UsageError, VerificationError
from skillwarrant_format.fields import Fields, format_time
from skillwarrant_format.observation import Observation, Place
from skillwarrant_format.statement import Statement

__all__ = ["Finding", "LogReport", "VerifiedObservation", "verify_log"]

_MAX_KEY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedObservation:
    """An observation whose place and signature were checked, and the process that signed it."""

    position: Position
    observation: Observation
    statement: Statement
    observer: Delegation


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What an auditor should look at, though the log verifies.

    Args:
        code: `intent.dangling`, `clock.back` or `tail.torn`.
        seq: the record it is about; for a torn tail, the number that the unfinished record would have had.
        message: one sentence.
    """

    code: str
    seq: int
    message: str

    def __str__(self) -> str:
        return f"record {self.seq}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """A log that verifies. There is none of an empty log.

    Args:
        operator: key id of the operator whose log it is.
        observations: oldest first.
        delegations: every process that wrote.
        findings: in the order of their numbers.
        head: the last record. Keep it somewhere else: the next report can be held to it.
    """

    operator: Digest
    observations: tuple[VerifiedObservation, ...]
    delegations: tuple[Delegation, ...]
    findings: tuple[Finding, ...]
    head: Position


def verify_log(path: Path, operator_public_key: bytes | Path, *, head: Position | None = None) -> LogReport:
    """Verify every record of a log.

    Args:
        path: the log file. It is not changed.
        operator_public_key: PEM, or a file that holds it (`operator.pub`). Get it from the operator by another way
            than the log.
        head: a record that the log must hold, from an earlier report or a `Recorded`. It shows that the log was cut
            or written anew.

    Raises:
        AuditError: the log cannot be read, is empty, or does not verify; the message names the record.
        UsageError: the key cannot be used.
    """
    walk = _Walk(_operator(operator_public_key))
    torn = None
    try:
        for record in read_records(path):
            walk.take(record, head)
    except TornTail as error:
        torn = error
    return walk.report(path, head, torn)


class _Walk:
    """What is known after each record."""

    def __init__(self, operator: signing.PublicKey) -> None:
        self._operator = operator
        self._operator_id = signing.key_id(operator)
        self._delegations: dict[str, Delegation] = {}
        self._lifecycles = Lifecycles()
        self._observations: list[VerifiedObservation] = []
        self._findings: list[Finding] = []
        self._head: Position | None = None
        self._latest: datetime | None = None

    def take(self, record: Record, head: Position | None) -> None:
        """Check one record against all before it."""
        try:
            envelope = signing.read_envelope(record.leaf)
            if envelope.signature.keyid == self._operator_id.hex:
                self._delegation(record.seq, envelope)
            else:
                self._observation(record, envelope)
        except (AuditError, FormatError, VerificationError) as error:
            raise AuditError(f"record {record.seq} does not verify: {error}") from error
        self._head = _position(record)
        if head is not None and head.seq == record.seq and head != self._head:
            raise AuditError(
                f"record {record.seq} is not the given head", expected=str(head.leaf), found=str(record.digest)
            )

    def report(self, path: Path, head: Position | None, torn: TornTail | None) -> LogReport:
        """What was verified, when all records were taken."""
        if self._head is None:
            raise AuditError(f"the log {path} holds no record", expected="at least one", found="none")
        if head is not None and head.seq > self._head.seq:
            raise AuditError(
                f"the end of the log {path} is missing",
                expected=f"record {head.seq} of the given head",
                found=f"{self._head.seq} as the last record",
            )
        return LogReport(
            operator=self._operator_id,
            observations=tuple(self._observations),
            delegations=tuple(self._delegations.values()),
            findings=tuple(
                sorted([*self._findings, *self._left_over(self._head.seq, torn)], key=lambda finding: finding.seq)
            ),
            head=self._head,
        )

    def _delegation(self, seq: int, envelope: Envelope) -> None:
        delegation = Delegation.parse(self._statement(seq, self._operator, envelope))
        if delegation.operator != self._operator_id:
            raise AuditError("the delegation names another operator", expected=str(self._operator_id))
        keyid = delegation.key_id.hex
        if keyid == self._operator_id.hex or keyid in self._delegations:
            raise AuditError("the key is the operator's, or was delegated before", found=keyid)
        self._delegations[keyid] = delegation

    def _observation(self, record: Record, envelope: Envelope) -> None:
        keyid = envelope.signature.keyid
        if (observer := self._delegations.get(keyid)) is None:
            raise AuditError(
                "nothing before it delegates the key that signed it",
                expected=f"a delegation by the operator {self._operator_id}",
                found=f"the key {keyid or 'without a name'}",
            )
        statement = self._statement(record.seq, observer.public_key, envelope)
        observation = Observation.parse(statement)
        if not observer.covers(observation.time):
            window = f"{format_time(observer.not_before)} to {format_time(observer.not_after)}"
            raise AuditError("its key was not delegated for its time", expected=window, found=str(observation.time))
        self._lifecycles.advance(record.seq, observation)
        self._clock(record.seq, observation.time)
        self._observations.append(
            VerifiedObservation(
                position=_position(record), observation=observation, statement=statement, observer=observer
            )
        )

    def _statement(self, seq: int, key: signing.PublicKey, envelope: Envelope) -> Statement:
        """The statement that `key` signed for the next place of this log."""
        statement = Statement.parse(signing.verify(key, envelope))
        place = Place.parse(Fields(statement.predicate, "predicate"))
        expected = Place(seq=seq, previous=GENESIS if self._head is None else self._head.leaf)
        if place != expected:
            raise AuditError(
                "it was signed for another place",
                expected=f"number {expected.seq} after {expected.previous.short}",
                found=f"number {place.seq} after {place.previous.short}",
            )
        return statement

    def _clock(self, seq: int, moment: datetime) -> None:
        latest = self._latest or moment
        if latest - moment > CLOCK_TOLERANCE:
            message = f"its time {format_time(moment)} is before {format_time(latest)}, an earlier record's"
            self._findings.append(Finding(code="clock.back", seq=seq, message=message))
            latest = moment  # told once for each time the clock was set back
        self._latest = max(moment, latest)

    def _left_over(self, last: int, torn: TornTail | None) -> Iterator[Finding]:
        for seq, activation in self._lifecycles.dangling():
            message = f"activation {activation} has no outcome: its process ended, or is still loading"
            yield Finding(code="intent.dangling", seq=seq, message=message)
        if torn is not None:
            yield Finding(code="tail.torn", seq=last + 1, message=str(torn))


def _position(record: Record) -> Position:
    return Position(seq=record.seq, leaf=record.digest)


def _operator(given: bytes | Path) -> signing.PublicKey:
    if isinstance(given, bytes):
        return _public(given, "the operator's public key")
    try:
        with given.open("rb") as file:
            data = file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise UsageError(f"cannot read the operator's public key {given}", found=error.strerror) from error
    return _public(data, str(given))


def _public(data: bytes, what: str) -> signing.PublicKey:
    try:
        return signing.read_public(data, what=what)
    except FormatError as error:
        raise UsageError(error.message, expected=error.expected, found=error.found) from None
