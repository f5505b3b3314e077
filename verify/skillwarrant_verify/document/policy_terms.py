"""Further parts of a policy document: training data, limits, versions, revocations, the consumer's own packages.

Each reads itself and refuses what is empty, contradictory or could never be met. Nothing is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields, check_text
from skillwarrant_format.limits import MAX_NAME_CHARS, MAX_RANGE_CHARS
from skillwarrant_format.names import LABEL, SKILL_PATTERN, matches
from skillwarrant_format.semver import SemVer, SemVerRange
from skillwarrant_format.toml import only
from skillwarrant_verify.identity import IdentityPattern

__all__ = [
    "AdapterLimits",
    "DataRules",
    "Floor",
    "Revocations",
    "RevokedSigner",
    "RevokedSkill",
    "VersionRules",
    "prohibition",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRules:
    """What must be declared of the data that an adapter was trained on.

    Args:
        required: a data set must be declared at all.
        licences, rights: when not empty, each data set's must be one of them, spelt so.
    """

    required: bool = False
    licences: tuple[str, ...] = ()
    rights: tuple[str, ...] = ()

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """The section is there: from then on, data must be declared.

        Raises:
            FormatError: an unknown key, an empty list, or one of another type.
        """
        only(fields, "licences", "rights", "declared")
        licences, rights = fields.listed("licences"), fields.listed("rights")
        declared = fields.maybe("declared", fields.boolean)
        if declared is False or not (declared or licences or rights):
            raise FormatError(f"{fields.path} says nothing", expected="licences, rights, or declared = true")
        return cls(required=True, licences=licences, rights=rights)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterLimits:
    """What an adapter may be at most; read from its own files. None and empty: any.

    Args:
        methods: PEFT's names of methods, `LORA`.
        max_rank: of any layer.
        max_alpha_over_rank: of any layer: how strongly it can act, in training's own units.
        max_parameters: elements of all tensors together.
        max_adapter_bytes: of all files.
    """

    methods: tuple[str, ...] = ()
    max_rank: int | None = None
    max_alpha_over_rank: float | None = None
    max_parameters: int | None = None
    max_adapter_bytes: int | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Raises FormatError for an unknown key, no key, or a limit that allows nothing."""
        only(fields, "methods", "max_rank", "max_alpha_over_rank", "max_parameters", "max_adapter_bytes")
        if not fields.keys():
            raise FormatError(f"{fields.path} says nothing", expected="at least one limit")
        scaling = fields.maybe("max_alpha_over_rank", fields.number)
        if scaling is not None and scaling <= 0:
            at = fields.at("max_alpha_over_rank")
            raise FormatError(f"{at} allows no adapter", expected="more than 0", found=str(scaling))
        return cls(
            methods=fields.listed("methods", LABEL),
            max_rank=fields.maybe("max_rank", lambda key: fields.integer(key, least=1)),
            max_alpha_over_rank=scaling,
            max_parameters=fields.maybe("max_parameters", lambda key: fields.integer(key, least=1)),
            max_adapter_bytes=fields.maybe("max_adapter_bytes", lambda key: fields.integer(key, least=1)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The lowest version of the skills that a pattern covers."""

    skill: str
    least: SemVer

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Raises FormatError for a malformed pattern or version."""
        only(fields, "skill", "least")
        skill = prohibition(fields.text("skill", pattern=SKILL_PATTERN), fields.at("skill"))
        return cls(skill=skill, least=_version(fields, "least"))


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRules:
    """Which versions of a skill may be used.

    Args:
        floors: all that cover a skill count.
        no_rollback: never one that is lower than what this gate's log has seen activated.
    """

    floors: tuple[Floor, ...] = ()
    no_rollback: bool = False

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Raises FormatError for an unknown key, or for a section that asks for nothing."""
        only(fields, "floors", "no_rollback")
        floors = fields.maybe("floors", lambda key: fields.objects(key, least=1)) or ()
        no_rollback = fields.maybe("no_rollback", fields.boolean)
        if no_rollback is False or not (floors or no_rollback):
            raise FormatError(f"{fields.path} says nothing", expected="floors, or no_rollback = true")
        return cls(floors=tuple(map(Floor.parse, floors)), no_rollback=bool(no_rollback))


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedSkill:
    """Skills by name, and which versions of them; None: all."""

    name: str
    versions: SemVerRange | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Raises FormatError for a malformed pattern or range."""
        only(fields, "name", "versions", "reason")
        fields.maybe("reason", fields.text)
        versions = fields.maybe("versions", lambda key: fields.text(key, limit=MAX_RANGE_CHARS))
        return cls(
            name=prohibition(fields.text("name", pattern=SKILL_PATTERN), fields.at("name")),
            versions=None if versions is None else SemVerRange.parse(versions),
        )

    def covers(self, name: str, version: str) -> bool:
        """Whether this version of a skill is revoked. A version that is none is covered: nothing clears it."""
        if not matches(self.name, name):
            return False
        try:
            return self.versions is None or self.versions.covers(SemVer.parse(version))
        except FormatError:
            return True


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedSigner:
    """A signer whose word does not count any more.

    Args:
        since: what it signed before that moment still counts; None: nothing does.
    """

    signer: IdentityPattern
    since: datetime | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Raises FormatError or PolicyError for a malformed time or pattern."""
        only(fields, "issuer", "identity", "since", "reason")
        fields.maybe("reason", fields.text)
        return cls(
            signer=IdentityPattern(issuer=fields.text("issuer"), identity=fields.text("identity", limit=2048)),
            since=fields.maybe("since", fields.time),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocations:
    """What is not accepted any more, whoever vouched for it.

    Args:
        manifests: SHA-256 of signed statements, of manifests and of evidence: nobody can write these otherwise.
        valid_until: after it, the list itself is stale; None: it is as good as the policy.
    """

    manifests: tuple[Digest, ...] = ()
    skills: tuple[RevokedSkill, ...] = ()
    signers: tuple[RevokedSigner, ...] = ()
    valid_until: datetime | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Raises FormatError for an unknown key, a malformed entry, or a section that says nothing."""
        only(fields, "manifests", "skills", "signers", "valid_until")
        if not fields.keys():
            raise FormatError(f"{fields.path} says nothing", expected="a list, or valid_until")
        skills = fields.maybe("skills", lambda key: fields.objects(key, least=1)) or ()
        signers = fields.maybe("signers", lambda key: fields.objects(key, least=1)) or ()
        return cls(
            manifests=tuple(map(Digest.parse, fields.listed("manifests"))),
            skills=tuple(map(RevokedSkill.parse, skills)),
            signers=tuple(map(RevokedSigner.parse, signers)),
            valid_until=fields.maybe("valid_until", fields.time),
        )


def prohibition(pattern: str, where: str) -> str:
    """A pattern of names where something is forbidden: what it does not cover is allowed, so it must be plain.

    Raises:
        FormatError: it has wildcards and no `/`, and so covers no skill of an organisation.
    """
    if "*" in pattern and "/" not in pattern:
        raise FormatError(
            f"{where} covers no skill that has an organisation",
            expected="a pattern with /, since * stands for any characters but that",
            found=pattern,
            fix=f"Write */{pattern}" + (", which is every skill of every organisation." if pattern == "*" else "."),
        )
    return pattern


def _version(fields: Fields, key: str) -> SemVer:
    return SemVer.parse(check_text(fields.value(key), fields.at(key), MAX_NAME_CHARS))
