"""The delegation: the operator's key says, once, which key a process signs its observations with.

Predicate `https://skillwarrant.dev/observer-delegation/v1`; the subject is the process key's SubjectPublicKeyInfo.
The operator's key is then needed once per process and not once per observation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self, cast

from skillwarrant_audit.keys import PublicKey
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, WrongPredicate
from skillwarrant_format.fields import Fields, format_time
from skillwarrant_format.observation import Place
from skillwarrant_format.statement import Statement, Subject
from skillwarrant_format.strict_json import JsonObject

__all__ = ["DELEGATION_TYPE", "Delegation"]

DELEGATION_TYPE: Final = "https://skillwarrant.dev/observer-delegation/v1"
_MAX_PEM: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """One process may sign observations.

    Args:
        key: the process's public key.
        not_before, not_after: between which times its observations count.
        operator: key id of the operator's key; the signature is what proves it.
        process: host, boot id and process id, as the process says.
    """

    key: PublicKey
    not_before: datetime
    not_after: datetime
    operator: Digest
    process: JsonObject

    def to_statement(self, *, seq: int, previous: Digest) -> Statement:
        """The statement for place `seq` of a log whose last leaf has the digest `previous`."""
        return Statement.build(
            subjects=(Subject(name="observer", digest=self.key.id),),
            predicate_type=DELEGATION_TYPE,
            predicate={
                "publicKey": self.key.pem(),
                "notBefore": format_time(self.not_before),
                "notAfter": format_time(self.not_after),
                "operator": {"sha256": self.operator.hex},
                "process": self.process,
                **Place(seq=seq, previous=previous).to_json(),
            },
        )

    @classmethod
    def parse(cls, statement: Statement) -> Self:
        """Read a delegation.

        Raises:
            WrongPredicate: another predicate type.
            FormatError: malformed, or its subject is not its key.
            AuditError: the key is no P-256 key.
        """
        if statement.predicate_type != DELEGATION_TYPE:
            raise WrongPredicate("not a delegation", expected=DELEGATION_TYPE, found=statement.predicate_type)
        fields = Fields(statement.predicate, "predicate")
        fields.object("process")
        delegation = cls(
            key=PublicKey.from_pem(fields.text("publicKey", limit=_MAX_PEM, multiline=True).encode()),
            not_before=fields.time("notBefore"),
            not_after=fields.time("notAfter"),
            operator=fields.digest("operator"),
            process=cast("JsonObject", fields.value("process")),
        )
        if [subject.digest for subject in statement.subjects] != [delegation.key.id]:
            raise FormatError("the delegation's subject is not its key", expected=str(delegation.key.id))
        return delegation
