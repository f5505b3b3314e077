"""The parts of the manifest that say what a skill is: its name, its publisher, its adapter, its base models.

Nothing here reads files or decides anything; `manifest` is the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Self, cast

from skillwarrant_format import limits
from skillwarrant_format.fields import Fields, present
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.names import LABEL, SEMVER, SKILL_NAME
from skillwarrant_format.strict_json import JsonObject

__all__ = ["AdapterFacts", "BaseModel", "Cast", "Publisher", "Skill"]

KINDS: Final = ("peft-adapter",)  # `tool` and `retriever` are reserved and refused today
CAST_DTYPES: Final = ("bfloat16", "float16", "float32")
CAST_KINDS: Final = ("exact", "rounded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """What the skill is called. `name` is `organisation/skill` or `skill`; `version` is SemVer 2.0.0."""

    name: str
    version: str
    description: str
    kind: str = "peft-adapter"

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        kind = fields.choice("kind", KINDS)
        return cls(
            name=fields.text("name", limit=limits.MAX_SKILL_NAME_CHARS, pattern=SKILL_NAME),
            version=fields.text("version", limit=limits.MAX_VERSION_CHARS, pattern=SEMVER),
            description=fields.text("description", limit=limits.MAX_TEXT_CHARS, multiline=True),
            kind=kind,
        )

    def to_json(self) -> JsonObject:
        return present(name=self.name, version=self.version, description=self.description, kind=self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Who the publisher says to be: a claim. What is proven is the certificate's identity."""

    name: str
    contact: str | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        return cls(name=fields.text("name"), contact=fields.maybe("contact", fields.text))

    def to_json(self) -> JsonObject:
        return present(name=self.name, contact=self.contact)


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
            target_modules=fields.listed("targetModules"),
            hazards=fields.listed("hazards", LABEL),
        )

    def to_json(self) -> JsonObject:
        return present(
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
class Cast:
    """A base model in another floating-point dtype: what it measures after `model.to(dtype)`.

    Args:
        dtype: one of `CAST_DTYPES`, by torch's name.
        kind: `exact` where casting back gives every bit of the reference again, else `rounded`.
        fingerprint: of the cast weights.
    """

    dtype: str
    kind: Literal["exact", "rounded"]
    fingerprint: Fingerprint

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        return cls(
            dtype=fields.choice("dtype", CAST_DTYPES),
            kind=cast('Literal["exact", "rounded"]', fields.choice("kind", CAST_KINDS)),
            fingerprint=Fingerprint.parse(fields.object("fingerprint")),
        )

    def to_json(self) -> JsonObject:
        return present(dtype=self.dtype, kind=self.kind, fingerprint=self.fingerprint.to_json())


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """One base model that the skill is vouched for, by what its weights measure.

    `name` and `revision` are labels for people; `fingerprint` is what is compared. `casts` are the same weights in
    other dtypes that the skill is vouched for as well, at most one for each dtype.
    """

    name: str
    architecture: str
    parameters: int
    dtype: str
    fingerprint: Fingerprint
    revision: str | None = None
    quantization: str | None = None
    casts: tuple[Cast, ...] = ()

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        casts = fields.maybe("casts", lambda key: fields.objects(key, least=1, most=len(CAST_DTYPES))) or ()
        return cls(
            casts=tuple(Cast.parse(item) for item in casts),
            name=fields.text("name"),
            architecture=fields.text("architecture"),
            parameters=fields.integer("parameters", least=1),
            dtype=fields.text("dtype", pattern=LABEL),
            fingerprint=Fingerprint.parse(fields.object("fingerprint")),
            revision=fields.maybe("revision", fields.text),
            quantization=fields.maybe("quantization", fields.text),
        )

    def to_json(self) -> JsonObject:
        return present(
            name=self.name,
            revision=self.revision,
            architecture=self.architecture,
            parameters=self.parameters,
            dtype=self.dtype,
            quantization=self.quantization,
            fingerprint=self.fingerprint.to_json(),
            casts=[item.to_json() for item in self.casts],
        )

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Everything it may measure: itself, then its casts."""
        return (self.fingerprint, *(item.fingerprint for item in self.casts))
