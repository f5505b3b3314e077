"""The parts of the manifest that say on what terms a skill may be used, and what speaks for it.

Each optional list is absent or has an item: an empty one could be read as "any" and as "none".
Nothing here reads files or decides anything; `manifest` is the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields, format_time, present
from skillwarrant_format.names import LABEL, PACKAGE, SKILL_PATTERN, VERSION_RANGE, like
from skillwarrant_format.strict_json import JsonObject

__all__ = ["Composition", "Deployment", "Evidence", "TrainingData", "parse_ranges"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Where the publisher sanctions the skill.

    No regions, operators or prompts means "any". Environments are never empty: a skill is for somewhere.
    """

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
            regions=fields.listed("regions", LABEL),
            operators=fields.listed("operators"),
            system_prompts=_prompts(fields),
        )
        before, after = deployment.not_before, deployment.not_after
        if before is not None and after is not None and before >= after:
            raise FormatError(f"{fields.path} has an empty time window", found=f"{before} to {after}")
        return deployment

    def to_json(self) -> JsonObject:
        return present(
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
            allow_with=fields.listed("allowWith", SKILL_PATTERN),
            deny_with=fields.listed("denyWith", SKILL_PATTERN),
        )

    def to_json(self) -> JsonObject:
        return present(
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
            uri=fields.maybe("uri", lambda key: fields.text(key, limit=limits.MAX_URI_CHARS)),
            digest=fields.maybe("digest", fields.digest),
        )

    def to_json(self) -> JsonObject:
        digest = None if self.digest is None else {"sha256": self.digest.hex}
        return present(name=self.name, uri=self.uri, digest=digest, licence=self.licence, rights=self.rights)


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
            uri=fields.maybe("uri", lambda key: fields.text(key, limit=limits.MAX_URI_CHARS)),
            media_type=fields.maybe("mediaType", fields.text),
        )

    def to_json(self) -> JsonObject:
        return present(name=self.name, digest={"sha256": self.digest.hex}, uri=self.uri, mediaType=self.media_type)


def parse_ranges(fields: Fields) -> tuple[tuple[str, str], ...]:
    """`requires`: normalised package name -> PEP 440 version specifier, sorted by name; at least one.

    Raises:
        FormatError: no entry, a name that is not normalised, or no version specifier.
    """
    names = sorted(fields.keys())
    if not 0 < len(names) <= limits.MAX_LIST_ITEMS:
        raise FormatError(
            f"{fields.path} has the wrong length", expected="at least one package", found=str(len(names))
        )
    for name in names:
        if not PACKAGE.fullmatch(name):
            raise FormatError(f"{fields.path} names no package", expected=like(PACKAGE), found=name)
    return tuple((name, fields.text(name, limit=limits.MAX_RANGE_CHARS, pattern=VERSION_RANGE)) for name in names)


def _prompts(fields: Fields) -> tuple[Digest, ...]:
    items = fields.maybe("systemPrompts", lambda key: fields.objects(key, least=1)) or ()
    digests = tuple(item.sha256() for item in items)
    if len(set(digests)) != len(digests):
        raise FormatError(f"{fields.at('systemPrompts')} names one prompt twice")
    return digests
