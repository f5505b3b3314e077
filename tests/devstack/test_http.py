"""The server: it answers its own names only, bounds what it reads, and says no in JSON."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rfc3161_client import TimestampRequestBuilder

from skillwarrant_devstack import Devstack


def test_a_name_that_was_rebound_to_us_is_refused(stack: Devstack, http: requests.Session) -> None:
    answer = http.get(f"{stack.issuer}/keys", headers={"Host": "evil.example"})
    assert (answer.status_code, "evil.example" in answer.json()["message"]) == (421, True)
    port = stack.url.rpartition(":")[2]
    assert http.get(f"{stack.issuer}/keys", headers={"Host": f"localhost:{port}"}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b'{"kind":"dsse","kind":"hashedrekord"}',
        b'{"kind":NaN}',
        b"\xff\xfe",
        b'{"kind":"\\ud800"}',
        b"9" * 100_000,
    ],
    ids=lambda body: f"{body[:20]!r} x{len(body)}",
)
def test_hostile_json_is_a_bad_request_everywhere(stack: Devstack, http: requests.Session, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {stack.ci_token()}", "Content-Type": "application/json"}
    for path in ("/api/v2/signingCert", "/rekor-v1/api/v1/log/entries", "/rekor-v2/api/v2/log/entries"):
        answer = http.post(stack.url + path, data=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, 400)


def test_a_body_without_end_is_not_read(stack: Devstack) -> None:
    host, port = stack.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = (
            f"POST /api/v2/signingCert HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {stack.ci_token()}"
        )
        connection.sendall(f"{head}\r\nContent-Length: 99999999999\r\n\r\n".encode())
        assert b" 413 " in connection.recv(1000)


def test_a_wrong_method_or_path_is_told_in_json(stack: Devstack, http: requests.Session) -> None:
    assert http.get(f"{stack.url}/api/v2/signingCert").json() == {"code": 405, "message": "Method Not Allowed"}
    assert http.get(f"{stack.url}/").json() == {"code": 404, "message": "Not Found"}


def test_a_full_disk_is_the_servers_fault_and_nothing_is_logged(
    running: Devstack, http: requests.Session, key: Any
) -> None:
    log = f"{running.url}/rekor-v1/api/v1/log"
    before = http.get(log).json()
    with (running.directory / "state" / "rekor-v1.jsonl").open("ab") as file:
        file.write(b"not ours")
    answer = http.post(f"{log}/entries", json=key.dsse(b"lost"))
    assert (answer.status_code, "was changed" in answer.json()["message"]) == (503, True)
    after = http.get(log).json()
    assert (after["treeSize"], after["rootHash"]) == (before["treeSize"], before["rootHash"])


def test_a_stopped_server_answers_no_more_on_connections_it_had(tmp_path: Path) -> None:
    stack = Devstack(tmp_path / "d")
    stack.start()
    keys = f"{stack.issuer}/keys"
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(keys).status_code == 200
        stack.stop()
        with pytest.raises(requests.ConnectionError):
            session.get(keys, timeout=5)


def test_many_clients_are_answered_at_once(stack: Devstack, key: Any) -> None:
    answers: list[int] = []

    def work(number: int) -> None:
        with requests.Session() as session:
            session.trust_env = False
            for turn in range(3):
                body = key.v2(b"%d/%d" % (number, turn))
                answers.append(session.post(f"{stack.url}/rekor-v2/api/v2/log/entries", json=body).status_code)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [201] * 24
    assert time.monotonic() - began < 10


def bent(data: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    """`data` with bytes replaced; a place is taken modulo the length."""
    for place, piece in changes:
        data = data[: place % len(data)] + piece + data[place % len(data) + 1 :]
    return data


def csr(key: Any) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key.private, hashes.SHA256()).public_bytes(Encoding.DER)


def pem(der: bytes) -> bytes:
    label = b"CERTIFICATE REQUEST-----"
    return b"-----BEGIN " + label + b"\n" + base64.b64encode(der) + b"\n-----END " + label + b"\n"


@given(changes=st.lists(st.tuples(st.integers(0, 5000), st.binary(max_size=3)), min_size=1, max_size=4))
@example(changes=[(7, b"\x25")])  # a request version that cryptography does not raise a ValueError for
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bent_request_makes_a_service_fail(
    stack: Devstack, http: requests.Session, key: Any, changes: list[tuple[int, bytes]]
) -> None:
    bearer = {"Authorization": f"Bearer {stack.ci_token()}"}
    query = TimestampRequestBuilder().data(b"x").build().as_bytes()
    signing = json.dumps({"certificateSigningRequest": base64.b64encode(pem(bent(csr(key), changes))).decode()})
    answers = {
        "dsse": http.post(
            f"{stack.url}/rekor-v1/api/v1/log/entries", data=bent(json.dumps(key.dsse(b"p")).encode(), changes)
        ),
        "v2": http.post(
            f"{stack.url}/rekor-v2/api/v2/log/entries", data=bent(json.dumps(key.v2(b"p")).encode(), changes)
        ),
        "tsa": http.post(f"{stack.url}/tsa/api/v1/timestamp", data=bent(query, changes)),
        "csr": http.post(f"{stack.url}/api/v2/signingCert", data=signing, headers=bearer),
    }
    assert {name: answer.status_code for name, answer in answers.items() if answer.status_code >= 500} == {}
