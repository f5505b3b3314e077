"""A strict reading of a Sigstore bundle v0.3: the parts that sigstore-python keeps behind underscores.

The same bytes are handed to `sigstore.models.Bundle.from_json`; here we read the envelope, the log entry's kind
and where it stands in the log. Nothing here is verified, and nothing here decides.
Source: https://github.com/sigstore/protobuf-specs, sigstore_bundle.proto.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.dsse import Envelope, decode_base64
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.strict_json import loads

__all__ = ["BUNDLE_NAME", "LogEntry", "RawBundle"]

BUNDLE_NAME: Final = "skillwarrant.sigstore.json"
_MEDIA_TYPES: Final = (
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
)
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """Where the transparency log says the signature stands.

    Args:
        kind: Rekor's entry kind, `dsse` (v1) or `hashedrekord` (v2).
        log_id: SHA-256 key id of the log, hexadecimal.
        index: the entry's index in its log, 0-based (protobuf int64).
        proof_index: the index the inclusion proof is for; v1 counts it within one shard.
        integrated_time: when the log took it in; v2 logs do not say.
        canonical_body: the log's own record of the entry.
    """

    kind: str
    version: str
    log_id: str
    index: int
    proof_index: int
    integrated_time: datetime | None
    canonical_body: bytes
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBundle:
    """A bundle's bytes with what was read from them.

    Args:
        raw: the file's bytes.
        envelope: the DSSE envelope.
        entry: its only transparency-log entry.
        certificate: DER of the signing certificate.
    """

    raw: bytes
    envelope: Envelope
    entry: LogEntry
    certificate: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a bundle.

        Raises:
            FormatError: when it is not a v0.3 bundle with a DSSE envelope, a certificate and one log entry.
        """
        fields = Fields(loads(raw, what="bundle", limit=limits.MAX_BUNDLE_BYTES), "bundle")
        if (media_type := fields.text("mediaType")) not in _MEDIA_TYPES:
            raise FormatError("not a Sigstore bundle v0.3", expected=_MEDIA_TYPES[0], found=media_type)
        if "messageSignature" in fields:
            raise FormatError(
                "the bundle signs a bare message", expected="a dsseEnvelope", found="a messageSignature"
            )
        material = fields.object("verificationMaterial")
        if "certificate" not in material:
            raise FormatError(
                "the bundle has no certificate",
                expected="verificationMaterial.certificate",
                found=", ".join(material.keys()) or "nothing",
            )
        certificate = material.object("certificate")
        (entry,) = material.objects("tlogEntries", least=1, most=1)
        return cls(
            raw=raw,
            envelope=Envelope.parse(fields.object("dsseEnvelope")),
            entry=_entry(entry),
            certificate=_base64(certificate, "rawBytes"),
        )

    @property
    def digest(self) -> Digest:
        """SHA-256 of the bundle file."""
        return Digest.of(self.raw)


def _base64(fields: Fields, key: str) -> bytes:
    return decode_base64(fields.text(key, limit=limits.MAX_BUNDLE_BYTES), fields.at(key))


def _int64(fields: Fields, key: str) -> int:
    """Protobuf JSON writes int64 as a string and leaves out zero."""
    if key not in fields:
        return 0
    return int(fields.text(key, pattern=_DECIMAL))


def _entry(fields: Fields) -> LogEntry:
    kind = fields.object("kindVersion")
    proof = fields.object("inclusionProof")
    seconds = _int64(fields, "integratedTime")
    checkpoint = proof.object("checkpoint").text("envelope", limit=64 * limits.KIB)
    return LogEntry(
        kind=kind.text("kind"),
        version=kind.text("version"),
        log_id=_base64(fields.object("logId"), "keyId").hex(),
        index=_int64(fields, "logIndex"),
        proof_index=_int64(proof, "logIndex"),
        integrated_time=_moment(seconds, fields.at("integratedTime")) if seconds else None,
        canonical_body=_base64(fields, "canonicalizedBody"),
        origin=checkpoint.partition("\n")[0],
    )


def _moment(seconds: int, where: str) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (OverflowError, OSError, ValueError):
        raise FormatError(f"{where} is no time", found=str(seconds)) from None
