"""The skill manifest: what a publisher vouches for. Predicate `https://skillwarrant.dev/skill-manifest/v1`.

The normative text is docs/reference/manifest.md, the JSON Schema is schemas/skill-manifest-v1.json.
Unknown fields are carried in the signed bytes and never trusted; an unknown version is refused.
Nothing here reads files or decides anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from skillwarrant_format.adapter_files import ADAPTER
from skillwarrant_format.bundle import BUNDLE_NAME
from skillwarrant_format.errors import FormatError, WrongPredicate
from skillwarrant_format.fields import Fields, present
from skillwarrant_format.manifest_facts import AdapterFacts, BaseModel, Cast, Publisher, Skill
from skillwarrant_format.manifest_terms import Composition, Deployment, Evidence, TrainingData, parse_ranges
from skillwarrant_format.names import LABEL
from skillwarrant_format.statement import Statement, Subject, read_predicate_type
from skillwarrant_format.strict_json import JsonObject

__all__ = [
    "PREDICATE_TYPE",
    "AdapterFacts",
    "BaseModel",
    "Cast",
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
    def read(cls, payload: bytes) -> tuple[Statement, Self]:
        """From an envelope's payload. What signs something else is named as that, however it is encoded.

        Raises:
            WrongPredicate, FormatError, FilesMismatch: as `parse` and `Statement.parse`.
        """
        _require_type(read_predicate_type(payload))
        statement = Statement.parse(payload)
        return statement, cls.parse(statement)

    @classmethod
    def parse(cls, statement: Statement) -> Self:
        """Read the predicate of a statement.

        Raises:
            WrongPredicate: another predicate type, or a version that this release does not know.
            FormatError: a field that is missing, mistyped, misspelt or malformed, or a subject that is no plain
                relative path (absolute, `..`, a backslash, two that differ only in case, …).
            FilesMismatch: a subject that an adapter may not have.
        """
        _require_type(statement.predicate_type)
        _check_subjects(statement)
        return cls.from_fields(Fields(statement.predicate, "predicate"))

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read a predicate alone, of which no statement says whose files it is about.

        Raises:
            FormatError: as `parse`.
        """
        manifest = cls(
            skill=Skill.parse(fields.object("skill")),
            publisher=Publisher.parse(fields.object("publisher")),
            adapter=AdapterFacts.parse(fields.object("adapter")),
            base_models=tuple(BaseModel.parse(item) for item in fields.objects("baseModels", least=1)),
            deployment=Deployment.parse(fields.object("deployment")),
            policy_class=fields.text("policyClass", pattern=LABEL),
            composition=Composition.parse(fields.object("composition")),
            training_data=tuple(TrainingData.parse(item) for item in _some(fields, "trainingData")),
            requires=fields.maybe("requires", lambda key: parse_ranges(fields.object(key))) or (),
            evidence=tuple(Evidence.parse(item) for item in _some(fields, "evidence")),
        )
        fields.refuse_lookalikes()
        _check_bases(manifest.base_models, fields.at("baseModels"))
        return manifest

    def to_json(self) -> JsonObject:
        """The predicate; `parse` of it gives an equal manifest."""
        return present(
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
            FormatError, FilesMismatch: when this manifest would not be accepted by `parse`.
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


def _check_subjects(statement: Statement) -> None:
    names = [subject.name for subject in statement.subjects]
    ADAPTER.check_names(names)
    if BUNDLE_NAME in names:
        raise FormatError(
            "a subject has the bundle's own name, and no bundle holds its own digest", found=BUNDLE_NAME
        )


def _check_bases(bases: tuple[BaseModel, ...], path: str) -> None:
    """What a base measures says which one it is, and in which form: never two."""
    digests = [fingerprint for base in bases for fingerprint in base.fingerprints]
    if len(set(digests)) != len(digests):
        raise FormatError(f"{path} names one fingerprint twice")
    for index, base in enumerate(bases):
        if len({cast.dtype for cast in base.casts}) != len(base.casts):
            raise FormatError(f"{path}[{index}].casts names one dtype twice")


def _some(fields: Fields, key: str) -> list[Fields]:
    return fields.maybe(key, lambda key: fields.objects(key, least=1)) or []
