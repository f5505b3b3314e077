"""Rekor v2: hashedrekord 0.0.2 in, tiles out; an auditor can rebuild the tree from the tiles alone."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from sigstore._internal.trust import KeyringPurpose
from sigstore.models import TransparencyLogEntry, TrustedRoot
from sigstore_models.rekor.v1 import TransparencyLogEntry as Inner
from werkzeug.test import Client

from skillwarrant_devstack import Devstack
from skillwarrant_devstack.http import Application
from skillwarrant_devstack.log import Log
from skillwarrant_devstack.merkle import Tree, leaf_hash, node_hash
from skillwarrant_devstack.rekor_v2 import RekorV2

Asked = dict[str, Any]
P384 = ec.generate_private_key(ec.SECP384R1())
RSA = rsa.generate_private_key(65537, 2048)


@pytest.fixture
def api(stack: Devstack) -> str:
    return f"{stack.url}/rekor-v2/api/v2"


@pytest.fixture
def post(http: requests.Session, api: str) -> Callable[[Any], requests.Response]:
    return lambda body: http.post(f"{api}/log/entries", json=body)


def root_of(stack: Devstack) -> TrustedRoot:
    return TrustedRoot.from_file(str(stack.trusted_root))


def checkpoint(stack: Devstack, text: str) -> tuple[int, bytes]:
    """Size and root of a checkpoint that the trusted root's Ed25519 key has signed."""
    body, _, signatures = text.partition("\n\n")
    (line,) = signatures.splitlines()
    dash, name, encoded = line.split(" ")
    (log,) = (
        item
        for item in json.loads(stack.trusted_root.read_text())["tlogs"]
        if item["publicKey"]["keyDetails"] == "PKIX_ED25519"
    )
    signature, key_id = base64.b64decode(encoded), base64.b64decode(log["logId"]["keyId"])
    key = load_der_public_key(base64.b64decode(log["publicKey"]["rawBytes"]))
    assert isinstance(key, ed25519.Ed25519PublicKey)
    origin, size, root = body.split("\n")
    assert (dash, name, signature[:4]) == ("\u2014", origin, key_id[:4])
    assert key_id == hashlib.sha256(origin.encode() + b"\n\x01" + key.public_bytes_raw()).digest()
    key.verify(signature[4:], (body + "\n").encode())
    return int(size), base64.b64decode(root)


def test_a_good_entry_is_logged_and_its_answer_verifies(stack: Devstack, post: Any, key: Any) -> None:
    answer = post(key.v2(b"hello"))
    assert answer.status_code == 201
    entry = TransparencyLogEntry(Inner.from_dict(answer.json()))
    entry._verify(root_of(stack).rekor_keyring(KeyringPurpose.VERIFY))
    size, root = checkpoint(stack, answer.json()["inclusionProof"]["checkpoint"]["envelope"])
    assert base64.b64decode(answer.json()["inclusionProof"]["rootHash"]) == root
    assert int(answer.json()["logIndex"]) == size - 1


def test_an_answer_bent_anywhere_does_not_verify(stack: Devstack, post: Any, key: Any) -> None:
    answer = post(key.v2(b"bend me")).json()
    keyring = root_of(stack).rekor_keyring(KeyringPurpose.VERIFY)
    proof = answer["inclusionProof"]
    body = base64.b64encode(base64.b64decode(answer["canonicalizedBody"]) + b" ").decode()
    for attempt in (
        answer | {"canonicalizedBody": body},
        answer | {"inclusionProof": proof | {"logIndex": "0"}},
        answer | {"inclusionProof": proof | {"hashes": proof["hashes"][:-1]}},
    ):
        with pytest.raises(Exception, match=r"."):
            TransparencyLogEntry(Inner.from_dict(attempt))._verify(keyring)


def test_a_checkpoint_bent_anywhere_does_not_verify(stack: Devstack, http: requests.Session, api: str) -> None:
    text = http.get(f"{api}/checkpoint").text
    size = checkpoint(stack, text)[0]
    with pytest.raises(InvalidSignature):
        checkpoint(stack, text.replace(f"\n{size}\n", f"\n{size + 1}\n"))


