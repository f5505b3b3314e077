"""The skill manifest: what a publisher vouches for. Predicate `https://skillwarrant.dev/skill-manifest/v1`.

The normative text is docs/reference/manifest.md, the JSON Schema is schemas/skill-manifest-v1.json.
Unknown fields are carried in the signed bytes and never trusted; an unknown version is refused.
Nothing here reads files or decides anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, WrongPredicate
from skillwarrant_format.fields import Fields, format_time
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.names import LABEL, SEMVER, SKILL_NAME
from skillwarrant_format.statement import Statement, Subject
from skillwarrant_format.strict_json import JsonObject, JsonValue

__all__ = [
    "PREDICATE_TYPE",
    "AdapterFacts",
    "BaseModel",
    "Composition",
    "Deployment",
    "Evidence",
    "Publisher",
    "Skill",
    "SkillManifest",
    "TrainingData",
]

PREDICATE_TYPE: Final = "https://skillwarrant.dev/skill-manifest/v1"
_FAMILY: Final = PREDICATE_TYPE.rpartition("/")[0] + "/"
KINDS: Final = ("peft-adapter",)  # `tool` and `retriever` are reserved and refused today


def _present(**fields: JsonValue) -> dict[str, JsonValue]:
    """JSON without the fields that say nothing: None and empty lists are left out, never written as null."""
    return {key: value for key, value in fields.items() if value is not None and value not in ([], {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """What the skill is called. `name` is `organisation/skill` or `skill`; `version` is SemVer 2.0.0."""

    name: str
    version: str
    description: str
    kind: str = "peft-adapter"

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        if (kind := fields.text("kind")) not in KINDS:
            raise FormatError(f"{fields.at('kind')} is unknown", expected=", ".join(KINDS), found=kind)
        return cls(
            name=fields.text("name", limit=128, pattern=SKILL_NAME),
            version=fields.text("version", limit=64, pattern=SEMVER),
            description=fields.text("description", limit=limits.MAX_TEXT_CHARS),
            kind=kind,
        )

    def to_json(self) -> JsonObject:
        return _present(name=self.name, version=self.version, description=self.description, kind=self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Who the publisher says to be: a claim. What is proven is the certificate's identity."""

    name: str
    contact: str | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        return cls(name=fields.text("name"), contact=fields.maybe("contact", fields.text))

    def to_json(self) -> JsonObject:
        return _present(name=self.name, contact=self.contact)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFacts:
    """What the adapter's own files say, derived and never typed in by hand.

    Args:
        parameters: number of weights in the adapter file.
        tensors: number of tensors.
        tensors_digest: root over (name, dtype, shape, sha256), see `fingerprint`.
        changes_base: loading it changes base weights (PiSSA, layer replication, …).
        hazards: codes of further configuration that a policy may want to refuse.
    """

    peft_type: str
    parameters: int
    tensors: int
    tensors_digest: Fingerprint
    changes_base: bool
    task_type: str | None = None
    peft_version: str | None = None
    rank: int | None = None
    alpha: int | float | None = None
    target_modules: tuple[str, ...] = ()
    hazards: tuple[str, ...] = ()

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        tensors = fields.object("tensors")
        return cls(
            peft_type=fields.text("peftType", pattern=LABEL),
            parameters=fields.integer("parameters", least=1),
            tensors=tensors.integer("count", least=1),
            tensors_digest=Fingerprint.parse(tensors),
            changes_base=fields.boolean("changesBase"),
            task_type=fields.maybe("taskType", fields.text),
            peft_version=fields.maybe("peftVersion", fields.text),
            rank=fields.maybe("rank", lambda key: fields.integer(key, least=1)),
            alpha=fields.maybe("alpha", fields.number),
            target_modules=fields.maybe("targetModules", fields.texts) or (),
            hazards=fields.maybe("hazards", fields.texts) or (),
        )

    def to_json(self) -> JsonObject:
        return _present(
            peftType=self.peft_type,
            taskType=self.task_type,
            peftVersion=self.peft_version,
            parameters=self.parameters,
            rank=self.rank,
            alpha=self.alpha,
            targetModules=list(self.target_modules),
            tensors={"count": self.tensors, **self.tensors_digest.to_json()},
            changesBase=self.changes_base,
            hazards=list(self.hazards),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """One base model that the skill is vouched for, by what its weights measure.

    `name` and `revision` are labels for people; `fingerprint` is what is compared.
    """

    name: str
    architecture: str
    parameters: int
    dtype: str
    fingerprint: Fingerprint
    revision: str | None = None
    quantization: str | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        return cls(
            name=fields.text("name"),
            architecture=fields.text("architecture"),
            parameters=fields.integer("parameters", least=1),
            dtype=fields.text("dtype", pattern=LABEL),
            fingerprint=Fingerprint.parse(fields.object("fingerprint")),
            revision=fields.maybe("revision", fields.text),
            quantization=fields.maybe("quantization", fields.text),
        )

    def to_json(self) -> JsonObject:
        return _present(
            name=self.name,
            revision=self.revision,
            architecture=self.architecture,
            parameters=self.parameters,
            dtype=self.dtype,
            quantization=self.quantization,
            fingerprint=self.fingerprint.to_json(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Where the publisher sanctions the skill. An empty list of regions, operators or prompts means "any";
    environments are never empty: a skill is for somewhere."""

    environments: tuple[str, ...]
    not_before: datetime | None = None
    not_after: datetime | None = None
    regions: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    system_prompts: tuple[Digest, ...] = ()

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        deployment = cls(
            environments=fields.texts("environments", least=1, pattern=LABEL),
            not_before=fields.maybe("notBefore", fields.time),
            not_after=fields.maybe("notAfter", fields.time),
            regions=fields.maybe("regions", lambda key: fields.texts(key, pattern=LABEL)) or (),
            operators=fields.maybe("operators", fields.texts) or (),
            system_prompts=tuple(item.sha256() for item in fields.maybe("systemPrompts", fields.objects) or ()),
        )
        before, after = deployment.not_before, deployment.not_after
        if before is not None and after is not None and before >= after:
            raise FormatError(f"{fields.path} has an empty time window", found=f"{before} to {after}")
        return deployment

    def to_json(self) -> JsonObject:
        return _present(
            environments=list(self.environments),
            notBefore=None if self.not_before is None else format_time(self.not_before),
            notAfter=None if self.not_after is None else format_time(self.not_after),
            regions=list(self.regions),
            operators=list(self.operators),
            systemPrompts=[{"sha256": digest.hex} for digest in self.system_prompts],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """Whether the skill may share a model with others; names are patterns with `*`."""

    stackable: bool = False
    max_skills: int | None = None
    allow_with: tuple[str, ...] = ()
    deny_with: tuple[str, ...] = ()

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        return cls(
            stackable=fields.boolean("stackable"),
            max_skills=fields.maybe("maxSkills", lambda key: fields.integer(key, least=1)),
            allow_with=fields.maybe("allowWith", fields.texts) or (),
            deny_with=fields.maybe("denyWith", fields.texts) or (),
        )

    def to_json(self) -> JsonObject:
        return _present(
            stackable=self.stackable,
            maxSkills=self.max_skills,
            allowWith=list(self.allow_with),
            denyWith=list(self.deny_with),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """A data set the adapter was trained on, as the publisher declares it."""

    name: str
    licence: str
    rights: str
    uri: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        return cls(
            name=fields.text("name"),
            licence=fields.text("licence"),
            rights=fields.text("rights"),
            uri=fields.maybe("uri", fields.text),
            digest=fields.maybe("digest", fields.digest),
        )

    def to_json(self) -> JsonObject:
        digest = None if self.digest is None else {"sha256": self.digest.hex}
        return _present(name=self.name, uri=self.uri, digest=digest, licence=self.licence, rights=self.rights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Another attestation about this skill (in-toto ResourceDescriptor): provenance, evaluation, certification."""

    name: str
    digest: Digest
    uri: str | None = None
    media_type: str | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        return cls(
            name=fields.text("name"),
            digest=fields.digest("digest"),
            uri=fields.maybe("uri", fields.text),
            media_type=fields.maybe("mediaType", fields.text),
        )

    def to_json(self) -> JsonObject:
        return _present(name=self.name, digest={"sha256": self.digest.hex}, uri=self.uri, mediaType=self.media_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillManifest:
    """The whole manifest. `parse` reads it from a statement, `to_statement` writes one."""

    skill: Skill
    publisher: Publisher
    adapter: AdapterFacts
    base_models: tuple[BaseModel, ...]
    deployment: Deployment
    policy_class: str
    composition: Composition
    training_data: tuple[TrainingData, ...] = ()
    requires: tuple[tuple[str, str], ...] = ()
    evidence: tuple[Evidence, ...] = ()

    @classmethod
    def parse(cls, statement: Statement) -> Self:
        """Read the predicate of a statement.

        Raises:
            WrongPredicate: another predicate type, or a version that this release does not know.
            FormatError: a field that is missing, mistyped or malformed.
        """
        _require_type(statement.predicate_type)
        fields = Fields(statement.predicate, "predicate")
        manifest = cls(
            skill=Skill.parse(fields.object("skill")),
            publisher=Publisher.parse(fields.object("publisher")),
            adapter=AdapterFacts.parse(fields.object("adapter")),
            base_models=tuple(BaseModel.parse(item) for item in fields.objects("baseModels", least=1)),
            deployment=Deployment.parse(fields.object("deployment")),
            policy_class=fields.text("policyClass", pattern=LABEL),
            composition=Composition.parse(fields.object("composition")),
            training_data=tuple(
                TrainingData.parse(item) for item in fields.maybe("trainingData", fields.objects) or ()
            ),
            requires=_ranges(fields.maybe("requires", fields.object)),
            evidence=tuple(Evidence.parse(item) for item in fields.maybe("evidence", fields.objects) or ()),
        )
        digests = [base.fingerprint for base in manifest.base_models]
        if len(set(digests)) != len(digests):
            raise FormatError("predicate.baseModels names one fingerprint twice")
        return manifest

    def to_json(self) -> JsonObject:
        """The predicate; `parse` of it gives an equal manifest."""
        return _present(
            skill=self.skill.to_json(),
            publisher=self.publisher.to_json(),
            adapter=self.adapter.to_json(),
            baseModels=[base.to_json() for base in self.base_models],
            deployment=self.deployment.to_json(),
            policyClass=self.policy_class,
            composition=self.composition.to_json(),
            trainingData=[data.to_json() for data in self.training_data],
            requires=dict(self.requires),
            evidence=[item.to_json() for item in self.evidence],
        )

    def to_statement(self, subjects: tuple[Subject, ...]) -> Statement:
        """The statement that is signed; parsed again at once, so what cannot be read is never signed.

        Raises:
            FormatError: when this manifest would not be accepted by `parse`.
        """
        statement = Statement.build(subjects=subjects, predicate_type=PREDICATE_TYPE, predicate=self.to_json())
        type(self).parse(statement)
        return statement


def _require_type(found: str) -> None:
    if found == PREDICATE_TYPE:
        return
    if found.startswith(_FAMILY):
        raise WrongPredicate(
            "the manifest is of a version that this release does not know",
            expected=PREDICATE_TYPE,
            found=found,
            fix="Upgrade skillwarrant, or ask the publisher for a v1 manifest.",
        )
    raise WrongPredicate("the bundle signs something else", expected=PREDICATE_TYPE, found=found)


def _ranges(fields: Fields | None) -> tuple[tuple[str, str], ...]:
    """`requires`: package name -> PEP 440 version specifier, sorted by name."""
    if fields is None:
        return ()
    return tuple((name, fields.text(name, limit=128)) for name in sorted(fields.keys()))
