"""What a Fulcio certificate says: who signed, which CT log promised it. Reading only, by `cryptography` alone.

Source: https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md. Nothing here is verified: a `Signer` proves
something only inside what `signature.verify_signature` returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat import asn1

from skillwarrant_format import limits
from skillwarrant_format.errors import SignatureInvalid
from skillwarrant_verify.identity import Kind

__all__ = ["Promise", "Signer", "parse_certificate", "read_authority", "read_promise", "read_signer"]

_ARC: Final = "1.3.6.1.4.1.57264.1"
_OTHER_NAME: Final = x509.ObjectIdentifier(f"{_ARC}.7")
# Fulcio's claims. Number 1 to 6 hold the text itself, the others a DER UTF8String; 7 is a kind of name.
_RAW: Final = {
    1: "issuerV1",
    2: "githubWorkflowTrigger",
    3: "githubWorkflowSHA",
    4: "githubWorkflowName",
    5: "githubWorkflowRepository",
    6: "githubWorkflowRef",
}
_UTF8: Final = {
    8: "issuer",
    9: "buildSignerURI",
    10: "buildSignerDigest",
    11: "runnerEnvironment",
    12: "sourceRepositoryURI",
    13: "sourceRepositoryDigest",
    14: "sourceRepositoryRef",
    15: "sourceRepositoryIdentifier",
    16: "sourceRepositoryOwnerURI",
    17: "sourceRepositoryOwnerIdentifier",
    18: "buildConfigURI",
    19: "buildConfigDigest",
    20: "buildTrigger",
    21: "runInvocationURI",
    22: "sourceRepositoryVisibilityAtSigning",
}
_NAMES: Final = {f"{_ARC}.{number}": name for number, name in (_RAW | _UTF8).items()}
_IS_RAW: Final = {f"{_ARC}.{number}" for number in _RAW}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Who a certificate was issued to.

    Args:
        identity: its only subject alternative name.
        issuer: the OIDC issuer that vouched for the identity.
        kind: what kind of name `identity` is.
        extensions: Fulcio's further claims by name (`sourceRepositoryURI`, `githubWorkflowRef`, …); empty for a
            person. The text is the certificate's own, and not made safe for a terminal.
    """

    identity: str
    issuer: str
    kind: Kind
    extensions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A certificate transparency log's promise (RFC 6962 SCT): which log, and when."""

    log_id: str
    time: datetime


def parse_certificate(der: bytes) -> x509.Certificate:
    """A certificate from DER.

    Raises:
        SignatureInvalid: it is none.
    """
    with _readable():
        return x509.load_der_x509_certificate(der)


def read_signer(certificate: x509.Certificate) -> Signer:
    """The one identity and its issuer.

    Raises:
        SignatureInvalid: no or several names, a name of an unknown kind, no issuer, or two that differ.
    """
    with _readable():
        identity, kind = _name(certificate)
        claims = _claims(certificate)
    issuers = {claims[key] for key in ("issuer", "issuerV1") if key in claims}
    if len(issuers) != 1 or not all(map(_is_recordable, issuers)):
        found = " and ".join(sorted(issuers)) or "none"
        raise SignatureInvalid("the certificate does not name one issuer", expected="one OIDC issuer", found=found)
    (issuer,) = issuers
    rest = {key: value for key, value in claims.items() if key not in ("issuer", "issuerV1")}
    return Signer(identity=identity, issuer=issuer, kind=kind, extensions=rest)


def read_promise(certificate: x509.Certificate) -> Promise:
    """The one signed certificate timestamp inside the certificate.

    Raises:
        SignatureInvalid: none, or several.
    """
    with _readable():
        found = list(
            certificate.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps).value
        )
        if len(found) != 1:
            raise ValueError(f"{len(found)} signed certificate timestamps instead of one")
        return Promise(log_id=found[0].log_id.hex(), time=found[0].timestamp.replace(tzinfo=UTC))


def read_authority(certificate: x509.Certificate) -> tuple[x509.Name, str]:
    """The name of the authority that the certificate says it is from, and the same as text.

    Raises:
        SignatureInvalid: it cannot be read.
    """
    with _readable():
        return certificate.issuer, certificate.issuer.rfc4514_string()


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (
        ValueError,
        TypeError,
        x509.DuplicateExtension,
        x509.ExtensionNotFound,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise SignatureInvalid("the signing certificate is not one that Fulcio issues", found=str(error)) from None


def _name(certificate: x509.Certificate) -> tuple[str, Kind]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    names = list(extension.value)
    if len(names) != 1:
        raise ValueError(f"{len(names)} subject alternative names instead of one")
    (name,) = names
    if isinstance(name, x509.UniformResourceIdentifier):
        return _text(name.value), "uri"
    if isinstance(name, x509.RFC822Name):
        return _text(name.value), "email"
    if isinstance(name, x509.OtherName) and name.type_id == _OTHER_NAME:
        return _text(asn1.decode_der(str, name.value)), "other"
    raise ValueError(f"a subject alternative name of the kind {type(name).__name__}")


def _claims(certificate: x509.Certificate) -> dict[str, str]:
    found = {}
    for extension in certificate.extensions:
        oid, value = extension.oid.dotted_string, extension.value
        if oid in _NAMES and isinstance(value, x509.UnrecognizedExtension):
            raw = value.value
            found[_NAMES[oid]] = raw.decode("utf-8") if oid in _IS_RAW else asn1.decode_der(str, raw)
    return found


def _text(value: str) -> str:
    if not _is_recordable(value):
        raise ValueError(f"a subject alternative name that is empty, too long or not printable: {value!r}")
    return value


def _is_recordable(text: str) -> bool:
    """Whether an observation can hold it: what it cannot, would be refused without a record."""
    return 0 < len(text) <= limits.MAX_URI_CHARS and text.isprintable()
