"""From end to end with the unmodified sigstore client: sign on the devstack, verify with its trusted root."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from sigstore.dsse import Statement
from sigstore.errors import VerificationError
from sigstore.models import Bundle, ClientTrustConfig, TrustedRoot
from sigstore.oidc import IdentityToken, detect_credential
from sigstore.sign import SigningContext
from sigstore.verify import Verifier
from sigstore.verify.policy import AllOf, GitHubWorkflowRepository, Identity, OIDCBuildTrigger, OIDCIssuerV2

from skillwarrant_devstack import Devstack

STATEMENT = json.dumps(
    {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "adapter", "digest": {"sha256": "ab" * 32}}],
        "predicateType": "https://example.com/test/v1",
        "predicate": {"n": 1},
    }
).encode()


def config(stack: Devstack, flavour: str) -> ClientTrustConfig:
    if flavour == "v2+TSA":
        return ClientTrustConfig.from_json(stack.trust_config_v2.read_text())
    document = json.loads(stack.trust_config.read_text())
    if flavour == "v1":
        document["signingConfig"]["tsaUrls"] = []
    return ClientTrustConfig.from_json(json.dumps(document))


def sign(stack: Devstack, flavour: str, token: str) -> Bundle:
    context = SigningContext.from_trust_config(config(stack, flavour))
    with context.signer(IdentityToken(token)) as signer:
        return signer.sign_dsse(Statement(STATEMENT))


def verify(stack: Devstack, bundle: Bundle, identity: str) -> bytes:
    policy = Identity(identity=identity, issuer=stack.issuer)
    verifier = Verifier(trusted_root=TrustedRoot.from_file(str(stack.trusted_root)))
    return verifier.verify_dsse(Bundle.from_json(bundle.to_json()), policy)[1]


@pytest.fixture(params=["v1", "v1+TSA", "v2+TSA"])
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_a_user_signs_verifies_for_that_user_only(stack: Devstack, flavour: str) -> None:
    bundle = sign(stack, flavour, stack.user_token("dev@acme.example"))
    assert verify(stack, bundle, "dev@acme.example") == STATEMENT
    with pytest.raises(VerificationError):
        verify(stack, bundle, "other@acme.example")


def test_what_a_ci_job_signs_verifies_for_its_workflow_only(
    stack: Devstack, flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stack.ci_environment(event="push").items():
        monkeypatch.setenv(name, value)
    token = detect_credential()
    assert token is not None
    bundle = sign(stack, flavour, token)
    assert verify(stack, bundle, stack.ci_identity()) == STATEMENT
    AllOf([GitHubWorkflowRepository("acme/skills"), OIDCBuildTrigger("push"), OIDCIssuerV2(stack.issuer)]).verify(
        bundle.signing_certificate
    )
    with pytest.raises(VerificationError):
        verify(stack, bundle, stack.ci_identity(ref="refs/heads/main"))


def test_each_flavour_carries_what_it_says(stack: Devstack, flavour: str) -> None:
    material = json.loads(sign(stack, flavour, stack.ci_token()).to_json())["verificationMaterial"]
    (entry,) = material["tlogEntries"]
    kinds = {"v1": "dsse 0.0.1", "v1+TSA": "dsse 0.0.1", "v2+TSA": "hashedrekord 0.0.2"}
    assert "{kind} {version}".format_map(entry["kindVersion"]) == kinds[flavour]
    stamps = material["timestampVerificationData"].get("rfc3161Timestamps", [])
    assert len(stamps) == (0 if flavour == "v1" else 1)
    assert int(entry["logIndex"]) > 0
    assert entry["inclusionProof"]["hashes"]


def test_an_artifact_that_is_no_statement_signs_and_verifies_too(stack: Devstack, flavour: str) -> None:
    context = SigningContext.from_trust_config(config(stack, flavour))
    with context.signer(IdentityToken(stack.user_token("dev@acme.example"))) as signer:
        bundle = signer.sign_artifact(b"bytes")
    policy = Identity(identity="dev@acme.example", issuer=stack.issuer)
    verifier = Verifier(trusted_root=TrustedRoot.from_file(str(stack.trusted_root)))
    verifier.verify_artifact(b"bytes", bundle, policy)
    with pytest.raises(VerificationError):
        verifier.verify_artifact(b"other", bundle, policy)


def test_another_instances_root_verifies_nothing(stack: Devstack, running: Devstack, flavour: str) -> None:
    bundle = sign(stack, flavour, stack.ci_token())
    policy = Identity(identity=stack.ci_identity(), issuer=stack.issuer)
    with pytest.raises(VerificationError):
        Verifier(trusted_root=TrustedRoot.from_file(str(running.trusted_root))).verify_dsse(bundle, policy)


def _payload(document: Any) -> None:
    payload = STATEMENT.replace(b'"n": 1', b'"n": 2')
    document["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()


def _root_hash(document: Any) -> None:
    entry = document["verificationMaterial"]["tlogEntries"][0]
    entry["inclusionProof"]["rootHash"] = base64.b64encode(bytes(32)).decode()


def _body(document: Any) -> None:
    entry = document["verificationMaterial"]["tlogEntries"][0]
    body = json.loads(base64.b64decode(entry["canonicalizedBody"]))
    body["spec"]["extra"] = 1
    entry["canonicalizedBody"] = base64.b64encode(json.dumps(body).encode()).decode()


def _checkpoint(document: Any) -> None:
    checkpoint = document["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"]
    checkpoint["envelope"] = checkpoint["envelope"].replace("127.0.0.1", "127.0.0.2", 1)


@pytest.mark.parametrize("bend", [_payload, _root_hash, _body, _checkpoint])
def test_a_bent_bundle_is_refused(stack: Devstack, flavour: str, bend: Callable[[Any], None]) -> None:
    document = json.loads(sign(stack, flavour, stack.ci_token()).to_json())
    bend(document)
    with pytest.raises(VerificationError):
        verify(stack, Bundle.from_json(json.dumps(document)), stack.ci_identity())


def test_a_signature_made_after_the_certificates_time_is_refused(
    running: Devstack, flavour: str, clock: Any
) -> None:
    context = SigningContext.from_trust_config(config(running, flavour))
    with context.signer(IdentityToken(running.ci_token())) as signer:
        early = signer.sign_dsse(Statement(STATEMENT))
        clock.ahead = timedelta(minutes=11)
        late = signer.sign_dsse(Statement(STATEMENT.replace(b"adapter", b"another")))
    assert verify(running, early, running.ci_identity()) == STATEMENT
    with pytest.raises(VerificationError, match=r"expired|certificate chain"):
        verify(running, late, running.ci_identity())


def test_a_bundle_from_before_a_restart_verifies_after_it(tmp_path: Path, flavour: str) -> None:
    with Devstack(tmp_path / "d") as first:
        bundle, identity = sign(first, flavour, first.ci_token()), first.ci_identity()
    with Devstack(tmp_path / "d") as second:
        assert verify(second, bundle, identity) == STATEMENT
        again = sign(second, flavour, second.ci_token())
        assert again.log_entry._inner.log_index == bundle.log_entry._inner.log_index + 1


def test_what_fulcio_refuses_reaches_the_client_as_words(stack: Devstack, running: Devstack) -> None:
    foreign = IdentityToken(running.user_token("dev@acme.example"))
    context = SigningContext.from_trust_config(config(stack, "v1"))
    with pytest.raises(Exception, match=r".*") as refused, context.signer(foreign):
        pass
    response = getattr(refused.value.__cause__, "response", None)
    assert isinstance(response, requests.Response)
    assert (response.status_code, "token" in response.json()["message"]) == (401, True)
