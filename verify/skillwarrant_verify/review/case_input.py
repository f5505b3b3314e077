"""The input of a test case: a few words about an adapter and its place, made into a whole input document.

A case says what it is about (`environment = "staging"`), and all else is an ordinary LoRA that a policy has nothing
against. What the words cannot say, `document` says in the input document's own: its fields replace those made from
the words, and `without` takes fields out. Format: docs/reference/policy-test.md. Nothing here decides.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, cast

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.endorsement import APPROVAL_TYPE, CERTIFICATION_TYPE
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.manifest import (
    AdapterFacts,
    BaseModel,
    Composition,
    Deployment,
    Publisher,
    Skill,
    SkillManifest,
    TrainingData,
)
from skillwarrant_format.names import LABEL
from skillwarrant_format.observation_parts import LogPlace
from skillwarrant_format.statement import Subject
from skillwarrant_format.strict_json import JsonObject, JsonValue
from skillwarrant_format.toml import only
from skillwarrant_verify.deciding.adapter_seen import AdapterSeen
from skillwarrant_verify.deciding.composition import Companion
from skillwarrant_verify.deciding.context_seen import ContextSeen, OperatorSeen
from skillwarrant_verify.deciding.decision_input import to_document
from skillwarrant_verify.deciding.evidence_seen import EvidenceSeen
from skillwarrant_verify.deciding.facts import Facts
from skillwarrant_verify.deciding.file_seen import FileSeen
from skillwarrant_verify.deciding.warrant import SupposedWarrant
from skillwarrant_verify.identity import kind_of_name
from skillwarrant_verify.proof.certificate import Signer
from skillwarrant_verify.review.case_change import merged, taken_out

__all__ = ["WORDS", "document_of"]

WORDS: Final = (
    *("age_days", "alterations", "base", "changes_base", "company", "context_class", "data", "document"),
    *("environment", "evidence", "hazards", "identity", "issuer", "measured", "now", "operator", "policy_class"),
    *("region", "sanctioned", "skill", "stackable", "version", "versions", "vouched", "weight", "without"),
)
"""What a case may say."""
_SHORT: Final = {"approval": APPROVAL_TYPE, "certification": CERTIFICATION_TYPE}
_FILES: Final = (
    FileSeen(name="adapter_config.json", content="other"),
    FileSeen(name="adapter_model.safetensors", content="safetensors"),
)
_MOST_DAYS: Final = limits.MAX_AGE_DAYS + 366  # what is too old for any policy is a case of it
_LOG: Final = LogPlace(origin="log.example", log_id="00" * 32, index=7)


def document_of(words: Fields) -> JsonObject:
    """The input document of a case.

    Args:
        words: of `WORDS`.

    Raises:
        FormatError: an unknown word, or one that is missing, mistyped or malformed. What `document` says is not
            looked at: a document that is none is a case too.
    """
    only(words, *WORDS)
    try:
        found: JsonValue = to_document(_facts(words))
    except OverflowError:
        raise FormatError(f"{words.path} has a time that no calendar has", found=words.text("now")) from None
    if "document" in words:
        words.object("document")  # raises for another type
        found = merged(found, words.value("document"))
    for path in words.listed("without"):
        found = taken_out(found, path.split("."), words.at("without"))
    return cast("JsonObject", found)


def _facts(words: Fields) -> Facts:
    now, manifest = words.time("now"), _manifest(words)
    return Facts(
        warrant=SupposedWarrant(
            manifest=manifest,
            signer=_signer(words),
            signed_at=_before(words, now),
            log=_LOG,
            bundle=Digest.of(b"bundle"),
            statement_digest=Digest.of(b"statement"),
            subjects=tuple(Subject(name=file.name, digest=Digest.of(file.name.encode())) for file in _FILES),
        ),
        adapter=_adapter(manifest.adapter),
        base=Fingerprint.from_text(words.text("measured")),
        companions=tuple(_companion(member, manifest, at) for at, member in enumerate(_tables(words, "company"))),
        context=_context(words, now),
        now=now,
        versions=_versions(words),
        alterations=words.listed("alterations"),
        weight=words.maybe("weight", words.number),
        evidence=tuple(_evidence(item, manifest.skill, now) for item in _tables(words, "evidence")),
    )


def _manifest(words: Fields) -> SkillManifest:
    changes_base = words.maybe("changes_base", words.boolean) or False
    return SkillManifest(
        skill=Skill(name=words.text("skill"), version=_or(words, "version", "1.0.0"), description="A test case."),
        publisher=Publisher(name="Somebody"),
        adapter=AdapterFacts(
            peft_type="LORA",
            parameters=1000,
            tensors=2,
            tensors_digest=Fingerprint(digest=Digest.of(b"tensors")),
            changes_base=changes_base,
            hazards=tuple(sorted(words.listed("hazards", LABEL))),
        ),
        base_models=(
            BaseModel(
                name=words.text("base"),
                architecture="LlamaForCausalLM",
                parameters=1000,
                dtype="bfloat16",
                fingerprint=Fingerprint.from_text(_or(words, "vouched", words.text("measured"))),
            ),
        ),
        deployment=Deployment(environments=words.texts("sanctioned", least=1, pattern=LABEL)),
        policy_class=words.text("policy_class", pattern=LABEL),
        composition=Composition(stackable=words.maybe("stackable", words.boolean) or False),
        training_data=tuple(_data(item) for item in _tables(words, "data")),
    )


def _adapter(declared: AdapterFacts) -> AdapterSeen:
    """Its files say what the manifest does."""
    return AdapterSeen(
        peft_type=declared.peft_type,
        task_type="CAUSAL_LM",
        changes_base=declared.changes_base,
        hazards=declared.hazards,
        target_modules=("q_proj",),
        parameters=declared.parameters,
        tensors=declared.tensors,
        dtypes=("F32",),
        size=4096,
        files=_FILES,
        rank=8,
        scaling=2.0,
    )


def _data(fields: Fields) -> TrainingData:
    only(fields, "name", "licence", "rights")
    return TrainingData(
        name=_or(fields, "name", "data"), licence=fields.text("licence"), rights=fields.text("rights")
    )


def _context(words: Fields, now: datetime) -> ContextSeen:
    return ContextSeen(
        environment=words.text("environment", pattern=LABEL),
        region=words.maybe("region", lambda key: words.text(key, pattern=LABEL)),
        policy_class=words.maybe("context_class", lambda key: words.text(key, pattern=LABEL)),
        operator=words.maybe("operator", lambda key: _operator(words.object(key), now)),
    )


def _operator(fields: Fields, now: datetime) -> OperatorSeen | None:
    """A claim; a verified token that is good for a minute; or, of an empty table, nobody."""
    if "claim" in fields:
        only(fields, "claim")
        return OperatorSeen(name=fields.text("claim"))
    only(fields, "issuer", "audience", "subject")
    if not fields.keys():
        return None
    return OperatorSeen(
        name=fields.text("subject"),
        verified=True,
        issuer=fields.text("issuer"),
        audience=fields.text("audience"),
        issued_at=now,
        expires_at=now + timedelta(minutes=1),
        key_id="key",
    )


def _companion(fields: Fields, plain: SkillManifest, number: int) -> Companion:
    """A skill that consents to company; without a name, an adapter that did not come through a gate."""
    only(fields, "skill", "weight")
    name = fields.maybe("skill", fields.text)
    skill = replace(plain.skill, name=name or plain.skill.name)
    manifest = replace(plain, skill=skill, composition=Composition(stackable=True))
    return Companion(
        adapter_name=f"a{number}",
        manifest=None if name is None else manifest,
        weight=fields.maybe("weight", fields.number),
    )


def _evidence(fields: Fields, skill: Skill, now: datetime) -> EvidenceSeen:
    """Our own kinds are about this release, and say so; of any other, `predicate` says all."""
    only(fields, "type", "issuer", "identity", "age_days", "predicate")
    named = fields.text("type", limit=limits.MAX_URI_CHARS)
    plain: dict[str, JsonValue] = (
        {"skill": {"name": skill.name, "version": skill.version}} if named in _SHORT else {}
    )
    if named == "certification":
        plain |= {"suite": "suite 1", "result": "passed"}
    if "predicate" in fields:
        fields.object("predicate")
    predicate = cast("JsonObject", merged(plain, fields.maybe("predicate", fields.value) or {}))
    return EvidenceSeen(
        predicate_type=_SHORT.get(named, named),
        predicate=predicate,
        about="manifest",
        signer=_signer(fields),
        signed_at=_before(fields, now),
        bundle=Digest.of(f"{named} {_signer(fields)}".encode()),
        statement=Digest.of(f"statement {named} {_signer(fields)}".encode()),
    )


def _signer(fields: Fields) -> Signer:
    identity = fields.text("identity", limit=limits.MAX_URI_CHARS)
    return Signer(
        identity=identity,
        issuer=fields.text("issuer", limit=limits.MAX_URI_CHARS),
        kind=kind_of_name(identity),
        extensions={},
    )


def _before(fields: Fields, now: datetime) -> datetime:
    days = fields.number("age_days")
    if abs(days) > _MOST_DAYS:
        expected = f"at most {_MOST_DAYS}"
        raise FormatError(f"{fields.at('age_days')} is too large", expected=expected, found=str(days))
    return now - timedelta(days=days)


def _versions(words: Fields) -> dict[str, str]:
    found = words.maybe("versions", words.object)
    return {} if found is None else {name: found.text(name) for name in found.keys()}  # noqa: SIM118  # no mapping


def _tables(fields: Fields, key: str) -> list[Fields]:
    return fields.maybe(key, fields.objects) or []


def _or(fields: Fields, key: str, plain: str) -> str:
    return fields.text(key) if key in fields else plain
