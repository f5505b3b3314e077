"""From an OpenID Connect token to a `VerifiedOperator`: who runs this deployment, as an identity provider signed.

The steps, in the order they are taken:

    (1) the token is small, three parts of base64url, and its header and claims are strict JSON (no key twice)
    (2) its header asks for nothing: an asymmetric algorithm, a key id, and no key, URL or extension of its own
    (3) the issuer's key of that id, for that algorithm
    (4) PyJWT: the signature, the issuer, the audience, and that no required claim is missing
    (5) its times, by the host's clock, and how long it is good for

RFC 7519 (tokens), RFC 8725 (best current practice), OpenID Connect Core 1.0 section 3.1.3.7. The clock is an input.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from skillwarrant_format.errors import FormatError, OperatorInvalid, Unavailable, UsageError
from skillwarrant_format.fields import Fields, format_time
from skillwarrant_format.limits import KIB, MAX_NAME_CHARS, MAX_URI_CHARS
from skillwarrant_format.strict_json import JsonObject, loads_object
from skillwarrant_verify.arguments import check_kind, check_span
from skillwarrant_verify.operators.issuer_keys import ALGORITHMS, KeySet
from skillwarrant_verify.operators.operator_keys import OperatorKeys
from skillwarrant_verify.operators.verified_operator import SEAL, VerifiedOperator

if TYPE_CHECKING:
    from jwt import PyJWK
    from jwt.types import Options

__all__ = ["OperatorKeys", "VerifiedOperator", "verify_operator"]

MAX_TOKEN_BYTES: Final = 16 * KIB
_PARTS: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TYPES: Final = ("jwt", "at+jwt")  # no logout token, security event or proof of possession is a credential
_ASKING: Final = ("b64", "crit", "enc", "jku", "jwk", "x5c", "x5u", "zip")
_REQUIRED: Final = ("aud", "exp", "iat", "iss", "sub")
_LAST: Final = 253402300799  # 9999-12-31T23:59:59Z


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What the caller asks of a token."""

    issuer: str
    audience: str
    now: datetime
    leeway: timedelta
    max_lifetime: timedelta

    def __post_init__(self) -> None:
        for name, text in (("issuer", self.issuer), ("audience", self.audience)):
            if not isinstance(text, str) or not text:
                raise UsageError(f"{name} is missing", expected="a non-empty string", found=repr(text))
        if not isinstance(self.now, datetime) or self.now.tzinfo is None:
            raise UsageError("now is no time with its zone", expected="datetime.now(UTC)", found=repr(self.now))
        check_span("leeway", self.leeway)
        check_span("max_lifetime", self.max_lifetime)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A token, read and not believed."""

    algorithm: str
    key_id: str
    claims: Fields
    raw: JsonObject


def verify_operator(
    token: str,
    *,
    issuer: str,
    audience: str,
    keys: bytes | OperatorKeys,
    now: datetime,
    leeway: timedelta = timedelta(minutes=1),
    max_lifetime: timedelta = timedelta(hours=24),
) -> VerifiedOperator:
    """Verify an operator's token.

    Args:
        token: JWS compact form, at most 16 KiB.
        issuer: whose token it must be, exactly.
        audience: the one it must be made for. One for several could be replayed by each of them, and is refused.
        keys: the issuer's key set (JWKS) as bytes, or where to ask for it.
        now: the host's time, with its zone.
        leeway: how far the issuer's clock may be ahead, for `iat` and `nbf`. Nothing is added to `exp`.
        max_lifetime: longest time between `iat` and `exp`.

    Raises:
        OperatorInvalid: it proves nothing.
        TrustError: the issuer's keys cannot be used.
        Unavailable: the issuer cannot be asked for its keys.
        UsageError: an argument of another type, or keys of another issuer.
    """
    check_kind("keys", keys, (bytes, OperatorKeys), "bytes or OperatorKeys")
    wanted = _Wanted(issuer=issuer, audience=audience, now=now, leeway=leeway, max_lifetime=max_lifetime)
    try:
        read = _read(token)
        key = _known(keys, issuer, read.key_id).find(read.key_id, read.algorithm)
        _check_signed(token, key, read.algorithm, wanted)
        return _operator(read, wanted)
    except FormatError as error:
        raise OperatorInvalid(error.message, expected=error.expected, found=error.found) from None


def _known(keys: bytes | OperatorKeys, issuer: str, key_id: str) -> KeySet:
    if isinstance(keys, bytes):
        return KeySet.parse(keys, what="the key set")
    if keys.issuer != issuer:
        raise UsageError("the keys are another issuer's", expected=issuer, found=keys.issuer)
    return keys.current(key_id)


def _read(token: str) -> _Read:
    """Steps (1) and (2)."""
    if not isinstance(token, str) or len(token) > MAX_TOKEN_BYTES:
        found = f"{len(token)} characters" if isinstance(token, str) else type(token).__name__
        raise OperatorInvalid("that is no token", expected=f"text of at most {MAX_TOKEN_BYTES} bytes", found=found)
    if not _PARTS.fullmatch(token):
        raise OperatorInvalid("that is no signed token", expected="three parts of base64url, with dots between")
    head, body, _ = token.split(".")
    header = Fields(_json(head, "the token's header"), "the token's header")
    for name in _ASKING:
        if name in header:
            raise OperatorInvalid("the token's header asks for something", expected="alg, kid and typ", found=name)
    if (header.maybe("typ", header.text) or "JWT").lower().removeprefix("application/") not in _TYPES:
        raise OperatorInvalid("the token is of another type", expected="JWT", found=header.text("typ"))
    raw = _json(body, "the token")
    return _Read(
        algorithm=header.choice("alg", tuple(ALGORITHMS)),
        key_id=header.text("kid"),
        claims=Fields(raw, "the token"),
        raw=raw,
    )


def _json(part: str, what: str) -> JsonObject:
    try:
        data = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError as error:
        raise OperatorInvalid(f"{what} is no base64url", found=str(error)) from None
    return loads_object(data, what=what, limit=MAX_TOKEN_BYTES)


def _check_signed(token: str, key: PyJWK, algorithm: str, wanted: _Wanted) -> None:
    """Step (4). Times are ours: PyJWT's clock is the machine's, and takes no other."""
    import jwt
    from cryptography.exceptions import UnsupportedAlgorithm

    options: Options = {
        "require": list(_REQUIRED),
        "verify_exp": False,
        "verify_iat": False,
        "verify_nbf": False,
    }
    try:
        jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=wanted.issuer,
            audience=wanted.audience,
            options=options,
        )
    except jwt.PyJWTError as error:
        raise OperatorInvalid("the token does not verify", found=str(error) or type(error).__name__) from None
    except UnsupportedAlgorithm as error:
        raise Unavailable(f"this machine cannot verify {algorithm}", found=str(error)) from None


def _operator(read: _Read, wanted: _Wanted) -> VerifiedOperator:
    """From the claims as our own parser read them."""
    audience = read.claims.value("aud")
    if audience not in (wanted.audience, [wanted.audience]):
        expected = f"{wanted.audience} alone"
        raise OperatorInvalid("the token is for others too", expected=expected, found=repr(audience))
    begins, expires = _window(read.claims, wanted)
    return VerifiedOperator(
        subject=read.claims.text("sub", limit=MAX_NAME_CHARS),
        issuer=read.claims.text("iss", limit=MAX_URI_CHARS),
        audience=wanted.audience,
        issued_at=begins,
        expires_at=expires,
        key_id=read.key_id,
        claims=read.raw,
        seal=SEAL,
    )


def _window(claims: Fields, wanted: _Wanted) -> tuple[datetime, datetime]:
    """Step (5): when it was issued and when it expires."""
    begins, expires, now = _time(claims, "iat"), _time(claims, "exp"), wanted.now
    starts = max(begins, _time(claims, "nbf")) if "nbf" in claims else begins
    if starts > now + wanted.leeway:
        found = f"from {format_time(starts)} on, now is {format_time(now)}"
        raise OperatorInvalid("the token is not valid yet", found=found, fix="Check this machine's clock.")
    if now >= expires:
        found = f"until {format_time(expires)}, now is {format_time(now)}"
        raise OperatorInvalid("the token has expired", found=found, fix="Get a fresh one.")
    if expires - begins > wanted.max_lifetime:
        expected, found = f"at most {wanted.max_lifetime}", f"{expires - begins}"
        raise OperatorInvalid("the token is good for too long", expected=expected, found=found)
    return begins, expires


def _time(claims: Fields, name: str) -> datetime:
    """A NumericDate (RFC 7519 section 2), in whole seconds."""
    seconds = claims.number(name)
    if not 0 <= seconds <= _LAST:
        raise OperatorInvalid(f"the token's {name} is no time", found=str(seconds))
    return datetime.fromtimestamp(int(seconds), UTC)
