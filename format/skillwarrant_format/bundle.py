"""A strict reading of a Sigstore bundle v0.3: the parts that sigstore-python keeps behind underscores.

The same bytes are handed to `sigstore.models.Bundle.from_json`; here we read the envelope, the log entry's kind
and where it stands in the log. Nothing here is verified, and nothing here decides.
A key that the format does not have is refused at every level: sigstore-python takes each field under its snake-case
name too, and `log_index` beside or instead of `logIndex` would let it verify one number while we read another.
Source: https://github.com/sigstore/protobuf-specs, sigstore_bundle.proto.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.dsse import Envelope, decode_base64
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.strict_json import JsonValue, loads_object

__all__ = ["BUNDLE_NAME", "LogEntry", "RawBundle"]

BUNDLE_NAME: Final = "skillwarrant.sigstore.json"
_MEDIA_TYPES: Final = (
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
)
_KEYS: Final = ("certificate", "publicKey", "x509CertificateChain")  # protobuf `oneof content`
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_MAX_INT64: Final = 2**63 - 1
_LOG_ID_BYTES: Final = 32  # SHA-256
# Every key of a v0.3 bundle; a list stands for "a list of these", None for a value without keys.
_SHAPE: Final[Any] = {
    "mediaType": None,
    "verificationMaterial": {
        "certificate": {"rawBytes": None},
        "publicKey": {"hint": None},
        "x509CertificateChain": {"certificates": [{"rawBytes": None}]},
        "tlogEntries": [
            {
                "logIndex": None,
                "logId": {"keyId": None},
                "kindVersion": {"kind": None, "version": None},
                "integratedTime": None,
                "inclusionPromise": {"signedEntryTimestamp": None},
                "inclusionProof": {
                    "logIndex": None,
                    "rootHash": None,
                    "treeSize": None,
                    "hashes": [None],
                    "checkpoint": {"envelope": None},
                },
                "canonicalizedBody": None,
            }
        ],
        "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": None}]},
    },
    "messageSignature": {"messageDigest": {"algorithm": None, "digest": None}, "signature": None},
    "dsseEnvelope": {"payload": None, "payloadType": None, "signatures": [{"sig": None, "keyid": None}]},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """Where the transparency log says the signature stands.

    Args:
        kind: Rekor's entry kind, `dsse` (v1) or `hashedrekord` (v2).
        log_id: SHA-256 key id of the log, hexadecimal.
        index: the entry's index in its log, 0-based (protobuf int64).
        proof_index: the index the inclusion proof is for; v1 counts it within one shard.
        tree_size: the size of the tree that the inclusion proof is for.
        integrated_time: when the log took it in; v2 logs do not say.
        promised: there is a signed entry timestamp (v1 only), which is what vouches for `integrated_time`.
        canonical_body: the log's own record of the entry.
        checkpoint: the signed note over the tree's root (C2SP tlog-checkpoint).
    """

    kind: str
    version: str
    log_id: str
    index: int
    proof_index: int
    tree_size: int
    integrated_time: datetime | None
    promised: bool
    canonical_body: bytes
    checkpoint: str

    @property
    def origin(self) -> str:
        """The checkpoint's first line: the log's own name."""
        return self.checkpoint.partition("\n")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBundle:
    """A bundle's bytes with what was read from them.

    Args:
        raw: the file's bytes.
        envelope: the DSSE envelope.
        entry: its only transparency-log entry.
        certificate: DER of the signing certificate.
        timestamps: DER of the RFC 3161 responses beside it; often none.
    """

    raw: bytes
    envelope: Envelope
    entry: LogEntry
    certificate: bytes
    timestamps: tuple[bytes, ...]

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a bundle.

        Raises:
            FormatError: when it is not a v0.3 bundle with a DSSE envelope, a certificate and one log entry.
        """
        document = loads_object(raw, what="bundle", limit=limits.MAX_BUNDLE_BYTES)
        fields = Fields(document, "bundle")
        if (media_type := fields.text("mediaType")) not in _MEDIA_TYPES:
            raise FormatError("not a Sigstore bundle v0.3", expected=_MEDIA_TYPES[0], found=media_type)
        _known(document, _SHAPE, "bundle")
        if "messageSignature" in fields:
            raise FormatError(
                "the bundle signs a bare message", expected="a dsseEnvelope", found="a messageSignature"
            )
        material = fields.object("verificationMaterial")
        if (given := [key for key in _KEYS if key in material]) != ["certificate"]:
            raise FormatError(
                "the bundle does not name its key by one certificate",
                expected="verificationMaterial.certificate",
                found=", ".join(given) or "nothing",
            )
        certificate = material.object("certificate")
        (entry,) = material.objects("tlogEntries", least=1, most=1)
        return cls(
            raw=raw,
            envelope=Envelope.parse(fields.object("dsseEnvelope")),
            entry=_entry(entry),
            certificate=_base64(certificate, "rawBytes"),
            timestamps=_timestamps(material),
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
    if (number := int(fields.text(key, pattern=_DECIMAL))) > _MAX_INT64:
        raise FormatError(f"{fields.at(key)} is too large", expected="an int64", found=str(number))
    return number


def _entry(fields: Fields) -> LogEntry:
    kind = fields.object("kindVersion")
    proof = fields.object("inclusionProof")
    seconds = _int64(fields, "integratedTime")
    return LogEntry(
        kind=kind.text("kind"),
        version=kind.text("version"),
        log_id=_log_id(fields.object("logId")),
        index=_int64(fields, "logIndex"),
        proof_index=_int64(proof, "logIndex"),
        tree_size=_int64(proof, "treeSize"),
        integrated_time=_moment(seconds, fields.at("integratedTime")) if seconds else None,
        promised=fields.maybe("inclusionPromise", lambda key: _promise(fields.object(key))) is not None,
        canonical_body=_base64(fields, "canonicalizedBody"),
        checkpoint=proof.object("checkpoint").text("envelope", limit=64 * limits.KIB, multiline=True),
    )


def _log_id(fields: Fields) -> str:
    log_id = _base64(fields, "keyId")
    if len(log_id) != _LOG_ID_BYTES:
        raise FormatError(
            f"{fields.at('keyId')} is no log id", expected=f"{_LOG_ID_BYTES} bytes", found=f"{len(log_id)} bytes"
        )
    return log_id.hex()


def _promise(fields: Fields) -> bytes:
    return _base64(fields, "signedEntryTimestamp")


def _timestamps(material: Fields) -> tuple[bytes, ...]:
    data = material.maybe("timestampVerificationData", material.object)
    found = data.maybe("rfc3161Timestamps", lambda key: data.objects(key, most=32)) if data is not None else None
    return tuple(_base64(item, "signedTimestamp") for item in found or ())


def _known(value: JsonValue, shape: Any, where: str) -> None:
    """Raises FormatError for a key that is not in `shape`; what the values are is checked where they are read."""
    if isinstance(shape, dict) and isinstance(value, dict):
        for key, item in value.items():
            if key not in shape:
                raise FormatError(f"{where} has an unknown key", expected=", ".join(shape), found=key)
            _known(item, shape[key], f"{where}.{key}")
    elif isinstance(shape, list) and isinstance(value, list):
        for item in value:
            _known(item, shape[0], where)


def _moment(seconds: int, where: str) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (OverflowError, OSError, ValueError):
        raise FormatError(f"{where} is no time", found=str(seconds)) from None
