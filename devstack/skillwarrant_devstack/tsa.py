"""The timestamp authority: RFC 3161 requests in, signed tokens out, both DER (asn1crypto).

It knows nothing of what is being timestamped: it sees a digest.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from werkzeug.wrappers import Request, Response

from skillwarrant_devstack.http import Route

__all__ = ["PATH", "TimestampAuthority"]

PATH: Final = "/api/v1/timestamp"
POLICY: Final = "1.3.6.1.4.1.57264.2"  # Sigstore's timestamping policy
MAX_NONCE_BITS: Final = 160
_DIGEST_SIZES: Final = {"sha256": 32, "sha384": 48, "sha512": 64}
_REPLY: Final = "application/timestamp-reply"


class _RejectedError(Exception):
    """A request that RFC 3161 section 2.4.2 has a failure bit for."""

    def __init__(self, failure: str, message: str) -> None:
        super().__init__(message)
        self.failure = failure


class _Rejection(core.Sequence):  # type: ignore[misc]
    """A TimeStampResp without a token: optional in RFC 3161 section 2.4.2, but not in asn1crypto."""

    _fields: ClassVar = [("status", tsp.PKIStatusInfo)]


class TimestampAuthority:
    """Signs with P-384 and SHA-384, to the second."""

    def __init__(
        self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, clock: Callable[[], datetime]
    ) -> None:
        self._key = key
        self._clock = clock
        self._lock = threading.Lock()  # asn1crypto prepares its classes on first use, and not for threads
        self._certificate = asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))

    def routes(self, prefix: str) -> list[Route]:
        """The endpoint under a path prefix."""
        return [Route("POST", prefix + PATH, self._stamp)]

    def _stamp(self, request: Request) -> Response:
        try:
            with self._lock:
                return Response(self.stamp(request.get_data()), status=201, mimetype=_REPLY)
        except _RejectedError as rejected:
            status = {"status": "rejection", "status_string": [str(rejected)], "fail_info": {rejected.failure}}
            return Response(_Rejection({"status": status}).dump(), status=400, mimetype=_REPLY)

    def stamp(self, query: bytes) -> bytes:
        """A granted TimeStampResp for a TimeStampReq, both DER."""
        asked = _checked(query)
        info = tsp.TSTInfo(self._info(asked))
        signed = {
            "version": "v3",
            "digest_algorithms": [algos.DigestAlgorithm({"algorithm": "sha384"})],
            "encap_content_info": {"content_type": "tst_info", "content": info},
            "signer_infos": [self._signer_info(info.dump())],
        }
        if asked["cert_req"].native:
            signed["certificates"] = [self._certificate]
        token = cms.ContentInfo({"content_type": "signed_data", "content": cms.SignedData(signed)})
        reply = tsp.TimeStampResp({"status": {"status": "granted"}, "time_stamp_token": token})
        return bytes(reply.dump())

    def _info(self, asked: tsp.TimeStampReq) -> dict[str, Any]:
        info = {
            "version": "v1",
            "policy": POLICY,
            "message_imprint": asked["message_imprint"],
            "serial_number": secrets.randbits(127) | 1 << 127,
            "gen_time": self._clock().astimezone(UTC).replace(microsecond=0),
            "accuracy": {"seconds": 1},
        }
        if asked["nonce"].native is not None:
            info["nonce"] = asked["nonce"].native
        return info

    def _signer_info(self, info: bytes) -> dict[str, Any]:
        attributes = cms.CMSAttributes(
            [
                {"type": "content_type", "values": ["tst_info"]},
                {"type": "message_digest", "values": [hashlib.sha384(info).digest()]},
                {"type": "signing_certificate_v2", "values": [self._signing_certificate()]},
            ]
        )
        # RFC 5652 section 5.4: what is signed is the DER of a SET, not of the implicit [0].
        signature = self._key.sign(attributes.dump(), ec.ECDSA(hashes.SHA384()))
        issued = {"issuer": self._certificate.issuer, "serial_number": self._certificate.serial_number}
        return {
            "version": "v1",
            "sid": {"issuer_and_serial_number": issued},
            "digest_algorithm": {"algorithm": "sha384"},
            "signed_attrs": attributes,
            "signature_algorithm": {"algorithm": "sha384_ecdsa"},
            "signature": signature,
        }

    def _signing_certificate(self) -> dict[str, Any]:
        # RFC 5816: the token names the certificate that it must be verified with.
        return {"certs": [{"cert_hash": hashlib.sha256(self._certificate.dump()).digest()}]}


def _checked(query: bytes) -> tsp.TimeStampReq:
    try:  # asn1crypto meets odd but well-formed DER with any of these four errors
        asked = tsp.TimeStampReq.load(query, strict=True)
        asked.native  # noqa: B018 - parses lazily; this reads every field
        version, imprint = asked["version"].native, asked["message_imprint"]
        algorithm, digest = imprint["hash_algorithm"]["algorithm"].native, imprint["hashed_message"].native
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _RejectedError("bad_request", f"not a timestamp request: {error}") from None
    if version != "v1":
        raise _RejectedError("bad_request", f"the version must be 1, not {version}")
    if algorithm not in _DIGEST_SIZES:
        raise _RejectedError("bad_alg", f"the digest must be one of {', '.join(_DIGEST_SIZES)}, not {algorithm}")
    if len(digest) != _DIGEST_SIZES[algorithm]:
        raise _RejectedError("bad_data_format", f"{len(digest)} bytes are no {algorithm} digest")
    _check_options(asked)
    return asked


def _check_options(asked: tsp.TimeStampReq) -> None:
    policy, nonce = asked["req_policy"].native, asked["nonce"].native
    if policy not in {None, POLICY}:
        raise _RejectedError("unaccepted_policy", f"the policy must be {POLICY}, not {policy}")
    if nonce is not None and nonce.bit_length() > MAX_NONCE_BITS:
        raise _RejectedError("bad_request", f"the nonce has more than {MAX_NONCE_BITS} bits")
    if not isinstance(asked["extensions"], core.Void):
        raise _RejectedError("unaccepted_extensions", "no extensions are understood")
