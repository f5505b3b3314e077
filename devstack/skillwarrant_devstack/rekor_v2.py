"""Rekor's v2 API (rekor-tiles): `hashedrekord` 0.0.2 in, C2SP tiles out.

There is no time in a v2 entry: signers bring a timestamp. Log id = SHA-256(origin, newline, 0x01, raw Ed25519
key) as C2SP signed-note has it. It knows nothing of identities.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from werkzeug.wrappers import Request, Response

from skillwarrant_devstack import submitted
from skillwarrant_devstack.http import LOOPBACK, RequestRefusedError, Route, body_fields, json_reply
from skillwarrant_devstack.log import Log
from skillwarrant_devstack.note import checkpoint_body, sign_note
from skillwarrant_format import limits
from skillwarrant_format.dsse import decode_base64, encode_base64
from skillwarrant_format.fields import Fields
from skillwarrant_format.strict_json import JsonObject, canonical

__all__ = ["ORIGIN", "RekorV2", "note_key_id"]

# sigstore-go takes the base URL's host name as the origin; npm wants it inside the base URL.
ORIGIN: Final = LOOPBACK
TILE_WIDTH: Final = 256
TILE_HEIGHT: Final = 8
_VERSION: Final = "0.0.2"
_ED25519: Final = b"\x01"
_LONG: Final = limits.MAX_JSON_BYTES
_TILE_INDEX: Final = re.compile(r"((?:x\d{3}/)*\d{3})(?:\.p/(\d{1,3}))?", re.ASCII)

# Sigstore's algorithm registry: what has a digest of its own. Pure Ed25519 has none.
_EC: Final = {
    "PKIX_ECDSA_P256_SHA_256": ("secp256r1", "sha256"),
    "PKIX_ECDSA_P384_SHA_384": ("secp384r1", "sha384"),
    "PKIX_ECDSA_P521_SHA_512": ("secp521r1", "sha512"),
}
_RSA: Final = {f"PKIX_RSA_PKCS1V15_{bits}_SHA256": bits for bits in (2048, 3072, 4096)}


def note_key_id(key: ed25519.Ed25519PrivateKey) -> bytes:
    """The log's id (32 bytes); its first four are the checkpoint's key hint."""
    return hashlib.sha256(ORIGIN.encode() + b"\n" + _ED25519 + key.public_key().public_bytes_raw()).digest()


class RekorV2:
    """One log with one Ed25519 key; an entry is in the checkpoint before it is acknowledged."""

    def __init__(self, log: Log, key: ed25519.Ed25519PrivateKey, clock: Callable[[], datetime]) -> None:
        self._log = log
        self._key = key
        self._key_id = note_key_id(key)
        self._clock = clock

    def routes(self, prefix: str) -> list[Route]:
        """The endpoints under a path prefix."""
        api = f"{prefix}/api/v2"
        return [
            Route("POST", f"{api}/log/entries", self._create),
            Route("GET", f"{api}/checkpoint", self._get_checkpoint),
            Route("GET", f"{api}/tile/<int:level>/<path:place>", self._tile),
            Route("GET", f"{api}/tile/entries/<path:place>", self._entries),
        ]

    def add(self, request: Fields) -> tuple[int, bool]:
        """Verify a create-entry request and log it: the entry's index, and whether it is new.

        Raises:
            RequestRefusedError, FormatError: when it does not verify.
        """
        body = _canonical_body(request.object("hashedRekordRequestV002"))
        if len(body) > limits.MAX_LEAF_BYTES:
            raise RequestRefusedError(400, f"an entry has at most {limits.MAX_LEAF_BYTES} bytes, not {len(body)}")
        return self._log.add(body, int(self._clock().timestamp()))

    def _create(self, request: Request) -> Response:
        index, new = self.add(body_fields(request))
        if not new:
            message = f"an equivalent entry already exists in the transparency log with index {index}"
            raise RequestRefusedError(409, message)
        return json_reply(self._entry(index), 201)

    def _get_checkpoint(self, _request: Request) -> Response:
        size = self._log.size
        return _text(self._checkpoint(size, self._log.root(size)).encode())

    def _tile(self, _request: Request, level: int, place: str) -> Response:
        begin, width = _place(place)
        hashes = self._log.hashes(level * TILE_HEIGHT, begin, begin + width)
        if len(hashes) < width:
            raise RequestRefusedError(404, "the log has not grown to this tile")
        return _text(b"".join(hashes))

    def _entries(self, _request: Request, place: str) -> Response:
        begin, width = _place(place)
        if begin + width > self._log.size:
            raise RequestRefusedError(404, "the log has not grown to this tile")
        bodies = [self._log.entry(index).body for index in range(begin, begin + width)]
        return _text(b"".join(struct.pack(">H", len(body)) + body for body in bodies))

    def _entry(self, index: int) -> dict[str, Any]:
        proof = self._log.prove(index)
        inclusion = {
            "logIndex": str(index),
            "rootHash": encode_base64(proof.root),
            "treeSize": str(proof.size),
            "hashes": [encode_base64(item) for item in proof.hashes],
            "checkpoint": {"envelope": self._checkpoint(proof.size, proof.root)},
        }
        return {
            "logIndex": str(index),
            "logId": {"keyId": encode_base64(self._key_id)},
            "kindVersion": {"kind": "hashedrekord", "version": _VERSION},
            "inclusionProof": inclusion,
            "canonicalizedBody": encode_base64(self._log.entry(index).body),
        }

    def _checkpoint(self, size: int, root: bytes) -> str:
        body = checkpoint_body(ORIGIN, size, root)
        return sign_note(body, name=ORIGIN, key_id=self._key_id, signature=self._key.sign(body.encode()))


def _canonical_body(asked: Fields) -> bytes:
    signature = asked.object("signature")
    verifier = signature.object("verifier")
    key, shown = _verifying_key(verifier)
    algorithm = _hash_for(key, verifier.text("keyDetails"))
    digest = decode_base64(asked.text("digest"), asked.at("digest"))
    content = decode_base64(signature.text("content", limit=_LONG), signature.at("content"))
    submitted.verify_digest(key, content, digest, submitted.HASHES[algorithm])
    data = {"algorithm": f"SHA2_{algorithm[3:]}", "digest": encode_base64(digest)}
    signed: JsonObject = {
        "content": encode_base64(content),
        "verifier": {"keyDetails": verifier.text("keyDetails"), **shown},
    }
    spec: JsonObject = {"hashedRekordV002": {"data": data, "signature": signed}}
    return canonical({"apiVersion": _VERSION, "kind": "hashedrekord", "spec": spec})


def _verifying_key(verifier: Fields) -> tuple[submitted.VerifyingKey, JsonObject]:
    if ("x509Certificate" in verifier) == ("publicKey" in verifier):
        raise RequestRefusedError(400, f"{verifier.path} must be either a certificate or a public key")
    name = "x509Certificate" if "x509Certificate" in verifier else "publicKey"
    der = decode_base64(verifier.object(name).text("rawBytes", limit=_LONG), verifier.at(name))
    key = submitted.load_x509(der) if name == "x509Certificate" else submitted.load_spki(der)
    return key, {name: {"rawBytes": encode_base64(der)}}


def _hash_for(key: submitted.VerifyingKey, details: str) -> str:
    """The digest's algorithm, once the declared key details are those of the key."""
    if isinstance(key, ec.EllipticCurvePublicKey) and details in _EC:
        curve, algorithm = _EC[details]
        if key.curve.name == curve:
            return algorithm
    if isinstance(key, rsa.RSAPublicKey) and _RSA.get(details) == key.key_size:
        return "sha256"
    raise RequestRefusedError(400, f"keyDetails {details!r} is not supported or not what the verifier's key is")


def _place(text: str) -> tuple[int, int]:
    """C2SP tlog-tiles: `x001/x234/067` or `000.p/5` -> the first index and how many."""
    match = _TILE_INDEX.fullmatch(text)
    width = int(match[2] or TILE_WIDTH) if match else 0
    if match is None or not 0 < width <= TILE_WIDTH:
        raise RequestRefusedError(404, f"{text!r} is no tile")
    return int(match[1].replace("x", "").replace("/", "")) * TILE_WIDTH, width


def _text(data: bytes) -> Response:
    return Response(data, mimetype="application/octet-stream")
