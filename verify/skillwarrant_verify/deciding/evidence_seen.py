"""`EvidenceSeen`: a further attestation about an adapter, as a decision sees it. It verifies nothing itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, Self, cast

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.fields import Fields, format_time
from skillwarrant_format.strict_json import JsonObject
from skillwarrant_format.toml import only
from skillwarrant_verify.deciding.warrant import parse_signer, signer_to_json
from skillwarrant_verify.proof.certificate import Signer

__all__ = ["About", "EvidenceSeen"]

About = Literal["manifest", "statement", "files"]
_ABOUT: Final = ("manifest", "statement", "files")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceSeen:
    """An in-toto attestation whose signature was verified, and whose subject is this adapter.

    Args:
        predicate_type: what kind of attestation it is.
        predicate: what it says, as it stands there.
        about: what of the adapter its subjects are: the manifest's bundle, the signed statement, or all files.
        signer, signed_at: as of a manifest.
        bundle: SHA-256 of the evidence's own bundle.
        statement: SHA-256 of its signed statement: what revocations name.
    """

    predicate_type: str
    predicate: JsonObject = field(hash=False)
    about: About
    signer: Signer
    signed_at: datetime
    bundle: Digest
    statement: Digest

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """From an item of an input document's `evidence`.

        Raises:
            FormatError: a field that is missing, mistyped, malformed or unknown.
        """
        only(fields, "predicateType", "predicate", "about", "signer", "signedAt", "bundle", "statement")
        fields.object("predicate")
        return cls(
            predicate_type=fields.text("predicateType", limit=limits.MAX_URI_CHARS),
            predicate=cast("JsonObject", fields.value("predicate")),
            about=cast("About", fields.choice("about", _ABOUT)),
            signer=parse_signer(fields.object("signer")),
            signed_at=fields.time("signedAt"),
            bundle=fields.digest("bundle"),
            statement=fields.digest("statement"),
        )

    def to_json(self) -> JsonObject:
        return {
            "predicateType": self.predicate_type,
            "predicate": self.predicate,
            "about": self.about,
            "signer": signer_to_json(self.signer),
            "signedAt": format_time(self.signed_at),
            "bundle": {"sha256": self.bundle.hex},
            "statement": {"sha256": self.statement.hex},
        }
