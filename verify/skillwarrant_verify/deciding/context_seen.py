"""What a decision reads of the context: a plain view of what the host says, that can be written down and read back.

The system prompt is its digest; a verified operator is what the token says. That an operator was verified is
decided where a `Context` is built, and not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Self

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields, format_time, present
from skillwarrant_format.names import LABEL
from skillwarrant_format.strict_json import JsonObject, JsonValue
from skillwarrant_format.toml import only
from skillwarrant_verify.context import MAX_SESSION, Context
from skillwarrant_verify.identity import Kind, kind_of_name
from skillwarrant_verify.operators.verified_operator import VerifiedOperator

__all__ = ["ContextSeen", "OperatorSeen"]

_CREDENTIAL: Final = ("issuer", "audience", "issuedAt", "expiresAt", "keyId", "claims")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSeen:
    """Who runs the deployment.

    Args:
        name: the subject of a verified token, or the name that is claimed; empty where it is withheld.
        verified: whether a token was verified; the fields below are empty where none was.
    """

    name: str
    verified: bool = False
    issuer: str = ""
    audience: str = ""
    issued_at: datetime | None = None
    expires_at: datetime | None = None
    key_id: str = ""
    claims: JsonObject = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, operator: str | VerifiedOperator) -> Self:
        """As a `Context` has it."""
        if isinstance(operator, str):
            return cls(name=operator)
        return cls(
            name=operator.subject,
            verified=True,
            issuer=operator.issuer,
            audience=operator.audience,
            issued_at=operator.issued_at,
            expires_at=operator.expires_at,
            key_id=operator.key_id,
            claims=operator.claims,
        )

    @property
    def identity(self) -> str:
        """The name, as an `IdentityPattern` asks for it."""
        return self.name

    @property
    def kind(self) -> Kind:
        """What kind of name it is, for an `IdentityPattern`."""
        return kind_of_name(self.name)

    @classmethod
    def parse(cls, fields: Fields, *, redacted: bool) -> Self:
        """From the `operator` of an input document's context.

        Raises:
            FormatError: a field that is missing, mistyped, malformed or unknown.
        """
        verified = fields.boolean("verified")
        withheld = redacted and "name" not in fields
        name = "" if withheld else fields.text("name")
        if not verified:
            only(fields, "verified", "name")
            return cls(name=name)
        only(fields, "verified", "name", *_CREDENTIAL)
        claims = {} if withheld else fields.value("claims")
        return cls(
            name=name,
            verified=True,
            issuer=fields.text("issuer", limit=limits.MAX_URI_CHARS),
            audience=fields.text("audience", limit=limits.MAX_URI_CHARS),
            issued_at=fields.time("issuedAt"),
            expires_at=fields.time("expiresAt"),
            key_id=fields.text("keyId"),
            claims=_object(claims, fields.at("claims")),
        )

    def to_json(self) -> JsonObject:
        name = {"name": self.name} if self.name else {}
        if not self.verified:
            return {"verified": False, **name}
        claims: JsonObject = {"claims": self.claims} if self.name else {}
        return {
            "verified": True,
            **name,
            "issuer": self.issuer,
            "audience": self.audience,
            **present(
                issuedAt=None if self.issued_at is None else format_time(self.issued_at),
                expiresAt=None if self.expires_at is None else format_time(self.expires_at),
            ),
            "keyId": self.key_id,
            **claims,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSeen:
    """Where an adapter is to be used. Fields are as in `Context`.

    Args:
        system_prompt: SHA-256 of its UTF-8 bytes.
        redacted: what names somebody was taken out: an operator's name and claims, the session's values.
    """

    environment: str
    region: str | None = None
    policy_class: str | None = None
    operator: OperatorSeen | None = None
    system_prompt: Digest | None = None
    session: Mapping[str, str] = field(default_factory=dict, hash=False)
    redacted: bool = False

    @classmethod
    def of(cls, context: Context) -> Self:
        """The host's own."""
        return cls(
            environment=context.environment,
            region=context.region,
            policy_class=context.policy_class,
            operator=None if context.operator is None else OperatorSeen.of(context.operator),
            system_prompt=context.prompt_digest,
            session=context.session,
        )

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """From the `context` of an input document.

        Raises:
            FormatError: a field that is missing, mistyped, malformed or unknown.
        """
        only(fields, "environment", "region", "policyClass", "operator", "systemPrompt", "session", "redacted")
        redacted = fields.maybe("redacted", fields.boolean) or False
        session = fields.maybe("session", fields.object)
        return cls(
            environment=fields.text("environment", limit=64, pattern=LABEL),
            region=fields.maybe("region", lambda key: fields.text(key, limit=64, pattern=LABEL)),
            policy_class=fields.maybe("policyClass", lambda key: fields.text(key, limit=64, pattern=LABEL)),
            operator=fields.maybe(
                "operator", lambda key: OperatorSeen.parse(fields.object(key), redacted=redacted)
            ),
            system_prompt=fields.maybe("systemPrompt", fields.digest),
            session={} if session is None else _session(session),
            redacted=redacted,
        )

    def to_json(self) -> JsonObject:
        return present(
            environment=self.environment,
            region=self.region,
            policyClass=self.policy_class,
            operator=None if self.operator is None else self.operator.to_json(),
            systemPrompt=None if self.system_prompt is None else {"sha256": self.system_prompt.hex},
            session=dict(self.session),
            redacted=self.redacted or None,
        )


def _session(fields: Fields) -> dict[str, str]:
    names = fields.keys()
    if len(names) > MAX_SESSION:
        raise FormatError(f"{fields.path} has too many attributes", expected=f"at most {MAX_SESSION}")
    for name in names:
        if len(name) > 64 or not LABEL.fullmatch(name):
            raise FormatError(f"{fields.path} has an attribute with a malformed name", found=name)
    return {name: fields.text(name) for name in names}


def _object(value: JsonValue, path: str) -> JsonObject:
    Fields(value, path)  # raises for another type
    return value  # type: ignore[return-value]  # an object: Fields has just checked
