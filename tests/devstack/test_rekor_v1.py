"""Rekor v1: only what verifies is logged, once, and what is answered verifies with Sigstore's own code."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sigstore._internal.rekor.client import RekorClient
from sigstore._internal.trust import KeyringPurpose
from sigstore.models import TransparencyLogEntry, TrustedRoot

from skillwarrant_devstack import Devstack
from skillwarrant_devstack.merkle import leaf_hash

Proposed = dict[str, Any]


@pytest.fixture
def log(stack: Devstack) -> str:
    return f"{stack.url}/rekor-v1/api/v1/log"


@pytest.fixture
def post(http: requests.Session, log: str) -> Callable[[Any], requests.Response]:
    return lambda body: http.post(f"{log}/entries", json=body)


def only(entries: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    ((uuid, entry),) = entries.items()
    return uuid, entry


def keyring(stack: Devstack) -> Any:
    return TrustedRoot.from_file(str(stack.trusted_root)).rekor_keyring(KeyringPurpose.VERIFY)


@pytest.mark.parametrize("kind", ["dsse", "hashedrekord"])
def test_a_good_entry_is_logged_and_its_answer_verifies(
    stack: Devstack, post: Callable[[Any], requests.Response], key: Any, kind: str
) -> None:
    answer = post(getattr(key, kind)(b"hello"))
    assert answer.status_code == 201
    uuid, entry = only(answer.json())
    body = base64.b64decode(entry["body"])
    assert json.loads(body)["kind"] == kind
    assert uuid[16:] == leaf_hash(body).hex()
    TransparencyLogEntry._from_v1_response(answer.json())._verify(keyring(stack))


def test_an_entry_keeps_the_time_at_which_it_was_taken_in(
    running: Devstack, http: requests.Session, key: Any, clock: Any
) -> None:
    log = f"{running.url}/rekor-v1/api/v1/log"
    clock.ahead = timedelta(days=2)
    uuid, entry = only(http.post(f"{log}/entries", json=key.dsse(b"when")).json())
    assert abs(entry["integratedTime"] - clock().timestamp()) < 10
    clock.ahead = timedelta(days=4)
    assert only(http.get(f"{log}/entries/{uuid}").json())[1]["integratedTime"] == entry["integratedTime"]


def test_an_answer_bent_anywhere_does_not_verify(
    stack: Devstack, post: Callable[[Any], requests.Response], key: Any
) -> None:
    answer = post(key.dsse(b"bend me")).json()
    uuid, entry = only(answer)
    bent = [
        entry | {"logIndex": entry["logIndex"] + 1},
        entry | {"integratedTime": entry["integratedTime"] + 1},
        entry | {"body": base64.b64encode(base64.b64decode(entry["body"]).replace(b"sha256", b"sha512")).decode()},
    ]
    for attempt in bent:
        with pytest.raises(Exception, match=r"."):
            TransparencyLogEntry._from_v1_response({uuid: attempt})._verify(keyring(stack))


def test_an_equal_entry_is_a_conflict_that_names_the_first(
    http: requests.Session, log: str, post: Callable[[Any], requests.Response], key: Any
) -> None:
    proposed = key.dsse(b"twice")
    uuid, entry = only(post(proposed).json())
    again = post(proposed)
    assert again.status_code == 409
    assert uuid in again.json()["message"]
    assert again.headers["Location"] == f"/api/v1/log/entries/{uuid}"
    assert only(http.get(f"{log}/entries/{uuid}").json())[1]["logIndex"] == entry["logIndex"]


def changed(proposed: Proposed, *path: Any, to: Any) -> Proposed:
    copy: Proposed = json.loads(json.dumps(proposed))
    target: Any = copy
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = to
    return copy


def envelope_changed(proposed: Proposed, **changes: Any) -> Proposed:
    envelope = json.loads(proposed["spec"]["proposedContent"]["envelope"]) | changes
    return changed(proposed, "spec", "proposedContent", "envelope", to=json.dumps(envelope))


def attacks(key: Any, other: Any) -> Iterator[tuple[str, Proposed]]:
    dsse, rekord = key.dsse(b"payload"), key.hashedrekord(b"payload")
    signature = key.envelope(b"payload")["signatures"][0]
    content = ("spec", "proposedContent")
    yield "other payload", envelope_changed(dsse, payload="b3RoZXI=")
    yield "other payload type", envelope_changed(dsse, payloadType="text/plain")
    yield "other verifier", changed(dsse, *content, "verifiers", to=[other.pem])
    yield "no verifier", changed(dsse, *content, "verifiers", to=[])
    yield "two verifiers", changed(dsse, *content, "verifiers", to=[key.pem, other.pem])
    yield "verifier is a number", changed(dsse, *content, "verifiers", to=[1])
    yield "verifier is text", changed(dsse, *content, "verifiers", to=["aGVsbG8="])
    yield "no signature", envelope_changed(dsse, signatures=[])
    yield "two signatures", envelope_changed(dsse, signatures=[signature, signature])
    yield "empty signature", envelope_changed(dsse, signatures=[{"sig": ""}])
    yield "envelope is an object", changed(dsse, *content, "envelope", to={"payload": ""})
    yield "envelope is no JSON", changed(dsse, *content, "envelope", to="{")
    yield "unknown kind", changed(dsse, "kind", to="intoto")
    yield "unknown version", changed(dsse, "apiVersion", to="0.0.2")
    yield "no spec", {"kind": "dsse", "apiVersion": "0.0.1"}
    yield "a list", [dsse]  # type: ignore[misc]
    digest = hashlib.sha256(b"other").hexdigest()
    yield "other digest", changed(rekord, "spec", "data", "hash", "value", to=digest)
    yield "short digest", changed(rekord, "spec", "data", "hash", "value", to="00")
    shouted = hashlib.sha256(b"payload").hexdigest().upper()
    yield "upper-case digest", changed(rekord, "spec", "data", "hash", "value", to=shouted)
    yield "weak digest", changed(rekord, "spec", "data", "hash", "algorithm", to="sha1")
    yield "other key", changed(rekord, "spec", "signature", "publicKey", "content", to=other.pem)


def test_nothing_that_does_not_verify_is_logged(
    http: requests.Session, log: str, post: Callable[[Any], requests.Response], key: Any
) -> None:
    before = http.get(log).json()["treeSize"]
    answers = {name: post(attack) for name, attack in attacks(key, type(key)())}
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 400)
    assert all(answer.json()["message"] for answer in answers.values())
    assert http.get(log).json()["treeSize"] == before


@pytest.mark.parametrize("kind", ["RSA", "Ed25519"])
def test_rsa_and_ed25519_envelopes_are_logged(
    post: Callable[[Any], requests.Response], key: Any, kind: str
) -> None:
    signed = b"DSSEv1 10 text/plain 2 hi"
    private: Any
    if kind == "RSA":
        private = rsa.generate_private_key(65537, 2048)
        signature = private.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    else:
        private = ed25519.Ed25519PrivateKey.generate()
        signature = private.sign(signed)
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    envelope = {
        "payload": base64.b64encode(b"hi").decode(),
        "payloadType": "text/plain",
        "signatures": [{"sig": base64.b64encode(signature).decode()}],
    }
    proposed = key.dsse(b"")
    proposed["spec"]["proposedContent"] = {
        "envelope": json.dumps(envelope),
        "verifiers": [base64.b64encode(pem).decode()],
    }
    assert post(proposed).status_code == 201
    assert post(envelope_changed(proposed, payload=base64.b64encode(b"ho").decode())).status_code == 400


def test_an_entry_is_found_by_index_by_uuid_by_proposal_and_by_hash(
    stack: Devstack, http: requests.Session, log: str, post: Callable[[Any], requests.Response], key: Any
) -> None:
    proposed = key.dsse(b"find me")
    uuid, entry = only(post(proposed).json())
    index = entry["logIndex"]
    found = [
        http.get(f"{log}/entries", params={"logIndex": index}).json(),
        http.get(f"{log}/entries/{uuid}").json(),
        http.get(f"{log}/entries/{uuid[16:]}").json(),
        *http.post(f"{log}/entries/retrieve", json={"entryUUIDs": [uuid]}).json(),
        *http.post(f"{log}/entries/retrieve", json={"logIndexes": [index]}).json(),
        *http.post(f"{log}/entries/retrieve/", json={"entries": [proposed]}).json(),
    ]
    assert [(only(item)[0], only(item)[1]["body"]) for item in found] == [(uuid, entry["body"])] * 6
    digest = hashlib.sha256(b"find me").hexdigest()
    search = f"{stack.url}/rekor-v1/api/v1/index/retrieve"
    assert http.post(search, json={"hash": f"sha256:{digest}"}).json() == [uuid]
    assert http.post(search, json={"hash": f"sha256:{'0' * 64}"}).json() == []
    assert http.post(search, json={"hash": 'sha256:"'}).status_code == 400


def test_sigstores_own_client_reads_the_log(stack: Devstack, post: Any, key: Any) -> None:
    uuid, entry = only(post(key.dsse(b"client")).json())
    client = RekorClient(f"{stack.url}/rekor-v1")
    assert client.log.entries.get(uuid=uuid)._inner.log_index == entry["logIndex"]
    assert client.log.get().tree_size > entry["logIndex"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("entries?logIndex=999999", 404),
        ("entries?logIndex=-1", 400),
        ("entries?logIndex=x", 400),
        ("entries?logIndex=", 400),
        ("entries", 400),
        ("entries?logIndex=" + "9" * 400, 400),
        ("entries/" + "0" * 80, 404),
        ("entries/" + "z" * 64, 404),
        ("entries/short", 404),
        ("proof?firstSize=1&lastSize=999999", 400),
        ("proof?firstSize=0&lastSize=1", 400),
        ("proof?firstSize=2&lastSize=1", 400),
        ("proof", 400),
        ("proof?lastSize=1&treeID=1", 404),
        ("nothing", 404),
    ],
)
def test_a_read_of_what_is_not_there_says_so(http: requests.Session, log: str, path: str, status: int) -> None:
    answer = http.get(f"{log}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, status)


def test_the_log_only_grows(
    http: requests.Session,
    log: str,
    post: Callable[[Any], requests.Response],
    key: Any,
    extends: Callable[..., bool],
) -> None:
    heads = []
    for number in range(4):
        post(key.hashedrekord(b"grow %d" % number))
        info = http.get(log).json()
        heads.append((info["treeSize"], bytes.fromhex(info["rootHash"])))
    for (first, first_root), (last, last_root) in zip(heads, heads[1:] + heads[-1:], strict=True):
        proof = http.get(f"{log}/proof", params={"firstSize": first, "lastSize": last}).json()
        assert bytes.fromhex(proof["rootHash"]) == last_root
        hashes = [bytes.fromhex(item) for item in proof["hashes"]]
        assert extends(first, last, first_root, last_root, hashes)


def test_an_entry_from_before_a_restart_verifies_and_the_new_log_extends_the_old(
    tmp_path: Path, http: requests.Session, key: Any, extends: Callable[..., bool]
) -> None:
    with Devstack(tmp_path / "d") as first:
        log = f"{first.url}/rekor-v1/api/v1/log"
        proposed = key.dsse(b"before")
        entry = http.post(f"{log}/entries", json=proposed).json()
        head, root, url = http.get(log).json(), first.trusted_root.read_bytes(), first.url
    with Devstack(tmp_path / "d") as second:
        assert (second.url, second.trusted_root.read_bytes()) == (url, root)
        assert http.post(f"{log}/entries", json=proposed).status_code == 409
        uuid, later = only(http.post(f"{log}/entries", json=key.dsse(b"after")).json())
        assert later["logIndex"] == only(entry)[1]["logIndex"] + 1
        now = http.get(log).json()
        proof = http.get(f"{log}/proof", params={"firstSize": head["treeSize"], "lastSize": now["treeSize"]}).json()
        assert extends(
            head["treeSize"],
            now["treeSize"],
            bytes.fromhex(head["rootHash"]),
            bytes.fromhex(now["rootHash"]),
            [bytes.fromhex(item) for item in proof["hashes"]],
        )
        for answer in (entry, http.get(f"{log}/entries/{only(entry)[0]}").json(), {uuid: later}):
            TransparencyLogEntry._from_v1_response(answer)._verify(keyring(second))
