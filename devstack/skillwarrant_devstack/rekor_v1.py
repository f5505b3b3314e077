"""Rekor's v1 API: `dsse` and `hashedrekord` 0.0.1 entries, each verified before it is logged.

The reply carries an inclusion proof, a signed checkpoint and the signed entry timestamp (the promise that has the
time in it). Log id = SHA-256 of the key. It knows nothing of identities: a signature proves a key, no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from werkzeug.wrappers import Request, Response

from skillwarrant_devstack import submitted
from skillwarrant_devstack.http import LOOPBACK, RequestRefusedError, Route, body_fields, json_reply
from skillwarrant_devstack.keys import log_id
from skillwarrant_devstack.log import Log
from skillwarrant_devstack.merkle import leaf_hash
from skillwarrant_devstack.note import checkpoint_body, sign_note
from skillwarrant_format import limits
from skillwarrant_format.dsse import Envelope, decode_base64, encode_base64
from skillwarrant_format.fields import Fields
from skillwarrant_format.strict_json import JsonObject, canonical

__all__ = ["RekorV1"]

MAX_RETRIEVE: Final = 10  # entries a request, as the real one
_VERSION: Final = "0.0.1"
_LONG: Final = limits.MAX_JSON_BYTES  # characters of a base64 field; the whole body is bounded already


class RekorV1:
    """One log with one P-256 key."""

    def __init__(
        self, log: Log, key: ec.EllipticCurvePrivateKey, tree_id: str, clock: Callable[[], datetime]
    ) -> None:
        self._log = log
        self._key = key
        self._key_id = log_id(key)
        self._tree_id = tree_id
        self._tree_prefix = f"{int(tree_id):016x}"
        self._clock = clock

    def routes(self, prefix: str) -> list[Route]:
        """The endpoints under a path prefix."""
        log = f"{prefix}/api/v1/log"
        return [
            Route("POST", f"{log}/entries", self._create),
            Route("GET", f"{log}/entries", self._by_index),
            Route("GET", f"{log}/entries/<uuid>", self._by_uuid),
            Route("POST", f"{log}/entries/retrieve", self._retrieve),
            Route("POST", f"{log}/entries/retrieve/", self._retrieve),  # sigstore-python's spelling
            Route("GET", log, self._info),
            Route("GET", f"{log}/proof", self._proof),
            Route("GET", f"{log}/publicKey", self._public_key),
            Route("POST", f"{prefix}/api/v1/index/retrieve", self._search),
        ]

    def add(self, proposed: Fields) -> tuple[int, bool]:
        """Verify a proposed entry and log it: its index, and whether it is new.

        Raises:
            RequestRefusedError, FormatError: when it does not verify.
        """
        return self._log.add(_canonical_body(proposed), int(self._clock().timestamp()))

    def _create(self, request: Request) -> Response:
        index, new = self.add(body_fields(request))
        if not new:
            uuid = self._uuid(index)
            raise RequestRefusedError(
                409,
                f"an equivalent entry already exists in the transparency log with UUID {uuid}",
                {"Location": f"/api/v1/log/entries/{uuid}"},
            )
        return json_reply(self._entry(index), 201)

    def _by_index(self, request: Request) -> Response:
        return json_reply(self._entry(_number(request, "logIndex")))

    def _by_uuid(self, _request: Request, uuid: str) -> Response:
        return json_reply(self._entry(self._find(uuid)))

    def _retrieve(self, request: Request) -> Response:
        asked = body_fields(request)
        found: list[int | None] = []
        if "entryUUIDs" in asked:
            found += [self._known(uuid) for uuid in asked.texts("entryUUIDs", most=MAX_RETRIEVE)]
        if "logIndexes" in asked:
            found += [_whole(item) for item in asked.items("logIndexes", most=MAX_RETRIEVE)]
        if "entries" in asked:
            bodies = [_canonical_body(entry) for entry in asked.objects("entries", most=MAX_RETRIEVE)]
            found += [self._log.find(leaf_hash(body)) for body in bodies]
        return json_reply([self._entry(index) for index in found if index is not None and index < self._log.size])

    def _search(self, request: Request) -> Response:
        value = body_fields(request).text("hash").rpartition(":")[2]
        if len(value) != 64 or set(value) - set("0123456789abcdef"):
            raise RequestRefusedError(400, "hash must be 'sha256:' and 64 hexadecimal digits")
        return json_reply([self._uuid(index) for index in self._log.indexes_of(f'"value":"{value}"')])

    def _info(self, _request: Request) -> Response:
        size = self._log.size
        root = self._log.root(size)
        return json_reply(
            {
                "rootHash": root.hex(),
                "treeSize": size,
                "signedTreeHead": self._checkpoint(size, root),
                "treeID": self._tree_id,
                "inactiveShards": [],
            }
        )

    def _proof(self, request: Request) -> Response:
        first = _number(request, "firstSize", default=1)
        last = _number(request, "lastSize")
        if request.args.get("treeID", self._tree_id) != self._tree_id:
            raise RequestRefusedError(404, f"there is no tree {request.args['treeID']!r} here")
        if not 0 < first <= last <= self._log.size:
            raise RequestRefusedError(400, f"sizes must satisfy 0 < firstSize <= lastSize <= {self._log.size}")
        proof = self._log.consistency(first, last)
        return json_reply({"hashes": [item.hex() for item in proof], "rootHash": self._log.root(last).hex()})

    def _public_key(self, _request: Request) -> Response:
        pem = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return Response(pem, mimetype="application/x-pem-file")

    def _entry(self, index: int) -> dict[str, Any]:
        try:
            entry, proof = self._log.entry(index), self._log.prove(index)
        except IndexError:
            raise RequestRefusedError(404, f"there is no entry {index}") from None
        promised: dict[str, Any] = {
            "body": encode_base64(entry.body),
            "integratedTime": entry.integrated_time,
            "logID": self._key_id.hex(),
            "logIndex": index,
        }
        inclusion = {
            "checkpoint": self._checkpoint(proof.size, proof.root),
            "hashes": [item.hex() for item in proof.hashes],
            "logIndex": index,
            "rootHash": proof.root.hex(),
            "treeSize": proof.size,
        }
        promise = encode_base64(self._sign(canonical(promised)))
        verification = {"inclusionProof": inclusion, "signedEntryTimestamp": promise}
        return {self._uuid(index): {**promised, "verification": verification}}

    def _checkpoint(self, size: int, root: bytes) -> str:
        body = checkpoint_body(f"{LOOPBACK} - {self._tree_id}", size, root)
        # npm wants the signer's name inside the log's base URL.
        return sign_note(body, name=LOOPBACK, key_id=self._key_id, signature=self._sign(body.encode()))

    def _sign(self, message: bytes) -> bytes:
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))

    def _uuid(self, index: int) -> str:
        return self._tree_prefix + leaf_hash(self._log.entry(index).body).hex()

    def _known(self, uuid: str) -> int | None:
        """The index for an entry id (80 digits, with the tree) or a leaf hash (64 digits)."""
        digits = uuid.removeprefix(self._tree_prefix) if len(uuid) == 80 else uuid
        try:
            return self._log.find(bytes.fromhex(digits)) if len(digits) == 64 else None
        except ValueError:
            return None

    def _find(self, uuid: str) -> int:
        if (index := self._known(uuid)) is None:
            raise RequestRefusedError(404, f"there is no entry {uuid!r}")
        return index


def _canonical_body(proposed: Fields) -> bytes:
    kind, version = proposed.text("kind"), proposed.text("apiVersion")
    if version != _VERSION or kind not in _KINDS:
        raise RequestRefusedError(400, f"this log takes dsse and hashedrekord {_VERSION}, not {kind} {version}")
    return canonical({"apiVersion": version, "kind": kind, "spec": _KINDS[kind](proposed.object("spec"))})


def _dsse(spec: Fields) -> JsonObject:
    """The log keeps the hashes of envelope and payload, the signature and its verifier."""
    proposed = spec.object("proposedContent")
    text = proposed.text("envelope", limit=_LONG, multiline=True).encode()
    envelope = Envelope.loads(text)
    (encoded,) = proposed.items("verifiers", least=1, most=1)
    if not isinstance(encoded, str):
        raise RequestRefusedError(400, f"{proposed.at('verifiers')} must hold base64 text")
    key, pem = submitted.load_pem(decode_base64(encoded, proposed.at("verifiers")))
    submitted.verify_message(key, envelope.signature.sig, envelope.signed_bytes())
    return {
        "envelopeHash": _sha256(text),
        "payloadHash": _sha256(envelope.payload),
        "signatures": [{"signature": encode_base64(envelope.signature.sig), "verifier": encode_base64(pem)}],
    }


def _hashedrekord(spec: Fields) -> JsonObject:
    """A signature over a digest; the artifact itself is never sent."""
    declared, signature = spec.object("data").object("hash"), spec.object("signature")
    algorithm, value = declared.text("algorithm"), declared.text("value")
    if algorithm not in submitted.HASHES:
        raise RequestRefusedError(400, f"{declared.at('algorithm')} must be one of {', '.join(submitted.HASHES)}")
    encoded = signature.object("publicKey").text("content", limit=_LONG)
    key, pem = submitted.load_pem(decode_base64(encoded, signature.at("publicKey")))
    content = decode_base64(signature.text("content", limit=_LONG), signature.at("content"))
    submitted.verify_digest(key, content, _hex(value, declared.at("value")), submitted.HASHES[algorithm])
    return {
        "data": {"hash": {"algorithm": algorithm, "value": value}},
        "signature": {"content": encode_base64(content), "publicKey": {"content": encode_base64(pem)}},
    }


_KINDS: Final = {"dsse": _dsse, "hashedrekord": _hashedrekord}


def _sha256(data: bytes) -> JsonObject:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


def _hex(value: str, where: str) -> bytes:
    try:
        digest = bytes.fromhex(value)
    except ValueError:
        digest = b""
    if digest.hex() != value:
        raise RequestRefusedError(400, f"{where} is not lower-case hexadecimal")
    return digest


def _number(request: Request, name: str, *, default: int | None = None) -> int:
    text = request.args.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal() or not text.isascii() or len(text) > 18:
        raise RequestRefusedError(400, f"{name} must be a whole number")
    return int(text)


def _whole(item: object) -> int:
    if not isinstance(item, int) or isinstance(item, bool) or item < 0:
        raise RequestRefusedError(400, "logIndexes must be whole numbers")
    return item
