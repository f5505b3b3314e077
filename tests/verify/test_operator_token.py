"""The operator's credential: an issuer's tokens get in, and an attacker's do not, whatever they say."""

from __future__ import annotations

import hashlib
import hmac
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from idp import AUDIENCE, CLAIMS, ISSUER, NOW, SECONDS, b64, check, key_set, mint, private, public, signed
from skillwarrant_format.errors import OperatorInvalid, SkillwarrantError, TrustError, UsageError
from skillwarrant_verify import Context, OperatorKeys, VerifiedOperator
from skillwarrant_verify.operators.issuer_keys import ALGORITHMS, MAX_KEYS_BYTES

HEADER = json.dumps({"alg": "ES256", "kid": "ec"}).encode()


@pytest.mark.parametrize(
    ("key", "algorithm"), [("ec", "ES256"), ("rsa", "RS256"), ("rsa", "PS512"), ("ed", "EdDSA"), ("ec384", "ES384")]
)
def test_an_issuers_token_says_who_operates(key: str, algorithm: str) -> None:
    operator = check(mint(key, algorithm, groups=["ops"]))
    assert (operator.subject, operator.issuer, operator.audience) == (CLAIMS["sub"], ISSUER, AUDIENCE)
    assert (operator.issued_at, operator.expires_at) == (NOW, NOW + timedelta(minutes=10))
    assert operator.key_id == key
    assert operator.claims["groups"] == ["ops"]


def hmac_of(key: bytes, header: dict[str, Any] | None = None) -> str:
    """The old confusion: a public key, which all know, as the secret of a symmetric algorithm."""
    head = json.dumps({"alg": "HS256", "kid": "rsa", **(header or {})}).encode()
    signing = f"{b64(head)}.{b64(json.dumps(CLAIMS).encode())}"
    return f"{signing}.{b64(hmac.new(key, signing.encode(), hashlib.sha256).digest())}"


def pem(key: str) -> bytes:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return private(key).public_key().public_bytes(serialization.Encoding.PEM, kind)


def unsigned(algorithm: str) -> str:
    return f"{b64(json.dumps({'alg': algorithm, 'kid': 'ec'}).encode())}.{b64(json.dumps(CLAIMS).encode())}."


def of_mallory(**header: Any) -> str:
    return jwt.encode(CLAIMS, private("ec-mallory"), "ES256", headers={"kid": "ec", **header})


def swapped_claims() -> str:
    head, _, signature = mint().split(".")
    return f"{head}.{b64(json.dumps({**CLAIMS, 'sub': 'spiffe://acme.example/root'}).encode())}.{signature}"


