"""The policy bundle: which policy, until when. Predicate `https://skillwarrant.dev/policy-bundle/v1`.

The normative text is docs/reference/policy-bundle.md, the JSON Schema is schemas/policy-bundle-v1.json. The
subjects of its statement are the policy's files. Nothing here reads files, or knows what a policy says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from skillwarrant_format.errors import FormatError, WrongPredicate
from skillwarrant_format.fields import Fields, format_time, present
from skillwarrant_format.policy_files import POLICY, POLICY_BUNDLE_NAME, document_of
from skillwarrant_format.statement import Statement, Subject, read_predicate_type
from skillwarrant_format.strict_json import JsonObject

__all__ = ["PREDICATE_TYPE", "PolicyBundle"]

PREDICATE_TYPE: Final = "https://skillwarrant.dev/policy-bundle/v1"
_FAMILY: Final = PREDICATE_TYPE.rpartition("/")[0] + "/"
_MAX_NAME: Final = 128  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyBundle:
    """What its signer says of a policy.

    Args:
        name, revision: as the policy document has them.
        api_version: of the policy document.
        document: the subject that is the policy document.
        not_after: from when on the policy may not be used any more.
        not_before: from when on it may be used; None is any time.
    """

    name: str
    revision: int
    api_version: str
    document: str
    not_after: datetime
    not_before: datetime | None = None

    @classmethod
    def read(cls, payload: bytes) -> tuple[Statement, Self]:
        """From an envelope's payload. What signs something else is named as that, however it is encoded.

        Raises:
            WrongPredicate, FormatError, FilesMismatch: as `parse` and `Statement.parse`.
        """
        _require_type(read_predicate_type(payload))
        statement = Statement.parse(payload)
        return statement, cls.parse(statement)

    @classmethod
    def parse(cls, statement: Statement) -> Self:
        """Read the predicate of a statement.

        Raises:
            WrongPredicate: another predicate type, or a version that this release does not know.
            FormatError: a field that is missing, mistyped, misspelt or malformed, or a subject that is no plain
                relative path.
            FilesMismatch: a subject that a policy may not have, or not one policy document.
        """
        _require_type(statement.predicate_type)
        fields = Fields(statement.predicate, "predicate")
        bundle = cls(
            name=fields.text("name", limit=_MAX_NAME),
            revision=fields.integer("revision", least=1),
            api_version=fields.text("apiVersion"),
            document=fields.text("document"),
            not_before=fields.maybe("notBefore", fields.time),
            not_after=fields.time("notAfter"),
        )
        fields.refuse_lookalikes()
        if bundle.not_before is not None and bundle.not_before >= bundle.not_after:
            raise FormatError("predicate.notBefore is not before predicate.notAfter")
        _check_subjects(statement, bundle.document)
        return bundle

    def to_json(self) -> JsonObject:
        """The predicate; `parse` of it gives an equal bundle."""
        return present(
            name=self.name,
            revision=self.revision,
            apiVersion=self.api_version,
            document=self.document,
            notBefore=None if self.not_before is None else format_time(self.not_before),
            notAfter=format_time(self.not_after),
        )

    def to_statement(self, subjects: tuple[Subject, ...]) -> Statement:
        """The statement that is signed; parsed again at once, so what cannot be read is never signed.

        Args:
            subjects: all files of the policy, `PolicyFiles.subjects`.

        Raises:
            FormatError, FilesMismatch: when this would not be accepted by `parse`.
        """
        statement = Statement.build(subjects=subjects, predicate_type=PREDICATE_TYPE, predicate=self.to_json())
        type(self).parse(statement)
        return statement


def _require_type(found: str) -> None:
    if found == PREDICATE_TYPE:
        return
    if found.startswith(_FAMILY):
        raise WrongPredicate(
            "the policy bundle is of a version that this release does not know",
            expected=PREDICATE_TYPE,
            found=found,
            fix="Upgrade skillwarrant, or have the policy signed as v1.",
        )
    raise WrongPredicate("the bundle signs something else", expected=PREDICATE_TYPE, found=found)


def _check_subjects(statement: Statement, document: str) -> None:
    names = {subject.name: subject for subject in statement.subjects}
    POLICY.check_names(names)
    if POLICY_BUNDLE_NAME in names:
        raise FormatError(
            "a subject has the bundle's own name, and no bundle holds its own digest", found=POLICY_BUNDLE_NAME
        )
    if (only := document_of(names)) != document:
        raise FormatError("predicate.document is not the policy's document", expected=only, found=document)
