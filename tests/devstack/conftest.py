"""What the devstack's tests share: running instances, an HTTP client that no proxy can catch, signed requests."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from skillwarrant_devstack import Devstack
from skillwarrant_devstack.merkle import node_hash


class Clock:
    """The real time, plus what a test adds."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Key:
    """A P-256 key, and requests signed with it."""

    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def pem(self) -> str:
        key = self.private.public_key()
        return b64(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    @property
    def der(self) -> str:
        key = self.private.public_key()
        return b64(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def sign(self, message: bytes) -> str:
        return b64(self.private.sign(message, ec.ECDSA(hashes.SHA256())))

    def envelope(self, payload: bytes) -> dict[str, Any]:
        kind = "application/vnd.in-toto+json"
        signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
        return {"payload": b64(payload), "payloadType": kind, "signatures": [{"sig": self.sign(signed)}]}

    def dsse(self, payload: bytes) -> dict[str, Any]:
        """A Rekor v1 proposed entry."""
        content = {"envelope": json.dumps(self.envelope(payload)), "verifiers": [self.pem]}
        return {"apiVersion": "0.0.1", "kind": "dsse", "spec": {"proposedContent": content}}

    def hashedrekord(self, message: bytes) -> dict[str, Any]:
        """A Rekor v1 proposed entry."""
        digest = {"algorithm": "sha256", "value": hashlib.sha256(message).hexdigest()}
        signature = {"content": self.sign(message), "publicKey": {"content": self.pem}}
        return {
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {"data": {"hash": digest}, "signature": signature},
        }

    def v2(self, message: bytes) -> dict[str, Any]:
        """A Rekor v2 create-entry request."""
        verifier = {"publicKey": {"rawBytes": self.der}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
        digest = b64(hashlib.sha256(message).digest())
        signature = {"content": self.sign(message), "verifier": verifier}
        return {"hashedRekordRequestV002": {"digest": digest, "signature": signature}}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def running(tmp_path: Path, clock: Clock) -> Iterator[Devstack]:
    """An instance of the test's own, on the test's clock."""
    with Devstack(tmp_path / "d", clock=clock) as stack:
        yield stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devstack]:
    """One instance for tests that only add to it."""
    with Devstack(tmp_path_factory.mktemp("shared") / "d") as stack:
        yield stack


@pytest.fixture(scope="session")
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def key() -> Key:
    return Key()


@pytest.fixture(scope="session")
def includes() -> Callable[..., bool]:
    """Inclusion proofs as RFC 9162 section 2.1.3.2 verifies them."""

    def verify(leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> bool:
        if index >= size:
            return False
        fn, sn, result = index, size - 1, leaf
        for item in proof:
            if sn == 0:
                return False
            if fn & 1 or fn == sn:
                result = node_hash(item, result)
                while fn and not fn & 1:
                    fn, sn = fn >> 1, sn >> 1
            else:
                result = node_hash(result, item)
            fn, sn = fn >> 1, sn >> 1
        return sn == 0 and result == root

    return verify


@pytest.fixture(scope="session")
def extends() -> Callable[..., bool]:
    """Consistency proofs as RFC 9162 section 2.1.4.2 verifies them."""

    def verify(first: int, second: int, first_root: bytes, second_root: bytes, proof: list[bytes]) -> bool:
        if first == second:
            return not proof and first_root == second_root
        path = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
        if not path:
            return False
        fn, sn = first - 1, second - 1
        while fn & 1:
            fn, sn = fn >> 1, sn >> 1
        old = new = path[0]
        for item in path[1:]:
            if sn == 0:
                return False
            if fn & 1 or fn == sn:
                old, new = node_hash(item, old), node_hash(item, new)
                while fn and not fn & 1:
                    fn, sn = fn >> 1, sn >> 1
            else:
                new = node_hash(new, item)
            fn, sn = fn >> 1, sn >> 1
        return sn == 0 and old == first_root and new == second_root

    return verify
