"""Statement v1: one encoding for one statement, with in-toto's own library as the oracle of what one is."""

from __future__ import annotations

import json
from typing import Any

import pytest
import strategies
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement as OracleStatement

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.statement import STATEMENT_TYPE, Statement, Subject, read_predicate_type
from skillwarrant_format.strict_json import canonical

A, B = Digest.of(b"a"), Digest.of(b"b")


def document(**changes: Any) -> dict[str, Any]:
    plain = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": "a", "digest": {"sha256": A.hex}}, {"name": "b", "digest": {"sha256": B.hex}}],
        "predicateType": "https://example.test/p/v1",
        "predicate": {"x": 1},
    }
    return {key: value for key, value in {**plain, **changes}.items() if value is not ...}


def oracle(raw: bytes) -> OracleStatement:
    """The statement as in-toto's own library reads it. Raises what that library raises."""
    parsed = json_format.Parse(raw, statement_pb2.Statement(), ignore_unknown_fields=True)
    statement = OracleStatement.copy_from_pb(parsed)
    statement.validate()
    return statement


@given(strategies.statements)
def test_what_is_built_is_parsed_as_the_same_and_its_facts_give_the_same_bytes(statement: Statement) -> None:
    assert Statement.parse(statement.raw) == statement
    again = Statement.build(
        subjects=reversed(statement.subjects),
        predicate_type=statement.predicate_type,
        predicate=statement.predicate,
    )
    assert again.raw == statement.raw


@given(strategies.statements)
def test_in_toto_reads_our_statements_as_we_do(statement: Statement) -> None:
    theirs = oracle(statement.raw).pb
    assert [(subject.name, dict(subject.digest)) for subject in theirs.subject] == [
        (subject.name, {"sha256": subject.digest.hex}) for subject in statement.subjects
    ]
    assert theirs.predicate_type == statement.predicate_type
    assert json_format.MessageToDict(theirs.predicate) == statement.predicate


@given(
    st.lists(strategies.subjects, min_size=1, unique_by=lambda subject: subject.name),
    strategies.texts,
    strategies.json_objects,
)
def test_we_read_in_totos_statements_once_they_are_in_canonical_form(
    subjects: list[Subject], predicate_type: str, predicate: dict[str, Any]
) -> None:
    predicate = {**predicate, "always": "something"}
    described = [
        ResourceDescriptor(name=found.name, digest={"sha256": found.digest.hex}).pb for found in sorted(subjects)
    ]
    theirs = OracleStatement(described, predicate_type, predicate)
    theirs.validate()
    ours = Statement.parse(canonical(json_format.MessageToDict(theirs.pb)))
    assert ours == Statement.build(subjects=subjects, predicate_type=predicate_type, predicate=predicate)


