"""Signed tokens (JWT, RFC 7519): made and checked with the instance's one OIDC key and its clock.

It knows nothing of who may have which token.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from skillwarrant_devstack.http import RequestRefusedError
from skillwarrant_devstack.keys import log_id
from skillwarrant_format.errors import shown

if TYPE_CHECKING:
    from jwt.types import Options  # newer than our lower bound

__all__ = ["AUDIENCE", "Tokens"]

AUDIENCE: Final = "sigstore"  # what Fulcio wants in `aud`; also the one registered client
ID_LIFETIME: Final = timedelta(minutes=10)
_ALGORITHM: Final = "ES256"
# Audience, issuer and times are checked here: strictly, in our words, and by the instance's clock.
_SIGNATURE_ONLY: Final[Options] = {
    "require": ["aud", "exp", "iat", "iss", "sub"],
    "verify_aud": False,
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}


class Tokens:
    """Mints and checks. `issuer` is in every identity token."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, issuer: str, clock: Callable[[], datetime]) -> None:
        self.issuer = issuer
        self._key = key
        self._key_id = log_id(key).hex()[:16]
        self._clock = clock

    def identity(self, claims: Mapping[str, Any], *, audience: str = AUDIENCE) -> str:
        """An identity token that is valid from now on, for ten minutes."""
        return self.mint(claims, issuer=self.issuer, audience=audience, lifetime=ID_LIFETIME)

    def mint(self, claims: Mapping[str, Any], *, issuer: str, audience: str, lifetime: timedelta) -> str:
        """A token with these claims and the registered ones."""
        now = int(self._clock().timestamp())
        registered = {
            "iss": issuer,
            "aud": audience,
            "iat": now,
            "nbf": now,
            "exp": now + int(lifetime.total_seconds()),
            "jti": secrets.token_hex(16),
        }
        return jwt.encode({**claims, **registered}, self._key, _ALGORITHM, headers={"kid": self._key_id})

    def check(self, token: str, *, issuer: str, audience: str) -> dict[str, Any]:
        """The claims of a token that we signed for this audience and that is valid now.

        Raises:
            RequestRefusedError: 401, saying which of these it is not.
        """
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self._key.public_key(), algorithms=[_ALGORITHM], options=_SIGNATURE_ONLY
            )
        except jwt.PyJWTError as error:
            raise RequestRefusedError(401, f"the token is refused: {error}") from None
        for claim, wanted in (("iss", issuer), ("aud", audience)):
            if claims[claim] != wanted:
                found = shown(repr(claims[claim]))
                raise RequestRefusedError(401, f"the token's {claim!r} must be {wanted!r}, not {found}")
        self._check_times(claims)
        return claims

    def key_set(self) -> dict[str, Any]:
        """The public key as a JWK set (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        point = {"x": _base64url(numbers.x), "y": _base64url(numbers.y)}
        return {
            "keys": [{"kty": "EC", "crv": "P-256", "alg": _ALGORITHM, "use": "sig", "kid": self._key_id, **point}]
        }

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock().timestamp()
        begin, end = claims.get("nbf", claims["iat"]), claims["exp"]
        if not isinstance(begin, int) or not isinstance(end, int):
            raise RequestRefusedError(401, "the token is refused: its times are not numbers")
        if now < begin:
            raise RequestRefusedError(401, f"the token is refused: it begins at {begin}, now is {now:.0f}")
        if now >= end:
            raise RequestRefusedError(401, f"the token is refused: it expired at {end}, now is {now:.0f}")


def _base64url(coordinate: int) -> str:
    return base64.urlsafe_b64encode(coordinate.to_bytes(32, "big")).rstrip(b"=").decode()
