"""The skill manifest: what is written is read as the same, and whatever could be read in two ways is refused."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import strategies
from hypothesis import given, settings

from skillwarrant_format import limits
from skillwarrant_format.bundle import BUNDLE_NAME
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FilesMismatch, FormatError, UsageError, WrongPredicate
from skillwarrant_format.fingerprint import SCHEME, Fingerprint
from skillwarrant_format.manifest import (
    PREDICATE_TYPE,
    AdapterFacts,
    BaseModel,
    Composition,
    Deployment,
    Publisher,
    Skill,
    SkillManifest,
)
from skillwarrant_format.statement import Statement, Subject
from skillwarrant_format.strict_json import canonical

ZERO, ONE = {"sha256": "0" * 64}, {"sha256": "1" * 64}
SUBJECTS = (
    Subject(name="adapter_config.json", digest=Digest.of(b"{}")),
    Subject(name="adapter_model.safetensors", digest=Digest.of(b"weights")),
)
PLAIN = SkillManifest(
    skill=Skill(name="acme/support", version="1.0.0", description="Answers as the support desk does."),
    publisher=Publisher(name="Acme"),
    adapter=AdapterFacts(
        peft_type="LORA",
        parameters=1000,
        tensors=2,
        tensors_digest=Fingerprint(scheme=SCHEME, digest=Digest.of(b"tensors")),
        changes_base=False,
        alpha=16,
    ),
    base_models=(
        BaseModel(
            name="acme/base",
            architecture="LlamaForCausalLM",
            parameters=10,
            dtype="BF16",
            fingerprint=Fingerprint(scheme=SCHEME, digest=Digest.of(b"base")),
        ),
    ),
    deployment=Deployment(environments=("production",)),
    policy_class="general",
    composition=Composition(),
)


def predicate(path: str = "", value: Any = ...) -> dict[str, Any]:
    """The plain predicate with one value set, or dropped."""
    found: dict[str, Any] = copy.deepcopy(json.loads(canonical(PLAIN.to_json())))
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


def parse(document: dict[str, Any], subjects: tuple[Subject, ...] = SUBJECTS) -> SkillManifest:
    return SkillManifest.parse(
        Statement.build(subjects=subjects, predicate_type=PREDICATE_TYPE, predicate=document)
    )


@given(strategies.manifests, strategies.adapter_subjects)
@settings(max_examples=40)
def test_what_is_written_is_read_as_the_same(manifest: SkillManifest, subjects: tuple[Subject, ...]) -> None:
    statement = manifest.to_statement(subjects)
    again, found = SkillManifest.read(statement.raw)
    assert found == manifest
    assert again == statement
    assert found.to_statement(tuple(reversed(again.subjects))).raw == statement.raw


@given(strategies.mutants(strategies.manifests.map(lambda found: json.loads(canonical(found.to_json())))))
@settings(max_examples=80)
def test_a_mutant_is_refused_in_one_line_or_its_known_fields_are_written_again_as_they_were(
    mutant: dict[str, Any],
) -> None:
    refusal = ""
    try:
        manifest = parse(mutant)
    except FormatError as error:
        refusal = str(error)
    assert refusal.isprintable()
    if not refusal:
        assert canonical(known(mutant, manifest.to_json())) == canonical(manifest.to_json())


def known(value: Any, shape: Any) -> Any:
    """What is left of `value` without the fields that are not in `shape`, at any depth."""
    if isinstance(value, dict):
        return {key: known(item, shape[key]) for key, item in value.items() if key in shape}
    if isinstance(value, list):
        assert len(value) == len(shape)
        return [known(item, other) for item, other in zip(value, shape, strict=True)]
    return value


REQUIRED = [
    "skill",
    "skill.name",
    "skill.version",
    "skill.description",
    "skill.kind",
    "publisher",
    "publisher.name",
    "adapter",
    "adapter.peftType",
    "adapter.parameters",
    "adapter.tensors",
    "adapter.tensors.count",
    "adapter.tensors.scheme",
    "adapter.tensors.digest",
    "adapter.tensors.digest.sha256",
    "adapter.changesBase",
    "baseModels",
    "baseModels.0.name",
    "baseModels.0.architecture",
    "baseModels.0.parameters",
    "baseModels.0.dtype",
    "baseModels.0.fingerprint",
    "baseModels.0.fingerprint.scheme",
    "baseModels.0.fingerprint.digest",
    "deployment",
    "deployment.environments",
    "policyClass",
    "composition",
    "composition.stackable",
]


@pytest.mark.parametrize("path", REQUIRED)
@pytest.mark.parametrize(
    "value", [..., None, [], {}, ""], ids=["absent", "null", "empty list", "empty object", "empty text"]
)
def test_a_required_field_that_is_absent_null_or_empty_is_refused(path: str, value: Any) -> None:
    with pytest.raises(FormatError, match=r"^predicate"):
        parse(predicate(path, value))


OPTIONAL = [
    "publisher.contact",
    "adapter.taskType",
    "adapter.peftVersion",
    "adapter.rank",
    "adapter.alpha",
    "adapter.targetModules",
    "adapter.hazards",
    "baseModels.0.revision",
    "baseModels.0.quantization",
    "deployment.notBefore",
    "deployment.notAfter",
    "deployment.regions",
    "deployment.operators",
    "deployment.systemPrompts",
    "composition.maxSkills",
    "composition.allowWith",
    "composition.denyWith",
    "trainingData",
    "requires",
    "evidence",
]


@pytest.mark.parametrize("path", OPTIONAL)
@pytest.mark.parametrize(
    "value", [None, [], {}, "", [None]], ids=["null", "empty list", "empty object", "empty text", "null in a list"]
)
def test_an_optional_field_is_absent_or_says_something(path: str, value: Any) -> None:
    parse(predicate())
    with pytest.raises(FormatError, match=r"^predicate"):
        parse(predicate(path, value))


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("skill.name", "Acme/support", "like acme/support"),
        ("skill.name", "acme/../evil", "malformed"),
        ("skill.name", "a" * 64 + "/" + "b" * 64, "wrong length"),
        ("skill.version", "1.0", "SemVer"),
        ("skill.version", "1.0.0-" + "9" * 60, "wrong length"),
        ("skill.kind", "tool", "kind is unknown: expected peft-adapter"),
        ("skill.kind", "retriever", "kind is unknown"),
        ("skill.description", "x" * 10_001, "wrong length"),
        ("skill.description", "\x1b[2J", "control characters"),
        ("adapter.peftType", "LO RA", "malformed"),
        ("adapter.parameters", 0, "too small"),
        ("adapter.tensors.count", 0, "too small"),
        ("baseModels.0.parameters", 0, "too small"),
        ("adapter.parameters", True, "expected a whole number, found a boolean"),
        ("adapter.parameters", 1.5, "expected a whole number"),
        ("adapter.parameters", "1", "expected a whole number"),
        ("adapter.tensors.scheme", "skillwarrant-tensors-v2", "unknown fingerprint scheme"),
        ("adapter.changesBase", 0, "expected a boolean"),
        ("adapter.changesBase", "false", "expected a boolean"),
        ("adapter.rank", 0, "too small"),
        ("adapter.rank", 1.5, "expected a whole number"),
        ("adapter.alpha", "16", "expected a number"),
        ("adapter.alpha", True, "expected a number"),
        ("adapter.targetModules", "q_proj", "expected a list, found a string"),
        ("adapter.targetModules", ["q_proj", "q_proj"], "twice"),
        ("adapter.hazards", ["regex targets"], "malformed"),
        ("baseModels.0.dtype", "bf16 ", "malformed"),
        ("baseModels.0.fingerprint.digest", {**ZERO, "sha512": "0" * 128}, "unknown field"),
        ("deployment.environments", ["production", "production"], "twice"),
        ("deployment.environments", ["*"], "malformed"),
        ("deployment.environments", "production", "expected a list"),
        ("deployment.regions", ["eu west"], "malformed"),
        ("deployment.notBefore", "2026-11-22", "is not a time"),
        ("deployment.notAfter", 1_763_805_600, "expected a string"),
        ("deployment.systemPrompts", [ZERO, ZERO], "one prompt twice"),
        ("deployment.systemPrompts", ["0" * 64], "expected an object"),
        ("composition.stackable", None, "stackable is missing"),
        ("composition.maxSkills", 0, "too small"),
        ("composition.allowWith", ["Acme/*"], "like acme/"),
        ("composition.denyWith", ["acme/**/x"], "malformed"),
        ("trainingData", [{"name": "a", "licence": "b"}], "rights is missing"),
        ("trainingData", [{"name": "a", "licence": "b", "rights": "c", "uri": "x" * 2049}], "wrong length"),
        ("evidence", [{"name": "a", "digest": {"sha512": "0" * 128}}], "unknown field"),
        ("evidence", [{"name": "a"}], "digest is missing"),
        ("requires", {"Peft": ">=1"}, "normal form of PEP 503"),
        ("requires", {"pe\x1b[2Jft": ">=1"}, "normal form of PEP 503"),
        ("requires", {"peft": "1.0"}, "version range of PEP 440"),
        ("requires", {"peft": ""}, "wrong length"),
        ("requires", {"peft": ["1.0"]}, "expected a string"),
        ("requires", ["peft"], "expected an object"),
        ("policyClass", "any class", "malformed"),
    ],
)
def test_a_malformed_value_is_refused_and_named(path: str, value: Any, why: str) -> None:
    with pytest.raises(FormatError, match=why) as caught:
        parse(predicate(path, value))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("deployment.notafter", "notAfter"),
        ("deployment.not_before", "notBefore"),
        ("deployment.Regions", "regions"),
        ("deployment.system-prompts", "systemPrompts"),
        ("composition.DENYWITH", "denyWith"),
        ("composition.max_skills", "maxSkills"),
        ("adapter.Hazards", "hazards"),
        ("adapter.tensors.Count", "count"),
        ("baseModels.0.fingerprint.Digest", "digest"),
        ("Deployment", "deployment"),
        ("training_data", "trainingData"),
    ],
)
def test_a_misspelt_restriction_is_not_dropped_without_a_word(path: str, right: str) -> None:
    with pytest.raises(FormatError, match=f"misspelt field: expected {right}"):
        parse(predicate(path, "x"))


def test_unknown_fields_are_carried_in_the_signed_bytes_and_change_nothing_else() -> None:
    document = {**predicate(), "futureField": [1, None]}
    document["deployment"]["https://vendor.example/zone"] = {"Name": 1, "name": 2}
    statement = Statement.build(subjects=SUBJECTS, predicate_type=PREDICATE_TYPE, predicate=document)
    assert b"futureField" in statement.raw
    assert SkillManifest.parse(statement) == PLAIN


def test_the_window_must_have_an_inside() -> None:
    early, late = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"
    window = {"environments": ["production"], "notBefore": early, "notAfter": late}
    assert parse(predicate("deployment", window)).deployment.not_after == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
    for start, end in ((late, early), (early, early)):
        with pytest.raises(FormatError, match="empty time window"):
            parse(predicate("deployment", {**window, "notBefore": start, "notAfter": end}))


def test_two_base_models_with_one_fingerprint_are_refused_whatever_they_are_called() -> None:
    base = predicate()["baseModels"][0]
    with pytest.raises(FormatError, match="one fingerprint twice"):
        parse(predicate("baseModels", [base, {**base, "name": "another"}]))
    other = {**base, "fingerprint": {"scheme": SCHEME, "digest": ONE}}
    assert len(parse(predicate("baseModels", [base, other])).base_models) == 2


def cast(digest: Any, **changes: Any) -> dict[str, Any]:
    return {"dtype": "float16", "kind": "rounded", "fingerprint": {"scheme": SCHEME, "digest": digest}, **changes}


def test_a_cast_is_one_more_fingerprint_of_its_base_and_no_fingerprint_has_two_meanings() -> None:
    base = predicate()["baseModels"][0]
    (found,) = parse(predicate("baseModels", [{**base, "casts": [cast(ONE)]}])).base_models
    assert [str(one) for one in found.fingerprints] == [str(found.fingerprint), f"{SCHEME}:{ONE['sha256']}"]
    other = {**base, "name": "another", "fingerprint": {"scheme": SCHEME, "digest": ONE}}
    for bases in (
        [{**base, "casts": [cast(base["fingerprint"]["digest"])]}],
        [{**base, "casts": [cast(ONE)]}, other],
        [{**base, "casts": [cast(ONE), cast(ONE, dtype="bfloat16")]}],
    ):
        with pytest.raises(FormatError, match="one fingerprint twice"):
            parse(predicate("baseModels", bases))


def test_one_dtype_is_cast_to_once() -> None:
    base = predicate()["baseModels"][0]
    two = [cast(ONE), cast({"sha256": "2" * 64})]
    with pytest.raises(FormatError, match="one dtype twice"):
        parse(predicate("baseModels", [{**base, "casts": two}]))


@pytest.mark.parametrize("changes", [{"dtype": "int8"}, {"dtype": "F16"}, {"kind": "lossy"}, {"kind": None}])
def test_a_cast_of_another_kind_is_refused(changes: dict[str, Any]) -> None:
    base = predicate()["baseModels"][0]
    with pytest.raises(FormatError, match="casts"):
        parse(predicate("baseModels", [{**base, "casts": [cast(ONE, **changes)]}]))


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd.json",
        "../x.json",
        "a/../x.json",
        "a/..",
        "..",
        ".",
        "./x.json",
        "a//x.json",
        "a/",
        "a\\x.json",
        "C:\\x.json",
        "u\u0308ber.md",
        "a\u202ejson.md",
        ".hidden.json",
        "a/.git/x.json",
        "pytorch_model.bin",
        "adapter_model.bin",
        "handler.py",
        "other.safetensors",
        "sub/adapter_model.safetensors",
        BUNDLE_NAME,
    ],
)
def test_a_subject_that_is_no_file_of_an_adapter_is_refused_when_read_and_when_written(name: str) -> None:
    subjects = (*SUBJECTS, Subject(name=name, digest=Digest.of(b"")))
    with pytest.raises((FormatError, FilesMismatch)):
        parse(predicate(), subjects)
    with pytest.raises((FormatError, FilesMismatch)):
        PLAIN.to_statement(subjects)


@pytest.mark.parametrize(
    ("one", "other"), [("README.md", "readme.md"), ("Docs/a.md", "docs/A.md"), ("stra\u00dfe.md", "strasse.md")]
)
def test_two_subjects_that_differ_only_in_case_are_refused(one: str, other: str) -> None:
    subjects = tuple(Subject(name=name, digest=Digest.of(b"")) for name in (one, other))
    with pytest.raises(FormatError, match="differ only in case"):
        parse(predicate(), subjects)


@pytest.mark.parametrize(
    ("predicate_type", "why"),
    [
        ("https://skillwarrant.dev/skill-manifest/v2", "of a version that this release does not know"),
        ("https://skillwarrant.dev/skill-manifest/v1.1", "of a version"),
        ("https://skillwarrant.dev/skill-manifest/", "of a version"),
        ("https://skillwarrant.dev/skill-manifest/V1", "of a version"),
        ("https://skillwarrant.dev/skill-activation/v1", "signs something else"),
        ("https://slsa.dev/provenance/v1", "signs something else"),
        ("http://skillwarrant.dev/skill-manifest/v1", "signs something else"),
        ("https://skillwarrant.dev.evil.example/skill-manifest/v1", "signs something else"),
    ],
)
def test_another_predicate_type_or_version_is_no_manifest(predicate_type: str, why: str) -> None:
    statement = Statement.build(subjects=SUBJECTS, predicate_type=predicate_type, predicate=predicate())
    for read in (lambda: SkillManifest.parse(statement), lambda: SkillManifest.read(statement.raw)):
        with pytest.raises(WrongPredicate, match=why):
            read()


def test_a_foreign_statement_in_another_encoding_is_still_named_as_foreign() -> None:
    statement = Statement.build(
        subjects=SUBJECTS, predicate_type="https://slsa.dev/provenance/v1", predicate={"x": 1}
    )
    with pytest.raises(WrongPredicate, match="signs something else"):
        SkillManifest.read(json.dumps(json.loads(statement.raw), indent=1).encode())
    ours = PLAIN.to_statement(SUBJECTS)
    with pytest.raises(FormatError, match="not in canonical form"):
        SkillManifest.read(json.dumps(json.loads(ours.raw), indent=1).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"base_models": ()},
        {"deployment": Deployment(environments=())},
        {"policy_class": ""},
        {"requires": (("peft", "latest"),)},
        {"skill": Skill(name="x", version="1", description="y")},
        {"composition": Composition(max_skills=0)},
        {"adapter": replace(PLAIN.adapter, alpha=float("nan"))},
        {"adapter": replace(PLAIN.adapter, alpha=1e16)},
        {"adapter": replace(PLAIN.adapter, parameters=2**53)},
        {"deployment": Deployment(environments=("a",), not_before=datetime(2026, 1, 1))},  # noqa: DTZ001
    ],
    ids=str,
)
def test_what_could_not_be_read_is_never_signed(change: dict[str, Any]) -> None:
    with pytest.raises((FormatError, UsageError)):
        replace(PLAIN, **change).to_statement(SUBJECTS)


def test_alpha_16_and_16_point_0_are_one_fact_with_one_encoding() -> None:
    whole = PLAIN.to_statement(SUBJECTS)
    other = replace(PLAIN, adapter=replace(PLAIN.adapter, alpha=16.0)).to_statement(SUBJECTS)
    assert other.raw == whole.raw
    assert SkillManifest.parse(other) == PLAIN
    half = replace(PLAIN, adapter=replace(PLAIN.adapter, alpha=0.5)).to_statement(SUBJECTS)
    assert SkillManifest.parse(half).adapter.alpha == 0.5


def test_lists_that_are_too_long_are_refused() -> None:
    many = [f"m{index}" for index in range(limits.MAX_LIST_ITEMS + 1)]
    parse(predicate("adapter.targetModules", many[:-1]))
    for path, value in (
        ("adapter.targetModules", many),
        ("deployment.environments", many),
        ("requires", dict.fromkeys(many, ">=1")),
        ("evidence", [{"name": name, "digest": ZERO} for name in many]),
    ):
        with pytest.raises(FormatError, match="wrong length"):
            parse(predicate(path, value))


@pytest.mark.parametrize(
    ("path", "start", "most"),
    [
        ("skill.name", "a" * 63 + "/", limits.MAX_SKILL_NAME_CHARS),
        ("skill.version", "1.0.0-", limits.MAX_VERSION_CHARS),
        ("skill.description", "", limits.MAX_TEXT_CHARS),
        ("publisher.name", "", limits.MAX_NAME_CHARS),
        ("requires", ">=", limits.MAX_RANGE_CHARS),
        ("trainingData", "", limits.MAX_URI_CHARS),
        ("evidence", "", limits.MAX_URI_CHARS),
    ],
)
def test_the_longest_text_is_taken_and_one_character_more_is_not(path: str, start: str, most: int) -> None:
    around: dict[str, Any] = {
        "requires": lambda text: {"peft": text},
        "trainingData": lambda text: [{"name": "a", "licence": "b", "rights": "c", "uri": text}],
        "evidence": lambda text: [{"name": "a", "digest": ZERO, "uri": text}],
    }
    for length in (most, most + 1):
        text = start + "1" * (length - len(start))
        document = predicate(path, around.get(path, str)(text))
        if length == most:
            parse(document)
        else:
            with pytest.raises(FormatError, match=f"wrong length: expected 1 to {most} characters"):
                parse(document)
