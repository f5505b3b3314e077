"""Checking what is submitted to a log: keys, certificates and signatures that strangers send.

Every failure is the client's, and is said in one sentence. It knows nothing of entry formats.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from skillwarrant_devstack.http import RequestRefusedError

__all__ = ["HASHES", "VerifyingKey", "load_pem", "load_spki", "load_x509", "verify_digest", "verify_message"]

VerifyingKey: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

# Not all of cryptography's answers to bad bytes are a ValueError.
_UNREADABLE: Final = (ValueError, UnsupportedAlgorithm, x509.InvalidVersion)

HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def load_pem(data: bytes) -> tuple[VerifyingKey, bytes]:
    """The key of a PEM certificate or public key, and the same PEM in its normal form.

    Raises:
        RequestRefusedError: 400.
    """
    try:
        if b"-----BEGIN CERTIFICATE-----" in data:
            certificate = x509.load_pem_x509_certificate(data)
            return _supported(certificate.public_key()), certificate.public_bytes(Encoding.PEM)
        key = _supported(load_pem_public_key(data))
        return key, key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    except _UNREADABLE as error:
        raise RequestRefusedError(400, f"the verifier is neither a certificate nor a public key: {error}") from None


def load_x509(der: bytes) -> VerifyingKey:
    """The key of a DER certificate. Raises RequestRefusedError (400)."""
    try:
        return _supported(x509.load_der_x509_certificate(der).public_key())
    except _UNREADABLE as error:
        raise RequestRefusedError(400, f"the verifier's certificate cannot be read: {error}") from None


def load_spki(der: bytes) -> VerifyingKey:
    """The key of a DER SubjectPublicKeyInfo. Raises RequestRefusedError (400)."""
    try:
        return _supported(load_der_public_key(der))
    except _UNREADABLE as error:
        raise RequestRefusedError(400, f"the verifier's public key cannot be read: {error}") from None


def verify_message(key: VerifyingKey, signature: bytes, message: bytes) -> None:
    """ECDSA and RSA PKCS #1 v1.5 with SHA-256, or Ed25519.

    Raises:
        RequestRefusedError: 400, when it does not verify.
    """
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        else:
            key.verify(signature, message)
    except InvalidSignature:
        raise RequestRefusedError(400, "the signature does not verify with the given key") from None


def verify_digest(key: VerifyingKey, signature: bytes, digest: bytes, algorithm: hashes.HashAlgorithm) -> None:
    """The same over a digest that was made elsewhere; pure Ed25519 has no such form.

    Raises:
        RequestRefusedError: 400, when it does not verify or cannot.
    """
    if len(digest) != algorithm.digest_size:
        raise RequestRefusedError(
            400, f"a {algorithm.name} digest has {algorithm.digest_size} bytes, not {len(digest)}"
        )
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, digest, ec.ECDSA(Prehashed(algorithm)))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, digest, padding.PKCS1v15(), Prehashed(algorithm))
        else:
            raise RequestRefusedError(400, "pure Ed25519 signs messages, not digests")
    except InvalidSignature:
        raise RequestRefusedError(400, "the signature does not verify with the given key") from None


def _supported(key: object) -> VerifyingKey:
    if isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
        return key
    raise RequestRefusedError(400, "the verifier's key is neither ECDSA, Ed25519 nor RSA")
