"""An identity provider for tests: its keys, its tokens, and whatever else somebody might sign."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from skillwarrant_verify import OperatorKeys, VerifiedOperator, verify_operator

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
ISSUER = "https://idp.acme.example"
AUDIENCE = "skillwarrant"
CLAIMS = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "spiffe://acme.example/serving",
    "iat": SECONDS,
    "exp": SECONDS + 600,
}


@cache
def private(name: str) -> Any:
    """A key of the issuer, or of `mallory`; the name says which kind."""
    if name.startswith("rsa"):
        return rsa.generate_private_key(65537, 1024 if "weak" in name else 2048)
    if name.startswith("ed"):
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP384R1() if "384" in name else ec.SECP256R1())


def public(name: str, **changes: Any) -> dict[str, Any]:
    """A key as the issuer publishes it; a change to None takes a member away."""
    algorithm = "RS256" if name.startswith("rsa") else "EdDSA" if name.startswith("ed") else "ES256"
    kind = jwt.algorithms.get_default_algorithms()[algorithm]
    members = {**kind.to_jwk(private(name).public_key(), as_dict=True), "kid": name, **changes}
    return {member: value for member, value in members.items() if value is not None}


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys or (public("ec"), public("rsa"), public("ed"), public("ec384")))}).encode()


def mint(key: str = "ec", algorithm: str = "ES256", header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A token of the issuer's; a change to None takes a claim away."""
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return jwt.encode(claims, private(key), algorithm, headers={"kid": key, **(header or {})})


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: bytes, claims: bytes) -> str:
    """Any bytes, signed with the issuer's real key: what a careless or hostile issuer could send."""
    es256 = jwt.algorithms.get_default_algorithms()["ES256"]
    signing = f"{b64(header)}.{b64(claims)}"
    return f"{signing}.{b64(es256.sign(signing.encode(), private('ec')))}"


def check(token: Any, keys: bytes | OperatorKeys | None = None, **changes: Any) -> VerifiedOperator:
    asked = {"issuer": ISSUER, "audience": AUDIENCE, "keys": keys or key_set(), "now": NOW, **changes}
    return verify_operator(token, **asked)
