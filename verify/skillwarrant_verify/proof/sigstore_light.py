"""The only module that calls sigstore-python, and where its exceptions end.

Given a bundle and a trusted root it answers as sigstore's `Verifier.verify_dsse` answers: signature, certificate
chain, SCT, inclusion proof, checkpoint, signed entry timestamp, and that the log entry is of this very signature.
It knows nothing of statements, and nothing here chooses whom to trust.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

from skillwarrant_format.errors import (
    FormatError,
    NotLogged,
    SignatureInvalid,
    SkillwarrantError,
    TrustError,
    Unavailable,
    VerificationError,
)

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.verify import Verifier

__all__ = ["CertificateCheck", "Signed", "verify_envelope"]

_CONFIG: Final = {
    "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
    "signingConfig": {"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"},
}


class CertificateCheck(Protocol):
    """What sigstore calls a policy: told of the signing certificate, it raises or it does not."""

    def verify(self, cert: Certificate) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What the envelope's signature covers."""

    payload_type: str
    payload: bytes


def verify_envelope(bundle: bytes, root: bytes, check: CertificateCheck) -> Signed:
    """Verify a DSSE bundle.

    Args:
        bundle: the bundle's JSON.
        root: a trusted root's JSON.
        check: what else the certificate must satisfy.

    Raises:
        FormatError: sigstore cannot read the bundle.
        SignatureInvalid, NotLogged: it does not verify.
        TrustError: sigstore cannot use the root.
        Unavailable: sigstore failed in a way that is no answer.
    """
    from cryptography.x509 import ExtensionNotFound
    from sigstore import errors, models

    verifier = _verifier(root)
    try:
        payload_type, payload = verifier.verify_dsse(models.Bundle.from_json(bundle), check)
    except SkillwarrantError:
        raise
    except (errors.VerificationError, ExtensionNotFound) as error:  # the latter: a certificate for no use at all
        raise _no(error) from None
    except (errors.Error, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise FormatError("the bundle cannot be verified as it is malformed", found=_line(error)) from None
    except Exception as error:
        raise Unavailable(
            "the Sigstore library failed unexpectedly", found=f"{type(error).__name__}: {_line(error)}"
        ) from error
    return Signed(payload_type=payload_type, payload=payload)


@lru_cache(maxsize=32)
def _verifier(root: bytes) -> Verifier:
    """By the root's bytes: narrowed roots are few. A verifier keeps no state between calls."""
    from sigstore import errors, models
    from sigstore.verify import Verifier

    try:
        config = models.ClientTrustConfig.from_json(json.dumps({**_CONFIG, "trustedRoot": json.loads(root)}))
        return Verifier(trusted_root=config.trusted_root)
    except (errors.Error, ValueError, TypeError) as error:
        raise TrustError(
            "Sigstore cannot use the trust root",
            found=_line(error),
            fix="Name a trusted_root.json of the Sigstore instance that signed.",
        ) from None


def _no(error: Exception) -> VerificationError:
    """sigstore has one class for every no; what it says tells the log's part from the rest."""
    reason = _line(error)
    if "log entry" in reason:
        return NotLogged("the transparency log does not vouch for this signature", found=reason)
    return SignatureInvalid("the signature does not verify", found=reason)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
