"""Signed certificate timestamps (RFC 6962 section 3.2): the CT log's promise, embedded in a certificate.

The devstack has the log's key, not the log: nothing in Sigstore's verification reads it. It knows nothing of
identities.
"""

from __future__ import annotations

import hashlib
import struct
from datetime import datetime
from typing import Final

from asn1crypto.core import OctetString
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from skillwarrant_devstack.keys import log_id

__all__ = ["sign_with_timestamp"]

_SCT_LIST: Final = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_V1: Final = 0
_CERTIFICATE_TIMESTAMP: Final = 0
_PRECERT_ENTRY: Final = 1
_SHA256_ECDSA: Final = b"\x04\x03"  # TLS 1.2 HashAlgorithm, SignatureAlgorithm


def sign_with_timestamp(
    builder: x509.CertificateBuilder,
    ca_key: ec.EllipticCurvePrivateKey,
    ct_key: ec.EllipticCurvePrivateKey,
    moment: datetime,
) -> x509.Certificate:
    """The certificate with exactly one embedded timestamp.

    The log signs the certificate as it is without the timestamp; the extension then goes last, so that taking
    it out gives those bytes back.
    """
    algorithm = hashes.SHA384()
    precertificate = builder.sign(ca_key, algorithm)
    timestamp = _timestamp(precertificate.tbs_certificate_bytes, ca_key, ct_key, moment)
    listed = struct.pack(">HH", len(timestamp) + 2, len(timestamp)) + timestamp
    extension = x509.UnrecognizedExtension(_SCT_LIST, OctetString(listed).dump())
    return builder.add_extension(extension, critical=False).sign(ca_key, algorithm)


def _timestamp(
    tbs: bytes, ca_key: ec.EllipticCurvePrivateKey, ct_key: ec.EllipticCurvePrivateKey, moment: datetime
) -> bytes:
    issuer = ca_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    issuer_key_hash = hashlib.sha256(issuer).digest()
    milliseconds = int(moment.timestamp() * 1000)
    signed = (
        struct.pack(">BBQH", _V1, _CERTIFICATE_TIMESTAMP, milliseconds, _PRECERT_ENTRY)
        + issuer_key_hash
        + len(tbs).to_bytes(3, "big")
        + tbs
        + struct.pack(">H", 0)  # no CT extensions
    )
    signature = ct_key.sign(signed, ec.ECDSA(hashes.SHA256()))
    return (
        struct.pack(">B32sQH", _V1, log_id(ct_key), milliseconds, 0)
        + _SHA256_ECDSA
        + struct.pack(">H", len(signature))
        + signature
    )
