"""The JSON Schemas say what the parser does: what it takes they take; what it alone refuses is on a short list."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import strategies
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from schema_paths import described, written

from skillwarrant_format import manifest, observation, policy_bundle, schemas
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, UsageError
from skillwarrant_format.fields import format_time, parse_time
from skillwarrant_format.manifest import SkillManifest
from skillwarrant_format.observation import Observation, Place
from skillwarrant_format.policy_bundle import PolicyBundle
from skillwarrant_format.statement import Statement, Subject

FIRST = Place(seq=0, previous=Digest("0" * 64))
SUBJECT = Subject(name="adapter_config.json", digest=Digest.of(b"{}"))
POLICY_SUBJECT = Subject(name="policy.toml", digest=Digest.of(b"name = 1"))
TYPES = (manifest.PREDICATE_TYPE, observation.PREDICATE_TYPE, policy_bundle.PREDICATE_TYPE)


PARSERS: dict[str, Callable[[Statement], object]] = {
    manifest.PREDICATE_TYPE: SkillManifest.parse,
    observation.PREDICATE_TYPE: Observation.parse,
    policy_bundle.PREDICATE_TYPE: PolicyBundle.parse,
}


def validator(predicate_type: str) -> Draft202012Validator:
    return Draft202012Validator(schemas.load(predicate_type))


def accepts(predicate_type: str, predicate: dict[str, Any]) -> bool:
    """Whether the parser takes a predicate, in a statement that is good in all else."""
    try:
        subject = POLICY_SUBJECT if predicate_type == policy_bundle.PREDICATE_TYPE else SUBJECT
        statement = Statement.build(subjects=[subject], predicate_type=predicate_type, predicate=predicate)
        PARSERS[predicate_type](statement)
    except FormatError:
        return False
    return True


def observation_json(found: Observation) -> dict[str, Any]:
    return {**found.to_json(), **FIRST.to_json()}


manifest_predicates = strategies.manifests.map(lambda found: json.loads(json.dumps(found.to_json())))
observation_predicates = strategies.observations.map(lambda found: json.loads(json.dumps(observation_json(found))))
policy_predicates = strategies.policy_bundles.map(lambda found: json.loads(json.dumps(found.to_json())))
PREDICATES = {
    manifest.PREDICATE_TYPE: manifest_predicates,
    observation.PREDICATE_TYPE: observation_predicates,
    policy_bundle.PREDICATE_TYPE: policy_predicates,
}


@pytest.mark.parametrize("predicate_type", TYPES)
def test_a_schema_is_a_good_one_and_names_itself_by_version(predicate_type: str) -> None:
    schema = schemas.load(predicate_type)
    Draft202012Validator.check_schema(schema)
    family, _, version = predicate_type.rpartition("/")
    assert schema["$id"] == f"https://skillwarrant.dev/schemas/{family.rpartition('/')[2]}-{version}.json"


def test_there_is_no_schema_for_another_type() -> None:
    with pytest.raises(UsageError, match="no schema for this type"):
        schemas.load("https://skillwarrant.dev/skill-manifest/v2")


@settings(max_examples=40)
@given(manifest_predicates)
def test_every_manifest_is_valid(predicate: dict[str, Any]) -> None:
    validator(manifest.PREDICATE_TYPE).validate(predicate)
    assert accepts(manifest.PREDICATE_TYPE, predicate)


@settings(max_examples=40)
@given(observation_predicates)
def test_every_observation_is_valid(predicate: dict[str, Any]) -> None:
    validator(observation.PREDICATE_TYPE).validate(predicate)
    assert accepts(observation.PREDICATE_TYPE, predicate)


@settings(max_examples=40)
@given(policy_predicates)
def test_every_policy_bundle_is_valid(predicate: dict[str, Any]) -> None:
    validator(policy_bundle.PREDICATE_TYPE).validate(predicate)
    assert accepts(policy_bundle.PREDICATE_TYPE, predicate)


MANIFEST_VALIDATOR = validator(manifest.PREDICATE_TYPE)
OBSERVATION_VALIDATOR = validator(observation.PREDICATE_TYPE)
POLICY_VALIDATOR = validator(policy_bundle.PREDICATE_TYPE)


@settings(max_examples=100)
@given(strategies.mutants(manifest_predicates))
def test_schema_and_parser_agree_on_mutants_of_manifests_but_for_the_listed_rules(mutant: dict[str, Any]) -> None:
    check_agreement(MANIFEST_VALIDATOR, manifest.PREDICATE_TYPE, mutant)


@settings(max_examples=100)
@given(strategies.mutants(observation_predicates))
def test_schema_and_parser_agree_on_mutants_of_observations_but_for_the_listed_rules(
    mutant: dict[str, Any],
) -> None:
    check_agreement(OBSERVATION_VALIDATOR, observation.PREDICATE_TYPE, mutant)


@settings(max_examples=100)
@given(strategies.mutants(policy_predicates))
def test_schema_and_parser_agree_on_mutants_of_policy_bundles_but_for_the_listed_rules(
    mutant: dict[str, Any],
) -> None:
    check_agreement(POLICY_VALIDATOR, policy_bundle.PREDICATE_TYPE, mutant)


def check_agreement(found: Draft202012Validator, predicate_type: str, mutant: dict[str, Any]) -> None:
    valid = found.is_valid(mutant)
    if accepts(predicate_type, mutant):
        assert valid, list(found.iter_errors(mutant))
    elif valid:
        assert set(beyond_a_schema(mutant, found.schema)), mutant


def beyond_a_schema(predicate: dict[str, Any], schema: Any) -> Iterator[str]:
    """The rules of docs/reference/manifest.md, "What the schema cannot say", that a predicate breaks."""
    known = {key for keys in property_sets(schema) for key in keys}
    folded = {fold(key) for key in known}
    for key, value in walk(predicate):
        if key not in known and fold(key) in folded:
            yield "a misspelt field"
        if isinstance(value, str):
            if any(unicodedata.category(char)[0] in "CZ" and char not in " \n\t" for char in value):
                yield "characters that are not printable"
            if value.endswith("\n"):
                yield "a newline at the end, which `$` in Python's regular expressions lets pass"
            if value.endswith("Z") and not is_time(value):
                yield "a day that is not in the calendar"
    if "revision" in predicate and predicate.get("notBefore", "") >= predicate.get("notAfter", "~"):
        yield "an empty time window of a policy"
    if "revision" in predicate and predicate.get("document") == "policy.json":
        yield "a document that is no subject"
    deployment = predicate.get("deployment")
    if isinstance(deployment, dict) and deployment.get("notBefore", "") >= deployment.get("notAfter", "~"):
        yield "an empty time window"
    bases = predicate.get("baseModels", ())
    forms = [form for base in bases for form in (base, *base.get("casts", ()))]
    roots = [form["fingerprint"]["digest"]["sha256"] for form in forms]
    if len(set(roots)) != len(roots):
        yield "one fingerprint twice"
    for base in bases:
        dtypes = [cast["dtype"] for cast in base.get("casts", ())]
        if len(set(dtypes)) != len(dtypes):
            yield "one dtype twice"


def fold(key: str) -> str:
    return key.casefold().replace("_", "").replace("-", "")


def is_time(text: str) -> bool:
    try:
        return format_time(parse_time(text)) == text
    except FormatError:
        return False


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    items = (
        value.items()
        if isinstance(value, dict)
        else (("", item) for item in value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield key, item
        yield from walk(item)


def property_sets(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if isinstance(properties := schema.get("properties"), dict):
            yield properties
        for item in schema.values():
            yield from property_sets(item)
    elif isinstance(schema, list):
        for item in schema:
            yield from property_sets(item)


@pytest.mark.parametrize("predicate_type", TYPES)
def test_the_schema_has_every_field_that_is_written_and_no_other(predicate_type: str) -> None:
    schema: Any = schemas.load(predicate_type)
    documents = PREDICATES[predicate_type]
    seen: set[str] = set()

    @settings(max_examples=150 if predicate_type == observation.PREDICATE_TYPE else 60, database=None)
    @given(documents)
    def collect(predicate: dict[str, Any]) -> None:
        seen.update(written(predicate, schema, schema))

    collect()
    assert seen == set(described(schema, schema))


def test_days_are_beyond_a_schema_but_hours_are_not() -> None:
    time = schemas.load(manifest.PREDICATE_TYPE)["$defs"]["time"]  # type: ignore[call-overload, index]
    found = Draft202012Validator(time)
    assert found.is_valid("2026-02-30T00:00:00Z")
    assert not found.is_valid("2026-02-28T24:00:00Z")
    assert found.is_valid("2026-02-28T23:59:59Z")


def test_the_wheel_has_the_schemas(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in ("skill-manifest-v1.json", "skill-activation-v1.json", "policy-bundle-v1.json"):
            packed = archive.read(f"skillwarrant_format/schemas/{name}")
            assert packed == (Path(schemas.__file__).parent / name).read_bytes()
        assert "skillwarrant_format/py.typed" in archive.namelist()


@pytest.mark.parametrize("predicate_type", TYPES)
def test_every_pattern_is_anchored_at_both_ends(predicate_type: str) -> None:
    found = [item for key, item in walk(schemas.load(predicate_type)) if key == "pattern"]
    assert found
    assert all(pattern.startswith("^") and pattern.endswith("$") for pattern in found)