def test_an_equal_entry_is_a_conflict_that_names_the_first(post: Any, key: Any) -> None:
    asked = key.v2(b"twice")
    index = post(asked).json()["logIndex"]
    again = post(asked)
    assert (again.status_code, again.json()["message"].endswith(f"with index {index}")) == (409, True)


def changed(asked: Asked, *path: str, to: Any) -> Asked:
    copy: Asked = json.loads(json.dumps(asked))
    target = copy["hashedRekordRequestV002"]
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = to
    return copy


def certificate_of(key: Any, *, carried: int = 0) -> str:
    """A certificate for the key, with that many bytes to carry."""
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), bytes(carried))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.private.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
        .add_extension(extension, critical=False)
        .sign(key.private, hashes.SHA256())
    )
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()


def signed_by(private: Any, algorithm: hashes.HashAlgorithm, details: str) -> Asked:
    """A request whose signature is good, whatever the details claim."""
    digest = hashes.Hash(algorithm)
    digest.update(b"hi")
    if isinstance(private, rsa.RSAPrivateKey):
        signature = private.sign(b"hi", padding.PKCS1v15(), algorithm)
    else:
        signature = private.sign(b"hi", ec.ECDSA(algorithm))
    der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    verifier = {"publicKey": {"rawBytes": base64.b64encode(der).decode()}, "keyDetails": details}
    return {
        "hashedRekordRequestV002": {
            "digest": base64.b64encode(digest.finalize()).decode(),
            "signature": {"content": base64.b64encode(signature).decode(), "verifier": verifier},
        }
    }


def attacks(key: Any, other: Any) -> Iterator[tuple[str, Any]]:
    good = key.v2(b"payload")
    verifier = ("signature", "verifier")
    yield "other digest", changed(good, "digest", to=other.v2(b"x")["hashedRekordRequestV002"]["digest"])
    yield "short digest", changed(good, "digest", to="AAAA")
    yield "no digest", changed(good, "digest", to=None)
    yield "other key", changed(good, *verifier, "publicKey", to={"rawBytes": other.der})
    yield "bad key", changed(good, *verifier, "publicKey", to={"rawBytes": "AAAA"})
    yield "bad certificate", changed(good, *verifier, to={"x509Certificate": {"rawBytes": "AAAA"}})
    yield "no key", changed(good, *verifier, to={"keyDetails": "PKIX_ECDSA_P256_SHA_256"})
    yield "wrong details", changed(good, *verifier, "keyDetails", to="PKIX_ECDSA_P384_SHA_384")
    yield "unknown details", changed(good, *verifier, "keyDetails", to="ML_DSA_65")
    both = {"x509Certificate": {"rawBytes": certificate_of(key)}, "publicKey": {"rawBytes": key.der}}
    yield "two verifiers", changed(good, *verifier, to=both | {"keyDetails": "PKIX_ECDSA_P256_SHA_256"})
    yield "a curve that is not the key's", signed_by(P384, hashes.SHA256(), "PKIX_ECDSA_P256_SHA_256")
    yield "a size that is not the key's", signed_by(RSA, hashes.SHA256(), "PKIX_RSA_PKCS1V15_3072_SHA256")
    yield "no signature", changed(good, "signature", "content", to="")
    yield "base64 with rubbish", changed(good, "digest", to=good["hashedRekordRequestV002"]["digest"] + "\n")
    yield "the old dsse request", {"dsseRequestV002": {}}
    yield "a list", [good]
    pure = ed25519.Ed25519PrivateKey.generate()
    raw = pure.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    details = {
        "publicKey": {"rawBytes": base64.b64encode(raw).decode()},
        "keyDetails": "PKIX_ED25519",
    }
    yield "pure Ed25519", changed(good, *verifier, to=details)


