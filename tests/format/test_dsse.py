"""DSSE: one signature over exactly the bytes that the protocol says, and one spelling of base64."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_format import limits
from skillwarrant_format.dsse import Envelope, Signature, decode_base64, encode_base64, pae
from skillwarrant_format.errors import FormatError
from skillwarrant_format.strict_json import canonical

PLAIN = Envelope(payload_type="application/vnd.in-toto+json", payload=b"{}", signature=Signature(sig=b"sig"))


def document(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**PLAIN.to_json(), **changes}.items() if value is not ...}


def test_the_protocols_own_example_is_encoded_as_it_says() -> None:
    # https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md, "Test Vectors"
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("", b"") == b"DSSEv1 0  0 "


def test_lengths_are_counted_in_bytes() -> None:
    assert pae("é", "ü ".encode()) == "DSSEv1 2 é 3 ü ".encode()


@given(strategies.texts, st.binary(), strategies.texts, st.binary())
def test_two_payloads_or_types_never_have_the_same_signed_bytes(
    kind: str, payload: bytes, other: str, more: bytes
) -> None:
    assert (pae(kind, payload) == pae(other, more)) == ((kind, payload) == (other, more))


def test_moving_bytes_between_type_and_payload_changes_what_is_signed() -> None:
    assert pae("a", b" 1 b") != pae("a 4 ", b"b")
    assert pae("a b", b"c") != pae("a", b"b c")


@given(strategies.envelopes)
def test_what_is_written_is_read_as_the_same_and_written_again_the_same(envelope: Envelope) -> None:
    raw = envelope.to_bytes()
    again = Envelope.loads(raw)
    assert again == envelope
    assert again.to_bytes() == raw == canonical(json.loads(raw))
    assert again.signed_bytes() == pae(envelope.payload_type, envelope.payload)


@given(st.binary(min_size=1))
def test_base64_has_one_spelling(data: bytes) -> None:
    text = encode_base64(data)
    assert decode_base64(text, "k") == data
    for other in (text.rstrip("="), f"{text}=", f"{text}\n", f" {text}", base64.urlsafe_b64encode(data).decode()):
        if other != text:
            with pytest.raises(FormatError, match="k is not base64"):
                decode_base64(other, "k")


@pytest.mark.parametrize(
    "text",
    ["", "=", "====", "QQ", "QQ=", "QR==", "QUJ=", "Q===", "QQ==QQ==", "Q Q=", "\u0051Q\uff1d=", "Q*==", "QQ==\0"],
)
def test_malformed_base64_is_refused_trailing_bits_included(text: str) -> None:
    with pytest.raises(FormatError, match="k is not base64"):
        decode_base64(text, "k")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"payload": ...}, "payload is missing"),
        ({"payload": ""}, "wrong length"),
        ({"payload": {}}, "expected a string, found an object"),
        ({"payload": "e30"}, "not base64"),
        ({"payloadType": ...}, "payloadType is missing"),
        ({"payloadType": ""}, "wrong length"),
        ({"payloadType": "a\nb"}, "control characters"),
        ({"payload_type": "x"}, "misspelt field: expected payloadType"),
        ({"Payload": "e30="}, "misspelt field: expected payload"),
        ({"signatures": ...}, "signatures is missing"),
        ({"signatures": []}, "expected 1 to 1 items, found 0"),
        ({"signatures": [{"sig": "QQ=="}] * 2}, "expected 1 to 1 items, found 2"),
        ({"signatures": {"sig": "QQ=="}}, "expected a list"),
        ({"signatures": [{}]}, "sig is missing"),
        ({"signatures": [{"sig": ""}]}, "wrong length"),
        ({"signatures": [{"sig": "QQ==", "Sig": "Qg=="}]}, "misspelt"),
        ({"signatures": [{"sig": "QQ==", "keyid": None}]}, "keyid is missing: expected a value, found null"),
        ({"signatures": [{"sig": "QQ==", "keyid": 0}]}, "keyid has the wrong type"),
        ({"signatures": [{"sig": "QQ==", "keyid": False}]}, "keyid has the wrong type"),
        ({"signatures": [{"sig": "QQ==", "keyid": []}]}, "keyid has the wrong type"),
        ({"signatures": [{"sig": "QQ==", "keyid": "\x1b[2J"}]}, "control characters"),
        ({"signatures": [{"sig": "QQ==", "keyid": "x" * 513}]}, "wrong length"),
    ],
)
def test_an_envelope_that_lacks_something_is_refused_with_its_path(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(FormatError, match=why):
        Envelope.loads(json.dumps(document(**changes)).encode())


def test_an_unset_key_id_is_an_empty_one_and_unknown_fields_are_ignored_as_the_protocol_asks() -> None:
    signature = {"sig": encode_base64(b"sig"), "keyid": "", "cert": "x"}
    assert Envelope.loads(json.dumps(document(signatures=[signature], extra=1)).encode()) == PLAIN


def test_a_payload_over_its_limit_is_refused() -> None:
    most = json.dumps(document(payload=encode_base64(bytes(limits.MAX_STATEMENT_BYTES)))).encode()
    assert len(Envelope.loads(most).payload) == limits.MAX_STATEMENT_BYTES
    with pytest.raises(FormatError, match="envelope is too large"):
        Envelope.loads(most + b" " * limits.MAX_BUNDLE_BYTES)
    payload = encode_base64(bytes(limits.MAX_STATEMENT_BYTES + 1))
    with pytest.raises(FormatError, match="payload is too large"):
        Envelope.loads(json.dumps(document(payload=payload)).encode())


@given(strategies.mutants(strategies.envelopes.map(lambda envelope: json.loads(envelope.to_bytes()))))
def test_whatever_is_accepted_is_one_signature_over_a_payload(mutant: dict[str, Any]) -> None:
    try:
        envelope = Envelope.loads(canonical(mutant))
    except FormatError:
        return
    assert envelope.payload == base64.b64decode(mutant["payload"], validate=True)
    assert len(mutant["signatures"]) == 1
    assert envelope.signature.sig == base64.b64decode(mutant["signatures"][0]["sig"], validate=True)
    assert envelope.payload_type == mutant["payloadType"]
