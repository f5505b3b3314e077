"""The reference pages are what the code does: their examples are read, their tables have every field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from handmade import changed
from jsonschema import Draft202012Validator
from schema_paths import described, written

from skillwarrant_format import bundle, limits, manifest, policy_bundle, policy_files, schemas, strict_json
from skillwarrant_format.digest import Digest
from skillwarrant_format.dsse import encode_base64
from skillwarrant_format.manifest import SkillManifest
from skillwarrant_format.policy_bundle import PolicyBundle
from skillwarrant_format.policy_pack import PACK_TYPE
from skillwarrant_format.statement import Statement, Subject

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
SUBJECT = Subject(name="adapter_config.json", digest=Digest.of(b"{}"))


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page(name), re.DOTALL | re.MULTILINE)


def schema() -> dict[str, Any]:
    found: Any = schemas.load(manifest.PREDICATE_TYPE)
    return dict(found)


@pytest.mark.parametrize("text", blocks("manifest.md", "json"), ids=["with every field", "with the least"])
def test_an_example_of_a_manifest_is_one(text: str) -> None:
    predicate = json.loads(text)
    Draft202012Validator(schema()).validate(predicate)
    statement = Statement.build(subjects=[SUBJECT], predicate_type=manifest.PREDICATE_TYPE, predicate=predicate)
    assert SkillManifest.parse(statement).to_json() == predicate


def test_the_full_example_has_every_field_and_the_least_has_none_to_spare() -> None:
    full, least = (json.loads(text) for text in blocks("manifest.md", "json"))
    assert set(written(full, schema(), schema())) == set(described(schema(), schema()))
    for path in set(written(least, schema(), schema())):
        *parents, last = path.split(".")
        without = json.loads(json.dumps(least))
        holder: Any = without
        for part in parents:
            holder = holder[0] if part == "[]" else holder[part]
        del holder[last]
        assert not Draft202012Validator(schema()).is_valid(without), path


def test_every_field_of_the_schema_is_named_on_the_page() -> None:
    text = re.sub(r"^```json\n.*?^```$", "", page("manifest.md"), flags=re.DOTALL | re.MULTILINE)
    named = set(re.findall(r"`([A-Za-z0-9.]+)`", text)) | {"sha256", "scheme", "digest", "count", "tensors"}
    fields = {path.rpartition(".")[2] for path in described(schema(), schema())}
    assert fields <= named


def test_the_numbers_on_the_pages_are_the_limits() -> None:
    text = page("manifest.md") + page("bundle.md")
    for words in (
        f"1 to {limits.MAX_NAME_CHARS} characters",
        f"1 to {limits.MAX_TEXT_CHARS:,} characters",
        f"up to {limits.MAX_URI_CHARS:,} characters",
        f"at most {limits.MAX_SKILL_NAME_CHARS} characters",
        f"at most {limits.MAX_VERSION_CHARS} characters",
        f"at most {limits.MAX_RANGE_CHARS} characters",
        f"1 to {limits.MAX_LIST_ITEMS:,} items",
        f"1 to {limits.MAX_FILES:,} entries",
        f"at most {limits.MAX_BUNDLE_BYTES // limits.MIB} MiB",
        f"at most {limits.MAX_STATEMENT_BYTES // limits.MIB} MiB",
        f"beyond {limits.MAX_JSON_DEPTH} levels",
    ):
        assert words in text, words


def test_the_constants_on_the_pages_are_the_codes() -> None:
    assert manifest.PREDICATE_TYPE in page("manifest.md")
    for constant in (
        bundle.BUNDLE_NAME,
        "application/vnd.in-toto+json",
        "application/vnd.dev.sigstore.bundle.v0.3+json",
    ):
        assert f"`{constant}`" in page("bundle.md")


def test_the_statement_on_the_page_is_in_order_and_has_a_real_digest() -> None:
    (text,) = blocks("bundle.md", "json")
    document = json.loads(text)
    assert list(document) == sorted(document)
    (subject,) = document["subject"]
    assert Digest(subject["digest"]["sha256"]) == Digest.of(b"{}")


@pytest.mark.parametrize("name", ["bundle.md", "errors.md"])
def test_the_python_on_the_page_runs(name: str) -> None:
    for text in blocks(name, "python"):
        exec(compile(text, name, "exec"), {})  # noqa: S102  # our own page


def test_the_python_on_the_bundle_page_reads_a_bundle(tmp_path: Path) -> None:
    (least,) = (json.loads(text) for text in blocks("manifest.md", "json")[1:])
    statement = Statement.build(subjects=[SUBJECT], predicate_type=manifest.PREDICATE_TYPE, predicate=least)
    path = tmp_path / bundle.BUNDLE_NAME
    path.write_bytes(strict_json.canonical(changed("dsseEnvelope.payload", encode_base64(statement.raw))))
    space: dict[str, Any] = {}
    (text,) = blocks("bundle.md", "python")
    exec(compile(text, "bundle.md", "exec"), space)  # noqa: S102  # our own page
    assert space["claims"](path) == "support 0.1.0: 1 files"


def test_the_example_of_a_policy_bundle_has_every_field_and_is_one() -> None:
    predicate = json.loads(blocks("policy-bundle.md", "json")[0])
    found: Any = schemas.load(policy_bundle.PREDICATE_TYPE)
    Draft202012Validator(found).validate(predicate)
    assert set(predicate) == set(found["properties"])
    subject = Subject(name="policy.toml", digest=Digest.of(b""))
    statement = Statement.build(
        subjects=[subject], predicate_type=policy_bundle.PREDICATE_TYPE, predicate=predicate
    )
    assert PolicyBundle.parse(statement).to_json() == predicate


def test_what_the_page_says_of_policies_is_what_the_code_has() -> None:
    text = page("policy-bundle.md")
    for words in (
        policy_bundle.PREDICATE_TYPE,
        policy_files.POLICY_BUNDLE_NAME,
        PACK_TYPE,
        f"1 to {limits.MAX_POLICY_FILES:,} files",
        f"at most {limits.MAX_POLICY_DIRECTORY_BYTES // limits.MIB} MiB together",
        f"At most {limits.MAX_POLICY_PACK_BYTES // limits.MIB} MiB",
        *(f"`{suffix}`" for suffix in policy_files._KINDS),
        *(f"`{name}`" for name in policy_files._LICENCES | set(policy_files.DOCUMENT_NAMES)),
    ):
        assert words in text, words
    pack = json.loads(blocks("policy-bundle.md", "json")[2])
    assert list(pack) == sorted(pack)