ATTACKS: dict[str, tuple[Callable[[], Any], str]] = {
    "no algorithm": (lambda: unsigned("none"), "three parts"),
    "no algorithm, and a signature of sorts": (lambda: unsigned("none") + "AAAA", "alg is unknown"),
    "no algorithm in other letters": (lambda: unsigned("nOnE") + "AAAA", "alg is unknown"),
    "a header without an algorithm": (
        lambda: signed(b'{"kid":"ec"}', json.dumps(CLAIMS).encode()),
        "alg is missing",
    ),
    "the public key as an HMAC secret": (lambda: hmac_of(pem("rsa")), "alg is unknown"),
    "the key set as an HMAC secret": (lambda: hmac_of(key_set()), "alg is unknown"),
    "an algorithm in a list": (
        lambda: signed(b'{"alg":["ES256"],"kid":"ec"}', json.dumps(CLAIMS).encode()),
        "a string",
    ),
    "a curve that is not allowed": (
        lambda: signed(b'{"alg":"ES256K","kid":"ec"}', json.dumps(CLAIMS).encode()),
        "alg is unknown",
    ),
    "mallory's key under the issuer's id": (of_mallory, "does not verify"),
    "mallory's key, embedded": (lambda: of_mallory(jwk=public("ec-mallory")), "asks for something.*jwk"),
    "mallory's key, by URL": (lambda: of_mallory(jku="https://mallory.example/keys"), "asks for something.*jku"),
    "mallory's certificate, by URL": (
        lambda: of_mallory(x5u="https://mallory.example/c"),
        "asks for something.*x5u",
    ),
    "mallory's certificate, embedded": (lambda: of_mallory(x5c=["AAAA"]), "asks for something.*x5c"),
    "the issuer's own token that embeds a key": (lambda: mint(header={"jwk": public("ec")}), "asks for something"),
    "an extension that must be understood": (
        lambda: mint(header={"crit": ["exp"], "exp": 1}),
        "asks for something.*crit",
    ),
    "a detached payload": (
        lambda: signed(b'{"alg":"ES256","kid":"ec","b64":false,"crit":["b64"]}', b"{}"),
        "asks for",
    ),
    "a compressed payload": (lambda: mint(header={"zip": "DEF"}), "asks for something.*zip"),
    "the id of a key for another algorithm": (lambda: mint("ec", header={"kid": "rsa"}), "does not publish"),
    "the id of a key of another curve": (lambda: mint("ec", header={"kid": "ec384"}), "not its key's"),
    "the id of another key of the kind": (lambda: mint("ec-mallory"), "does not publish"),
    "no key id": (lambda: jwt.encode(CLAIMS, private("ec"), "ES256"), "kid is missing"),
    "an empty key id": (lambda: mint(header={"kid": ""}), "wrong length"),
    "a key id that is a path": (lambda: mint(header={"kid": "../../dev/null"}), "does not publish"),
    "a key id that is a number": (lambda: signed(b'{"alg":"ES256","kid":1}', b"{}"), "a string"),
    "a logout token": (lambda: mint(header={"typ": "logout+jwt"}), "another type"),
    "a security event": (lambda: mint(header={"typ": "application/secevent+jwt"}), "another type"),
    "other claims under the signature": (swapped_claims, "does not verify"),
    "no signature": (lambda: mint().rpartition(".")[0] + ".", "three parts"),
    "another audience": (lambda: mint(aud="sigstore"), "does not verify.*udience"),
    "an audience in other letters": (lambda: mint(aud="Skillwarrant"), "does not verify.*udience"),
    "an audience that begins alike": (lambda: mint(aud="skillwarrant.evil.example"), "does not verify.*udience"),
    "an audience among others": (lambda: mint(aud=[AUDIENCE, "mallory"]), "for others too"),
    "an audience twice": (lambda: mint(aud=[AUDIENCE, AUDIENCE]), "for others too"),
    "no audience": (lambda: mint(aud=None), 'does not verify.*"aud"'),
    "an empty audience": (lambda: mint(aud=[]), "does not verify"),
    "another issuer": (lambda: mint(iss="https://mallory.example"), "does not verify.*ssuer"),
    "an issuer with a slash more": (lambda: mint(iss=ISSUER + "/"), "does not verify.*ssuer"),
    "a part of the issuer's name": (lambda: mint(iss="https://idp"), "does not verify.*ssuer"),
    "no issuer": (lambda: mint(iss=None), "does not verify"),
    "an issuer in a list": (
        lambda: signed(HEADER, json.dumps({**CLAIMS, "iss": [ISSUER]}).encode()),
        "does not verify",
    ),
    "expired": (lambda: mint(iat=SECONDS - 600, exp=SECONDS), "has expired"),
    "expired, within what others call leeway": (lambda: mint(iat=SECONDS - 600, exp=SECONDS - 1), "has expired"),
    "no expiry": (lambda: mint(exp=None), 'does not verify.*"exp"'),
    "an expiry in text": (lambda: signed(HEADER, json.dumps({**CLAIMS, "exp": "4102444800"}).encode()), "a number"),
    "an expiry beyond all calendars": (lambda: mint(exp=2**53 - 1), "exp is no time"),
    "good for a year": (lambda: mint(exp=SECONDS + 31536000), "good for too long"),
    "an old date to hide a long life": (lambda: mint(iat=SECONDS - 31536000), "good for too long"),
    "no date": (lambda: mint(iat=None), 'does not verify.*"iat"'),
    "a negative date": (lambda: mint(iat=-1), "iat is no time"),
    "issued in the future": (lambda: mint(iat=SECONDS + 61), "not valid yet"),
    "not yet valid": (lambda: mint(nbf=SECONDS + 61), "not valid yet"),
    "no subject": (lambda: mint(sub=None), 'does not verify.*"sub"'),
    "an empty subject": (lambda: mint(sub=""), "sub has the wrong length"),
    "a subject with a line of its own": (lambda: mint(sub="ops\nroot"), "control characters"),
    "a subject that is a number": (
        lambda: signed(HEADER, json.dumps({**CLAIMS, "sub": 7}).encode()),
        "does not verify|a string",
    ),
    "a subject twice": (lambda: signed(HEADER, json.dumps(CLAIMS).encode()[:-1] + b',"sub":"root"}'), "twice"),
    "an expiry twice": (lambda: signed(HEADER, json.dumps(CLAIMS).encode()[:-1] + b',"exp":4102444800}'), "twice"),
    "an algorithm twice": (lambda: signed(b'{"alg":"none","alg":"ES256","kid":"ec"}', b"{}"), "twice"),
    "an infinite expiry": (
        lambda: signed(HEADER, json.dumps({**CLAIMS, "exp": 1e308}).encode().replace(b"1e+308", b"1e999")),
        "number",
    ),
    "a date that is no number": (
        lambda: signed(HEADER, json.dumps({**CLAIMS, "iat": float("nan")}).encode()),
        "NaN",
    ),
    "a claim that is true": (lambda: signed(HEADER, json.dumps({**CLAIMS, "exp": True}).encode()), "a number"),
    "deep claims": (lambda: signed(HEADER, b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}"), "too deeply"),
    "claims that are a list": (lambda: signed(HEADER, b"[]"), "no JSON object|not a JSON object"),
    "a header that is a string": (lambda: signed(b'"ES256"', b"{}"), "not a JSON object"),
    "a huge token": (lambda: mint(padding="x" * 20_000), "at most 16384"),
    "a token of two parts": (lambda: mint().rpartition(".")[0], "three parts"),
    "an encrypted token of five parts": (lambda: mint() + ".AAAA.AAAA", "three parts"),
    "a token with a space": (lambda: mint() + " ", "three parts"),
    "a token in another alphabet": (lambda: mint().replace(".", ".=", 1), "three parts"),
    "a token with a newline": (lambda: mint() + "\n", "three parts"),
    "base64url of an impossible length": (lambda: "AAAAA." + mint().partition(".")[2], "no base64url"),
    "bytes": (lambda: mint().encode(), "no token"),
    "nothing": (lambda: None, "no token"),
    "the empty token": (lambda: "", "three parts"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attackers_token_proves_nothing(name: str) -> None:
    make, reason = ATTACKS[name]
    with pytest.raises(OperatorInvalid, match=reason) as caught:
        check(make())
    assert caught.value.exit_code == 1


def test_there_are_attacks_of_every_sort() -> None:
    assert len(ATTACKS) >= 70


def test_no_symmetric_algorithm_is_known() -> None:
    assert {kind for kind, _ in ALGORITHMS.values()} == {"EC", "OKP", "RSA"}
    assert not any(name.startswith(("HS", "none")) for name in ALGORITHMS)


def test_an_issuers_clock_may_be_ahead_by_the_leeway_and_expiry_is_never_stretched() -> None:
    assert check(mint(iat=SECONDS + 60, nbf=SECONDS + 60)).issued_at == NOW + timedelta(minutes=1)
    token = mint(exp=SECONDS + 1)
    assert check(token, leeway=timedelta(hours=1))
    with pytest.raises(OperatorInvalid, match="expired"):
        check(token, now=NOW + timedelta(seconds=1), leeway=timedelta(hours=1))


def test_a_long_life_is_for_the_caller_to_allow() -> None:
    token = mint(exp=SECONDS + 7 * 86400)
    with pytest.raises(OperatorInvalid, match="too long"):
        check(token)
    assert check(token, max_lifetime=timedelta(days=7))


def test_fractions_of_seconds_are_cut() -> None:
    assert check(mint(exp=SECONDS + 10.9)).expires_at == NOW + timedelta(seconds=10)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"issuer": ""}, "issuer is missing"),
        ({"issuer": None}, "issuer is missing"),
        ({"audience": ""}, "audience is missing"),
        ({"audience": ["skillwarrant"]}, "audience is missing"),
        ({"now": NOW.replace(tzinfo=None)}, "no time with its zone"),
        ({"keys": "{}"}, "bytes or OperatorKeys"),
        ({"keys": OperatorKeys("https://mallory.example")}, "another issuer's"),
    ],
)
def test_an_argument_that_checks_nothing_is_misuse(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        check(mint(), **change)


KEY_SETS: dict[str, tuple[Callable[[], bytes], str]] = {
    "no JSON": (lambda: b"keys", "not JSON"),
    "no keys": (lambda: b"{}", "keys is missing"),
    "a list": (lambda: b"[]", "not a JSON object"),
    "two keys of one id": (lambda: key_set(public("ec"), public("ec-mallory", kid="ec")), "id of another key"),
    "keys twice": (lambda: b'{"keys":[],"keys":[]}', "twice"),
    "a private key": (lambda: key_set(public("ec", d="AAAA")), "holds a secret"),
    "a symmetric key": (lambda: key_set({"kty": "oct", "kid": "ec", "k": "AAAA"}), "holds a secret"),
    "an RSA key that is too short": (
        lambda: key_set(public("rsa-weak", kid="ec", alg=None)),
        "does not publish|1024 bits",
    ),
    "a point that is not on the curve": (lambda: key_set(public("ec", x=public("ec")["y"])), "cannot be used"),
    "a coordinate that is too short": (lambda: key_set(public("ec", x="AAAA")), "cannot be used"),
    "a coordinate that is a number": (lambda: key_set(public("ec", x=7)), "cannot be used"),
    "too many bytes": (lambda: key_set(public("ec", more="x" * MAX_KEYS_BYTES)), "too large"),
    "too many keys": (lambda: key_set(*[public("ec", kid=str(number)) for number in range(101)]), "wrong length"),
}


@pytest.mark.parametrize("name", KEY_SETS)
def test_a_key_set_that_cannot_be_used_is_our_trouble_and_no_answer(name: str) -> None:
    make, reason = KEY_SETS[name]
    with pytest.raises(SkillwarrantError, match=reason) as caught:
        check(mint(), make())
    assert isinstance(caught.value, TrustError) or name == "an RSA key that is too short"


def test_a_short_rsa_key_is_refused_when_it_is_asked_for() -> None:
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = mint("rsa-weak", "RS256")
    with pytest.raises(TrustError, match="1024 bits"):
        check(token, key_set(public("rsa-weak")))


@pytest.mark.parametrize("change", [{"use": "enc"}, {"key_ops": ["sign"]}, {"alg": "ES384"}, {"kid": None}])
def test_a_key_for_something_else_verifies_no_token(change: dict[str, Any]) -> None:
    with pytest.raises(OperatorInvalid):
        check(mint(), key_set(public("ec", **change)))


def test_keys_that_are_nothing_to_us_do_no_harm() -> None:
    others = ({"kty": "EC", "crv": "P-999", "kid": "x"}, {"kty": "AKP", "kid": "y", "pub": "AAAA"}, {"kty": "EC"})
    assert check(mint(), key_set(*others, public("ec", use="sig", alg="ES256")))


def test_one_id_for_two_kinds_of_key_is_no_confusion() -> None:
    both = key_set(public("rsa", kid="one"), public("ec", kid="one"))
    assert check(mint(header={"kid": "one"}), both)
    assert check(mint("rsa", "RS256", header={"kid": "one"}), both)


def test_a_verified_operator_is_made_by_nothing_but_verifying() -> None:
    operator = check(mint())
    with pytest.raises((TypeError, ValueError)):
        replace(operator, subject="spiffe://acme.example/root")
    with pytest.raises(TypeError, match="made by verify_operator"):
        VerifiedOperator(
            subject="root",
            issuer=ISSUER,
            audience=AUDIENCE,
            issued_at=NOW,
            expires_at=NOW,
            key_id="ec",
            claims={},
            seal=object(),
        )


def test_neither_the_token_nor_its_claims_are_shown() -> None:
    operator = check(mint(email="alice@acme.example"))
    assert "alice" not in repr(operator)
    context = Context(environment="production", operator=operator)
    record = json.dumps(context.record("salt"))
    assert "alice" not in record
    assert "spiffe" not in record
    assert context.record("salt")["operator"] != context.record("other")["operator"]


def test_a_verified_operator_travels_to_a_worker() -> None:
    operator = check(mint())
    assert pickle.loads(pickle.dumps(operator)) == operator  # noqa: S301  # our own bytes


@settings(max_examples=300)
@given(st.data())
def test_no_mutation_of_a_token_is_accepted_or_crashes(data: st.DataObject) -> None:
    good = mint()
    place = data.draw(st.integers(0, len(good) - 1))
    mutated = good[:place] + data.draw(st.text(max_size=3)) + good[place + data.draw(st.integers(0, 3)) :]
    try:
        operator = check(mutated)
    except OperatorInvalid:
        return
    assert (
        mutated.rpartition(".")[0] == good.rpartition(".")[0]
    )  # only spare bits of the signature's last character
    assert operator.subject == CLAIMS["sub"]
