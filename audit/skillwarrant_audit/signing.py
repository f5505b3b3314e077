"""ECDSA P-256 signatures over DSSE envelopes, in the one spelling that the log accepts.

An ECDSA signature (r, s) is also valid as (r, n - s), and lenient parsers take more than one DER form. Either would
let somebody without the key change a leaf and hence its digest, so the smaller s in DER is the only one accepted.
P-256 and not Ed25519, because Rekor v2 takes no pure Ed25519. It knows nothing of statements or files.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.dsse import Envelope, Signature, pae
from skillwarrant_format.errors import AuditError, FormatError
from skillwarrant_format.statement import PAYLOAD_TYPE

__all__ = [
    "PrivateKey",
    "PublicKey",
    "generate",
    "key_id",
    "read_envelope",
    "read_public",
    "sign",
    "spki",
    "verify",
]

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey
_AROUND: Final = 256  # bytes of an envelope in canonical JSON without its payload: key id and largest signature
MAX_PAYLOAD: Final = (limits.MAX_LEAF_BYTES - _AROUND) // 4 * 3  # bytes; base64 makes 4 of 3
# SEC 2 version 2, section 2.4.2: the order of the P-256 group.
_ORDER: Final = 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551


def generate() -> PrivateKey:
    """A new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def is_p256(curve: ec.EllipticCurve) -> bool:
    """Whether a key is of the one curve we use."""
    return isinstance(curve, ec.SECP256R1)


def spki(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo, DER (RFC 5480)."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_id(key: PublicKey) -> Digest:
    """SHA-256 of the SubjectPublicKeyInfo."""
    return Digest.of(spki(key))


def read_public(data: bytes, *, what: str) -> PublicKey:
    """A P-256 public key from PEM or DER.

    Raises:
        FormatError: for anything else, DER in another spelling than `spki` writes included.
    """
    pem = data.lstrip().startswith(b"-----BEGIN")
    try:
        key = load_pem_public_key(data) if pem else load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, PublicKey) or not is_p256(key.curve):
        raise FormatError(f"{what} is not a public key of ours", expected="a P-256 SubjectPublicKeyInfo")
    if not pem and spki(key) != data:
        raise FormatError(f"{what} is not in the normal form", expected="an uncompressed P-256 key in DER")
    return key


def sign(key: PrivateKey, payload: bytes) -> Envelope:
    """An envelope around an in-toto statement, signed; the key id is the SHA-256 of the public key."""
    r, s = decode_dss_signature(key.sign(pae(PAYLOAD_TYPE, payload), ec.ECDSA(SHA256())))
    signature = Signature(sig=encode_dss_signature(r, min(s, _ORDER - s)), keyid=key_id(key.public_key()).hex)
    return Envelope(payload_type=PAYLOAD_TYPE, payload=payload, signature=signature)


def read_envelope(leaf: bytes) -> Envelope:
    """The envelope that a leaf is.

    Raises:
        FormatError: it is none, it is not in canonical form, or its payload is no in-toto statement.
    """
    envelope = Envelope.loads(leaf)
    if envelope.to_bytes() != leaf:
        raise FormatError("the envelope is not in canonical form", expected="RFC 8785 JSON and no other field")
    if envelope.payload_type != PAYLOAD_TYPE:
        raise FormatError("the envelope holds something else", expected=PAYLOAD_TYPE, found=envelope.payload_type)
    return envelope


def verify(key: PublicKey, envelope: Envelope) -> bytes:
    """The payload, which `key` has signed.

    Raises:
        AuditError: it has not, or the signature is in another spelling than `sign` writes.
    """
    signature = envelope.signature.sig
    try:
        r, s = decode_dss_signature(signature)
        if encode_dss_signature(r, s) != signature or s > _ORDER // 2:
            raise AuditError("the signature is not in its normal form", expected="DER with the smaller s")
        key.verify(signature, envelope.signed_bytes(), ec.ECDSA(SHA256()))
    except (ValueError, InvalidSignature):
        raise AuditError("the signature does not verify", expected=f"one by the key {key_id(key).short}") from None
    return envelope.payload
