"""The keys and certificates of one instance: made once, kept in one private file, never replaced.

The private keys of both root certificates are thrown away once they have signed their one certificate.
It knows nothing of HTTP, tokens or logs.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields, format_time
from skillwarrant_format.strict_json import canonical, loads

__all__ = ["LIFETIME", "ORGANIZATION", "Instance", "key_usage", "log_id", "public_der"]

ORGANIZATION: Final = "skillwarrant devstack, NOT FOR PRODUCTION"
LIFETIME: Final = timedelta(days=3650)  # of the certificate authorities and of every key in the trusted root


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Everything that makes an instance itself. Two roots, what they signed, and the services' keys."""

    created: datetime
    tree_id: str  # Rekor v1's, a 63-bit number in decimal
    fulcio_root: x509.Certificate
    fulcio_ca: x509.Certificate
    fulcio_key: ec.EllipticCurvePrivateKey  # of fulcio_ca, P-384
    tsa_root: x509.Certificate
    tsa: x509.Certificate
    tsa_key: ec.EllipticCurvePrivateKey  # P-384
    ct_key: ec.EllipticCurvePrivateKey  # P-256
    oidc_key: ec.EllipticCurvePrivateKey  # P-256
    rekor_v1_key: ec.EllipticCurvePrivateKey  # P-256
    rekor_v2_key: ed25519.Ed25519PrivateKey

    @property
    def expires(self) -> datetime:
        """When the roots end, and everything with them."""
        return self.created + LIFETIME

    @classmethod
    def generate(cls, now: datetime) -> Self:
        """A new instance, valid from `now` (whole seconds)."""
        created = now.replace(microsecond=0)
        root_key, fulcio_key = _p384(), _p384()
        fulcio_root = _root("fulcio root", root_key, created, path_length=1)
        tsa_root_key, tsa_key = _p384(), _p384()
        tsa_root = _root("timestamp root", tsa_root_key, created, path_length=0)
        return cls(
            created=created,
            tree_id=str(secrets.randbits(62) | 1 << 62),
            fulcio_root=fulcio_root,
            fulcio_ca=_intermediate(fulcio_root, root_key, fulcio_key),
            fulcio_key=fulcio_key,
            tsa_root=tsa_root,
            tsa=_timestamping(tsa_root, tsa_root_key, tsa_key),
            tsa_key=tsa_key,
            ct_key=_p256(),
            oidc_key=_p256(),
            rekor_v1_key=_p256(),
            rekor_v2_key=ed25519.Ed25519PrivateKey.generate(),
        )

    def to_bytes(self) -> bytes:
        """RFC 8785 JSON with PEM inside. Secret."""
        document: dict[str, str] = {"created": format_time(self.created), "treeId": self.tree_id}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, x509.Certificate):
                document[field.name] = value.public_bytes(Encoding.PEM).decode()
            elif field.name.endswith("_key"):
                document[field.name] = _private_pem(value)
        return canonical(document)

    @classmethod
    def loads(cls, data: bytes) -> Self:
        """The inverse of `to_bytes`.

        Raises:
            FormatError: for anything else.
        """
        document = Fields(loads(data, what="instance"), "instance")
        return cls(
            created=document.time("created"),
            tree_id=document.text("treeId"),
            fulcio_root=_certificate(document, "fulcio_root"),
            fulcio_ca=_certificate(document, "fulcio_ca"),
            fulcio_key=_ec_key(document, "fulcio_key"),
            tsa_root=_certificate(document, "tsa_root"),
            tsa=_certificate(document, "tsa"),
            tsa_key=_ec_key(document, "tsa_key"),
            ct_key=_ec_key(document, "ct_key"),
            oidc_key=_ec_key(document, "oidc_key"),
            rekor_v1_key=_ec_key(document, "rekor_v1_key"),
            rekor_v2_key=_ed25519_key(document, "rekor_v2_key"),
        )


def public_der(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    """SubjectPublicKeyInfo, DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def log_id(key: ec.EllipticCurvePrivateKey) -> bytes:
    """RFC 6962 section 3.2: SHA-256 of the SubjectPublicKeyInfo (32 bytes)."""
    return hashlib.sha256(public_der(key)).digest()


def key_usage(*, sign: bool = False, certify: bool = False) -> x509.KeyUsage:
    """Digital signatures for leaves, certificates and CRLs for authorities; nothing else."""
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certify,
        crl_sign=certify,
        encipher_only=False,
        decipher_only=False,
    )


def _p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _p384() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    common_name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, begin: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _root(
    common_name: str, key: ec.EllipticCurvePrivateKey, begin: datetime, *, path_length: int
) -> x509.Certificate:
    return (
        _builder(common_name, key, _name(common_name), begin)
        .add_extension(key_usage(certify=True), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .sign(key, hashes.SHA384())
    )


def _intermediate(
    root: x509.Certificate, root_key: ec.EllipticCurvePrivateKey, key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    return (
        _builder("fulcio intermediate", key, root.subject, root.not_valid_before_utc)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .add_extension(key_usage(certify=True), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .sign(root_key, hashes.SHA384())
    )


def _timestamping(
    root: x509.Certificate, root_key: ec.EllipticCurvePrivateKey, key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    # RFC 3161 section 2.3: one purpose, and critical.
    return (
        _builder("timestamp authority", key, root.subject, root.not_valid_before_utc)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .add_extension(key_usage(sign=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        .sign(root_key, hashes.SHA384())
    )


def _private_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _pem(document: Fields, name: str) -> bytes:
    return document.text(name, limit=10_000, multiline=True).encode()


def _certificate(document: Fields, name: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_pem(document, name))
    except ValueError as error:
        raise FormatError(f"{document.at(name)} is not a certificate", found=str(error)) from None


def _private_key(document: Fields, name: str) -> object:
    try:
        return load_pem_private_key(_pem(document, name), password=None)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{document.at(name)} is not a private key", found=str(error)) from None


def _ec_key(document: Fields, name: str) -> ec.EllipticCurvePrivateKey:
    key = _private_key(document, name)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FormatError(f"{document.at(name)} is not an elliptic-curve key")
    return key


def _ed25519_key(document: Fields, name: str) -> ed25519.Ed25519PrivateKey:
    key = _private_key(document, name)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise FormatError(f"{document.at(name)} is not an Ed25519 key")
    return key
