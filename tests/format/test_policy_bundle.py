"""A policy's files are read once and are text; its bundle says which policy, until when; a pack is one spelling."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_format import limits, policy_files
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import (
    FilesMismatch,
    FormatError,
    SkillwarrantError,
    Unavailable,
    UsageError,
    WrongPredicate,
)
from skillwarrant_format.policy_bundle import PREDICATE_TYPE, PolicyBundle
from skillwarrant_format.policy_files import POLICY, POLICY_BUNDLE_NAME, PolicyFiles
from skillwarrant_format.policy_pack import pack, read_policy, unpack
from skillwarrant_format.statement import Statement, Subject
from skillwarrant_format.strict_json import canonical

FILES = {
    "cases/allowed.json": b"{}",
    "policy.toml": 'name = "acmé"\r\n'.encode(),
    "rego/region.rego": b"package skillwarrant.region\n",
    "rules.py": b"",
}
BUNDLE = PolicyBundle(
    name="acme-production",
    revision=7,
    api_version="skillwarrant.dev/policy/v1",
    document="policy.toml",
    not_after=datetime(2027, 2, 1, tzinfo=UTC),
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (path := tmp_path / "policy" / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "policy"


def refused(directory: Path, words: str, error: type[SkillwarrantError] = FilesMismatch) -> None:
    with pytest.raises(error, match=words) as caught:
        PolicyFiles.read(directory)
    assert type(caught.value) is error


def test_every_file_is_read_and_the_bundle_is_none_of_them(directory: Path) -> None:
    (directory / POLICY_BUNDLE_NAME).write_bytes(b"the bundle")
    found = PolicyFiles.read(directory)
    assert dict(found.files) == FILES
    assert list(found.files) == sorted(FILES)
    assert (found.document, found.bundle) == ("policy.toml", b"the bundle")
    assert {subject.name: subject.digest for subject in found.subjects} == {
        name: Digest.of(data) for name, data in FILES.items()
    }


@pytest.mark.parametrize(
    "name",
    ["policy.tar", "adapter_model.safetensors", "rules.pyc", "rules.so", ".hidden", "Makefile", "a.toml~"],
)
def test_a_file_that_a_policy_does_not_have_is_refused(directory: Path, name: str) -> None:
    (directory / name).write_bytes(b"x")
    refused(directory, "the policy has a")


def test_what_python_leaves_behind_is_named(directory: Path) -> None:
    (directory / "__pycache__").mkdir()
    (directory / "__pycache__" / "rules.py").write_bytes(b"")
    refused(directory, "compiled Python")


@pytest.mark.parametrize("target", ["policy.toml", "/etc/hostname", "nowhere"])
def test_a_symlink_is_refused(directory: Path, target: str) -> None:
    (directory / "more.toml").symlink_to(target)
    refused(directory, "the policy has a symlink")


def test_a_fifo_is_refused_and_not_waited_for(directory: Path) -> None:
    os.mkfifo(directory / "more.toml")
    refused(directory, "something that is no file")
    os.mkfifo(directory.parent / "pack.json")
    with pytest.raises(UsageError, match="no such policy"):
        read_policy(directory.parent / "pack.json")


def test_two_documents_or_none_are_no_policy(directory: Path) -> None:
    (directory / "policy.json").write_bytes(b"{}")
    refused(directory, "not one policy.*policy.toml and policy.json")
    (directory / "policy.json").unlink()
    (directory / "policy.toml").rename(directory / "acme.toml")
    refused(directory, "not one policy.*neither")


@pytest.mark.parametrize("data", [b"\xff\xfe", b"\x80", b"a\x00b"])
def test_what_is_no_text_is_refused(directory: Path, data: bytes) -> None:
    (directory / "rules.py").write_bytes(data)
    refused(directory, r"rules\.py (is not UTF-8|holds a NUL)", FormatError)


def test_a_sparse_file_of_terabytes_is_refused_before_memory_is_taken(directory: Path) -> None:
    with (directory / "huge.json").open("wb") as file:
        file.truncate(2**42)
    refused(directory, "the policy is too large", FormatError)


def test_a_huge_bundle_is_refused(directory: Path) -> None:
    with (directory / POLICY_BUNDLE_NAME).open("wb") as file:
        file.truncate(limits.MAX_BUNDLE_BYTES + 1)
    refused(directory, "the bundle is too large", FormatError)


def test_too_many_files_are_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_files, "POLICY", replace(POLICY, most_files=3))
    refused(directory, "too many files", FormatError)


def test_nothing_there_is_misuse_and_an_unreadable_thing_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such policy"):
        read_policy(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises((UsageError, Unavailable)):
        read_policy(tmp_path / "loop")


# The predicate


@given(strategies.policy_bundles)
def test_a_bundle_is_read_back_as_it_was_written(bundle: PolicyBundle) -> None:
    statement = bundle.to_statement((Subject(name="policy.toml", digest=Digest.of(b"")),))
    assert PolicyBundle.read(statement.raw) == (statement, bundle)


def test_the_files_are_the_subjects() -> None:
    files = PolicyFiles.of(FILES)
    statement = BUNDLE.to_statement(files.subjects)
    assert statement.subjects == files.subjects
    assert statement.predicate_type == PREDICATE_TYPE


def statement_of(names: list[str], **changes: Any) -> Statement:
    subjects = [Subject(name=name, digest=Digest.of(b"x")) for name in names]
    predicate = {key: value for key, value in {**BUNDLE.to_json(), **changes}.items() if value is not None}
    return Statement.build(subjects=subjects, predicate_type=PREDICATE_TYPE, predicate=predicate)


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (["rules.py"], FilesMismatch),
        (["policy.json", "policy.toml"], FilesMismatch),
        (["policy.json"], FormatError),
        (["../policy.toml", "policy.toml"], FormatError),
        (["/etc/policy.toml", "policy.toml"], FormatError),
        (["Rules.py", "policy.toml", "rules.py"], FormatError),
        ([POLICY_BUNDLE_NAME, "policy.toml"], FormatError),
        (["adapter_model.safetensors", "policy.toml"], FilesMismatch),
    ],
)
def test_subjects_that_are_no_files_of_one_policy_are_refused(names: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        PolicyBundle.parse(statement_of(names))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": None}, "predicate.name is missing"),
        ({"name": ""}, "wrong length"),
        ({"name": "x" * 129}, "wrong length"),
        ({"revision": 0}, "too small"),
        ({"revision": "7"}, "wrong type"),
        ({"revision": True}, "wrong type"),
        ({"notAfter": None}, "predicate.notAfter is missing"),
        ({"notAfter": "2027-02-30T00:00:00Z"}, "is not a time"),
        ({"notBefore": "2027-02-01T00:00:00Z"}, "is not before"),
        ({"notafter": "2020-01-01T00:00:00Z"}, "misspelt"),
        ({"document": "rules.py"}, "is not the policy's document"),
        ({"apiVersion": None}, "predicate.apiVersion is missing"),
    ],
)
def test_a_predicate_that_says_too_little_or_nonsense_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        PolicyBundle.parse(statement_of(["policy.toml", "rules.py"], **changes))


@pytest.mark.parametrize("version", ["v2", "v11", "V1", ""])
def test_another_version_is_named(version: str) -> None:
    family = PREDICATE_TYPE.removesuffix("v1")
    statement = Statement.build(
        subjects=[Subject(name="policy.toml", digest=Digest.of(b""))],
        predicate_type=family + version,
        predicate=BUNDLE.to_json(),
    )
    with pytest.raises(WrongPredicate, match="does not know"):
        PolicyBundle.read(statement.raw)


def test_unknown_fields_are_carried_and_mean_nothing() -> None:
    assert PolicyBundle.parse(statement_of(["policy.toml"], approvedBy="ada")) == BUNDLE


# The pack

SIGNED = PolicyFiles.of(FILES, bundle=b'{"a": 1}\n')


def test_a_pack_gives_the_very_files_and_bundle_back() -> None:
    assert replace(unpack(pack(SIGNED)), source="memory") == SIGNED


def test_the_same_policy_gives_the_same_pack_in_whatever_order_it_was_read() -> None:
    other = PolicyFiles.of(dict(reversed(FILES.items())), bundle=SIGNED.bundle)
    assert pack(other) == pack(SIGNED)


@given(st.dictionaries(st.sampled_from(["a.md", "b/c.rego", "d.py"]), st.text().map(str.encode)))
def test_whatever_text_is_in_a_policy_survives_packing(files: dict[str, bytes]) -> None:
    try:
        policy = PolicyFiles.of({**files, "policy.json": b"{}"}, bundle=b"{}")
    except FormatError:
        return
    assert unpack(pack(policy)).files == policy.files


def test_what_is_not_signed_is_not_packed() -> None:
    with pytest.raises(UsageError, match="the policy is not signed"):
        pack(PolicyFiles.of(FILES))


def document(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pack(SIGNED))
    return {key: value for key, value in {**found, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", FormatError, "is not JSON"),
        (b"PK\x03\x04", FormatError, "not JSON|UTF-8"),
        (json.dumps(document()).encode(), FormatError, "canonical"),
        (canonical(document(type="skillwarrant.dev/policy-pack/v2")), FormatError, "not a policy pack"),
        (canonical(document(mode="0777")), FormatError, "unknown field"),
        (canonical(document(signature=None)), FormatError, "signature is missing"),
        (canonical(document(signature={})), FormatError, "wrong type"),
        (canonical(document(files=["policy.toml"])), FormatError, "wrong type"),
        (canonical(document(files={"policy.toml": ["link", "/etc/passwd"]})), FormatError, "wrong type"),
        (canonical(document(files={"policy.toml": "", "../x.toml": ""})), FormatError, "not accepted"),
        (canonical(document(files={"policy.toml": "", "/x.toml": ""})), FormatError, "not accepted"),
        (canonical(document(files={"policy.toml": "", "a\\b.toml": ""})), FormatError, "not accepted"),
        (canonical(document(files={"policy.toml": "", "x.so": ""})), FilesMismatch, "does not have"),
        (canonical(document(files={"policy.toml": "", "Policy.toml": ""})), FormatError, "differ only in case"),
        (canonical(document(files={})), FilesMismatch, "not one policy"),
        (canonical(document(files={"policy.toml": "", POLICY_BUNDLE_NAME: "{}"})), FormatError, "no file of"),
        (b'{"files":{"policy.toml":"a","policy.toml":"b"},"signature":"","type":"x"}', FormatError, "twice"),
        (canonical(document(files={"policy.toml": "x" * (4 * limits.MIB + 1)})), FormatError, "too large"),
        (b" " * (limits.MAX_POLICY_PACK_BYTES + 1), FormatError, "too large"),
    ],
)
def test_what_is_no_pack_is_refused(data: bytes, error: type[SkillwarrantError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        unpack(data)
    assert type(caught.value) is error


def test_a_pack_and_a_directory_are_read_by_their_path(directory: Path) -> None:
    (directory / POLICY_BUNDLE_NAME).write_bytes(SIGNED.bundle or b"")
    packed = directory.parent / "acme.policy.json"
    packed.write_bytes(pack(read_policy(directory)))
    assert read_policy(packed).files == read_policy(directory).files == SIGNED.files
    assert read_policy(packed).bundle == read_policy(directory).bundle == SIGNED.bundle
