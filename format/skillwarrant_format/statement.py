"""in-toto Statement v1: subjects and a predicate, with the exact signed bytes beside the parsed form.

Source: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md. This module reads and writes any
predicate type; what a predicate means is in `manifest` and `observation`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.strict_json import JsonObject, canonical, loads, loads_canonical

__all__ = ["PAYLOAD_TYPE", "STATEMENT_TYPE", "Statement", "Subject", "read_predicate_type"]

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Subject:
    """One signed thing: its name and its SHA-256."""

    name: str
    digest: Digest

    def to_json(self) -> JsonObject:
        return {"name": self.name, "digest": {"sha256": self.digest.hex}}

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Raises FormatError for a missing name or a digest set that is not exactly one well-formed sha256."""
        return cls(name=fields.text("name", limit=limits.MAX_NAME_CHARS), digest=fields.digest("digest"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement whose `raw` bytes are the RFC 8785 form of everything else it says.

    Build one with `Statement.build` or `Statement.parse`. There is no statement without a subject. Fields that
    Statement v1 does not have are carried in `raw`, and mean nothing.
    """

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: JsonObject
    raw: bytes

    def __post_init__(self) -> None:
        if not self.subjects:
            raise FormatError("a statement needs a subject", expected="at least one", found="none")

    @classmethod
    def build(cls, *, subjects: Iterable[Subject], predicate_type: str, predicate: JsonObject) -> Self:
        """Serialise a statement; subjects are sorted by name, so that order says nothing.

        Raises:
            FormatError: for no subject, a name twice, or a predicate without a canonical form.
        """
        ordered = tuple(sorted(subjects))
        raw = canonical(
            {
                "_type": STATEMENT_TYPE,
                "subject": [subject.to_json() for subject in ordered],
                "predicateType": predicate_type,
                "predicate": predicate,
            }
        )
        return cls.parse(raw)

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read what `build` writes.

        Args:
            raw: the payload of an envelope, at most `limits.MAX_STATEMENT_BYTES`.

        Raises:
            FormatError: for other types, no or unsorted or repeated subjects, or bytes that are not canonical.
        """
        document = loads_canonical(raw, what="statement", limit=limits.MAX_STATEMENT_BYTES)
        fields = Fields(document, "statement")
        _require_statement(fields)
        subjects = tuple(Subject.parse(item) for item in fields.objects("subject", least=1, most=limits.MAX_FILES))
        names = [subject.name for subject in subjects]
        if names != sorted(set(names)):
            raise FormatError("statement.subject is not in order", expected="names sorted, none twice")
        predicate = fields.value("predicate")
        if not Fields(predicate, "statement.predicate").keys():
            raise FormatError(
                "statement.predicate says nothing", expected="an object with fields", found="an empty one"
            )
        predicate_type = fields.text("predicateType")
        fields.refuse_lookalikes()
        return cls(
            subjects=subjects,
            predicate_type=predicate_type,
            predicate=predicate,  # type: ignore[arg-type]  # an object: Fields has just checked
            raw=raw,
        )


def read_predicate_type(raw: bytes) -> str:
    """What a payload says it is, in whatever encoding: to tell a foreign attestation from a malformed one of ours.

    Raises:
        FormatError: it is no JSON object with a predicate type.
    """
    document = loads(raw, what="statement", limit=limits.MAX_STATEMENT_BYTES)
    return Fields(document, "statement").text("predicateType")


def _require_statement(fields: Fields) -> None:
    if (found := fields.text("_type")) != STATEMENT_TYPE:
        raise FormatError("not an in-toto statement", expected=STATEMENT_TYPE, found=found)
