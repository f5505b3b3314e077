"""A Sigstore bundle v0.3 read strictly: field by field, and beside the model that sigstore-python verifies with."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import strategies
from handmade import changed, minimal, paths, raw
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sigstore_models.bundle.v1 import Bundle as SigstoreBundle

from skillwarrant_format import limits
from skillwarrant_format.bundle import BUNDLE_NAME, RawBundle
from skillwarrant_format.digest import Digest
from skillwarrant_format.dsse import encode_base64
from skillwarrant_format.errors import FormatError
from skillwarrant_format.statement import PAYLOAD_TYPE

FOLDER = os.environ.get("SKILLWARRANT_CONFORMANCE_BUNDLES")
REAL = sorted(Path(FOLDER).glob("*.sigstore.json")) if FOLDER else []
needs_real_bundles = pytest.mark.skipif(
    not REAL, reason="SKILLWARRANT_CONFORMANCE_BUNDLES names no folder with bundles of public Sigstore instances"
)

ENTRY = "verificationMaterial.tlogEntries.0"
PROOF = f"{ENTRY}.inclusionProof"
OPTIONAL = {
    f"{ENTRY}.inclusionPromise",
    f"{ENTRY}.integratedTime",
    f"{ENTRY}.logIndex",
    f"{PROOF}.logIndex",
    f"{PROOF}.treeSize",
    "dsseEnvelope.signatures.0.keyid",
    "verificationMaterial.timestampVerificationData",
    "verificationMaterial.timestampVerificationData.rfc3161Timestamps",
    "verificationMaterial.timestampVerificationData.rfc3161Timestamps.0",
}
NOT_READ_HERE = {f"{PROOF}.rootHash", f"{PROOF}.hashes", f"{PROOF}.hashes.0"}  # sigstore-python's own business
JUNK: tuple[Any, ...] = (None, True, 0, 5, 1.5, "", "\n", "\x1b[2J", [], [[]], {}, {"": ""})


def parse(document: Any) -> RawBundle:
    return RawBundle.parse(raw(document))


def test_a_bundle_is_read() -> None:
    data = raw(minimal())
    bundle = RawBundle.parse(data)
    assert bundle.raw == data
    assert bundle.digest == Digest.of(data)
    assert bundle.certificate == b"a certificate"
    assert bundle.timestamps == (b"a time",)
    assert (bundle.envelope.payload, bundle.envelope.payload_type) == (b"{}", PAYLOAD_TYPE)
    assert (bundle.envelope.signature.sig, bundle.envelope.signature.keyid) == (b"a signature", "k")
    entry = bundle.entry
    assert (entry.kind, entry.version, entry.log_id) == ("dsse", "0.0.1", b"k".hex() * 32)
    assert (entry.index, entry.proof_index, entry.tree_size) == (12, 3, 4)
    assert entry.integrated_time == datetime(2024, 12, 16, 18, 42, 56, tzinfo=UTC)
    assert entry.promised
    assert entry.canonical_body == b"{}"
    assert entry.origin == "rekor.example - 1"


@pytest.mark.parametrize("path", paths(minimal()))
def test_a_field_that_is_dropped_is_missed_unless_it_is_optional(path: str) -> None:
    document = changed(path)
    if path in OPTIONAL | NOT_READ_HERE:
        parse(document)
    else:
        with pytest.raises(FormatError):
            parse(document)


@pytest.mark.parametrize("path", paths(minimal()))
@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_a_field_of_another_type_is_refused_in_one_line(path: str, junk: Any) -> None:
    harmless = {
        "dsseEnvelope.signatures.0.keyid": [""],
        "verificationMaterial.timestampVerificationData": [{}],
        "verificationMaterial.timestampVerificationData.rfc3161Timestamps": [[]],
        f"{PROOF}.checkpoint.envelope": ["\n"],  # no origin: refused where the log entry is verified
    }
    if path in NOT_READ_HERE or junk in harmless.get(path, []):
        return
    with pytest.raises(FormatError) as caught:
        parse(changed(path, junk))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "path", ["", *(path for path in paths(minimal()) if not path.endswith(".0") or "signatures" in path)]
)
def test_an_unknown_field_is_refused_wherever_it_is(path: str) -> None:
    document = minimal()
    holder: Any = document
    for part in path.split(".") if path else []:
        holder = holder[int(part) if part.isdigit() else part]
    if not isinstance(holder, dict):
        return
    for key in ("extra", "media_type", *(key.upper() for key in list(holder))):
        holder[key] = "x"
        with pytest.raises(FormatError, match="unknown key"):
            parse(document)
        del holder[key]


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.2", "not a Sigstore bundle v0.3"),
        ("mediaType", "application/vnd.dev.sigstore.bundle.v0.4+json", "not a Sigstore bundle v0.3"),
        ("messageSignature", {"signature": "QQ=="}, "bare message"),
        ("messageSignature", None, "bare message"),
        ("verificationMaterial.publicKey", {"hint": "x"}, "found certificate, publicKey"),
        ("verificationMaterial.publicKey", None, "found certificate, publicKey"),
        ("verificationMaterial.x509CertificateChain", {"certificates": []}, "x509CertificateChain"),
        ("verificationMaterial.tlogEntries", [], "1 to 1 items, found 0"),
        ("verificationMaterial.tlogEntries", minimal()["verificationMaterial"]["tlogEntries"] * 2, "found 2"),
        ("dsseEnvelope.signatures", minimal()["dsseEnvelope"]["signatures"] * 2, "found 2"),
        (f"{ENTRY}.logIndex", "-1", "malformed"),
        (f"{ENTRY}.logIndex", "01", "malformed"),
        (f"{ENTRY}.logIndex", "1_000", "malformed"),
        (f"{ENTRY}.logIndex", " 1", "malformed"),
        (f"{ENTRY}.logIndex", "\u0661", "malformed"),
        (f"{ENTRY}.logIndex", "9223372036854775808", "too large: expected an int64"),
        (f"{ENTRY}.logIndex", "1" * 400, "malformed"),
        (f"{ENTRY}.integratedTime", "253402300800", "is no time"),
        (f"{ENTRY}.logId.keyId", "QQ==", "expected 32 bytes, found 1 bytes"),
        (f"{ENTRY}.logId.keyId", encode_base64(b"k" * 33), "found 33 bytes"),
        (f"{ENTRY}.inclusionPromise", {}, "signedEntryTimestamp is missing"),
        (f"{ENTRY}.inclusionPromise", None, "found null"),
        ("verificationMaterial.certificate.rawBytes", "QQ", "not base64"),
        ("verificationMaterial.certificate.rawBytes", "Q_==", "not base64"),
        ("dsseEnvelope.payload", "e30=\n", "control characters|not base64"),
    ],
)
def test_an_ambiguous_or_impossible_value_is_refused_and_named(path: str, value: Any, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        parse(changed(path, value))


def test_what_protobuf_leaves_out_is_zero_or_absent() -> None:
    document = minimal()
    entry = document["verificationMaterial"]["tlogEntries"][0]
    del entry["logIndex"], entry["integratedTime"], entry["inclusionPromise"], entry["inclusionProof"]["logIndex"]
    del document["verificationMaterial"]["timestampVerificationData"]
    bundle = parse(document)
    assert (bundle.entry.index, bundle.entry.proof_index, bundle.entry.integrated_time) == (0, 0, None)
    assert not bundle.entry.promised
    assert bundle.timestamps == ()
    assert parse(changed(f"{ENTRY}.integratedTime", "0")).entry.integrated_time is None


def test_the_largest_index_of_protobuf_is_taken() -> None:
    assert parse(changed(f"{ENTRY}.logIndex", str(2**63 - 1))).entry.index == 2**63 - 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"not json",
        raw(minimal())[:-2],
        raw(minimal()) + b"}",
        b"\xef\xbb\xbf" + raw(minimal()),
    ],
)
def test_what_is_no_json_object_or_is_cut_short_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="bundle"):
        RawBundle.parse(data)


def test_a_duplicate_key_is_refused_where_the_json_of_pydantic_takes_the_last() -> None:
    data = raw(minimal()).replace(b'"payload":', b'"payload": "W10=", "payload":')
    assert SigstoreBundle.from_json(data).dsse_envelope.payload == b"{}"
    with pytest.raises(FormatError, match="'payload' twice"):
        RawBundle.parse(data)


def test_a_bundle_over_the_limit_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(FormatError, match="bundle is too large"):
        RawBundle.parse(b" " * (limits.MAX_BUNDLE_BYTES + 1))


def test_the_file_name_is_the_documented_one() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "bundle.md"
    assert f"`{BUNDLE_NAME}`" in page.read_text(encoding="utf-8")


def check_against_sigstore(data: bytes) -> None:
    """Where we and the model that sigstore-python verifies with both take a bundle, we read the same in it."""
    try:
        ours = RawBundle.parse(data)
        theirs = SigstoreBundle.from_json(data)
    except (FormatError, ValidationError):
        return
    (entry,) = theirs.verification_material.tlog_entries
    assert theirs.dsse_envelope is not None
    (signature,) = theirs.dsse_envelope.signatures
    assert theirs.dsse_envelope.payload == ours.envelope.payload
    assert theirs.dsse_envelope.payload_type == ours.envelope.payload_type
    assert signature.sig == ours.envelope.signature.sig
    assert theirs.verification_material.certificate is not None
    assert theirs.verification_material.certificate.raw_bytes == ours.certificate
    assert entry.log_index == ours.entry.index
    assert entry.log_id.key_id.hex() == ours.entry.log_id
    assert (entry.kind_version.kind, entry.kind_version.version) == (ours.entry.kind, ours.entry.version)
    assert entry.canonicalized_body == ours.entry.canonical_body
    assert (entry.inclusion_promise is not None) == ours.entry.promised
    assert datetime.fromtimestamp(entry.integrated_time or 0, tz=UTC) == (
        ours.entry.integrated_time or datetime(1970, 1, 1, tzinfo=UTC)
    )
    assert entry.inclusion_proof is not None
    assert entry.inclusion_proof.checkpoint.envelope == ours.entry.checkpoint
    assert entry.inclusion_proof.tree_size == ours.entry.tree_size


def test_a_plain_bundle_is_read_as_sigstore_reads_it() -> None:
    SigstoreBundle.from_json(raw(minimal()))
    check_against_sigstore(raw(minimal()))


@given(strategies.mutants(st.builds(minimal)))
def test_a_mutant_that_both_take_says_the_same_to_both(mutant: dict[str, Any]) -> None:
    check_against_sigstore(raw(mutant))


@cache
def real(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


@needs_real_bundles
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_a_real_bundle_is_read_as_sigstore_reads_it(path: Path) -> None:
    bundle = RawBundle.parse(path.read_bytes())
    assert bundle.entry.kind in {"dsse", "hashedrekord"}
    SigstoreBundle.from_json(path.read_bytes())
    check_against_sigstore(path.read_bytes())


@needs_real_bundles
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_every_field_of_a_real_bundle_is_held_to_its_type(path: Path) -> None:
    document = real(path)
    parse(document)
    for place in paths(document):
        if ".hashes" in place or place in NOT_READ_HERE:
            continue
        for junk in (None, 5, [[]], {"": ""}):
            with pytest.raises(FormatError):
                parse(changed(place, junk, document=document))
        if place not in OPTIONAL:
            with pytest.raises(FormatError):
                parse(changed(place, document=document))


@needs_real_bundles
@given(st.data())
def test_a_mutant_of_a_real_bundle_that_both_take_says_the_same_to_both(data: st.DataObject) -> None:
    mutant = data.draw(strategies.mutants(st.sampled_from(REAL).map(real)))
    check_against_sigstore(raw(mutant))
