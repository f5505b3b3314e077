"""The observation: what is written is read as the same, in a place of a log, and nothing in it has two readings."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, UsageError, WrongPredicate
from skillwarrant_format.fields import Fields
from skillwarrant_format.fingerprint import SCHEME, Fingerprint
from skillwarrant_format.observation import (
    PREDICATE_TYPE,
    BaseSeen,
    Change,
    Check,
    Ended,
    LogPlace,
    Observation,
    Place,
    PolicyUsed,
    SkillSeen,
    Source,
    TrustUsed,
)
from skillwarrant_format.statement import Statement, Subject
from skillwarrant_format.strict_json import canonical

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
SUBJECTS = (Subject(name="acme/support", digest=Digest.of(b"bundle")),)
FULL = Observation(
    phase="activated",
    activation="0123456789abcdef" * 2,
    time=NOW,
    message="Loaded.",
    adapters=("default", "mix"),
    checks=(
        Check(
            code="base.authorised",
            outcome="proved",
            message="The base is the one that was measured.",
            adapter="default",
        ),
    ),
    skills=(
        SkillSeen(
            adapter="default",
            name="acme/support",
            version="1.0.0",
            manifest=Digest.of(b"bundle"),
            statement=Digest.of(b"statement"),
            identity="https://github.com/acme/skills/.github/workflows/release.yml@refs/heads/main",
            issuer="https://token.actions.githubusercontent.com",
            log=LogPlace(origin="rekor.example", log_id="0" * 64, index=7, integrated_time=NOW),
            base=BaseSeen(name="acme/base", form="cast to float16, rounded"),
        ),
    ),
    policy=PolicyUsed(name="house", revision=3, digest=Digest.of(b"policy"), engine="native"),
    inputs=Digest.of(b"inputs"),
    base=Fingerprint(scheme=SCHEME, digest=Digest.of(b"base")),
    trust=TrustUsed(source="file", digest=Digest.of(b"root"), retrieved_at=NOW),
    context={"environment": "production", "tags": []},
    runtime={"versions": {"python": "3.11.7"}, "pid": 1},
    base_after=Fingerprint(scheme=SCHEME, digest=Digest.of(b"changed")),
    change=Change(
        kind="add-weighted-adapter",
        sources=(Source(adapter="default", weight=0.5),),
        options={"combination_type": "linear"},
        adapter="mix",
        ends=(Ended(activation="fedcba9876543210" * 2, adapters=("default",)),),
    ),
)


def predicate(path: str = "", value: Any = ...) -> dict[str, Any]:
    """The full predicate, first in its log, with one value set, or dropped."""
    place = Place(seq=0, previous=Digest("0" * 64))
    found: dict[str, Any] = copy.deepcopy(json.loads(canonical({**FULL.to_json(), **place.to_json()})))
    if not path:
        return found
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    holder: Any = found
    for part in parents:
        holder = holder[part]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    return found


def parse(document: dict[str, Any]) -> Observation:
    return Observation.parse(Statement.build(subjects=SUBJECTS, predicate_type=PREDICATE_TYPE, predicate=document))


@given(strategies.observations, strategies.digests, st.integers(0, 2**53 - 1))
@settings(max_examples=40)
def test_what_is_written_is_read_as_the_same_with_its_place(found: Observation, previous: Digest, seq: int) -> None:
    statement = found.to_statement(SUBJECTS, seq=seq, previous=previous)
    again = Observation.parse(statement)
    assert again == found
    assert Place.parse(Fields(statement.predicate, "predicate")) == Place(seq=seq, previous=previous)
    assert again.to_statement(SUBJECTS, seq=seq, previous=previous).raw == statement.raw


@given(strategies.mutants(st.builds(predicate)))
@settings(max_examples=80)
def test_a_mutant_is_refused_in_one_line_or_read_as_it_is_written(mutant: dict[str, Any]) -> None:
    refusal = ""
    try:
        found = parse(mutant)
    except FormatError as error:
        refusal = str(error)
    assert refusal.isprintable()
    if not refusal:
        assert parse({**found.to_json(), "seq": mutant["seq"], "previous": mutant["previous"]}) == found


REQUIRED = [
    "phase",
    "activation",
    "time",
    "message",
    "adapters",
    "checks",
    "checks.0.code",
    "checks.0.outcome",
    "checks.0.message",
    "skills",
    "skills.0.adapter",
    "skills.0.name",
    "skills.0.version",
    "skills.0.manifest",
    "skills.0.signer",
    "skills.0.signer.identity",
    "skills.0.signer.issuer",
    "skills.0.log",
    "skills.0.log.origin",
    "skills.0.log.logId",
    "skills.0.log.index",
    "policy",
    "policy.name",
    "policy.revision",
    "policy.digest",
    "policy.engine",
    "context",
    "runtime",
    "change.kind",
    "change.sources",
    "change.sources.0.adapter",
    "change.options",
    "change.ends.0.activation",
    "change.ends.0.adapters",
    "seq",
    "previous",
]


@pytest.mark.parametrize("path", REQUIRED)
@pytest.mark.parametrize("value", [..., None, "", "\n"], ids=["absent", "null", "empty text", "newline"])
def test_a_required_field_that_is_absent_null_or_mistyped_is_refused(path: str, value: Any) -> None:
    with pytest.raises(FormatError):
        parse(predicate(path, value))


@pytest.mark.parametrize(
    "path",
    [
        "inputs",
        "base",
        "baseAfter",
        "trust",
        "change",
        "change.adapter",
        "change.ends",
        "checks.0.adapter",
        "skills.0.log.integratedTime",
        "skills.0.base",
        "skills.0.base.form",
    ],
)
def test_an_optional_field_is_absent_or_well_formed_and_never_null(path: str) -> None:
    parse(predicate(path))
    for value in (None, {}, "", [], 0):
        with pytest.raises(FormatError):
            parse(predicate(path, value))


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("phase", "allowed", "phase is unknown"),
        ("phase", "Activated", "phase is unknown"),
        ("activation", "0" * 31, "32 lower-case hexadecimal digits"),
        ("activation", "F" * 32, "32 lower-case hexadecimal digits"),
        ("checks.0.outcome", "true", "outcome is unknown"),
        ("checks.0.outcome", True, "expected a string, found a boolean"),
        ("checks.0.message", "x" * 4097, "wrong length"),
        ("checks.0.message", "one\nfake: proved", "control characters"),
        ("message", "\x1b[2J", "control characters"),
        ("skills.0.name", "Acme", "malformed"),
        ("skills.0.version", "1", "SemVer"),
        ("skills.0.version", "1.0.0-" + "1" * 59, "wrong length: expected 1 to 64"),
        ("skills.0.signer.identity", "a\nb", "control characters"),
        ("skills.0.log.logId", "0" * 63, "not a SHA-256 digest"),
        ("skills.0.log.logId", "A" * 64, "not a SHA-256 digest"),
        ("skills.0.log.index", -1, "too small"),
        ("skills.0.log.index", "7", "whole number"),
        ("policy.revision", 1.5, "whole number"),
        ("policy.digest", {"sha256": "0" * 64, "sha512": "0"}, "unknown field"),
        ("base.scheme", "skillwarrant-tensors-v0", "unknown fingerprint scheme"),
        ("time", "2026-11-22T10:00:00+00:00", "is not a time"),
        ("context", [], "expected an object"),
        ("runtime", "host", "expected an object"),
        ("seq", -1, "too small"),
        ("seq", True, "whole number"),
        ("previous", "0" * 64, "expected an object"),
        ("Seq", 1, "misspelt field: expected seq"),
        ("base_after", "x", "misspelt field: expected baseAfter"),
        ("adapters", ["a", "a"], "names something twice"),
        ("adapters", "default", "expected a list"),
        ("change.kind", "merge", "kind is unknown"),
        ("change.sources", [], "wrong length"),
        ("change.sources.0.weight", "0.5", "expected a number"),
        ("change.sources.0.weight", None, "is missing"),
        ("change.options", [], "expected an object"),
        ("change.ends.0.activation", "x", "32 lower-case hexadecimal digits"),
        ("change.ends.0.adapters", [], "wrong length"),
        ("skills.0.log.integrated_time", "x", "misspelt"),
    ],
)
def test_a_malformed_value_is_refused_and_named(path: str, value: Any, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        parse(predicate(path, value))


def test_no_check_and_no_skill_is_an_observation_too_for_a_refusal_has_often_neither() -> None:
    assert parse(predicate("skills", [])).skills == ()
    assert parse(predicate("checks", [])).checks == ()


def test_context_and_runtime_are_carried_as_they_are() -> None:
    value = {"Environment": "a", "environment": "b", "nothing": None, "list": []}
    assert parse(predicate("context", value)).context == value


def test_another_predicate_type_is_no_observation() -> None:
    for other in ("https://skillwarrant.dev/skill-manifest/v1", "https://skillwarrant.dev/skill-activation/v2"):
        statement = Statement.build(subjects=SUBJECTS, predicate_type=other, predicate=predicate())
        with pytest.raises(WrongPredicate, match="not an observation"):
            Observation.parse(statement)


@pytest.mark.parametrize("seq", [-1, 2**53])
def test_a_place_that_could_not_be_read_is_not_written(seq: int) -> None:
    with pytest.raises(FormatError):
        FULL.to_statement(SUBJECTS, seq=seq, previous=Digest("0" * 64))


def test_an_observation_of_a_time_without_a_zone_is_not_written() -> None:
    naive = Observation(**{**{name: getattr(FULL, name) for name in FULL.__slots__}, "time": datetime(2026, 1, 1)})  # noqa: DTZ001
    with pytest.raises(UsageError, match="no time zone"):
        naive.to_statement(SUBJECTS, seq=0, previous=Digest("0" * 64))


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("message", limits.MAX_MESSAGE_CHARS),
        ("checks.0.message", limits.MAX_MESSAGE_CHARS),
        ("checks.0.code", limits.MAX_NAME_CHARS),
        ("adapters.0", limits.MAX_NAME_CHARS),
        ("skills.0.adapter", limits.MAX_NAME_CHARS),
        ("change.adapter", limits.MAX_NAME_CHARS),
        ("skills.0.signer.identity", limits.MAX_URI_CHARS),
        ("skills.0.signer.issuer", limits.MAX_URI_CHARS),
        ("skills.0.log.origin", limits.MAX_NAME_CHARS),
        ("trust.source", limits.MAX_URI_CHARS),
    ],
)
def test_the_longest_text_is_taken_and_one_character_more_is_not(path: str, most: int) -> None:
    parse(predicate(path, "x" * most))
    with pytest.raises(FormatError, match=f"wrong length: expected 1 to {most} characters"):
        parse(predicate(path, "x" * (most + 1)))
