"""What others than the publisher sign about an adapter: an approval, or a certification. Two small predicates.

`https://skillwarrant.dev/approval/v1`: somebody has looked at this release and agrees to it.
`https://skillwarrant.dev/certification/v1`: its behaviour was tested, by a suite, with a result.

Both are statements whose one subject is the manifest's bundle, so they are about one signed release and no other.
Format: docs/reference/evidence.md. Who may sign them, a policy says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, Literal, Self, TypeAlias, cast

from skillwarrant_format import limits
from skillwarrant_format.bundle import BUNDLE_NAME
from skillwarrant_format.digest import Digest
from skillwarrant_format.fields import Fields, format_time, present
from skillwarrant_format.names import SEMVER, SKILL_NAME
from skillwarrant_format.statement import Statement, Subject
from skillwarrant_format.strict_json import JsonObject

__all__ = ["APPROVAL_TYPE", "CERTIFICATION_TYPE", "Approval", "Certification", "Result"]

APPROVAL_TYPE: Final = "https://skillwarrant.dev/approval/v1"
CERTIFICATION_TYPE: Final = "https://skillwarrant.dev/certification/v1"
Result: TypeAlias = Literal["passed", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Somebody agrees to a release.

    Args:
        skill, version: as the manifest has them: for people; the statement's subject says which release it is.
        comment: anything, or nothing.
    """

    TYPE: ClassVar[str] = APPROVAL_TYPE

    skill: str
    version: str
    comment: str | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read a predicate.

        Raises:
            FormatError: a field that is missing, mistyped, misspelt or malformed.
        """
        skill, version = _release(fields)
        comment = fields.maybe("comment", lambda key: fields.text(key, limit=limits.MAX_TEXT_CHARS, multiline=True))
        fields.refuse_lookalikes()
        return cls(skill=skill, version=version, comment=comment)

    def to_json(self) -> JsonObject:
        return present(skill={"name": self.skill, "version": self.version}, comment=self.comment)

    def to_statement(self, bundle: Digest) -> Statement:
        """The statement that is signed.

        Args:
            bundle: SHA-256 of the manifest's bundle.
        """
        return _statement(self.TYPE, bundle, self.to_json())


@dataclass(frozen=True, slots=True, kw_only=True)
class Certification:
    """The behaviour of a release was tested.

    Args:
        skill, version: as in `Approval`.
        suite: which tests, a name and its version in one line.
        result: a certification that failed proves nothing good, and is one.
        report: SHA-256 of the report.
        expires_at: after it, the certification proves nothing.
    """

    TYPE: ClassVar[str] = CERTIFICATION_TYPE

    skill: str
    version: str
    suite: str
    result: Result
    report: Digest | None = None
    expires_at: datetime | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read a predicate.

        Raises:
            FormatError: a field that is missing, mistyped, misspelt or malformed.
        """
        skill, version = _release(fields)
        found = cls(
            skill=skill,
            version=version,
            suite=fields.text("suite"),
            result=cast("Result", fields.choice("result", ("passed", "failed"))),
            report=fields.maybe("report", fields.digest),
            expires_at=fields.maybe("expiresAt", fields.time),
        )
        fields.refuse_lookalikes()
        return found

    def to_json(self) -> JsonObject:
        return present(
            skill={"name": self.skill, "version": self.version},
            suite=self.suite,
            result=self.result,
            report=None if self.report is None else {"sha256": self.report.hex},
            expiresAt=None if self.expires_at is None else format_time(self.expires_at),
        )

    def to_statement(self, bundle: Digest) -> Statement:
        """The statement that is signed; as `Approval.to_statement`."""
        return _statement(self.TYPE, bundle, self.to_json())


def _release(fields: Fields) -> tuple[str, str]:
    skill = fields.object("skill")
    name = skill.text("name", limit=limits.MAX_SKILL_NAME_CHARS, pattern=SKILL_NAME)
    return name, skill.text("version", limit=limits.MAX_VERSION_CHARS, pattern=SEMVER)


def _statement(predicate_type: str, bundle: Digest, predicate: JsonObject) -> Statement:
    subject = Subject(name=BUNDLE_NAME, digest=bundle)
    return Statement.build(subjects=[subject], predicate_type=predicate_type, predicate=predicate)