def test_nothing_that_does_not_verify_is_logged(http: requests.Session, api: str, post: Any, key: Any) -> None:
    before = http.get(f"{api}/checkpoint").text
    answers = {name: post(attack) for name, attack in attacks(key, type(key)())}
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 400)
    assert all(answer.json()["message"] for answer in answers.values())
    assert http.get(f"{api}/checkpoint").text == before


def test_an_entry_too_long_for_a_tile_is_refused(post: Any, key: Any) -> None:
    verifier = {
        "x509Certificate": {"rawBytes": certificate_of(key, carried=60_000)},
        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
    }
    answer = post(changed(key.v2(b"long"), "signature", "verifier", to=verifier))
    assert (answer.status_code, "at most 65535 bytes" in answer.json()["message"]) == (400, True)


@pytest.mark.parametrize(
    ("private", "algorithm", "details"),
    [
        (P384, hashes.SHA384(), "PKIX_ECDSA_P384_SHA_384"),
        (ec.generate_private_key(ec.SECP521R1()), hashes.SHA512(), "PKIX_ECDSA_P521_SHA_512"),
        (RSA, hashes.SHA256(), "PKIX_RSA_PKCS1V15_2048_SHA256"),
    ],
    ids=["P-384", "P-521", "RSA"],
)
def test_the_other_registered_algorithms_are_logged(
    post: Any, private: Any, algorithm: hashes.HashAlgorithm, details: str
) -> None:
    assert post(signed_by(private, algorithm, details)).status_code == 201


def entries_of(bundle: bytes) -> list[bytes]:
    found = []
    while bundle:
        (length,) = struct.unpack_from(">H", bundle)
        found.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    return found


def test_the_tree_can_be_rebuilt_from_the_tiles_alone(
    stack: Devstack, http: requests.Session, api: str, post: Any, key: Any
) -> None:
    for number in range(3):
        assert post(key.v2(b"tile %d" % number)).status_code == 201
    size, root = checkpoint(stack, http.get(f"{api}/checkpoint").text)
    bodies = entries_of(http.get(f"{api}/tile/entries/000.p/{size}").content)
    leaves = http.get(f"{api}/tile/0/000.p/{size}").content
    assert [leaf_hash(body) for body in bodies] == [leaves[i : i + 32] for i in range(0, len(leaves), 32)]
    tree = Tree()
    for body in bodies:
        tree.append(leaf_hash(body))
    assert (len(tree), tree.root(size)) == (size, root)


def test_full_tiles_and_higher_levels_are_as_c2sp_lays_them_out(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    for number in range(300):
        log.add(b"%d" % number, 0)
    rekor = RekorV2(log, ed25519.Ed25519PrivateKey.generate(), lambda: datetime.now(UTC))
    client = Client(Application(rekor.routes(""), frozenset({"localhost"})))
    assert len(client.get("/api/v2/tile/0/000").data) == 256 * 32
    assert len(client.get("/api/v2/tile/0/001.p/44").data) == 44 * 32
    assert client.get("/api/v2/tile/0/001.p/45").status_code == 404
    assert client.get("/api/v2/tile/0/001").status_code == 404
    assert client.get("/api/v2/tile/0/x001/000").status_code == 404
    upper = client.get("/api/v2/tile/1/000.p/1").data
    level = [leaf_hash(b"%d" % number) for number in range(256)]
    while len(level) > 1:
        level = [node_hash(*level[i : i + 2]) for i in range(0, len(level), 2)]
    assert upper[:32] == level[0]
    assert client.get("/api/v2/tile/1/000.p/2").status_code == 404
    assert entries_of(client.get("/api/v2/tile/entries/001.p/44").data)[0] == b"256"


@pytest.mark.parametrize("place", ["0", "0000", "x000", "000.p/0", "000.p/257", "000.p/", "-01", "000/000", "a"])
def test_what_is_no_tile_is_not_found(http: requests.Session, api: str, place: str) -> None:
    assert http.get(f"{api}/tile/0/{place}").status_code == 404
    assert http.get(f"{api}/tile/entries/{place}").status_code == 404
