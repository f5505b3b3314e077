"""The certificate authority: Fulcio's v2 API, for certificate signing requests.

`POST /api/v2/signingCert` with a bearer token and a PKCS #10 request: who you are comes from the token, that
you hold the key from the request's own signature. It knows nothing of logs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from werkzeug.wrappers import Request, Response

from skillwarrant_devstack.certificate import identity_of
from skillwarrant_devstack.ct import sign_with_timestamp
from skillwarrant_devstack.http import RequestRefusedError, Route, body_fields, json_reply
from skillwarrant_devstack.keys import Instance, key_usage
from skillwarrant_devstack.tokens import AUDIENCE, Tokens
from skillwarrant_format.dsse import decode_base64

__all__ = ["Fulcio"]

CERTIFICATE_LIFETIME: Final = timedelta(minutes=10)
MIN_RSA_BITS: Final = 2048
MAX_REQUEST_CHARS: Final = 64 * 1024
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

SubjectKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


class Fulcio:
    """Issues ten-minute certificates, each with a signed certificate timestamp."""

    def __init__(self, instance: Instance, tokens: Tokens, clock: Callable[[], datetime]) -> None:
        self._instance = instance
        self._tokens = tokens
        self._clock = clock
        self._chain = [
            certificate.public_bytes(Encoding.PEM).decode()
            for certificate in (instance.fulcio_ca, instance.fulcio_root)
        ]

    def routes(self) -> list[Route]:
        """The endpoints; at the root, since clients drop a path prefix."""
        return [
            Route("POST", "/api/v2/signingCert", self._issue),
            Route("GET", "/api/v2/trustBundle", self._trust_bundle),
        ]

    def _trust_bundle(self, _request: Request) -> Response:
        return json_reply({"chains": [{"certificates": self._chain}]})

    def _issue(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise RequestRefusedError(401, "the identity token is missing")
        claims = self._tokens.check(token, issuer=self._tokens.issuer, audience=AUDIENCE)
        encoded = body_fields(request).text("certificateSigningRequest", limit=MAX_REQUEST_CHARS)
        key = _proven_key(decode_base64(encoded, "certificateSigningRequest"))
        name, extensions = identity_of(claims)
        certificate = self._certify(key, name, extensions).public_bytes(Encoding.PEM).decode()
        reply = {"signedCertificateEmbeddedSct": {"chain": {"certificates": [certificate, *self._chain]}}}
        return json_reply(reply, 201)

    def _certify(
        self, key: SubjectKey, name: x509.GeneralName, extensions: list[x509.UnrecognizedExtension]
    ) -> x509.Certificate:
        now = self._clock()
        authority = self._instance.fulcio_key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._instance.fulcio_ca.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + CERTIFICATE_LIFETIME)
            .add_extension(key_usage(sign=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False)
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return sign_with_timestamp(builder, self._instance.fulcio_key, self._instance.ct_key, now)


def _proven_key(pem: bytes) -> SubjectKey:
    """The key whose possession the request proves.

    Raises:
        RequestRefusedError: 400, for a bad request, a bad signature or a weak or unknown key.
    """
    try:
        csr = x509.load_pem_x509_csr(pem)
        proven, key = csr.is_signature_valid, csr.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise RequestRefusedError(400, f"the certificate signing request cannot be read: {error}") from None
    if not proven:
        raise RequestRefusedError(400, "the certificate signing request is not signed by its own key")
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return key
    raise RequestRefusedError(400, "the key must be ECDSA P-256, P-384 or P-521, Ed25519, or RSA from 2048 bits")
