"""Signature, log and files: what verifies, and for each check somebody who tries to pass it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.verify import Verifier

from builders import IDENTITY, ISSUER, manifest
from insider import (
    FILES,
    NOW,
    SIGNED,
    Insider,
    b64,
    body_v1,
    proof,
    raw,
    snapshot,
    statement,
    utf8,
)
from mutate import mutated
from skillwarrant_attest.credential import Credential
from skillwarrant_attest.sign import sign
from skillwarrant_devstack import Devstack
from skillwarrant_devstack.keys import log_id
from skillwarrant_format.errors import (
    DigestMismatch,
    FilesMismatch,
    FormatError,
    NotLogged,
    SignatureInvalid,
    SkillwarrantError,
    TrustError,
    Unavailable,
    UsageError,
    VerificationError,
    WrongPredicate,
)
from skillwarrant_format.statement import Statement
from skillwarrant_verify.proof import embedded, sigstore_light
from skillwarrant_verify.proof.signature import Signature, Verified, verify, verify_signature
from skillwarrant_verify.trust import TrustRoot, from_devstack, public_good

SETTINGS = settings(
    max_examples=int(os.environ.get("SKILLWARRANT_MUTATIONS", "300")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
CONFORMANCE = os.environ.get("SKILLWARRANT_CONFORMANCE_BUNDLES")


@pytest.fixture(scope="session")
def insider() -> Insider:
    return Insider()


@pytest.fixture(scope="session")
def trust(insider: Insider) -> TrustRoot:
    return insider.trust()


@pytest.fixture
def bundle(insider: Insider) -> dict[str, Any]:
    return insider.bundle()


@pytest.fixture
def v2(insider: Insider) -> dict[str, Any]:
    return insider.bundle(version=2)


def entry_of(bundle: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = bundle["verificationMaterial"]["tlogEntries"][0]
    return found


def refuse(
    error: type[SkillwarrantError], bundle: Any, trust: TrustRoot, words: str | None = None
) -> SkillwarrantError:
    """Refused with exactly this class of error, in these words."""
    data = bundle if isinstance(bundle, bytes) else raw(bundle)
    with pytest.raises(error, match=words) as refused:
        verify(snapshot(), data, trust, now=NOW)
    assert type(refused.value) is error
    return refused.value


# What verifies


@pytest.mark.parametrize(("version", "stamped"), [(1, False), (1, True), (2, True)])
def test_a_manifest_with_its_files_verifies(
    insider: Insider, trust: TrustRoot, version: int, stamped: bool
) -> None:
    found = verify(snapshot(), raw(insider.bundle(version=version, stamped=stamped)), trust, now=NOW)
    assert found.manifest == manifest()
    assert found.statement == statement()
    assert (found.signer.identity, found.signer.issuer, found.signer.kind) == (IDENTITY, ISSUER, "uri")
    assert found.signed_at == SIGNED + timedelta(seconds=5)
    assert (found.certificate.start, found.certificate.end) == (SIGNED, SIGNED + timedelta(minutes=10))
    assert found.trust == trust.used()
    assert found.log.index == (1001 if version == 1 else 1)
    assert (found.log.integrated_time is None) == (version == 2)


def test_the_earliest_proven_time_counts(insider: Insider, trust: TrustRoot) -> None:
    bundle = insider.bundle(at=SIGNED + timedelta(seconds=60))
    stamp = insider.stamp(bundle["dsseEnvelope"], SIGNED + timedelta(seconds=20))
    bundle["verificationMaterial"]["timestampVerificationData"] = {
        "rfc3161Timestamps": [{"signedTimestamp": b64(stamp)}]
    }
    assert verify_signature(raw(bundle), trust, now=NOW).signed_at == SIGNED + timedelta(seconds=20)


@pytest.mark.parametrize("config", ["trust_config", "trust_config_v2"])
def test_what_the_publisher_half_signs_through_a_running_instance_verifies(tmp_path: Path, config: str) -> None:
    with Devstack(tmp_path / "d") as stack:
        credential = Credential.from_token(stack.ci_token())
        data = sign(statement(), credential=credential, trust_config=getattr(stack, config))
        trust = from_devstack(stack.directory)
        found = verify(snapshot(), data, trust, now=NOW)
        assert found.signer.identity == stack.ci_identity()
        assert found.signer.extensions["sourceRepositoryRef"].startswith("refs/")
        assert found.log.origin.startswith("127.0.0.1")


def test_any_other_signed_payload_can_be_inspected_but_is_no_warrant(insider: Insider, trust: TrustRoot) -> None:
    bundle = insider.bundle(b"anything", payload_type="text/plain")
    found = verify_signature(raw(bundle), trust, now=NOW)
    assert (found.payload_type, found.payload) == ("text/plain", b"anything")
    refuse(WrongPredicate, bundle, trust, "signs no statement")


@pytest.mark.parametrize("year", [1999, 2019, 2150])
def test_no_clock_of_this_machine_is_read(year: int) -> None:
    then = SIGNED.replace(year=year)
    insider = Insider(created=then - timedelta(days=1))
    for version in (1, 2):
        bundle = insider.bundle(certificate=insider.certificate(begin=then), at=then, version=version)
        assert verify(snapshot(), raw(bundle), insider.trust(), now=then).signed_at == then


@pytest.mark.skipif(not CONFORMANCE, reason="SKILLWARRANT_CONFORMANCE_BUNDLES names no folder")
@pytest.mark.parametrize(
    ("name", "instance"),
    [("public-good-rekor-v1", embedded.PUBLIC_GOOD), ("staging-rekor-v2", embedded.STAGING)],
)
def test_bundles_of_the_public_instances_verify_and_are_no_warrants(name: str, instance: str) -> None:
    data = (Path(str(CONFORMANCE)) / f"{name}.sigstore.json").read_bytes()
    root = TrustRoot(source=instance, retrieved_at=NOW, raw=embedded.embedded("trusted_root.json", instance))
    found = verify_signature(data, root, now=NOW)
    assert found.signer.identity.endswith("/extremely-dangerous-oidc-beacon.yml@refs/heads/main")
    assert found.signer.issuer == "https://token.actions.githubusercontent.com"
    refuse(WrongPredicate, data, root, "signs something else.*slsa.dev")


# The files


def test_the_bundle_of_another_adapter_is_refused(insider: Insider, trust: TrustRoot) -> None:
    other = FILES | {"adapter_config.json": b'{"peft_type":"LORA","r":64}'}
    error = refuse(DigestMismatch, insider.bundle(statement(other).raw), trust, "'adapter_config.json'")
    assert error.found is not None


def test_one_changed_byte_is_refused_and_named(trust: TrustRoot, bundle: dict[str, Any]) -> None:
    changed = FILES | {"adapter_model.safetensors": FILES["adapter_model.safetensors"][:-1] + b" "}
    with pytest.raises(DigestMismatch, match=r"'adapter_model\.safetensors' is not the file that was signed"):
        verify(snapshot(changed), raw(bundle), trust, now=NOW)


def test_a_file_that_nobody_signed_is_refused(trust: TrustRoot, bundle: dict[str, Any]) -> None:
    with pytest.raises(FilesMismatch, match=r"nobody signed.*README\.md"):
        verify(snapshot(FILES | {"README.md": b"hello"}), raw(bundle), trust, now=NOW)


def test_a_signed_file_that_is_missing_is_refused(insider: Insider, trust: TrustRoot) -> None:
    bundle = insider.bundle(statement(FILES | {"README.md": b"hello"}).raw)
    refuse(FilesMismatch, bundle, trust, r"missing.*README\.md")


def test_two_files_whose_bytes_are_swapped_are_refused(trust: TrustRoot, bundle: dict[str, Any]) -> None:
    names = list(FILES)
    swapped = dict(zip(names, reversed(FILES.values()), strict=True))
    with pytest.raises(DigestMismatch):
        verify(snapshot(swapped), raw(bundle), trust, now=NOW)


# The envelope and the statement


def test_a_tampered_payload_is_refused(bundle: dict[str, Any], trust: TrustRoot) -> None:
    bundle["dsseEnvelope"]["payload"] = b64(statement().raw.replace(b"production", b"developers"))
    refuse(SignatureInvalid, bundle, trust, "does not verify")


def test_a_payload_type_swapped_after_signing_is_refused(bundle: dict[str, Any], trust: TrustRoot) -> None:
    bundle["dsseEnvelope"]["payloadType"] = "application/json"
    refuse(SignatureInvalid, bundle, trust)


def test_a_statement_signed_under_another_payload_type_is_refused(insider: Insider, trust: TrustRoot) -> None:
    refuse(WrongPredicate, insider.bundle(payload_type="application/json"), trust, "application/vnd.in-toto")


@pytest.mark.parametrize("kind", ["https://slsa.dev/provenance/v1", "https://skillwarrant.dev/skill-manifest/v2"])
def test_another_predicate_or_version_is_refused(insider: Insider, trust: TrustRoot, kind: str) -> None:
    honest = statement()
    other = Statement.build(subjects=honest.subjects, predicate_type=kind, predicate=honest.predicate)
    refuse(WrongPredicate, insider.bundle(other.raw), trust, kind)


def test_a_statement_that_is_not_canonical_is_refused(insider: Insider, trust: TrustRoot) -> None:
    spaced = json.dumps(json.loads(statement().raw)).encode()
    refuse(FormatError, insider.bundle(spaced), trust, "canonical")


def test_a_statement_with_a_key_twice_is_refused(insider: Insider, trust: TrustRoot) -> None:
    twice = statement().raw.replace(b'{"_type"', b'{"_type":"x","_type"', 1)
    refuse(FormatError, insider.bundle(twice), trust, "twice")


@pytest.mark.parametrize("payload", [b"", b"not json", b"[]", b"{}", b"null", b"\xff", b"[" * 100_000])
def test_a_signed_payload_that_is_no_statement_is_refused(
    insider: Insider, trust: TrustRoot, payload: bytes
) -> None:
    refuse(FormatError, insider.bundle(payload), trust)


def test_two_signatures_are_refused(bundle: dict[str, Any], trust: TrustRoot) -> None:
    bundle["dsseEnvelope"]["signatures"] *= 2
    refuse(FormatError, bundle, trust, "signatures")


def test_a_bundle_with_a_key_twice_is_refused(bundle: dict[str, Any], trust: TrustRoot) -> None:
    text = json.dumps(bundle)
    payload = json.dumps(bundle["dsseEnvelope"]["payload"])
    data = text.replace('"payloadType"', f'"payload": {payload}, "payloadType"').encode()
    refuse(FormatError, data, trust, "twice")


def test_a_snake_case_field_that_only_sigstore_would_read_is_refused(
    bundle: dict[str, Any], trust: TrustRoot
) -> None:
    entry = entry_of(bundle)
    entry["log_index"] = entry.pop("logIndex")
    Bundle.from_json(raw(bundle))  # sigstore takes it; we would have read index 0
    refuse(FormatError, bundle, trust, "log_index")


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"[]", b"\x00", b"[" * 10_000_000, b'{"mediaType":NaN}'])
def test_bytes_that_are_no_bundle_are_refused(trust: TrustRoot, data: bytes) -> None:
    refuse(FormatError, data, trust)


# The certificate


NAME = x509.UniformResourceIdentifier(IDENTITY)
EMAIL = x509.RFC822Name("release@acme.example")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([NAME, x509.UniformResourceIdentifier(IDENTITY + "x")], "2 subject alternative names"),
        ([NAME, EMAIL], "2 subject alternative names"),
        ([x509.DNSName("acme.example")], "DNSName"),
        ([x509.OtherName(x509.ObjectIdentifier("1.2.3"), utf8("root"))], "OtherName"),
        ([x509.UniformResourceIdentifier(IDENTITY + "\n")], "not printable"),
        # What no observation can hold would be refused without a record.
        ([x509.UniformResourceIdentifier(IDENTITY + "x" * 2048)], "too long"),
    ],
)
def test_a_certificate_without_exactly_one_known_name_is_refused(
    insider: Insider, trust: TrustRoot, names: list[x509.GeneralName], words: str
) -> None:
    refuse(SignatureInvalid, insider.bundle(certificate=insider.certificate(names=names)), trust, words)


def test_a_certificate_without_a_name_is_refused(insider: Insider, trust: TrustRoot) -> None:
    refuse(SignatureInvalid, insider.bundle(certificate=insider.certificate(names=[])), trust)


def test_an_email_and_a_fulcio_username_are_names(insider: Insider, trust: TrustRoot) -> None:
    other = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7"), utf8("release!acme"))
    for name, kind, text in ((EMAIL, "email", "release@acme.example"), (other, "other", "release!acme")):
        bundle = insider.bundle(certificate=insider.certificate(names=[name]))
        signer = verify(snapshot(), raw(bundle), trust, now=NOW).signer
        assert (signer.kind, signer.identity) == (kind, text)


@pytest.mark.parametrize(
    "extensions",
    [
        {20: utf8("release")},
        {1: b"https://evil.example", 8: utf8(ISSUER)},
        {1: b"", 8: utf8("")},
        {8: b"\x0c\x7f" + ISSUER.encode()},
        {8: ISSUER.encode()},
        {1: b"\xff\xfe"},
        {8: utf8(ISSUER + "x" * 2048)},
    ],
)
def test_a_certificate_without_one_issuer_is_refused(
    insider: Insider, trust: TrustRoot, extensions: dict[int, bytes]
) -> None:
    refuse(SignatureInvalid, insider.bundle(certificate=insider.certificate(extensions=extensions)), trust)


@pytest.mark.parametrize("extensions", [{1: ISSUER.encode()}, {8: utf8(ISSUER)}])
def test_either_form_of_the_issuer_is_enough(
    insider: Insider, trust: TrustRoot, extensions: dict[int, bytes]
) -> None:
    bundle = insider.bundle(certificate=insider.certificate(extensions=extensions))
    assert verify_signature(raw(bundle), trust, now=NOW).signer.issuer == ISSUER


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("delay", [-1, 601])
def test_a_signature_outside_of_its_certificates_ten_minutes_is_refused(
    insider: Insider, trust: TrustRoot, version: int, delay: int
) -> None:
    bundle = insider.bundle(at=SIGNED + timedelta(seconds=delay), version=version)
    refuse(SignatureInvalid, bundle, trust)


def test_a_certificate_of_another_instance_with_the_same_names_is_refused(
    insider: Insider, trust: TrustRoot
) -> None:
    other = Insider(key=insider.key)  # its authority is called the same, and is not the same
    refuse(SignatureInvalid, insider.bundle(certificate=other.certificate()), trust, "CT log")
    other.instance = replace(other.instance, ct_key=insider.instance.ct_key)
    refuse(SignatureInvalid, insider.bundle(certificate=other.certificate()), trust, "certificate chain")


def test_a_certificate_of_an_unknown_authority_is_refused_and_the_trust_root_named(insider: Insider) -> None:
    root = insider.root()
    root["certificateAuthorities"][0]["certChain"]["certificates"] = [
        {"rawBytes": b64(insider.instance.tsa_root.public_bytes(Encoding.DER))}
    ]
    error = refuse(SignatureInvalid, insider.bundle(), insider.trust(root), "authority is not one")
    assert "the test" in str(error.expected)
    assert "trusted root" in str(error.fix)


def test_a_certificate_that_no_ct_log_promised_is_refused(insider: Insider, trust: TrustRoot) -> None:
    refuse(SignatureInvalid, insider.bundle(certificate=insider.certificate(promises=False)), trust)


def test_a_promise_of_a_stranger_under_the_ct_logs_name_is_refused(insider: Insider, trust: TrustRoot) -> None:
    der = bytearray(insider.certificate().public_bytes(Encoding.DER))
    place = der.find(log_id(insider.instance.ct_key))
    der[place + 45] ^= 1  # inside of the promise's signature
    bundle = insider.bundle()
    bundle["verificationMaterial"]["certificate"]["rawBytes"] = b64(bytes(der))
    refuse(SignatureInvalid, bundle, trust)


@pytest.mark.parametrize(
    "make",
    [
        lambda: rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate,
        lambda: ec.generate_private_key(ec.SECP384R1()),
    ],
)
def test_a_certificate_for_another_kind_of_key_is_refused(
    insider: Insider, trust: TrustRoot, make: Callable[[], Any]
) -> None:
    bundle = insider.bundle(certificate=insider.certificate(key=make()))
    with pytest.raises((SignatureInvalid, FormatError)):
        verify(snapshot(), raw(bundle), trust, now=NOW)


# The log


@pytest.mark.parametrize("version", [1, 2])
def test_the_log_entry_of_another_bundle_is_refused(insider: Insider, trust: TrustRoot, version: int) -> None:
    mine, other = insider.bundle(version=version), insider.bundle(b"another payload", version=version)
    mine["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]
    refuse(NotLogged, mine, trust, "does not vouch")


@pytest.mark.parametrize("version", [1, 2])
def test_the_entry_of_another_instances_log_is_refused(insider: Insider, trust: TrustRoot, version: int) -> None:
    bundle, other = insider.bundle(version=version), Insider(key=insider.key)
    certificate = x509.load_der_x509_certificate(
        base64.b64decode(bundle["verificationMaterial"]["certificate"]["rawBytes"])
    )
    entry = other.entry(bundle["dsseEnvelope"], certificate, version=version, at=SIGNED + timedelta(seconds=5))
    bundle["verificationMaterial"]["tlogEntries"] = [entry]
    refuse(NotLogged, bundle, trust, "not one that the trust root knows")
    entry["logId"] = entry_of(insider.bundle(version=version))["logId"]  # and under the trusted log's name
    refuse(NotLogged, bundle, trust, "does not vouch")


@pytest.mark.parametrize("version", [1, 2])
def test_a_bundle_without_a_log_entry_is_refused(insider: Insider, trust: TrustRoot, version: int) -> None:
    bundle = insider.bundle(version=version)
    bundle["verificationMaterial"]["tlogEntries"] = []
    refuse(FormatError, bundle, trust, "tlogEntries")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("line", [0, 1, 2, 4])
def test_a_tampered_checkpoint_is_refused(insider: Insider, trust: TrustRoot, version: int, line: int) -> None:
    bundle = insider.bundle(version=version)
    checkpoint = entry_of(bundle)["inclusionProof"]["checkpoint"]
    lines = checkpoint["envelope"].split("\n")
    lines[line] = {0: "another log", 1: "6", 2: b64(bytes(32)), 4: lines[4][:-8] + "AAAAAAA="}[line]
    checkpoint["envelope"] = "\n".join(lines)
    refuse(NotLogged, bundle, trust)


@pytest.mark.parametrize("version", [1, 2])
def test_a_broken_inclusion_proof_is_refused(insider: Insider, trust: TrustRoot, version: int) -> None:
    for change in (
        lambda found: found["hashes"].reverse(),
        lambda found: found["hashes"].pop(),
        lambda found: found.update(logIndex="3"),
        lambda found: found.update(rootHash=b64(bytes(32))),
    ):
        bundle = insider.bundle(version=version)
        change(entry_of(bundle)["inclusionProof"])
        with pytest.raises(NotLogged):
            verify(snapshot(), raw(bundle), trust, now=NOW)


def test_a_tampered_signed_entry_timestamp_is_refused(bundle: dict[str, Any], trust: TrustRoot) -> None:
    entry = entry_of(bundle)
    entry["integratedTime"] = str(int(entry["integratedTime"]) + 1)
    refuse(NotLogged, bundle, trust, "inclusion promise")


def test_a_v1_entry_needs_its_promise_even_beside_a_timestamp(insider: Insider, trust: TrustRoot) -> None:
    bundle = insider.bundle(stamped=True)
    entry = entry_of(bundle)
    del entry["inclusionPromise"]
    entry["logIndex"], entry["integratedTime"] = "7", "1"  # nothing would vouch for these
    plain_sigstore(bundle, insider.root())
    refuse(NotLogged, bundle, trust, "promise is missing")


def test_an_index_that_the_promise_does_not_cover_is_refused(bundle: dict[str, Any], trust: TrustRoot) -> None:
    entry_of(bundle)["logIndex"] = "1002"
    refuse(NotLogged, bundle, trust, "inclusion promise")


def test_a_v2_entrys_outer_index_must_be_the_proofs(insider: Insider, v2: dict[str, Any], trust: TrustRoot) -> None:
    entry_of(v2)["logIndex"] = "0"
    plain_sigstore(v2, insider.root())
    refuse(NotLogged, v2, trust, "index is not the proof's")


def test_a_v2_index_moved_together_with_the_tree_size_is_refused(
    insider: Insider, v2: dict[str, Any], trust: TrustRoot
) -> None:
    entry = entry_of(v2)
    # Of 9 leaves, leaf 1 has one hash more; of 6 leaves, the path of leaf 1 has the same turns as of 5.
    entry["inclusionProof"]["treeSize"] = "6"
    plain_sigstore(v2, insider.root())
    refuse(NotLogged, v2, trust, "not for the signed tree")


def test_an_index_outside_of_the_tree_is_refused(insider: Insider, v2: dict[str, Any], trust: TrustRoot) -> None:
    entry = entry_of(v2)
    entry["logIndex"] = entry["inclusionProof"]["logIndex"] = "9"
    refuse(NotLogged, v2, trust, "outside of the tree")


def test_a_v2_entry_that_claims_a_time_is_refused(v2: dict[str, Any], trust: TrustRoot) -> None:
    entry_of(v2)["integratedTime"] = "1"
    refuse(NotLogged, v2, trust, "claims a time")


def test_an_entry_of_an_unknown_kind_is_refused(bundle: dict[str, Any], trust: TrustRoot) -> None:
    entry_of(bundle)["kindVersion"] = {"kind": "intoto", "version": "0.0.2"}
    refuse(NotLogged, bundle, trust, "intoto/0.0.2")


def test_a_v1_body_under_the_name_of_v2_is_refused(insider: Insider, trust: TrustRoot) -> None:
    certificate, bundle = insider.certificate(), insider.bundle(version=2)
    bundle = insider.bundle(certificate=certificate, version=2)
    bundle["verificationMaterial"]["tlogEntries"] = [insider.entry_v2(body_v1(bundle["dsseEnvelope"], certificate))]
    refuse_any(bundle, trust)


# Times and keys


def plain_sigstore(bundle: dict[str, Any], root: dict[str, Any]) -> None:
    """sigstore alone accepts this: the check below is really ours."""
    config = {**sigstore_light._CONFIG, "trustedRoot": root}
    verifier = Verifier(trusted_root=ClientTrustConfig.from_json(json.dumps(config)).trusted_root)

    class Anybody:
        def verify(self, cert: x509.Certificate) -> None: ...

    verifier.verify_dsse(Bundle.from_json(raw(bundle)), Anybody())


def refuse_any(bundle: dict[str, Any], trust: TrustRoot) -> None:
    with pytest.raises((SignatureInvalid, NotLogged, FormatError)):
        verify(snapshot(), raw(bundle), trust, now=NOW)


ENDED = "2026-11-20T12:00:04Z"  # one second before the signature


@pytest.mark.parametrize(
    ("version", "path", "error", "words"),
    [
        (1, ("tlogs", 0, "publicKey"), NotLogged, "transparency log was not in use"),
        (2, ("tlogs", 1, "publicKey"), NotLogged, "transparency log was not in use"),
        (1, ("certificateAuthorities", 0), SignatureInvalid, "authority was not in use"),
        (2, ("certificateAuthorities", 0), SignatureInvalid, "authority was not in use"),
        (1, ("ctlogs", 0, "publicKey"), SignatureInvalid, "CT log was not in use"),
    ],
)
def test_a_key_or_authority_that_had_ended_vouches_for_nothing(
    insider: Insider, version: int, path: tuple[str | int, ...], error: type[SkillwarrantError], words: str
) -> None:
    root = insider.root()
    item: Any = root
    for key in path:
        item = item[key]
    item["validFor"]["end"] = "2026-11-19T00:00:00Z" if "ctlogs" in path else ENDED
    bundle = insider.bundle(version=version)
    plain_sigstore(bundle, root)
    found = refuse(error, bundle, insider.trust(root), words)
    assert "a time within" in str(found.expected)
    item["validFor"]["end"] = "2026-11-20T12:00:05Z"  # closed: the last second counts
    verify(snapshot(), raw(bundle), insider.trust(root), now=NOW)


def test_a_key_that_was_not_yet_in_use_vouches_for_nothing(insider: Insider, bundle: dict[str, Any]) -> None:
    root = insider.root()
    root["tlogs"][0]["publicKey"]["validFor"]["start"] = "2026-11-20T12:00:06Z"
    refuse(NotLogged, bundle, insider.trust(root), "not in use")


def test_a_retired_key_cannot_sign_in_the_name_of_the_log_in_use(insider: Insider) -> None:
    """sigstore tries every key of the root when it does not know an id, as with every v2 log's."""
    retired = ed25519.Ed25519PrivateKey.generate()
    root = insider.root()
    live = root["tlogs"][1]
    root["tlogs"].append(
        {
            **live,
            "publicKey": {
                **live["publicKey"],
                "rawBytes": b64(retired.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
                "validFor": {"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"},
            },
            "logId": {"keyId": b64(bytes(32))},
        }
    )
    bundle = insider.bundle(version=2)
    entry = entry_of(bundle)
    body, key_id = base64.b64decode(entry["canonicalizedBody"]), base64.b64decode(entry["logId"]["keyId"])
    entry["inclusionProof"] = proof(body, "127.0.0.1", key_id, retired.sign, name="127.0.0.1")
    plain_sigstore(bundle, root)
    refuse(NotLogged, bundle, insider.trust(root), "does not vouch")


def test_without_any_time_nothing_is_proven(v2: dict[str, Any], trust: TrustRoot) -> None:
    del v2["verificationMaterial"]["timestampVerificationData"]
    refuse(SignatureInvalid, v2, trust, "nothing proves when")


@pytest.mark.parametrize("version", [1, 2])
def test_every_timestamp_has_to_verify(insider: Insider, trust: TrustRoot, version: int) -> None:
    bundle, other = insider.bundle(version=version, stamped=True), Insider(key=insider.key)
    at = SIGNED + timedelta(seconds=5)
    stamps = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    stamps.append({"signedTimestamp": b64(other.stamp(bundle["dsseEnvelope"], at))})
    plain_sigstore(bundle, insider.root())  # which drops what does not verify
    refuse(SignatureInvalid, bundle, trust, "timestamp in the bundle does not verify")


def test_a_timestamp_over_another_signature_is_refused(insider: Insider, trust: TrustRoot) -> None:
    bundle, other = insider.bundle(version=2), insider.bundle(b"another", version=2)
    material = bundle["verificationMaterial"]
    material["timestampVerificationData"] = other["verificationMaterial"]["timestampVerificationData"]
    refuse(SignatureInvalid, bundle, trust, "timestamp in the bundle does not verify")


@pytest.mark.parametrize("der", [b"", b"\x30\x03\x02\x01\x00", b"no DER", b"\x30\x80"])
def test_a_malformed_timestamp_is_refused(insider: Insider, trust: TrustRoot, der: bytes) -> None:
    bundle = insider.bundle(stamped=True)
    stamps = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    stamps[0]["signedTimestamp"] = b64(der)
    with pytest.raises((SignatureInvalid, FormatError)):
        verify(snapshot(), raw(bundle), trust, now=NOW)


def test_a_timestamp_with_a_certificate_of_no_known_version_is_refused(insider: Insider, trust: TrustRoot) -> None:
    bundle = insider.bundle(stamped=True)
    stamps = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    der = base64.b64decode(stamps[0]["signedTimestamp"])
    version = b"\xa0\x03\x02\x01"  # RFC 5280: explicit version of a certificate, an INTEGER of one byte
    assert der.count(version + b"\x02") == 1
    stamps[0]["signedTimestamp"] = b64(der.replace(version + b"\x02", version + b"\x38"))
    refuse(SignatureInvalid, bundle, trust, "timestamp in the bundle does not verify")


def test_a_timestamp_authority_that_had_ended_proves_no_time(insider: Insider, v2: dict[str, Any]) -> None:
    root = insider.root()
    root["timestampAuthorities"][0]["validFor"]["end"] = ENDED
    refuse(SignatureInvalid, v2, insider.trust(root), "outside")


def test_a_root_without_timestamp_authorities_proves_no_timestamp(insider: Insider, v2: dict[str, Any]) -> None:
    root = insider.root()
    root["timestampAuthorities"] = []
    refuse(SignatureInvalid, v2, insider.trust(root), "no timestamp authority in the trust root")


def test_a_stale_trust_root_verifies_nothing(insider: Insider, bundle: dict[str, Any]) -> None:
    trust = insider.trust(max_age=timedelta(days=3))
    verify(snapshot(), raw(bundle), trust, now=NOW + timedelta(days=3))
    with pytest.raises(TrustError, match=r"stale: expected retrieved within 3 days, found 4 days old \(the test\)"):
        verify(snapshot(), raw(bundle), trust, now=NOW + timedelta(days=4))


def test_a_time_without_a_zone_is_misuse(bundle: dict[str, Any], trust: TrustRoot) -> None:
    with pytest.raises(UsageError, match="now tells no time: expected a time with its time zone"):
        verify(snapshot(), raw(bundle), trust, now=NOW.replace(tzinfo=None))


# What can only be made here, and what is no answer


def test_a_verified_cannot_be_made_or_changed_by_anybody_else(bundle: dict[str, Any], trust: TrustRoot) -> None:
    found = verify(snapshot(), raw(bundle), trust, now=NOW)
    fields = {name: getattr(found, name) for name in Verified.__slots__}
    with pytest.raises(TypeError, match="made by"):
        Verified(**fields, seal=object())
    with pytest.raises(TypeError):
        Verified(**fields)  # type: ignore[call-arg]
    with pytest.raises((TypeError, ValueError)):
        replace(found, signed_at=NOW)


def test_many_threads_get_the_answers_that_one_gets(insider: Insider, trust: TrustRoot) -> None:
    honest = [raw(insider.bundle(version=version)) for version in (1, 2)]
    forged = [data.replace(b'"1001"', b'"1002"').replace(b'"1"', b'"2"') for data in honest]

    def answer(data: bytes) -> bool:
        try:
            return verify(snapshot(), data, trust, now=NOW).log.index in {1, 1001}
        except NotLogged:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, [*honest, *forged] * 10)) == [True, True, False, False] * 10