@given(strategies.mutants(strategies.statements.map(lambda statement: json.loads(statement.raw))))
def test_what_we_accept_in_toto_accepts_too_with_the_same_subjects(mutant: dict[str, Any]) -> None:
    try:
        raw = canonical(mutant)
        ours = Statement.parse(raw)
    except FormatError:
        return
    assert canonical(json.loads(ours.raw)) == raw
    assert [subject.name for subject in oracle(raw).pb.subject] == [subject.name for subject in ours.subjects]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "not an in-toto statement"),
        ({"_type": "https://in-toto.io/Statement/v1/"}, "not an in-toto statement"),
        ({"_type": ...}, "_type is missing"),
        ({"_type": ["https://in-toto.io/Statement/v1"]}, "_type has the wrong type"),
        ({"subject": ...}, "subject is missing"),
        ({"subject": []}, "wrong length"),
        ({"subject": {"name": "a", "digest": {"sha256": A.hex}}}, "expected a list"),
        ({"subject": [None]}, "expected an object, found null"),
        ({"subject": [{"name": "a"}]}, r"subject\[0\].digest is missing"),
        ({"subject": [{"name": "a", "digest": {}}]}, "sha256 is missing"),
        ({"subject": [{"name": "a", "digest": {"sha1": "0" * 40}}]}, "unknown field"),
        ({"subject": [{"name": "a", "digest": {"sha256": A.hex, "sha512": "0" * 128}}]}, "unknown field"),
        ({"subject": [{"name": "a", "digest": {"sha256": A.hex.upper()}}]}, "malformed"),
        ({"subject": [{"name": "", "digest": {"sha256": A.hex}}]}, "wrong length"),
        ({"subject": [{"name": "a\nb", "digest": {"sha256": A.hex}}]}, "control characters"),
        ({"subject": [{"name": "x" * 513, "digest": {"sha256": A.hex}}]}, "wrong length"),
        ({"subject": [{"uri": "a", "digest": {"sha256": A.hex}}]}, "name is missing"),
        ({"subject": [{"name": "a", "Name": "b", "digest": {"sha256": A.hex}}]}, "misspelt"),
        ({"predicateType": ...}, "predicateType is missing"),
        ({"predicateType": ""}, "wrong length"),
        ({"predicate_type": "https://example.test/other"}, "misspelt field: expected predicateType"),
        ({"Predicate": {"x": 2}}, "misspelt field: expected predicate"),
        ({"predicate": ...}, "predicate is missing"),
        ({"predicate": None}, "found null"),
        ({"predicate": {}}, "says nothing"),
        ({"predicate": [1]}, "expected an object, found a list"),
        ({"predicate": "{}"}, "expected an object, found a string"),
    ],
)
def test_a_statement_that_lacks_something_is_refused_with_its_path(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(FormatError, match=why):
        Statement.parse(canonical(document(**changes)))


def test_subjects_out_of_order_or_named_twice_are_refused() -> None:
    first, second = document()["subject"]
    twice = {**second, "name": "a"}
    for subjects in ([second, first], [first, twice], [first, first]):
        with pytest.raises(FormatError, match="names sorted, none twice"):
            Statement.parse(canonical(document(subject=subjects)))
    with pytest.raises(FormatError, match="none twice"):
        Statement.build(
            subjects=[Subject(name="a", digest=A), Subject(name="a", digest=B)],
            predicate_type="p",
            predicate={"x": 1},
        )


def test_names_are_sorted_by_code_points_and_not_by_utf_16_units() -> None:
    names = ["Z", "a", "\uffee", "\U0001f600"]
    statement = Statement.build(
        subjects=[Subject(name=name, digest=A) for name in reversed(names)], predicate_type="p", predicate={"x": 1}
    )
    assert [subject.name for subject in statement.subjects] == names


@pytest.mark.parametrize(
    "change", [lambda raw: raw + b"\n", lambda raw: raw.replace(b":", b": ", 1), lambda raw: b" " + raw]
)
def test_the_same_facts_in_other_bytes_are_refused(change: Any) -> None:
    raw = canonical(document())
    Statement.parse(raw)
    with pytest.raises(FormatError, match="not in canonical form"):
        Statement.parse(change(raw))


def test_there_is_no_statement_without_a_subject_however_it_is_made() -> None:
    with pytest.raises(FormatError, match="needs a subject"):
        Statement(subjects=(), predicate_type="p", predicate={"x": 1}, raw=b"{}")
    with pytest.raises(FormatError, match="wrong length"):
        Statement.build(subjects=[], predicate_type="p", predicate={"x": 1})


def test_unknown_fields_are_carried_in_the_bytes_and_mean_nothing() -> None:
    first, second = document()["subject"]
    raw = canonical(
        document(annotations={"a": 1}, subject=[{**first, "mediaType": "text/plain", "uri": "x:y"}, second])
    )
    statement = Statement.parse(raw)
    assert statement.raw == raw
    assert statement.subjects == Statement.parse(canonical(document())).subjects


def test_too_many_subjects_and_too_many_bytes_are_refused() -> None:
    many = [Subject(name=f"{index:06}", digest=A) for index in range(limits.MAX_FILES + 1)]
    assert (
        len(Statement.build(subjects=many[:-1], predicate_type="p", predicate={"x": 1}).subjects)
        == limits.MAX_FILES
    )
    with pytest.raises(FormatError, match="1 to 10000 items, found 10001"):
        Statement.build(subjects=many, predicate_type="p", predicate={"x": 1})
    for read in (Statement.parse, read_predicate_type):
        with pytest.raises(FormatError, match="statement is too large"):
            read(b" " * (limits.MAX_STATEMENT_BYTES + 1))


def test_a_predicate_that_json_cannot_hold_is_not_serialised() -> None:
    for value in (float("nan"), 2**53, "\ud800", 1e17):
        with pytest.raises(FormatError):
            Statement.build(subjects=[Subject(name="a", digest=A)], predicate_type="p", predicate={"x": value})


def test_whole_floats_are_integers_once_they_are_signed() -> None:
    statement = Statement.build(subjects=[Subject(name="a", digest=A)], predicate_type="p", predicate={"x": 16.0})
    assert b'"x":16}' in statement.raw
    assert type(statement.predicate["x"]) is int
    with pytest.raises(FormatError, match="canonical"):
        Statement.parse(statement.raw.replace(b'"x":16}', b'"x":16.0}'))


def test_the_predicate_type_of_a_foreign_statement_is_read_in_any_encoding_and_version() -> None:
    foreign = document(_type="https://in-toto.io/Statement/v0.1", predicateType="https://slsa.dev/p/v1", subject=1)
    assert read_predicate_type(json.dumps(foreign, indent=2).encode()) == "https://slsa.dev/p/v1"
    with pytest.raises(FormatError, match="predicateType is missing"):
        read_predicate_type(b"{}")
    with pytest.raises(FormatError, match="twice"):
        read_predicate_type(b'{"predicateType":"a","predicateType":"b"}')


def test_a_subject_reads_back() -> None:
    subject = Subject(name="a", digest=A)
    assert Subject.parse(Fields(subject.to_json(), "s")) == subject
