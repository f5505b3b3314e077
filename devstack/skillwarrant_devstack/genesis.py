"""The first entry of each log: a real signature, by a key that is then forgotten, over the devstack's warning.

It keeps index 0 from clients: npm leaves out a logIndex of 0 and an empty list of hashes when it writes a
bundle, and sigstore-python then refuses to read it.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from skillwarrant_devstack.state import BANNER
from skillwarrant_format.dsse import encode_base64
from skillwarrant_format.fields import Fields
from skillwarrant_format.strict_json import JsonObject

__all__ = ["genesis_v1", "genesis_v2"]

_DIGEST = hashlib.sha256(BANNER.encode())


def genesis_v1() -> Fields:
    """A proposed Rekor v1 entry."""
    key, signature = _signed()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    spec: JsonObject = {
        "data": {"hash": {"algorithm": "sha256", "value": _DIGEST.hexdigest()}},
        "signature": {"content": signature, "publicKey": {"content": encode_base64(pem)}},
    }
    return Fields({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec}, "genesis")


def genesis_v2() -> Fields:
    """A Rekor v2 create-entry request."""
    key, signature = _signed()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    verifier: JsonObject = {"publicKey": {"rawBytes": encode_base64(der)}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
    request: JsonObject = {
        "digest": encode_base64(_DIGEST.digest()),
        "signature": {"content": signature, "verifier": verifier},
    }
    return Fields({"hashedRekordRequestV002": request}, "genesis")


def _signed() -> tuple[ec.EllipticCurvePublicKey, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    signature = key.sign(BANNER.encode(), ec.ECDSA(hashes.SHA256()))
    return key.public_key(), encode_base64(signature)
