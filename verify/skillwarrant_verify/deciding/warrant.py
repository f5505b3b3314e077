"""What a decision reads of a warrant: who signed which manifest, when, where it is logged, for which files.

A `Verified` is a warrant. A `SupposedWarrant` says the same and proves nothing: it is read from a document, for
questions of the kind "what would be decided if". Rules cannot tell them apart; `Decision.require` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, Self, cast

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields, format_time, present
from skillwarrant_format.manifest import SkillManifest
from skillwarrant_format.observation_parts import LogPlace
from skillwarrant_format.statement import Subject
from skillwarrant_format.strict_json import JsonObject
from skillwarrant_format.toml import only
from skillwarrant_verify.identity import Kind
from skillwarrant_verify.proof.certificate import Signer

__all__ = ["SupposedWarrant", "Warrant", "parse_signer", "signer_to_json", "warrant_to_json"]

_KINDS: Final = ("uri", "email", "other")
_MAX_CLAIMS: Final = 64  # of a certificate


class Warrant(Protocol):
    """What rules read. Every attribute is as in `signature.Verified`."""

    @property
    def manifest(self) -> SkillManifest: ...
    @property
    def signer(self) -> Signer: ...
    @property
    def signed_at(self) -> datetime: ...
    @property
    def log(self) -> LogPlace: ...
    @property
    def bundle(self) -> Digest: ...
    @property
    def statement_digest(self) -> Digest: ...
    @property
    def subjects(self) -> tuple[Subject, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SupposedWarrant:
    """A warrant as a document describes it. Nothing was verified.

    Args:
        bundle: SHA-256 of the bundle's bytes.
        statement_digest: SHA-256 of the signed statement's bytes.
        subjects: the adapter's files, sorted by name; at least one.
    """

    manifest: SkillManifest
    signer: Signer
    signed_at: datetime
    log: LogPlace
    bundle: Digest
    statement_digest: Digest
    subjects: tuple[Subject, ...]

    @classmethod
    def parse(cls, fields: Fields, manifest: SkillManifest) -> Self:
        """From the `warrant` of an input document.

        Raises:
            FormatError: a field that is missing, mistyped, malformed or unknown.
        """
        only(fields, "bundle", "files", "log", "signedAt", "signer", "statement")
        log = fields.object("log")
        only(log, "origin", "logId", "index", "integratedTime")
        files = fields.objects("files", least=1, most=limits.MAX_FILES)
        for file in files:
            only(file, "name", "digest")
        subjects = tuple(Subject.parse(file) for file in files)
        names = [subject.name for subject in subjects]
        if names != sorted(set(names)):
            raise FormatError(f"{fields.at('files')} is not in order", expected="names sorted, none twice")
        return cls(
            manifest=manifest,
            signer=parse_signer(fields.object("signer")),
            signed_at=fields.time("signedAt"),
            log=LogPlace.parse(log),
            bundle=fields.digest("bundle"),
            statement_digest=fields.digest("statement"),
            subjects=subjects,
        )


def warrant_to_json(warrant: Warrant) -> JsonObject:
    """The `warrant` of an input document: all but the manifest."""
    return {
        "bundle": {"sha256": warrant.bundle.hex},
        "statement": {"sha256": warrant.statement_digest.hex},
        "signer": signer_to_json(warrant.signer),
        "signedAt": format_time(warrant.signed_at),
        "log": warrant.log.to_json(),
        "files": [subject.to_json() for subject in warrant.subjects],
    }


def signer_to_json(signer: Signer) -> JsonObject:
    """A signer, with Fulcio's further claims by name where there are any."""
    return present(identity=signer.identity, issuer=signer.issuer, kind=signer.kind, claims=dict(signer.extensions))


def parse_signer(fields: Fields) -> Signer:
    """The inverse of `signer_to_json`.

    Raises:
        FormatError: a field that is missing, mistyped, malformed or unknown.
    """
    only(fields, "identity", "issuer", "kind", "claims")
    claims = fields.maybe("claims", fields.object)
    names = () if claims is None else claims.keys()
    if claims is not None and not 0 < len(names) <= _MAX_CLAIMS:
        expected = f"1 to {_MAX_CLAIMS} claims"
        raise FormatError(f"{claims.path} has the wrong length", expected=expected, found=str(len(names)))
    return Signer(
        identity=fields.text("identity", limit=limits.MAX_URI_CHARS),
        issuer=fields.text("issuer", limit=limits.MAX_URI_CHARS),
        kind=cast("Kind", fields.choice("kind", _KINDS)),
        extensions={name: cast("Fields", claims).text(name, limit=limits.MAX_URI_CHARS) for name in names},
    )
