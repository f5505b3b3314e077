"""An attacker with every key of a Sigstore instance: bundles that no honest service would make.

The cryptography is real (the devstack's), only the honesty is missing. What the verifier must refuse is made here
with valid signatures all around it, so that exactly one thing is wrong.
"""

from __future__ import annotations

import base64
import json
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import TimestampRequestBuilder

from builders import IDENTITY, ISSUER, manifest
from skillwarrant_devstack.ct import sign_with_timestamp
from skillwarrant_devstack.keys import Instance, key_usage, log_id
from skillwarrant_devstack.merkle import Tree, leaf_hash
from skillwarrant_devstack.note import checkpoint_body, sign_note
from skillwarrant_devstack.rekor_v2 import ORIGIN, note_key_id
from skillwarrant_devstack.trust import Endpoints, documents
from skillwarrant_devstack.tsa import TimestampAuthority
from skillwarrant_format.digest import Digest
from skillwarrant_format.dsse import pae
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_format.statement import PAYLOAD_TYPE, Statement, Subject
from skillwarrant_format.strict_json import canonical
from skillwarrant_verify.trust import TrustRoot

SIGNED = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
NOW = SIGNED + timedelta(days=2)
FILES = {"adapter_config.json": b'{"peft_type":"LORA"}', "adapter_model.safetensors": b"\x02\0\0\0\0\0\0\0{}"}
_ARC = "1.3.6.1.4.1.57264.1"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def raw(document: Any) -> bytes:
    return json.dumps(document).encode()


def snapshot(files: dict[str, bytes] | None = None) -> Snapshot:
    return Snapshot.of(FILES if files is None else files)


def statement(files: dict[str, bytes] | None = None) -> Statement:
    """What an honest publisher signs for these files."""
    subjects = [Subject(name=name, digest=Digest.of(data)) for name, data in (files or FILES).items()]
    return manifest().to_statement(tuple(subjects))


def utf8(text: str) -> bytes:
    return asn1.encode_der(text)


