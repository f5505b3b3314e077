"""The certificate authority: certificates as Fulcio's, and none without a good token and a proven key."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
import requests
from asn1crypto import csr as asn1_csr
from asn1crypto.core import UTF8String
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from sigstore._internal.sct import verify_sct
from sigstore._internal.trust import KeyringPurpose
from sigstore.models import TrustedRoot

from skillwarrant_devstack import Devstack
from skillwarrant_devstack.certificate import identity_of
from skillwarrant_devstack.http import RequestRefusedError
from skillwarrant_format.strict_json import loads_object

ARC = "1.3.6.1.4.1.57264.1"


def csr(key: Any | None = None) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), algorithm).public_bytes(Encoding.PEM)


def request(
    stack: Devstack, http: requests.Session, token: str | None, pem: bytes | None = None
) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = {"certificateSigningRequest": base64.b64encode(csr() if pem is None else pem).decode()}
    return http.post(f"{stack.url}/api/v2/signingCert", json=body, headers=headers)


def chain_of(answer: requests.Response) -> list[x509.Certificate]:
    assert answer.status_code == 201, answer.text
    pems = answer.json()["signedCertificateEmbeddedSct"]["chain"]["certificates"]
    return [x509.load_pem_x509_certificate(pem.encode()) for pem in pems]


def extension(certificate: x509.Certificate, number: int) -> bytes:
    value = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(f"{ARC}.{number}")).value
    assert isinstance(value, x509.UnrecognizedExtension)
    return value.value


def test_a_workflows_certificate_says_what_fulcio_would_say(stack: Devstack, http: requests.Session) -> None:
    token = stack.ci_token(repository="acme/skills", event="push", sha="b" * 40)
    leaf = chain_of(request(stack, http, token))[0]
    run_id = jwt.decode(token, options={"verify_signature": False})["run_id"]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [
        stack.ci_identity(repository="acme/skills")
    ]
    workflow = stack.ci_identity()
    raw = {
        1: stack.issuer,
        2: "push",
        3: "b" * 40,
        4: "release",
        5: "acme/skills",
        6: "refs/tags/v1.0.0",
    }
    assert {number: extension(leaf, number).decode() for number in raw} == raw
    text = {
        8: stack.issuer,
        9: workflow,
        10: "b" * 40,
        11: "github-hosted",
        12: "https://github.com/acme/skills",
        13: "b" * 40,
        14: "refs/tags/v1.0.0",
        16: "https://github.com/acme",
        18: workflow,
        19: "b" * 40,
        20: "push",
        21: f"https://github.com/acme/skills/actions/runs/{run_id}/attempts/1",
        22: "public",
    }
    assert {number: UTF8String.load(extension(leaf, number)).native for number in text} == text
    assert all(UTF8String.load(extension(leaf, number)).native.isdecimal() for number in (15, 17))


def test_a_users_certificate_has_the_address_and_the_issuer_only(stack: Devstack, http: requests.Session) -> None:
    leaf = chain_of(request(stack, http, stack.user_token("dev@acme.example")))[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.RFC822Name) == ["dev@acme.example"]
    ours = [item.oid.dotted_string for item in leaf.extensions if item.oid.dotted_string.startswith(ARC)]
    assert ours == [f"{ARC}.1", f"{ARC}.8"]


def test_a_certificate_is_short_lived_for_signing_code_and_chains_to_the_published_root(
    running: Devstack, http: requests.Session, clock: Any
) -> None:
    clock.ahead = timedelta(days=3)
    leaf, intermediate, root = chain_of(request(running, http, running.user_token("dev@acme.example")))
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(minutes=10)
    assert abs(leaf.not_valid_before_utc - clock()) < timedelta(seconds=10)
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CODE_SIGNING]
    published = http.get(f"{running.url}/api/v2/trustBundle").json()["chains"][0]["certificates"]
    assert [x509.load_pem_x509_certificate(pem.encode()) for pem in published] == [intermediate, root]
    for certificate in (intermediate, root):
        assert "NOT FOR PRODUCTION" in certificate.subject.rfc4514_string()


def test_the_signed_certificate_timestamp_is_the_ct_keys_and_no_other(
    stack: Devstack, http: requests.Session, running: Devstack
) -> None:
    leaf, *chain = chain_of(request(stack, http, stack.ci_token()))
    verify_sct(leaf, chain, TrustedRoot.from_file(str(stack.trusted_root)).ct_keyring(KeyringPurpose.VERIFY))
    foreign = TrustedRoot.from_file(str(running.trusted_root)).ct_keyring(KeyringPurpose.VERIFY)
    with pytest.raises(Exception, match="invalid signature"):
        verify_sct(leaf, chain, foreign)


@pytest.mark.parametrize(
    "key",
    [
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: ec.generate_private_key(ec.SECP521R1()),
        lambda: rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate,
    ],
    ids=["P-384", "P-521", "RSA", "Ed25519"],
)
def test_the_usual_key_types_are_certified(stack: Devstack, http: requests.Session, key: Callable[[], Any]) -> None:
    private = key()
    leaf = chain_of(request(stack, http, stack.ci_token(), csr(private)))[0]
    assert leaf.public_key() == private.public_key()


def signed_by_another_key() -> bytes:
    """A well-formed request for one key, signed by another."""
    theirs, ours = (asn1_csr.CertificationRequest.load(der_of(csr())) for _ in range(2))
    theirs["signature"] = ours["signature"].native
    return csr_of(theirs.dump(force=True))


def der_of(pem: bytes) -> bytes:
    return x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER)


def csr_of(der: bytes) -> bytes:
    return (
        b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.b64encode(der) + b"\n-----END CERTIFICATE REQUEST-----\n"
    )


def bent_csr() -> bytes:
    der = bytearray(der_of(csr()))
    der[-3] ^= 1
    return csr_of(bytes(der))


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (signed_by_another_key, "not signed by its own key"),
        (bent_csr, "not signed by its own key"),
        (lambda: b"", "is missing|has the wrong length|not base64"),
        (lambda: b"hello", "cannot be read"),
        (lambda: csr(rsa.generate_private_key(65537, 1024)), "the key must be"),  # noqa: S505 - the attack
        (lambda: csr(ec.generate_private_key(ec.SECP256K1())), "the key must be"),
    ],
    ids=["another's", "bent", "empty", "text", "short RSA", "odd curve"],
)
def test_a_bad_signing_request_is_refused(
    stack: Devstack, http: requests.Session, pem: Callable[[], bytes], reason: str
) -> None:
    answer = request(stack, http, stack.ci_token(), pem())
    assert answer.status_code == 400
    assert re.search(reason, answer.json()["message"])


def test_a_token_is_needed(stack: Devstack, http: requests.Session) -> None:
    answer = request(stack, http, None)
    assert (answer.status_code, answer.json()["message"]) == (401, "the identity token is missing")


def token_key(stack: Devstack) -> Any:
    instance = loads_object((stack.directory / "state" / "instance.json").read_bytes(), what="instance")
    return load_pem_private_key(str(instance["oidc_key"]).encode(), None)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"aud": "elsewhere"}, "'aud' must be 'sigstore', not 'elsewhere'"),
        ({"aud": ["sigstore", "elsewhere"]}, "'aud' must be"),
        ({"iss": "https://accounts.example"}, "'iss' must be"),
        ({"exp": 1_000}, "expired"),
        ({"nbf": 99_999_999_999}, "begins"),
        ({"exp": "never"}, "times"),
        ({"exp": None}, "exp"),
        ({"sub": None}, "sub"),
    ],
    ids=str,
)
def test_a_token_with_a_wrong_claim_is_refused_though_its_signature_is_good(
    stack: Devstack, http: requests.Session, changed: dict[str, Any], reason: str
) -> None:
    claims = jwt.decode(stack.ci_token(), options={"verify_signature": False}) | changed
    token = jwt.encode({k: v for k, v in claims.items() if v is not None}, token_key(stack), "ES256")
    answer = request(stack, http, token)
    assert answer.status_code == 401
    assert re.search(reason, answer.json()["message"])


def test_a_token_of_another_instance_or_algorithm_is_refused(
    stack: Devstack, running: Devstack, http: requests.Session
) -> None:
    claims = jwt.decode(stack.ci_token(), options={"verify_signature": False})
    mine = ec.generate_private_key(ec.SECP256R1())
    attempts = [
        running.ci_token(),
        jwt.encode(claims, mine, "ES256"),
        jwt.encode(claims, None, "none"),
        jwt.encode(claims, "k" * 32, "HS256"),
        "a.b.c",
        stack.ci_token()[:-4] + "AAAA",
    ]
    assert [request(stack, http, token).status_code for token in attempts] == [401] * len(attempts)


def test_the_ci_request_token_is_no_identity(stack: Devstack, http: requests.Session) -> None:
    token = stack.ci_environment()["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    assert request(stack, http, token).status_code == 401


def test_a_token_that_has_expired_on_our_clock_is_refused(
    running: Devstack, http: requests.Session, clock: Any
) -> None:
    token = running.ci_token()
    clock.ahead = timedelta(minutes=11)
    assert "expired" in request(running, http, token).json()["message"]


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"email": "a@b.example"},
        {"email": "a@b.example", "email_verified": "true"},
        {"email": "a@b.example", "email_verified": True, "job_workflow_ref": "acme/skills/w@r"},
        {"job_workflow_ref": "acme/skills/w@r"},
        {"email": "ä@b.example", "email_verified": True},
        {"email": ["a@b.example"], "email_verified": True},
    ],
    ids=str,
)
def test_claims_that_are_not_clearly_one_identity_get_no_certificate(claims: dict[str, Any]) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        identity_of({"iss": "http://127.0.0.1/oidc", **claims})
    assert refused.value.status == 400
