"""The process's key, and its delegation: the operator's signed word that this key observes for it.

A key lives in one process's memory and is never written down; a forked child makes its own. The delegation is an
in-toto statement with the predicate `https://skillwarrant.dev/observer-delegation/v1`, and stands in the same log
before the first observation that the key signs. Normative text: docs/reference/observation.md.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from skillwarrant_audit import signing
from skillwarrant_format.digest import Digest
from skillwarrant_format.dsse import Envelope, decode_base64, encode_base64
from skillwarrant_format.errors import AuditError, FormatError, WrongPredicate, shown
from skillwarrant_format.fields import Fields, format_time
from skillwarrant_format.observation import Place
from skillwarrant_format.statement import Statement, Subject
from skillwarrant_format.strict_json import JsonObject

__all__ = ["CLOCK_TOLERANCE", "DELEGATION_TYPE", "LIFETIME", "Delegation", "ObserverKey"]

DELEGATION_TYPE: Final = "https://skillwarrant.dev/observer-delegation/v1"
SUBJECT_NAME: Final = "observer"
LIFETIME: Final = timedelta(hours=24)  # a process that lives longer makes a new key
CLOCK_TOLERANCE: Final = timedelta(minutes=5)  # times are taken before the log is locked, and clocks are adjusted


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """Which key may sign observations, for which process, between which times (both included)."""

    public_key: signing.PublicKey
    operator: Digest
    host: str
    boot_id: str
    pid: int
    not_before: datetime
    not_after: datetime

    @property
    def key_id(self) -> Digest:
        """SHA-256 of the process key's SubjectPublicKeyInfo."""
        return signing.key_id(self.public_key)

    def covers(self, moment: datetime) -> bool:
        """Whether an observation of this time may be signed with the key."""
        return self.not_before <= moment <= self.not_after

    @classmethod
    def parse(cls, statement: Statement) -> Self:
        """Read a delegation from its statement.

        Raises:
            WrongPredicate: another predicate type or version.
            FormatError: a field that is missing, mistyped, misspelt or malformed, a window that ends before it
                begins, or a subject that is not the delegated key.
        """
        if statement.predicate_type != DELEGATION_TYPE:
            raise WrongPredicate("not a delegation", expected=DELEGATION_TYPE, found=statement.predicate_type)
        fields = Fields(statement.predicate, "predicate")
        Place.parse(fields)
        encoded = decode_base64(fields.text("publicKey"), fields.at("publicKey"))
        delegation = cls(
            public_key=signing.read_public(encoded, what=fields.at("publicKey")),
            operator=fields.digest("operator"),
            host=fields.text("host"),
            boot_id=fields.text("bootId"),
            pid=fields.integer("pid", least=1),
            not_before=fields.time("notBefore"),
            not_after=fields.time("notAfter"),
        )
        fields.refuse_lookalikes()
        if delegation.not_after <= delegation.not_before:
            raise FormatError("predicate.notAfter is not after notBefore")
        if statement.subjects != (subject := delegation.subject(),):
            raise FormatError("the delegation's subject is not its key", expected=str(subject.digest))
        return delegation

    def subject(self) -> Subject:
        """The key, as the thing that the operator's signature is about."""
        return Subject(name=SUBJECT_NAME, digest=self.key_id)

    def to_statement(self, place: Place) -> Statement:
        """The statement for a place of the log; parsed again at once, so what cannot be read is never signed."""
        predicate: JsonObject = {
            "publicKey": encode_base64(signing.spki(self.public_key)),
            "operator": {"sha256": self.operator.hex},
            "host": self.host,
            "bootId": self.boot_id,
            "pid": self.pid,
            "notBefore": format_time(self.not_before),
            "notAfter": format_time(self.not_after),
            **place.to_json(),
        }
        statement = Statement.build(subjects=(self.subject(),), predicate_type=DELEGATION_TYPE, predicate=predicate)
        type(self).parse(statement)
        return statement


class ObserverKey:
    """A process's key and what the operator says of it."""

    __slots__ = ("_private", "delegation")

    def __init__(self, private: signing.PrivateKey, delegation: Delegation) -> None:
        self._private = private
        self.delegation = delegation

    @classmethod
    def generate(cls, operator: Digest, moment: datetime) -> Self:
        """A new key for this process, for observations from `moment` on.

        Args:
            operator: key id of the operator who will sign the delegation.
            moment: the time of the first observation, UTC, whole seconds.

        Raises:
            AuditError: for a moment at either end of time, around which there is no window.
        """
        try:
            not_before, not_after = moment - CLOCK_TOLERANCE, moment + LIFETIME
        except OverflowError:
            raise AuditError("the clock cannot be right", found=format_time(moment)) from None
        private = signing.generate()
        host, boot_id = _machine()
        delegation = Delegation(
            public_key=private.public_key(),
            operator=operator,
            host=host,
            boot_id=boot_id,
            pid=os.getpid(),
            not_before=not_before,
            not_after=not_after,
        )
        return cls(private, delegation)

    def may_sign(self, moment: datetime) -> bool:
        """Whether this is the process that the key was made for, and the delegation covers the time."""
        return self.delegation.pid == os.getpid() and self.delegation.covers(moment)

    def sign(self, payload: bytes) -> Envelope:
        """Sign an observation's statement."""
        return signing.sign(self._private, payload)


def _machine() -> tuple[str, str]:
    """Host name and boot id; "unknown" where the system does not say."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot_id = "unknown"
    return shown(socket.gethostname(), 200) or "unknown", boot_id
