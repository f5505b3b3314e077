"""The timestamp authority against rfc3161-client: what is granted verifies, what is odd is refused."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from datetime import timedelta
from typing import Any

import pytest
import requests
from asn1crypto import core, tsp
from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)
from rfc3161_client.tsp import PKIStatus

from skillwarrant_devstack import Devstack

MESSAGE = b"a signature"


def chain_of(stack: Devstack) -> list[x509.Certificate]:
    authority = json.loads(stack.trusted_root.read_text())["timestampAuthorities"][0]
    return [
        x509.load_der_x509_certificate(b64decode(item["rawBytes"]))
        for item in authority["certChain"]["certificates"]
    ]


def url_of(stack: Devstack) -> str:
    (service,) = json.loads(stack.signing_config.read_text())["tsaUrls"]
    return str(service["url"])


def send(stack: Devstack, http: requests.Session, query: bytes) -> requests.Response:
    headers = {"Content-Type": "application/timestamp-query"}
    return http.post(url_of(stack), data=query, headers=headers)


def granted(stack: Devstack, http: requests.Session, query: bytes) -> TimeStampResponse:
    answer = send(stack, http, query)
    assert (answer.status_code, answer.headers["Content-Type"]) == (201, "application/timestamp-reply")
    return decode_timestamp_response(answer.content)


def verifier(stack: Devstack, *, embedded: bool = False) -> VerifierBuilder:
    leaf, root = chain_of(stack)
    builder = VerifierBuilder().add_root_certificate(root)
    return builder if embedded else builder.tsa_certificate(leaf)


def built(message: bytes = MESSAGE, *, nonce: bool = True, certificate: bool = True) -> Any:
    builder = TimestampRequestBuilder().data(message).nonce(nonce=nonce)
    return builder.cert_request(cert_request=certificate).build()


@pytest.mark.parametrize("algorithm", [HashAlgorithm.SHA256, HashAlgorithm.SHA512])
def test_a_timestamp_verifies_for_its_message_and_for_no_other(
    stack: Devstack, http: requests.Session, algorithm: HashAlgorithm
) -> None:
    query = TimestampRequestBuilder().hash_algorithm(algorithm).data(MESSAGE).build()
    response = granted(stack, http, query.as_bytes())
    assert verifier(stack).build().verify_message(response, MESSAGE)
    with pytest.raises(VerificationError, match="Mismatch"):
        verifier(stack).build().verify_message(response, b"another signature")


def test_the_nonce_comes_back_and_another_ones_answer_is_refused(stack: Devstack, http: requests.Session) -> None:
    ours, theirs = built(), built()
    response = granted(stack, http, ours.as_bytes())
    assert verifier(stack).nonce(ours.nonce).build().verify_message(response, MESSAGE)
    with pytest.raises(VerificationError, match="Nonce"):
        verifier(stack).nonce(theirs.nonce).build().verify_message(response, MESSAGE)
    assert granted(stack, http, built(nonce=False).as_bytes()).tst_info.nonce is None


def test_the_certificate_comes_along_when_it_is_asked_for_only(stack: Devstack, http: requests.Session) -> None:
    with_certificate = granted(stack, http, built().as_bytes())
    without = granted(stack, http, built(certificate=False).as_bytes())
    assert verifier(stack, embedded=True).build().verify_message(with_certificate, MESSAGE)
    assert (len(with_certificate.signed_data.certificates), len(without.signed_data.certificates)) == (1, 0)


def test_another_instances_root_verifies_nothing(
    stack: Devstack, running: Devstack, http: requests.Session
) -> None:
    response = granted(stack, http, built().as_bytes())
    with pytest.raises(VerificationError):
        verifier(running).build().verify_message(response, MESSAGE)
    with pytest.raises(VerificationError):
        verifier(running, embedded=True).build().verify_message(response, MESSAGE)


def test_a_bent_timestamp_does_not_verify(stack: Devstack, http: requests.Session) -> None:
    der = send(stack, http, built().as_bytes()).content
    response = tsp.TimeStampResp.load(der)
    token = response["time_stamp_token"]["content"]
    time = token["encap_content_info"]["content"].parsed["gen_time"].native
    bent = der.replace(time.strftime("%Y%m%d%H%M%S").encode(), b"20200101000000")
    assert bent != der
    with pytest.raises(VerificationError):
        verifier(stack).build().verify_message(decode_timestamp_response(bent), MESSAGE)


def test_the_time_is_the_clocks_and_an_expired_authority_is_refused(
    running: Devstack, http: requests.Session, clock: Any
) -> None:
    clock.ahead = timedelta(days=30)
    response = granted(running, http, built().as_bytes())
    assert abs(response.tst_info.gen_time - clock()) < timedelta(seconds=10)
    assert verifier(running).build().verify_message(response, MESSAGE)
    clock.ahead = timedelta(days=3651)
    late = granted(running, http, built().as_bytes())
    with pytest.raises(VerificationError):
        verifier(running).build().verify_message(late, MESSAGE)


def test_no_two_timestamps_have_the_same_serial_number(stack: Devstack, http: requests.Session) -> None:
    query = built().as_bytes()
    serials = {granted(stack, http, query).tst_info.serial_number for _ in range(5)}
    assert len(serials) == 5


class Statuses(core.SequenceOf):  # type: ignore[misc]
    """A rejection holds its status and nothing else."""

    _child_spec = tsp.PKIStatusInfo


def query(**changed: Any) -> bytes:
    fields = {
        "version": "v1",
        "message_imprint": {
            "hash_algorithm": {"algorithm": "sha256"},
            "hashed_message": hashlib.sha256(MESSAGE).digest(),
        },
        "cert_req": True,
    } | changed
    return bytes(tsp.TimeStampReq(fields).dump())


def imprint(algorithm: str, size: int) -> dict[str, Any]:
    return {"hash_algorithm": {"algorithm": algorithm}, "hashed_message": bytes(size)}


@pytest.mark.parametrize(
    ("asked", "failure"),
    [
        (query(message_imprint=imprint("sha256", 20)), "bad_data_format"),
        (query(message_imprint=imprint("sha512", 32)), "bad_data_format"),
        (query(message_imprint=imprint("sha256", 0)), "bad_data_format"),
        (query(message_imprint=imprint("sha1", 20)), "bad_alg"),
        (query(message_imprint=imprint("md5", 16)), "bad_alg"),
        (query(version="v2"), "bad_request"),
        (query(nonce=1 << 200), "bad_request"),
        (query(req_policy="1.2.3.4"), "unaccepted_policy"),
        (
            query(extensions=[{"extn_id": "1.2.3", "critical": True, "extn_value": b"x"}]),
            "unaccepted_extensions",
        ),
        (query(nonce=5).replace(b"\x02\x01\x05", b"\x07\x01\x05"), "bad_request"),
        (b"", "bad_request"),
        (b"not DER", "bad_request"),
        (query()[:-1], "bad_request"),
        (query() + b"\x00", "bad_request"),
        (b"\x30\x84\xff\xff\xff\xff", "bad_request"),
        (b"\x30\x80" * 2000, "bad_request"),
    ],
    ids=[
        "short imprint",
        "imprint of another algorithm",
        "no imprint",
        "SHA-1",
        "MD5",
        "version",
        "long nonce",
        "policy",
        "extension",
        "nonce of an odd type",
        "empty",
        "text",
        "cut",
        "trailing",
        "huge length",
        "deep nesting",
    ],
)
def test_a_bad_request_is_rejected_as_rfc_3161_says(
    stack: Devstack, http: requests.Session, asked: bytes, failure: str
) -> None:
    answer = send(stack, http, asked)
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/timestamp-reply")
    assert PKIStatus(decode_timestamp_response(answer.content).status) == PKIStatus.REJECTION
    (status,) = Statuses.load(answer.content)
    assert status["fail_info"].native == {failure}
    assert status["status_string"].native