@dataclass
class Insider:
    """One instance's keys; each method takes what an honest service would not let you choose."""

    created: datetime = SIGNED - timedelta(days=30)
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    instance: Instance = field(init=False)

    def __post_init__(self) -> None:
        self.instance = Instance.generate(self.created)

    @cached_property
    def _root(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            documents(self.instance, Endpoints("http://127.0.0.1:1"))["trusted_root.json"]
        )
        return found

    def root(self) -> dict[str, Any]:
        """The instance's trusted root, to be changed."""
        return deepcopy(self._root)

    def trust(self, document: dict[str, Any] | None = None, **options: Any) -> TrustRoot:
        return TrustRoot(source="the test", retrieved_at=NOW, raw=raw(document or self._root), **options)

    def certificate(
        self,
        *,
        names: list[x509.GeneralName] | None = None,
        extensions: dict[int, bytes] | None = None,
        begin: datetime = SIGNED,
        promised: datetime | None = None,
        promises: bool = True,
        key: Any = None,
    ) -> x509.Certificate:
        """As Fulcio's, but with any names, extensions and times."""
        public = (key or self.key).public_key()
        authority = self.instance.fulcio_key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.instance.fulcio_ca.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(minutes=10))
            .add_extension(key_usage(sign=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
        )
        if names is None:
            names = [x509.UniformResourceIdentifier(IDENTITY)]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        for number, value in (extensions or {1: ISSUER.encode(), 8: utf8(ISSUER)}).items():
            oid = x509.ObjectIdentifier(f"{_ARC}.{number}")
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
        if not promises:
            return builder.sign(self.instance.fulcio_key, hashes.SHA384())
        return sign_with_timestamp(builder, self.instance.fulcio_key, self.instance.ct_key, promised or begin)

    def envelope(self, payload: bytes, payload_type: str = PAYLOAD_TYPE) -> dict[str, Any]:
        signature = self.key.sign(pae(payload_type, payload), ec.ECDSA(hashes.SHA256()))
        return {"payload": b64(payload), "payloadType": payload_type, "signatures": [{"sig": b64(signature)}]}

    def bundle(
        self,
        payload: bytes | None = None,
        *,
        payload_type: str = PAYLOAD_TYPE,
        certificate: x509.Certificate | None = None,
        version: int = 1,
        at: datetime = SIGNED + timedelta(seconds=5),
        stamped: bool | None = None,
    ) -> dict[str, Any]:
        """A bundle in which everything verifies; Rekor v1 unless `version` is 2."""
        envelope = self.envelope(statement().raw if payload is None else payload, payload_type)
        certificate = certificate or self.certificate()
        entry = self.entry(envelope, certificate, version=version, at=at)
        der = certificate.public_bytes(Encoding.DER)
        material: dict[str, Any] = {"certificate": {"rawBytes": b64(der)}, "tlogEntries": [entry]}
        if version == 2 if stamped is None else stamped:
            stamps = [{"signedTimestamp": b64(self.stamp(envelope, at))}]
            material["timestampVerificationData"] = {"rfc3161Timestamps": stamps}
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": material,
            "dsseEnvelope": envelope,
        }

    def entry(
        self, envelope: dict[str, Any], certificate: x509.Certificate, *, version: int, at: datetime
    ) -> dict[str, Any]:
        if version == 1:
            return self.entry_v1(body_v1(envelope, certificate), at)
        return self.entry_v2(body_v2(envelope, certificate))

    def entry_v1(self, body: bytes, at: datetime, *, index: int = 1001) -> dict[str, Any]:
        """Its global index is not the index in its shard, as with the public instance."""
        key = self.instance.rekor_v1_key
        seconds = int(at.timestamp())
        promise = {"body": b64(body), "integratedTime": seconds, "logID": log_id(key).hex(), "logIndex": index}
        origin = f"127.0.0.1 - {self.instance.tree_id}"
        return {
            "logIndex": str(index),
            "logId": {"keyId": b64(log_id(key))},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(seconds),
            "inclusionPromise": {
                "signedEntryTimestamp": b64(key.sign(canonical(promise), ec.ECDSA(hashes.SHA256())))
            },
            "inclusionProof": proof(
                body, origin, log_id(key), lambda text: key.sign(text, ec.ECDSA(hashes.SHA256())), name="127.0.0.1"
            ),
            "canonicalizedBody": b64(body),
        }

    def entry_v2(self, body: bytes) -> dict[str, Any]:
        key = self.instance.rekor_v2_key
        found = proof(body, ORIGIN, note_key_id(key), key.sign, name=ORIGIN)
        return {
            "logIndex": found["logIndex"],
            "logId": {"keyId": b64(note_key_id(key))},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "inclusionProof": found,
            "canonicalizedBody": b64(body),
        }

    def stamp(self, envelope: dict[str, Any], at: datetime) -> bytes:
        signature = base64.b64decode(envelope["signatures"][0]["sig"])
        query = TimestampRequestBuilder().data(signature).build().as_bytes()
        return TimestampAuthority(self.instance.tsa, self.instance.tsa_key, lambda: at).stamp(query)


def body_v1(envelope: dict[str, Any], certificate: x509.Certificate) -> bytes:
    pem = certificate.public_bytes(Encoding.PEM)
    payload = base64.b64decode(envelope["payload"])
    spec: Any = {
        "envelopeHash": {"algorithm": "sha256", "value": Digest.of(raw(envelope)).hex},
        "payloadHash": {"algorithm": "sha256", "value": Digest.of(payload).hex},
        "signatures": [{"signature": envelope["signatures"][0]["sig"], "verifier": b64(pem)}],
    }
    return canonical({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})


def body_v2(envelope: dict[str, Any], certificate: x509.Certificate) -> bytes:
    signed = pae(envelope["payloadType"], base64.b64decode(envelope["payload"]))
    verifier: Any = {
        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
        "x509Certificate": {"rawBytes": b64(certificate.public_bytes(Encoding.DER))},
    }
    spec: Any = {
        "data": {"algorithm": "SHA2_256", "digest": b64(bytes.fromhex(Digest.of(signed).hex))},
        "signature": {"content": envelope["signatures"][0]["sig"], "verifier": verifier},
    }
    return canonical({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": spec}})


def proof(body: bytes, origin: str, key_id: bytes, sign: Any, *, name: str) -> dict[str, Any]:
    """The entry as the second leaf of five."""
    tree = Tree()
    for leaf in (b"first", body, b"third", b"fourth", b"fifth"):
        tree.append(leaf_hash(leaf))
    root = tree.root(5)
    text = checkpoint_body(origin, 5, root)
    note = sign_note(text, name=name, key_id=key_id, signature=sign(text.encode()))
    return {
        "logIndex": "1",
        "rootHash": b64(root),
        "treeSize": "5",
        "hashes": [b64(item) for item in tree.inclusion(1, 5)],
        "checkpoint": {"envelope": note},
    }