def test_a_failure_inside_of_sigstore_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, bundle: dict[str, Any], trust: TrustRoot
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("out of cheese")

    monkeypatch.setattr(Verifier, "verify_dsse", broken)
    refuse(Unavailable, bundle, trust, "RuntimeError: out of cheese")


def test_a_sigstore_that_reads_another_payload_is_refused(
    monkeypatch: pytest.MonkeyPatch, bundle: dict[str, Any], trust: TrustRoot
) -> None:
    real = Verifier.verify_dsse
    monkeypatch.setattr(Verifier, "verify_dsse", lambda *given: (real(*given)[0], b"another"))
    refuse(SignatureInvalid, bundle, trust, "another payload")


def test_a_sigstore_that_never_asks_who_signed_is_refused(
    monkeypatch: pytest.MonkeyPatch, bundle: dict[str, Any], trust: TrustRoot
) -> None:
    payload = statement().raw
    monkeypatch.setattr(Verifier, "verify_dsse", lambda *_: ("application/vnd.in-toto+json", payload))
    refuse(SignatureInvalid, bundle, trust, "did not check the certificate's holder")


# Mutations


@pytest.fixture(scope="session")
def seeds(insider: Insider, trust: TrustRoot) -> list[tuple[dict[str, Any], TrustRoot]]:
    found = [
        (insider.bundle(version=version, stamped=stamped), trust)
        for version, stamped in ((1, False), (1, True), (2, True))
    ]
    if CONFORMANCE:
        text = (Path(CONFORMANCE) / "public-good-rekor-v1.sigstore.json").read_bytes()
        found.append((json.loads(text), public_good()))
    return found


@pytest.fixture(scope="session")
def meanings(seeds: list[tuple[dict[str, Any], TrustRoot]]) -> list[tuple[Any, ...]]:
    return [meaning(verify_signature(raw(honest), trust, now=NOW)) for honest, trust in seeds]


@SETTINGS
@given(random=st.randoms(use_true_random=False))
def test_no_mutation_is_falsely_accepted_and_no_foreign_exception_escapes(
    seeds: Any, meanings: Any, random: Any
) -> None:
    honest, trust = random.choice(seeds)
    other, _ = random.choice(seeds)
    data = mutated(honest, other, random)
    try:
        found = verify_signature(data, trust, now=NOW)
    except (FormatError, VerificationError):  # a "no", and never "could not check"
        return
    assert meaning(found) in meanings  # as a whole: nothing of one bundle beside something of another


def meaning(signature: Signature) -> tuple[Any, ...]:
    """Everything but the bundle's own digest: a changed space or key hint is another file with the same meaning."""
    return (
        signature.payload_type,
        signature.payload,
        signature.signer,
        signature.log,
        signature.signed_at,
        signature.certificate,
    )
