"""An auditor's check of a log, against an attacker who can write to the file and makes every checksum right."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import strategies
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from logbook import DIGEST, NOW, SUBJECTS, Book, Scribe, framed, observation

from skillwarrant_audit import DELEGATION_TYPE, GENESIS, Position, signing, verify_log
from skillwarrant_audit.framing import MAGIC
from skillwarrant_format.digest import Digest
from skillwarrant_format.dsse import Envelope, Signature
from skillwarrant_format.errors import AuditError, FormatError, UsageError
from skillwarrant_format.observation import PREDICATE_TYPE, Change, Ended, Observation, Phase, Place, Source
from skillwarrant_format.statement import Statement
from skillwarrant_format.strict_json import canonical

KEY = signing.generate()
MALLORY = signing.generate()
PREDICATES = strategies.mutants(st.builds(json.loads, st.just(json.dumps(observation().to_json()))))
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "observations.log"


@pytest.fixture
def scribe() -> Scribe:
    """An honest log: one process, one activation, one refusal."""
    return honest(Scribe())


def honest(scribe: Scribe) -> Scribe:
    scribe.delegate(KEY)
    return scribe.observe(KEY, "intent", 1).observe(KEY, "activated", 1).observe(KEY, "refused", 2)


def test_an_honest_log_verifies_and_says_who_did_what(scribe: Scribe, path: Path) -> None:
    report = scribe.verify(path)
    assert [found.observation.phase for found in report.observations] == ["intent", "activated", "refused"]
    assert report.observations[0].observation == observation("intent", 1)
    assert report.observations[0].statement.subjects == SUBJECTS
    assert report.observations[0].observer == report.delegations[0]
    assert report.delegations[0].key_id == signing.key_id(KEY.public_key())
    assert report.head == Position(seq=3, leaf=Digest.of(scribe.leaves[3]))
    assert report.findings == ()


def test_several_processes_may_interleave(scribe: Scribe, path: Path) -> None:
    scribe.observe(KEY, "intent", 3).delegate(MALLORY).observe(MALLORY, "intent", 4)
    scribe.observe(KEY, "failed", 3).observe(MALLORY, "activated", 4).observe(MALLORY, "deactivated", 4)
    assert len(scribe.verify(path).delegations) == 2


# --- the file


@pytest.mark.parametrize("at", range(4))
def test_a_record_that_was_taken_out_is_missed(scribe: Scribe, path: Path, at: int) -> None:
    head = scribe.verify(path).head
    del scribe.leaves[at]
    with pytest.raises(AuditError):
        scribe.verify(path, head=head)


@pytest.mark.parametrize("at", range(3))
def test_records_that_changed_places_are_noticed(scribe: Scribe, path: Path, at: int) -> None:
    scribe.leaves[at], scribe.leaves[at + 1] = scribe.leaves[at + 1], scribe.leaves[at]
    with pytest.raises(AuditError, match=rf"record {at} does not verify"):
        scribe.verify(path)


@pytest.mark.parametrize("at", range(4))
def test_a_record_twice_is_noticed(scribe: Scribe, path: Path, at: int) -> None:
    scribe.leaves.insert(at, scribe.leaves[at])
    with pytest.raises(AuditError, match="signed for another place"):
        scribe.verify(path)


@pytest.mark.parametrize("at", range(5))
def test_a_record_of_another_operators_log_does_not_fit_in(scribe: Scribe, path: Path, at: int) -> None:
    other = honest(Scribe(MALLORY))
    scribe.leaves.insert(at, other.leaves[min(at, 3)])
    with pytest.raises(AuditError, match=rf"record {at} does not verify"):
        scribe.verify(path)


@pytest.mark.parametrize("keep", range(4))
def test_the_end_cannot_be_exchanged_for_that_of_another_operators_log(
    scribe: Scribe, path: Path, keep: int
) -> None:
    scribe.leaves[keep:] = honest(Scribe(MALLORY)).leaves[keep:]
    with pytest.raises(AuditError, match=rf"record {keep} does not verify"):
        scribe.verify(path)


def test_another_operators_log_is_not_this_ones(scribe: Scribe, path: Path) -> None:
    scribe.leaves = honest(Scribe(MALLORY)).leaves
    with pytest.raises(AuditError, match="record 0 does not verify"):
        scribe.verify(path)


@pytest.mark.parametrize("number", [0, 1])
def test_a_changed_byte_of_a_leaf_is_noticed(path: Path, number: int) -> None:
    small: dict[str, Any] = {"skills": (), "checks": (), "inputs": None, "base": None, "trust": None}
    scribe = Scribe().delegate(KEY).observe(KEY, "refused", 1, **small)
    scribe.leaves = scribe.leaves[: number + 1]
    assert scribe.verify(path).head.seq == number
    honest_leaf = scribe.leaves[number]
    # Every byte around the payload; in it, where all letters are alike, every fourth: each takes a millisecond.
    after_payload = honest_leaf.index(b'","payloadType"')
    for at in [*range(0, after_payload, 4), *range(after_payload, len(honest_leaf))]:
        scribe.leaves[number] = honest_leaf[:at] + bytes([honest_leaf[at] ^ 1]) + honest_leaf[at + 1 :]
        with pytest.raises(AuditError):
            scribe.verify(path)


# --- heads


@pytest.mark.parametrize("seq", range(4))
def test_a_log_goes_on_from_every_head_it_ever_had(scribe: Scribe, path: Path, seq: int) -> None:
    assert scribe.verify(path, head=Position(seq=seq, leaf=Digest.of(scribe.leaves[seq]))).head.seq == 3


def test_a_cut_off_end_shows_against_a_head_and_without_one_does_not(scribe: Scribe, path: Path) -> None:
    head = scribe.verify(path).head
    del scribe.leaves[2:]
    with pytest.raises(AuditError, match=r"the end of the log .* is missing"):
        scribe.verify(path, head=head)
    assert [finding.code for finding in scribe.verify(path).findings] == ["intent.dangling"]


def test_a_rewritten_history_shows_against_a_head_though_the_operator_signed_it(scribe: Scribe, path: Path) -> None:
    head = scribe.verify(path).head
    again = Scribe(scribe.operator).delegate(KEY)
    for activation in range(3):
        again.observe(KEY, "refused", activation)
    with pytest.raises(AuditError, match="record 3 is not the given head"):
        again.verify(path, head=head)


def test_a_log_without_a_record_is_no_log_that_verifies(path: Path) -> None:
    with pytest.raises(AuditError, match="holds no record"):
        Scribe().verify(path)


# --- who signed


def test_an_observation_signed_again_by_another_key_is_refused(scribe: Scribe, path: Path) -> None:
    payload = Envelope.loads(scribe.leaves[3]).payload
    scribe.leaves[3] = signing.sign(MALLORY, payload).to_bytes()
    with pytest.raises(AuditError, match="nothing before it delegates the key"):
        scribe.verify(path)


def test_a_signature_by_another_key_under_the_delegated_keys_name_is_refused(scribe: Scribe, path: Path) -> None:
    forged = signing.sign(MALLORY, Envelope.loads(scribe.leaves[3]).payload)
    named = replace(forged.signature, keyid=signing.key_id(KEY.public_key()).hex)
    scribe.leaves[3] = replace(forged, signature=named).to_bytes()
    with pytest.raises(AuditError, match="the signature does not verify"):
        scribe.verify(path)


@pytest.mark.parametrize(
    "keyid", ["", "0" * 64, signing.key_id(KEY.public_key()).hex.upper()], ids=["none", "another", "upper case"]
)
def test_a_record_that_does_not_name_its_key_is_refused(scribe: Scribe, path: Path, keyid: str) -> None:
    envelope = Envelope.loads(scribe.leaves[3])
    scribe.leaves[3] = replace(envelope, signature=replace(envelope.signature, keyid=keyid)).to_bytes()
    with pytest.raises(AuditError, match="nothing before it delegates the key"):
        scribe.verify(path)


def test_a_process_key_cannot_delegate_another(scribe: Scribe, path: Path) -> None:
    scribe.delegate(MALLORY, signer=KEY)
    with pytest.raises(AuditError, match="not an observation"):
        scribe.verify(path)


def test_a_delegation_by_another_operator_is_refused(scribe: Scribe, path: Path) -> None:
    scribe.delegate(signing.generate(), signer=MALLORY)
    with pytest.raises(AuditError, match="nothing before it delegates the key"):
        scribe.verify(path)


def test_a_delegation_forged_under_the_operators_name_is_refused(scribe: Scribe, path: Path) -> None:
    scribe.delegate(MALLORY, signer=MALLORY)
    envelope = Envelope.loads(scribe.leaves[4])
    named = replace(envelope.signature, keyid=signing.key_id(scribe.operator.public_key()).hex)
    scribe.leaves[4] = replace(envelope, signature=named).to_bytes()
    with pytest.raises(AuditError, match="the signature does not verify"):
        scribe.verify(path)


def test_a_delegation_that_names_another_operator_is_refused(path: Path) -> None:
    scribe = Scribe().delegate(KEY, operator=signing.key_id(MALLORY.public_key()))
    with pytest.raises(AuditError, match="names another operator"):
        scribe.verify(path)


def test_a_delegation_comes_before_what_its_key_signs(path: Path) -> None:
    scribe = Scribe().observe(KEY, "refused", 1).delegate(KEY)
    with pytest.raises(AuditError, match=r"record 0 .* nothing before it delegates"):
        scribe.verify(path)


def test_a_delegation_of_another_key_is_not_for_this_one(path: Path) -> None:
    scribe = Scribe().delegate(MALLORY).observe(KEY, "refused", 1)
    with pytest.raises(AuditError, match="nothing before it delegates the key"):
        scribe.verify(path)


def test_a_key_cannot_be_delegated_again_to_widen_its_time(scribe: Scribe, path: Path) -> None:
    scribe.delegate(KEY, not_after=NOW + timedelta(days=99))
    with pytest.raises(AuditError, match="delegated before"):
        scribe.verify(path)


def test_the_operators_key_is_no_process_key(path: Path) -> None:
    scribe = Scribe()
    scribe.delegate(scribe.operator)
    with pytest.raises(AuditError, match="the key is the operator's"):
        scribe.verify(path)


def test_the_operators_key_does_not_sign_observations(scribe: Scribe, path: Path) -> None:
    scribe.observe(scribe.operator, "refused", 3)
    with pytest.raises(AuditError, match="not a delegation"):
        scribe.verify(path)


@pytest.mark.parametrize("after", [-1, 3601, 86400 * 365])
def test_an_observation_outside_its_keys_time_is_refused(scribe: Scribe, path: Path, after: int) -> None:
    scribe.observe(KEY, "refused", 3, after=after)
    with pytest.raises(AuditError, match="not delegated for its time"):
        scribe.verify(path)


@pytest.mark.parametrize("after", [0, 3600])
def test_the_ends_of_a_keys_time_belong_to_it(scribe: Scribe, path: Path, after: int) -> None:
    scribe.observe(KEY, "refused", 3, after=after)
    assert scribe.verify(path).head.seq == 4


def test_a_delegation_of_no_time_is_refused(scribe: Scribe, path: Path) -> None:
    good = Envelope.loads(scribe.leaves[0]).payload
    assert b'"notAfter":"2026-11-22T11:00:00Z"' in good
    bad = good.replace(b"2026-11-22T11:00:00Z", b"2026-11-22T10:00:00Z")
    scribe.leaves[0] = signing.sign(scribe.operator, bad).to_bytes()
    with pytest.raises(AuditError, match="notAfter is not after notBefore"):
        scribe.verify(path)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b'"name":"observer"', b'"name":"gate"'),
        (b'"pid":1', b'"pid":0'),
        (b'"pid":1', b'"pid":"1"'),
        (b'"host":"here"', b'"host":""'),
        (b'{"bootId"', b'{"Host":"x","bootId"'),  # a lookalike, where the canonical order has it
        (b"observer-delegation/v1", b"observer-delegation/v2"),
        (b'"bootId":"unknown",', b""),
    ],
)
def test_a_delegation_that_is_malformed_is_refused_though_the_operator_signed_it(
    scribe: Scribe, path: Path, good: bytes, bad: bytes
) -> None:
    payload = Envelope.loads(scribe.leaves[0]).payload
    assert good in payload
    scribe.leaves[0] = signing.sign(scribe.operator, payload.replace(good, bad)).to_bytes()
    with pytest.raises(AuditError, match="record 0 does not verify"):
        scribe.verify(path)


def test_a_delegation_whose_subject_is_another_key_is_refused(scribe: Scribe, path: Path) -> None:
    payload = Envelope.loads(scribe.leaves[0]).payload
    own, other = (signing.key_id(key.public_key()).hex.encode() for key in (KEY, MALLORY))
    scribe.leaves[0] = signing.sign(scribe.operator, payload.replace(own, other)).to_bytes()
    with pytest.raises(AuditError, match="subject is not its key"):
        scribe.verify(path)


def test_a_delegation_that_could_not_be_read_is_not_even_made() -> None:
    for wrong in ({"pid": 0}, {"host": ""}, {"not_after": NOW}):
        with pytest.raises(FormatError):
            Scribe().delegate(KEY, **wrong)


# --- whatever it says


@settings(max_examples=60)
@given(strategies.observations)
def test_what_a_gate_records_an_auditor_reads(given: Observation) -> None:
    scribe = Scribe().delegate(KEY, not_before=given.time, not_after=given.time + timedelta(seconds=1))
    made = replace(given, phase="refused").to_statement(
        SUBJECTS, seq=scribe.place.seq, previous=scribe.place.previous
    )
    scribe.add(signing.sign(KEY, made.raw))
    with tempfile.TemporaryDirectory() as directory:
        (found,) = scribe.verify(Path(directory) / "a.log").observations
    assert found.observation == replace(given, phase="refused")


@settings(max_examples=150)
@given(PREDICATES, st.sampled_from([PREDICATE_TYPE, DELEGATION_TYPE]))
def test_whatever_an_insider_signs_the_answer_is_a_report_or_an_audit_error(predicate: Any, kind: str) -> None:
    scribe = Scribe().delegate(KEY)
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [subject.to_json() for subject in SUBJECTS],
        "predicateType": kind,
        "predicate": {**predicate, **scribe.place.to_json()} if isinstance(predicate, dict) else predicate,
    }
    scribe.add(signing.sign(scribe.operator if kind == DELEGATION_TYPE else KEY, canonical(document)))
    with tempfile.TemporaryDirectory() as directory, suppress(AuditError):
        assert scribe.verify(Path(directory) / "a.log").head.seq == 1


# --- the one spelling of a leaf


def respelt(leaf: bytes, sig: Callable[[bytes], bytes]) -> bytes:
    envelope = Envelope.loads(leaf)
    return replace(envelope, signature=replace(envelope.signature, sig=sig(envelope.signature.sig))).to_bytes()


def other_s(sig: bytes) -> bytes:
    r, s = decode_dss_signature(sig)
    return encode_dss_signature(r, P256_ORDER - s)


@pytest.mark.parametrize("at", [0, 3])
def test_the_other_valid_spelling_of_a_signature_is_refused(scribe: Scribe, path: Path, at: int) -> None:
    scribe.leaves[at] = respelt(scribe.leaves[at], other_s)
    envelope = Envelope.loads(scribe.leaves[at])
    signer = (scribe.operator, KEY, KEY, KEY)[at]
    signer.public_key().verify(envelope.signature.sig, envelope.signed_bytes(), ec.ECDSA(signing.SHA256()))
    with pytest.raises(AuditError, match="not in its normal form"):
        scribe.verify(path)


@pytest.mark.parametrize(
    "sig",
    [
        lambda sig: sig + b"\0",  # bytes after it
        lambda sig: b"\x30\x81" + sig[1:],  # a length in BER's long form
        lambda _: encode_dss_signature(0, 0),
        lambda _: encode_dss_signature(P256_ORDER, 1),
        lambda _: b"\x30\x00",
        lambda _: b"x",
    ],
)
def test_a_malformed_signature_is_refused(scribe: Scribe, path: Path, sig: Callable[[bytes], bytes]) -> None:
    scribe.leaves[3] = respelt(scribe.leaves[3], sig)
    with pytest.raises(AuditError, match="record 3 does not verify"):
        scribe.verify(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda leaf: leaf + b" ",
        lambda leaf: leaf.replace(b'"signatures"', b' "signatures"'),
        lambda leaf: leaf[:-1] + b',"x":1}',
        lambda leaf: leaf.replace(b'"sig":', b'"x":1,"sig":'),
        lambda leaf: leaf.replace(b'"signatures":[', b'"signatures":[{"keyid":"0","sig":"eA=="},'),
        lambda leaf: leaf.replace(b"vnd.in-toto+json", b"json"),
        lambda _: b"{}",
        lambda _: b"[]",
        lambda _: b"\xff",
        lambda _: b"[" * 5000,
    ],
)
def test_an_envelope_in_another_spelling_is_refused(
    scribe: Scribe, path: Path, change: Callable[[bytes], bytes]
) -> None:
    scribe.leaves[3] = change(scribe.leaves[3])
    with pytest.raises(AuditError, match="record 3 does not verify"):
        scribe.verify(path)


def test_the_payload_type_is_signed(path: Path) -> None:
    scribe = Scribe().delegate(KEY)
    payload = Envelope.loads(scribe.leaves[0]).payload
    plain = scribe.operator.sign(b"DSSEv1 4 text %d %b" % (len(payload), payload), ec.ECDSA(signing.SHA256()))
    keyid = signing.key_id(scribe.operator.public_key()).hex
    scribe.leaves[0] = Envelope(
        payload_type="text", payload=payload, signature=Signature(sig=plain, keyid=keyid)
    ).to_bytes()
    with pytest.raises(AuditError, match="holds something else"):
        scribe.verify(path)


def test_a_statement_of_another_type_is_refused_though_the_key_is_delegated(path: Path) -> None:
    scribe = Scribe().delegate(KEY)
    predicate = {**observation().to_json(), **scribe.place.to_json()}
    for predicate_type in ("https://skillwarrant.dev/skill-activation/v2", "https://slsa.dev/provenance/v1"):
        raw = Statement.build(subjects=SUBJECTS, predicate_type=predicate_type, predicate=predicate).raw
        scribe.leaves[1:] = [signing.sign(KEY, raw).to_bytes()]
        with pytest.raises(AuditError, match="not an observation"):
            scribe.verify(path)


# --- the place


@pytest.mark.parametrize("previous", [GENESIS, DIGEST], ids=["the beginning", "another leaf"])
def test_a_record_that_was_signed_to_follow_another_is_refused(
    scribe: Scribe, path: Path, previous: Digest
) -> None:
    scribe.observe(KEY, "refused", 3, place=Place(seq=4, previous=previous))
    with pytest.raises(AuditError, match="signed for another place"):
        scribe.verify(path)


@pytest.mark.parametrize("seq", [0, 3, 5])
def test_a_record_that_was_signed_with_another_number_is_refused(scribe: Scribe, path: Path, seq: int) -> None:
    scribe.observe(KEY, "refused", 3, place=Place(seq=seq, previous=scribe.place.previous))
    with pytest.raises(AuditError, match="signed for another place"):
        scribe.verify(path)


def test_a_forged_first_record_cannot_name_a_predecessor(path: Path) -> None:
    scribe = Scribe()
    scribe.leaves = [b"x"]
    scribe.delegate(KEY)
    del scribe.leaves[0]
    with pytest.raises(AuditError, match="signed for another place"):
        scribe.verify(path)


# --- the order of an activation


ORDERS: list[tuple[Phase, ...]] = [
    ("activated",),
    ("failed",),
    ("deactivated",),
    ("merged",),
    ("intent", "intent"),
    ("intent", "checked"),
    ("intent", "refused"),
    ("intent", "deactivated"),
    ("intent", "activated", "activated"),
    ("intent", "activated", "failed"),
    ("intent", "activated", "merged"),
    ("intent", "failed", "activated"),
    ("intent", "failed", "deactivated"),
    ("intent", "activated", "intent"),
    ("intent", "activated", "deactivated", "deactivated"),
    ("intent", "activated", "deactivated", "activated"),
    ("refused", "refused"),
    ("refused", "intent"),
    ("refused", "activated"),
    ("checked", "checked"),
    ("checked", "activated"),
]


@pytest.mark.parametrize("phases", ORDERS, ids="-".join)
def test_no_honest_gate_writes_this_order(path: Path, phases: tuple[Phase, ...]) -> None:
    scribe = Scribe().delegate(KEY)
    for phase in phases[:-1]:
        scribe.observe(KEY, phase, 1)
    if len(phases) > 1:
        scribe.verify(path)
    scribe.observe(KEY, phases[-1], 1)
    with pytest.raises(AuditError, match=rf"record {len(phases)} does not verify: .* out of order"):
        scribe.verify(path)


def stacked(*adapters: str) -> Scribe:
    """A stack that is on a model."""
    scribe = Scribe().delegate(KEY)
    return scribe.observe(KEY, "intent", 1, adapters=adapters).observe(KEY, "activated", 1, adapters=adapters)


def identity(activation: int) -> str:
    return observation(activation=activation).activation


def merging(*ends: tuple[int, tuple[str, ...]], **changes: Any) -> dict[str, Any]:
    """What a merge says of itself."""
    change = Change(
        kind="merge-and-unload",
        sources=(Source(adapter="a"),),
        options={},
        ends=tuple(Ended(activation=identity(activation), adapters=adapters) for activation, adapters in ends),
    )
    return {"adapters": ("a",), "change": change, **changes}


def test_the_members_of_a_stack_may_leave_it_one_by_one_and_in_any_order(path: Path) -> None:
    scribe = stacked("a", "b", "c")
    for gone in (("b",), ("c", "a")):
        scribe.observe(KEY, "deactivated", 1, adapters=gone)
    assert scribe.verify(path).findings == ()


@pytest.mark.parametrize(
    "gone",
    [
        [("a",), ("a",)],
        [("a", "b"), ("b",)],
        [("d",)],
        [("a", "d")],
        [()],
        [("a",), ("b",), ("c",), ("a",)],
    ],
)
def test_an_adapter_leaves_a_stack_once_and_only_if_it_was_in_it(path: Path, gone: list[tuple[str, ...]]) -> None:
    scribe = stacked("a", "b", "c")
    for adapters in gone:
        scribe.observe(KEY, "deactivated", 1, adapters=adapters)
    with pytest.raises(AuditError, match=rf"record {2 + len(gone)} does not verify"):
        scribe.verify(path)


@pytest.mark.parametrize("adapters", [("a",), ("a", "b", "c"), ("a", "c"), ()])
def test_no_other_adapters_come_than_the_intent_announced(path: Path, adapters: tuple[str, ...]) -> None:
    scribe = Scribe().delegate(KEY).observe(KEY, "intent", 1, adapters=("a", "b"))
    scribe.observe(KEY, "activated", 1, adapters=adapters)
    with pytest.raises(AuditError, match="other adapters than its intent"):
        scribe.verify(path)


def test_an_intent_is_about_something(path: Path) -> None:
    with pytest.raises(AuditError, match="about no adapter"):
        Scribe().delegate(KEY).observe(KEY, "intent", 1, adapters=()).verify(path)


def test_a_merge_ends_the_activations_that_it_names(path: Path) -> None:
    scribe = stacked("a", "b")
    for phase in ("intent", "merged"):
        scribe.observe(KEY, phase, 2, **merging((1, ("a", "b"))))
    assert len(scribe.verify(path).observations) == 4
    scribe.observe(KEY, "deactivated", 1, adapters=("b",))
    with pytest.raises(AuditError, match="nothing, since all are gone"):
        scribe.verify(path)


@pytest.mark.parametrize(
    "wrong",
    [
        merging((1, ("a", "c"))),
        merging((3, ("a",))),
        merging((1, ("a",)), (1, ("a",))),
        merging(),
        {"adapters": ("a",)},
    ],
    ids=["not there", "another activation", "twice", "no end", "no change"],
)
def test_a_merge_that_ends_what_was_not_there_or_nothing_is_refused(path: Path, wrong: dict[str, Any]) -> None:
    scribe = stacked("a", "b").observe(KEY, "intent", 2, adapters=("a",)).observe(KEY, "merged", 2, **wrong)
    with pytest.raises(AuditError, match="record 4 does not verify"):
        scribe.verify(path)


def test_what_is_merged_is_merged_and_cannot_be_deactivated(path: Path) -> None:
    scribe = stacked("a")
    for phase in ("intent", "merged"):
        scribe.observe(KEY, phase, 2, **merging((1, ("a",))))
    scribe.observe(KEY, "deactivated", 2, adapters=("a",))
    with pytest.raises(AuditError, match="out of order"):
        scribe.verify(path)


def test_only_a_merge_ends_other_activations(path: Path) -> None:
    scribe = stacked("a").observe(KEY, "intent", 2).observe(KEY, "activated", 2, **merging((1, ("a",))))
    with pytest.raises(AuditError, match="record 4 does not verify"):
        scribe.verify(path)


def test_an_activation_of_one_process_may_be_concluded_by_no_other_activations_id(path: Path) -> None:
    scribe = Scribe().delegate(KEY).observe(KEY, "intent", 1).observe(KEY, "activated", 2)
    with pytest.raises(AuditError, match="out of order"):
        scribe.verify(path)


# --- what is told and not refused


def test_an_intent_that_nothing_followed_is_told(scribe: Scribe, path: Path) -> None:
    scribe.observe(KEY, "intent", 3).observe(KEY, "intent", 4).observe(KEY, "failed", 4)
    (finding,) = scribe.verify(path).findings
    assert (finding.code, finding.seq) == ("intent.dangling", 4)
    assert observation("intent", 3).activation in finding.message


def test_a_clock_that_was_set_back_is_told_once(path: Path) -> None:
    scribe = Scribe().delegate(KEY, not_before=NOW - timedelta(hours=2))
    for activation, after in enumerate([0, -240, -301, -310, -200, 3000, 2800, 2690]):
        scribe.observe(KEY, "refused", activation, after=after)
    found = scribe.verify(path).findings
    assert [(finding.code, finding.seq) for finding in found] == [("clock.back", 3), ("clock.back", 8)]


def test_an_unfinished_record_at_the_end_is_told(scribe: Scribe, path: Path) -> None:
    scribe.verify(path)
    with path.open("ab") as file:
        file.write(b"0000000000000004 0")
    before = path.read_bytes()
    report = verify_log(path, signing.spki(scribe.operator.public_key()))
    assert report.head.seq == 3
    assert [(finding.code, finding.seq) for finding in report.findings] == [("tail.torn", 4)]
    assert path.read_bytes() == before


def test_a_log_whose_only_record_is_unfinished_holds_none(book: Book) -> None:
    book.process()
    book.path.write_bytes(MAGIC + b"0000000000000000 0")
    with pytest.raises(AuditError, match="holds no record"):
        book.verify()


# --- arguments


def test_the_key_may_be_given_as_a_file_or_as_bytes(book: Book) -> None:
    book.activate(1)
    assert verify_log(book.path, book.public) == verify_log(book.path, book.public.read_bytes())


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"not a key",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        signing.spki(ec.generate_private_key(ec.SECP384R1()).public_key()),
        signing.spki(KEY.public_key()) + b"\0",
    ],
    ids=["nothing", "text", "empty", "another curve", "something after it"],
)
def test_a_key_that_is_none_is_misuse(scribe: Scribe, path: Path, key: bytes) -> None:
    scribe.verify(path)
    with pytest.raises(UsageError):
        verify_log(path, key)


def test_a_missing_key_file_is_misuse_and_a_missing_log_could_not_be_read(book: Book) -> None:
    book.activate(1)
    with pytest.raises(UsageError, match="cannot read the operator's public key"):
        verify_log(book.path, book.directory / "nothing")
    with pytest.raises(AuditError, match="cannot read"):
        verify_log(book.directory / "nothing", book.public)


def test_the_wrong_operators_key_verifies_nothing(scribe: Scribe, path: Path) -> None:
    path.write_bytes(framed(scribe.leaves))
    with pytest.raises(AuditError, match="record 0 does not verify"):
        verify_log(path, signing.spki(MALLORY.public_key()))
