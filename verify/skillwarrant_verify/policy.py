"""The policy document: what a consumer demands, as TOML. Reading it only; deciding is in `decide`.

A policy comes from a path or bytes that the host names, never from inside an adapter. Everything that grants
trust is required and non-empty: a policy that demands nothing cannot be built. Format: docs/reference/policy.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Self, cast

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, PolicyError, Unavailable
from skillwarrant_format.fields import Fields
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.names import LABEL
from skillwarrant_format.observation import PolicyUsed
from skillwarrant_format.toml import only, parse_toml
from skillwarrant_verify.identity import IdentityPattern

__all__ = ["API_VERSION", "AllowedBase", "Measure", "Policy", "PublisherRule"]

API_VERSION: Final = "skillwarrant.dev/policy/v1"
ENGINE: Final = "native/v1"
Measure = Literal["every-load", "once"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherRule:
    """One trusted publisher: whose certificate, and which skills and base models it may vouch for.

    Args:
        signer: exact issuer, and exact or anchored-glob identity.
        skills: patterns of skill names; `*` stands for any characters but `/`.
        base_models: patterns of the base model names the publisher may name; empty: any.
    """

    signer: IdentityPattern
    skills: tuple[str, ...]
    base_models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.skills, tuple) or not self.skills or not isinstance(self.base_models, tuple):
            raise PolicyError("publishers.skills names no skill", expected="a tuple with at least one pattern")

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        only(fields, "issuer", "identity", "skills", "base_models")
        signer = IdentityPattern(issuer=fields.text("issuer"), identity=fields.text("identity", limit=2048))
        return cls(
            signer=signer,
            skills=fields.texts("skills", least=1),
            base_models=fields.maybe("base_models", lambda key: fields.texts(key, least=1)) or (),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedBase:
    """A base model this deployment may run, by fingerprint; the name is for messages."""

    name: str
    fingerprint: Fingerprint

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        only(fields, "name", "fingerprint")
        return cls(name=fields.text("name"), fingerprint=Fingerprint.from_text(fields.text("fingerprint")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A parsed policy, with the digest of its exact bytes.

    Args:
        environments: where this policy governs; the context's environment must be one of them.
        policy_classes: the manifest's `policyClass` must be one of them.
        publishers: at least one.
        bases: when not empty, the measured base must be one of them, whatever the manifest says.
        max_age_days: oldest manifest accepted, counted from the time its signature was made.
        not_before, not_after: when the policy itself is in force.
        allow_hazards: codes of adapter configuration that this deployment accepts.
        measure: `every-load` hashes the base before and after each load; `once` hashes it once per live model and
            afterwards checks that its tensors are the same objects at the same version.
    """

    name: str
    revision: int
    digest: Digest
    environments: tuple[str, ...]
    policy_classes: tuple[str, ...]
    publishers: tuple[PublisherRule, ...]
    bases: tuple[AllowedBase, ...] = ()
    max_age_days: int | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    allow_hazards: tuple[str, ...] = ()
    measure: Measure = "every-load"

    def __post_init__(self) -> None:
        """One that demands nothing cannot be built, by hand either."""
        for key in ("environments", "policy_classes", "publishers"):
            if not isinstance(found := getattr(self, key), tuple) or not found:
                raise PolicyError(f"policy.{key} demands nothing", expected="a tuple with at least one item")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a policy file.

        Raises:
            PolicyError: not a usable policy; nothing may be decided with it.
            Unavailable: the file cannot be read.
        """
        try:
            with path.open("rb") as file:
                data = file.read(limits.MAX_POLICY_BYTES + 1)
        except OSError as error:
            raise Unavailable(
                f"cannot read the policy {path}", found=error.strerror, fix="Name a readable policy file."
            ) from None
        return cls.parse(data, name=str(path))

    @classmethod
    def parse(cls, data: bytes, *, name: str = "policy") -> Self:
        """Read a policy document.

        Raises:
            PolicyError: an unknown key or API version, anything missing, mistyped, empty or contradictory.
        """
        try:
            return cls._read(Fields(parse_toml(data, what=name), "policy"), Digest.of(data))
        except FormatError as error:
            raise PolicyError(
                f"{name}: {error.message}", expected=error.expected, found=error.found, fix=error.fix
            ) from None

    @classmethod
    def _read(cls, fields: Fields, digest: Digest) -> Self:
        if (version := fields.text("api_version")) != API_VERSION:
            raise FormatError("policy.api_version is unknown", expected=API_VERSION, found=version)
        only(fields, *_KEYS)
        policy = cls(
            name=fields.text("name", limit=128),
            revision=fields.integer("revision", least=1),
            digest=digest,
            environments=fields.texts("environments", least=1, pattern=LABEL),
            policy_classes=fields.texts("policy_classes", least=1, pattern=LABEL),
            publishers=tuple(PublisherRule.parse(item) for item in fields.objects("publishers", least=1)),
            bases=tuple(
                AllowedBase.parse(item)
                for item in fields.maybe("bases", lambda key: fields.objects(key, least=1)) or ()
            ),
            max_age_days=fields.maybe("max_age_days", lambda key: fields.integer(key, least=1)),
            not_before=fields.maybe("not_before", fields.time),
            not_after=fields.maybe("not_after", fields.time),
            allow_hazards=fields.maybe("allow_hazards", fields.texts) or (),
            measure=_measure(fields),
        )
        if policy.not_before and policy.not_after and policy.not_before >= policy.not_after:
            raise FormatError("policy.not_before is not before policy.not_after")
        return policy

    def used(self) -> PolicyUsed:
        """What an observation says of this policy."""
        return PolicyUsed(name=self.name, revision=self.revision, digest=self.digest, engine=ENGINE)


_KEYS: Final = (
    "api_version",
    "name",
    "revision",
    "description",
    "environments",
    "policy_classes",
    "publishers",
    "bases",
    "max_age_days",
    "not_before",
    "not_after",
    "allow_hazards",
    "measure",
)


def _measure(fields: Fields) -> Measure:
    found = fields.maybe("measure", fields.text) or "every-load"
    if found not in ("every-load", "once"):
        raise FormatError("policy.measure is unknown", expected="every-load or once", found=found)
    return cast("Measure", found)
