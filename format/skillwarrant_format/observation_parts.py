"""The parts of an observation: what was checked, which skill was seen, which policy and which trust root decided.

Nothing here decides; `observation` is the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self, TypeAlias, cast, get_args

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields, format_time, present
from skillwarrant_format.names import SEMVER, SKILL_NAME
from skillwarrant_format.strict_json import JsonObject, JsonValue

__all__ = [
    "BaseSeen",
    "Check",
    "LogPlace",
    "Outcome",
    "Place",
    "PolicyOrigin",
    "PolicyUsed",
    "SkillSeen",
    "TrustUsed",
]

Outcome: TypeAlias = Literal["proved", "not-proved", "not-checked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One requirement and what became of it.

    Args:
        adapter: the adapter's name, where several are observed and this is about one of them.
        tolerated: it is not proved, and the policy lets that pass with a warning.
    """

    code: str
    outcome: Outcome
    message: str
    adapter: str | None = None
    tolerated: bool = False

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        check = cls(
            code=fields.text("code"),
            outcome=cast("Outcome", fields.choice("outcome", get_args(Outcome))),
            message=fields.text("message", limit=limits.MAX_MESSAGE_CHARS),
            adapter=fields.maybe("adapter", fields.text),
            tolerated=fields.maybe("tolerated", fields.boolean) or False,
        )
        if "tolerated" in fields and not (check.tolerated and check.outcome != "proved"):
            raise FormatError(
                f"{fields.at('tolerated')} says nothing",
                expected="true, of what is not proved",
                found=check.outcome,
            )
        return check

    def to_json(self) -> JsonObject:
        return present(
            code=self.code,
            outcome=self.outcome,
            message=self.message,
            adapter=self.adapter,
            tolerated=self.tolerated or None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlace:
    """Where a manifest's signature stands in its transparency log."""

    origin: str
    log_id: str
    index: int
    integrated_time: datetime | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        return cls(
            origin=fields.text("origin"),
            log_id=Digest(fields.text("logId")).hex,
            index=fields.integer("index"),
            integrated_time=fields.maybe("integratedTime", fields.time),
        )

    def to_json(self) -> JsonObject:
        found: dict[str, JsonValue] = {"origin": self.origin, "logId": self.log_id, "index": self.index}
        if self.integrated_time is not None:
            found["integratedTime"] = format_time(self.integrated_time)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSeen:
    """The base model, as a manifest names it.

    Args:
        name: the publisher's label.
        form: which form of it, where it is not the very one: `cast to float16, rounded`.
    """

    name: str
    form: str | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        return cls(name=fields.text("name"), form=fields.maybe("form", fields.text))

    def to_json(self) -> JsonObject:
        return present(name=self.name, form=self.form)


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillSeen:
    """A verified manifest: which skill, whose signature, where logged.

    Args:
        adapter: the name on the model of the adapter that has the skill, or would have.
        manifest: SHA-256 of the bundle's bytes.
        statement: SHA-256 of the signed statement's bytes: what a policy's revocations name.
        base: the base model that the manifest authorises and that was measured; None where it is neither.
    """

    adapter: str
    name: str
    version: str
    manifest: Digest
    statement: Digest
    identity: str
    issuer: str
    log: LogPlace
    base: BaseSeen | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        signer = fields.object("signer")
        return cls(
            adapter=fields.text("adapter"),
            name=fields.text("name", limit=limits.MAX_SKILL_NAME_CHARS, pattern=SKILL_NAME),
            version=fields.text("version", limit=limits.MAX_VERSION_CHARS, pattern=SEMVER),
            manifest=fields.digest("manifest"),
            statement=fields.digest("statement"),
            identity=signer.text("identity", limit=limits.MAX_URI_CHARS),
            issuer=signer.text("issuer", limit=limits.MAX_URI_CHARS),
            log=LogPlace.parse(fields.object("log")),
            base=fields.maybe("base", lambda key: BaseSeen.parse(fields.object(key))),
        )

    def to_json(self) -> JsonObject:
        return present(
            adapter=self.adapter,
            name=self.name,
            version=self.version,
            manifest={"sha256": self.manifest.hex},
            statement={"sha256": self.statement.hex},
            signer={"identity": self.identity, "issuer": self.issuer},
            log=self.log.to_json(),
            base=None if self.base is None else self.base.to_json(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOrigin:
    """Whose policy it is: of one that was verified as a policy bundle.

    Args:
        bundle: SHA-256 of the bundle's bytes.
        not_after: until when the policy may be used, by its document and its bundle.
    """

    bundle: Digest
    identity: str
    issuer: str
    log: LogPlace
    not_after: datetime

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        signer = fields.object("signer")
        return cls(
            bundle=fields.digest("bundle"),
            identity=signer.text("identity", limit=limits.MAX_URI_CHARS),
            issuer=signer.text("issuer", limit=limits.MAX_URI_CHARS),
            log=LogPlace.parse(fields.object("log")),
            not_after=fields.time("notAfter"),
        )

    def to_json(self) -> JsonObject:
        return {
            "bundle": {"sha256": self.bundle.hex},
            "signer": {"identity": self.identity, "issuer": self.issuer},
            "log": self.log.to_json(),
            "notAfter": format_time(self.not_after),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyUsed:
    """Which policy decided, by the digest of its exact bytes.

    Args:
        origin: who signed it; None where nobody was asked to.
        notice: why it is this one, where another was to take its place.
    """

    name: str
    revision: int
    digest: Digest
    engine: str
    origin: PolicyOrigin | None = None
    notice: str | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        return cls(
            name=fields.text("name"),
            revision=fields.integer("revision"),
            digest=fields.digest("digest"),
            engine=fields.text("engine"),
            origin=fields.maybe("origin", lambda key: PolicyOrigin.parse(fields.object(key))),
            notice=fields.maybe("notice", lambda key: fields.text(key, limit=limits.MAX_MESSAGE_CHARS)),
        )

    def to_json(self) -> JsonObject:
        return present(
            name=self.name,
            revision=self.revision,
            digest={"sha256": self.digest.hex},
            engine=self.engine,
            origin=None if self.origin is None else self.origin.to_json(),
            notice=self.notice,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustUsed:
    """Which trust root verified, where it came from and when it was fetched."""

    source: str
    digest: Digest
    retrieved_at: datetime

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        return cls(
            source=fields.text("source", limit=limits.MAX_URI_CHARS),
            digest=fields.digest("digest"),
            retrieved_at=fields.time("retrievedAt"),
        )

    def to_json(self) -> JsonObject:
        return {
            "source": self.source,
            "digest": {"sha256": self.digest.hex},
            "retrievedAt": format_time(self.retrieved_at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an observation stands in the operator's own log.

    Args:
        seq: 0-based index.
        previous: SHA-256 of the leaf before; 64 zeros for the first.
    """

    seq: int
    previous: Digest

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """From the predicate itself: its fields `seq` and `previous`."""
        return cls(seq=fields.integer("seq"), previous=fields.digest("previous"))

    def to_json(self) -> JsonObject:
        return {"seq": self.seq, "previous": {"sha256": self.previous.hex}}
