"""RFC 3161 timestamps: when a signature certainly existed. The only module that calls rfc3161-client.

sigstore drops a timestamp that does not verify and goes on with the others; here each one has to verify, so that
every time in a bundle is a proven one. The caller learns which authority it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from cryptography import x509

from skillwarrant_format.errors import SignatureInvalid
from skillwarrant_verify.proof.trusted_root import Authority

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

__all__ = ["proven_time"]


def proven_time(der: bytes, signature: bytes, authorities: Sequence[Authority]) -> tuple[datetime, Authority]:
    """The time in a timestamp, and the authority that vouches for it.

    Args:
        der: an RFC 3161 TimeStampResp.
        signature: what was stamped: the envelope's signature.
        authorities: every timestamp authority of the trusted root.

    Raises:
        SignatureInvalid: it is malformed, over something else, or of no authority that was in use at that time.
    """
    from rfc3161_client import decode_timestamp_response

    try:
        response = decode_timestamp_response(der)
        moment = response.tst_info.gen_time
    except (ValueError, x509.InvalidVersion) as error:
        raise _invalid(str(error)) from None
    reasons = []
    for authority in authorities:
        if not authority.window.covers([moment]):
            reasons.append(f"{moment:%Y-%m-%dT%H:%M:%SZ} is outside {authority.window}")
        elif (reason := _objection(response, signature, authority)) is None:
            return moment, authority
        else:
            reasons.append(reason)
    raise _invalid("; ".join(reasons) or "no timestamp authority in the trust root")


def _objection(response: TimeStampResponse, signature: bytes, authority: Authority) -> str | None:
    """Why this authority did not make the timestamp, or None when it did."""
    from rfc3161_client import VerificationError, VerifierBuilder

    try:
        leaf, *intermediates, root = map(x509.load_der_x509_certificate, authority.chain)
        builder = VerifierBuilder().tsa_certificate(leaf).add_root_certificate(root)
        for certificate in intermediates:
            builder = builder.add_intermediate_certificate(certificate)
        builder.build().verify_message(response, signature)
    except (VerificationError, ValueError, TypeError, x509.InvalidVersion) as error:
        return str(error).partition(": ErrorStack")[0]  # OpenSSL's own dump follows
    return None


def _invalid(reason: str) -> SignatureInvalid:
    return SignatureInvalid(
        "a timestamp in the bundle does not verify",
        expected="one over this signature by a timestamp authority of the trust root",
        found=reason,
        fix="If another Sigstore instance signed it, name that instance's trust root; else do not use it.",
    )
