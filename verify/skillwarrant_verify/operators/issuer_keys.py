"""The public keys of an OpenID Connect issuer, as a JSON Web Key Set holds them (RFC 7517). No network, no clock.

A key is found by the token's key id and must be one for the token's algorithm, so that no key is ever used for
another algorithm than it was published for. Symmetric algorithms and `none` do not exist here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Self

from skillwarrant_format.errors import FormatError, OperatorInvalid, TrustError
from skillwarrant_format.fields import Fields
from skillwarrant_format.limits import KIB
from skillwarrant_format.strict_json import loads_object

if TYPE_CHECKING:
    from jwt import PyJWK

__all__ = ["ALGORITHMS", "MAX_KEYS_BYTES", "KeySet"]

ALGORITHMS: Final[Mapping[str, tuple[str, str | None]]] = {
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
}
"""Signature algorithms (RFC 7518, RFC 8037) and the type and curve of key that each needs."""

MAX_KEYS_BYTES: Final = 256 * KIB
_MAX_KEYS: Final = 100
_RSA_BITS: Final = range(2048, 8193)
_PUBLIC: Final = ("kty", "crv", "x", "y", "n", "e")
_SECRET: Final = ("d", "k")


class KeySet:
    """The keys of one document, by key id. Only `parse` makes one."""

    __slots__ = ("_keys", "_what")

    def __init__(self, keys: Mapping[tuple[str, str], Fields], what: str) -> None:
        self._keys = keys
        self._what = what

    @classmethod
    def parse(cls, data: bytes, *, what: str) -> Self:
        """Read a key set. Keys without an id, of other types or for other uses than signatures are passed over.

        Args:
            what: the document's name in messages.

        Raises:
            TrustError: no key set, one that holds a secret, or two keys of one type and id.
        """
        try:
            document = Fields(loads_object(data, what=what, limit=MAX_KEYS_BYTES), what)
            return cls(_named(document.objects("keys", most=_MAX_KEYS)), what)
        except FormatError as error:
            raise TrustError(
                f"the issuer's keys cannot be used: {error.message}",
                expected=error.expected,
                found=error.found,
                fix=error.fix,
            ) from None

    def __contains__(self, key_id: str) -> bool:
        """Whether there is a key of this id, of whatever type."""
        return any(known == key_id for _, known in self._keys)

    def find(self, key_id: str, algorithm: str) -> PyJWK:
        """The key of this id, for this algorithm of `ALGORITHMS`.

        Raises:
            OperatorInvalid: there is none.
            TrustError: it is not usable.
        """
        kind, curve = ALGORITHMS[algorithm]
        key = self._keys.get((kind, key_id))
        if key is None:
            raise OperatorInvalid(
                "the token is signed with a key that the issuer does not publish",
                expected=f"a key of {self._what} for {algorithm}",
                found=key_id,
            )
        try:
            if key.maybe("alg", key.text) not in (None, algorithm) or (curve and key.text("crv") != curve):
                raise OperatorInvalid("the token's algorithm is not its key's", found=f"{algorithm} with {key_id}")
            return _usable(key, algorithm)
        except FormatError as error:
            raise _unusable(key.path, str(error)) from None


def _named(keys: list[Fields]) -> dict[tuple[str, str], Fields]:
    found: dict[tuple[str, str], Fields] = {}
    for key in keys:
        if any(name in key for name in _SECRET):
            raise FormatError(f"{key.path} holds a secret", fix="Its owner must replace it.")
        if "kid" not in key or _use(key) != "sig":
            continue
        name = (key.text("kty"), key.text("kid"))
        if name in found:
            raise FormatError(f"{key.path} has the id of another key", found=name[1])
        found[name] = key
    return found


def _use(key: Fields) -> str:
    """`sig` where the key says nothing else of what it is for."""
    operations = key.maybe("key_ops", key.texts)
    if operations is not None and "verify" not in operations:
        return "other"
    return key.maybe("use", key.text) or "sig"


def _usable(key: Fields, algorithm: str) -> PyJWK:
    """Its public numbers alone, as PyJWT's key."""
    import jwt

    public = {name: key.text(name, limit=4096) for name in _PUBLIC if name in key}
    try:
        found = jwt.PyJWK(public, algorithm)
    except (jwt.PyJWTError, ValueError) as error:
        raise _unusable(key.path, str(error)) from None
    if public["kty"] == "RSA" and found.key.key_size not in _RSA_BITS:
        raise _unusable(key.path, f"an RSA key of {found.key.key_size} bits")
    return found


def _unusable(path: str, found: str) -> TrustError:
    return TrustError("the issuer's key cannot be used", expected="a public key", found=f"{path}: {found}")
