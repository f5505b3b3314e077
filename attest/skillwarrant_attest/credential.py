"""Who signs: an OIDC identity token, read and checked before any service is asked for anything.

The checks here save a round trip and give a better message; the proof is Fulcio's. Where a token comes from (CI, a
browser) is in `login`. It knows nothing of what is signed.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError, Unavailable, UsageError
from skillwarrant_format.fields import Fields, format_time
from skillwarrant_format.strict_json import JsonObject, loads_object

__all__ = ["AUDIENCE", "Credential"]

AUDIENCE: Final = "sigstore"
_MAX_TOKEN: Final = 64 * limits.KIB
_LEEWAY: Final = 5  # seconds that a token's clock may be ahead of ours, as sigstore-python has it
_GITHUB: Final = "https://github.com"
_FIX: Final = f"Get a new one, for the audience {AUDIENCE!r}, and sign right away: most live ten minutes."


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """An identity token that is good now.

    Args:
        token: the secret itself; it is in no message and no repr.
        identity: the name the certificate will most likely carry: shown before signing, proven only after.
        issuer: the issuer the certificate will carry.
        expires: when the token ends, UTC.
        source: where the token came from, for people.
    """

    token: str = field(repr=False)
    identity: str
    issuer: str
    expires: datetime
    source: str

    @classmethod
    def from_token(cls, token: str, *, source: str = "a token", now: datetime | None = None) -> Self:
        """Read a token (a JWT, RFC 7519).

        Raises:
            UsageError: it is malformed, expired, not valid yet, or for another audience than Sigstore.
        """
        token = token.strip()
        try:
            claims = Fields(_payload(token), "the identity token")
            _check_audience(claims)
            credential = cls(
                token=token,
                identity=_identity(claims),
                issuer=_issuer(claims),
                expires=_time(claims, "exp"),
                source=source,
            )
            moment = now or datetime.now(UTC)
            credential.check(moment)
            _check_begin(claims, moment)
        except FormatError as error:
            raise UsageError(
                f"{source} is no identity token that can sign: {error.message}",
                expected=error.expected,
                found=error.found,
                fix=_FIX,
            ) from None
        return credential

    @classmethod
    def from_file(cls, path: Path, *, now: datetime | None = None) -> Self:
        """Read a file that holds one token and nothing else.

        Raises:
            UsageError: there is no such file, or as `from_token`.
            Unavailable: it cannot be read.
        """
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_TOKEN + 1)
        except FileNotFoundError:
            raise UsageError("there is no such token file", found=str(path)) from None
        except OSError as error:
            raise Unavailable(f"cannot read the token file {path}", found=error.strerror) from None
        return cls.from_token(data.decode("ascii", "replace"), source=str(path), now=now)

    def check(self, now: datetime) -> None:
        """Raises UsageError when the token has expired."""
        if now >= self.expires:
            raise UsageError(
                f"the identity token ({self.source}) has expired",
                expected=f"one that is good at {format_time(now)}",
                found=f"one that ended at {format_time(self.expires)}",
                fix=_FIX,
            )


def _payload(token: str) -> JsonObject:
    parts = token.split(".")
    if len(token) > _MAX_TOKEN or len(parts) != 3:
        raise FormatError("it is not a signed JWT", expected="three parts with dots between", found=str(len(parts)))
    try:
        payload = base64.b64decode(parts[1] + "=" * (-len(parts[1]) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise FormatError("it is not a signed JWT", expected="base64url") from None
    claims = loads_object(payload, what="its payload", limit=_MAX_TOKEN)
    return {key: value for key, value in claims.items() if value is not None}


def _check_audience(claims: Fields) -> None:
    found = claims.value("aud")
    audiences = found if isinstance(found, list) else [found]
    if AUDIENCE not in audiences:
        raise FormatError("it is for another audience", expected=AUDIENCE, found=", ".join(map(str, audiences)))


def _time(claims: Fields, key: str) -> datetime:
    try:
        return datetime.fromtimestamp(claims.number(key), tz=UTC)
    except (OverflowError, OSError, ValueError):
        raise FormatError(f"{claims.at(key)} is no time") from None


def _check_begin(claims: Fields, now: datetime) -> None:
    issued, begin = claims.number("iat"), claims.maybe("nbf", claims.number) or 0
    if now.timestamp() < max(issued - _LEEWAY, begin):
        raise FormatError(
            "it is not valid yet",
            expected=f"a clock past {max(issued, begin):.0f}",
            found=f"this machine's clock at {now.timestamp():.0f}",
        )


def _identity(claims: Fields) -> str:
    """What Fulcio puts into the certificate: a workflow's URL, an e-mail address, else the subject."""
    subject = claims.text("sub", limit=limits.MAX_TEXT_CHARS)
    if "job_workflow_ref" in claims:
        return f"{_GITHUB}/{claims.text('job_workflow_ref', limit=limits.MAX_TEXT_CHARS)}"
    return claims.text("email") if "email" in claims else subject


def _issuer(claims: Fields) -> str:
    """Sigstore's own login stands in front of other providers, and the certificate names those."""
    federated = claims.maybe("federated_claims", claims.object)
    behind = federated.maybe("connector_id", federated.text) if federated is not None else None
    return behind or claims.text("iss")
