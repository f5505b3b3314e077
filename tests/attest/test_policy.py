"""A policy is signed as it lies there: the same files and end, the same bytes; nothing is written that changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from skillwarrant_attest import build_policy, write_pack, write_policy_bundle
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import (
    DigestMismatch,
    FilesMismatch,
    FormatError,
    SkillwarrantError,
    Unavailable,
    UsageError,
    WrongPredicate,
)
from skillwarrant_format.policy_bundle import PolicyBundle
from skillwarrant_format.policy_files import POLICY_BUNDLE_NAME, PolicyFiles
from skillwarrant_format.policy_pack import unpack

World = Any  # the fixture of conftest.py, which cannot be imported from here
END = datetime(2099, 1, 1, tzinfo=UTC)
TEXT = b"""\
api_version = "skillwarrant.dev/policy/v1"
name = "acme-production"
revision = 7
"""


def files(text: bytes = TEXT, **more: bytes) -> PolicyFiles:
    return PolicyFiles.of({"policy.toml": text, **more})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "policy"
    path.mkdir()
    (path / "policy.toml").write_bytes(TEXT)
    (path / "README.md").write_bytes(b"# Ours\n")
    return path


@pytest.fixture
def sign(world: World) -> Callable[..., bytes]:
    """Signs a policy's directory through the instance."""
    from skillwarrant_attest import sign

    def signed(directory: Path, config: Path | None = None) -> bytes:
        statement = build_policy(PolicyFiles.read(directory), not_after=END)
        config = config or world.stack.trust_config
        return sign(statement, credential=world.user, trust_config=config)

    return signed


def test_the_bundle_says_what_the_document_says() -> None:
    statement = build_policy(files(), not_after=END)
    assert PolicyBundle.parse(statement) == PolicyBundle(
        name="acme-production",
        revision=7,
        api_version="skillwarrant.dev/policy/v1",
        document="policy.toml",
        not_after=END,
    )
    assert statement.subjects == files().subjects


def test_the_same_files_and_end_give_the_same_bytes() -> None:
    assert build_policy(files(), not_after=END).raw == build_policy(files(), not_after=END).raw


def test_a_document_that_ends_earlier_ends_its_bundle() -> None:
    text = TEXT + b"not_before = 2026-01-01T00:00:00Z\nnot_after = 2027-01-01T00:00:00Z\n"
    bundle = PolicyBundle.parse(build_policy(files(text), not_after=END))
    assert bundle.not_before == datetime(2026, 1, 1, tzinfo=UTC)
    assert bundle.not_after == datetime(2027, 1, 1, tzinfo=UTC)


def test_a_document_in_json_is_one() -> None:
    data = b'{"api_version": "skillwarrant.dev/policy/v1", "name": "a", "revision": 1}'
    bundle = PolicyBundle.parse(build_policy(PolicyFiles.of({"policy.json": data}), not_after=END))
    assert (bundle.name, bundle.document) == ("a", "policy.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "api_version|revision|name"),
        (TEXT.replace(b"= 7", b"= 0"), "too small"),
        (TEXT.replace(b"= 7", b'= "7"'), "wrong type"),
        (TEXT.replace(b"name =", b"nom ="), "name is missing"),
        (TEXT.replace(b"acme-production", b"x" * 129), "wrong length"),
        (b"revision = 1\nrevision = 2\n", "is not TOML"),
        (TEXT + b"not_before = 2099-01-02T00:00:00Z\n", "not before"),
    ],
)
def test_what_a_verifier_would_refuse_is_not_built(text: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_policy(files(text), not_after=END)


@pytest.mark.parametrize("version", [1, 2])
def test_a_bundle_of_either_log_is_written_beside_the_files(
    world: World, directory: Path, sign: Callable[..., bytes], version: int
) -> None:
    bundle = sign(directory, world.config(version))
    path = write_policy_bundle(directory, bundle)
    assert path == directory / POLICY_BUNDLE_NAME
    assert PolicyFiles.read(directory).bundle == bundle


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda directory: (directory / "policy.toml").write_bytes(TEXT + b"\n"), DigestMismatch),
        (lambda directory: (directory / "more.rego").write_bytes(b""), FilesMismatch),
        (lambda directory: (directory / "README.md").unlink(), FilesMismatch),
    ],
)
def test_a_directory_that_changed_while_it_was_signed_gets_no_bundle(
    directory: Path, sign: Callable[..., bytes], change: Callable[[Path], Any], error: type[SkillwarrantError]
) -> None:
    bundle = sign(directory)
    change(directory)
    with pytest.raises(error, match="changed while it was signed"):
        write_policy_bundle(directory, bundle)
    assert not (directory / POLICY_BUNDLE_NAME).exists()


def test_an_adapters_bundle_is_not_laid_beside_a_policy(world: World, directory: Path) -> None:
    with pytest.raises(FilesMismatch):
        write_policy_bundle(directory, world.sign(world.stack.trust_config))
    with pytest.raises(FormatError):
        write_policy_bundle(directory, b"{}")


def test_a_pack_holds_the_directory(directory: Path, sign: Callable[..., bytes], tmp_path: Path) -> None:
    bundle = sign(directory)
    write_policy_bundle(directory, bundle)
    place = tmp_path / "acme.policy.json"
    claims, digest = write_pack(directory, place)
    assert (claims.name, claims.revision) == ("acme-production", 7)
    assert digest == Digest.of(place.read_bytes())
    found = unpack(place.read_bytes())
    assert (found.files, found.bundle) == (PolicyFiles.read(directory).files, bundle)


def test_a_pack_that_cannot_be_written_leaves_the_old_one(
    directory: Path, sign: Callable[..., bytes], tmp_path: Path
) -> None:
    write_policy_bundle(directory, sign(directory))
    with pytest.raises(Unavailable):
        write_pack(directory, tmp_path / "nowhere" / "p.json")


def test_what_is_not_a_signed_policy_is_not_packed(
    world: World, directory: Path, sign: Callable[..., bytes], tmp_path: Path
) -> None:
    place = tmp_path / "p.json"
    with pytest.raises(UsageError, match="not signed"):
        write_pack(directory, place)
    (directory / POLICY_BUNDLE_NAME).write_bytes(world.sign(world.stack.trust_config))
    with pytest.raises(WrongPredicate):
        write_pack(directory, place)
    (directory / POLICY_BUNDLE_NAME).write_bytes(sign(directory))
    (directory / "policy.toml").write_bytes(TEXT + b" ")
    with pytest.raises(DigestMismatch):
        write_pack(directory, place)
    assert not place.exists()


def test_an_end_is_an_instant() -> None:
    with pytest.raises(UsageError, match="time zone"):
        build_policy(files(), not_after=datetime(2099, 1, 1))  # noqa: DTZ001  # that is the point
    assert PolicyBundle.parse(build_policy(files(), not_after=END + timedelta(microseconds=9))).not_after == END
