"""`VerifiedOperator`: who runs a deployment, as an identity provider has signed it. A value; it checks nothing."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from datetime import datetime
from typing import Final

from skillwarrant_format.strict_json import JsonObject
from skillwarrant_verify.identity import Kind, kind_of_name

__all__ = ["VerifiedOperator"]

SEAL: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedOperator:
    """What a verified OpenID Connect token says. Built by `operator_token.verify_operator` only.

    `dataclasses.replace` and a constructor call without this module's seal fail. The token itself is not kept.

    Args:
        subject: `sub`: who, in the issuer's words.
        issuer: `iss`, exactly.
        audience: `aud`: the one whom the token was made for.
        issued_at, expires_at: UTC; after `expires_at` it proves nothing.
        key_id: of the issuer's key that signed.
        claims: all of them, for the host; what the issuer means by each is between the two.
    """

    subject: str
    issuer: str
    audience: str
    issued_at: datetime
    expires_at: datetime
    key_id: str
    claims: JsonObject = field(hash=False, repr=False)
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not SEAL:
            raise TypeError("a VerifiedOperator is made by verify_operator, and by nothing else")

    @property
    def identity(self) -> str:
        """The subject, under the name by which an `IdentityPattern` asks for it."""
        return self.subject

    @property
    def kind(self) -> Kind:
        """What kind of name the subject is, for an `IdentityPattern`."""
        return kind_of_name(self.subject)
