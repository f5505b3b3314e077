"""Keyless signing: a statement in, a Sigstore bundle out, and nothing that we would refuse ourselves.

    the token is good -> the timestamp authority answers -> Fulcio certifies -> a timestamp -> Rekor logs -> verify

What can fail without leaving a trace in the log is done first. It reads no adapter and writes no file.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from skillwarrant_attest.credential import Credential
from skillwarrant_attest.foreign import words
from skillwarrant_attest.instance import Instance
from skillwarrant_attest.timing import Deadline, Timeouts
from skillwarrant_format.bundle import RawBundle
from skillwarrant_format.errors import SkillwarrantError, TrustError, Unavailable, UsageError
from skillwarrant_format.statement import PAYLOAD_TYPE, Statement

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.models import Bundle, TrustedRoot
    from sigstore.sign import SigningContext

__all__ = ["sign"]

_NONCE: Final = 32  # bytes


def sign(
    statement: Statement,
    *,
    credential: Credential,
    trust_config: Path | None = None,
    timeouts: Timeouts | None = None,
) -> bytes:
    """Sign a statement keylessly and log it.

    Args:
        credential: who signs.
        trust_config: a Sigstore client trust config, which also says whether Rekor v1 or v2 takes the entry; by
            default the public instance's, through TUF.
        timeouts: how long it may take; the defaults of `Timeouts` otherwise.

    Returns:
        The bundle's JSON, verified against the same trust root.

    Raises:
        UsageError: the token cannot sign any more.
        SigningRefused: a service said no: which one, and what it said.
        Unavailable: a service gave no answer that can be used: which one, and what happened.
        TrustError: the trust config cannot be used, or what the services gave does not verify against it.
    """
    deadline = Deadline(timeouts or Timeouts())
    credential.check(datetime.now(UTC))
    instance = Instance.load(trust_config, deadline)
    context = instance.context()
    try:
        _check_timestamps(instance)
        bundle = _sign(context, statement, credential)
    except SkillwarrantError:
        raise
    except Exception as error:  # sigstore leaks whatever a malformed answer makes it stumble over
        raise _foreign(error, deadline, instance) from error
    return _checked(bundle, statement, instance)


def _check_timestamps(instance: Instance) -> None:
    """Before anything is certified or logged: each timestamp authority answers, and is one that we believe.

    sigstore-python would go on without a timestamp, which with Rekor v2 makes an entry that nobody can verify.
    """
    for authority in instance.timestamp_authorities():
        nonce = secrets.token_bytes(_NONCE)
        response = authority.request_timestamp(nonce)
        if not _is_believed(response, nonce, instance.trusted_root):
            raise TrustError(
                f"the timestamp authority ({authority.url}) is not one that {instance.name} trusts",
                expected="a timestamp that verifies against its trusted root",
                fix="The signing config and the trusted root must be of one instance.",
            )


def _is_believed(response: Any, message: bytes, root: TrustedRoot) -> bool:
    from rfc3161_client import VerificationError, VerifierBuilder

    for authority in root.get_timestamp_authorities():
        chain = authority.certificates(allow_expired=False)
        if len(chain) < 2:
            continue
        builder = VerifierBuilder().tsa_certificate(chain[0]).add_root_certificate(chain[-1])
        for certificate in chain[1:-1]:
            builder = builder.add_intermediate_certificate(certificate)
        try:
            builder.build().verify_message(response, message)
        except VerificationError:
            continue
        return True
    return False


def _sign(context: SigningContext, statement: Statement, credential: Credential) -> Bundle:
    from sigstore import dsse
    from sigstore.oidc import IdentityError, IdentityToken

    try:
        token = IdentityToken(credential.token)
    except IdentityError as error:
        raise UsageError(f"the identity token ({credential.source}) cannot sign", found=str(error)) from None
    with context.signer(token) as signer:
        return signer.sign_dsse(dsse.Statement(statement.raw))


def _foreign(error: Exception, deadline: Deadline, instance: Instance) -> SkillwarrantError:
    from sigstore.errors import VerificationError

    if isinstance(error, VerificationError):
        return TrustError(
            f"the answer of {deadline.asked} does not verify against {instance.name}", found=words(error)
        )
    what = f"{type(error).__name__}, {words(error)}"
    return Unavailable(f"the answer of {deadline.asked} cannot be used", found=what)


def _checked(bundle: Bundle, statement: Statement, instance: Instance) -> bytes:
    """Never return what we would refuse: what was logged must be what was meant, and verify."""
    from sigstore.errors import Error
    from sigstore.models import Bundle as SigstoreBundle
    from sigstore.verify import Verifier

    raw = bundle.to_json().encode()
    try:
        RawBundle.parse(raw)
        verifier = Verifier(trusted_root=instance.trusted_root)
        signed = verifier.verify_dsse(SigstoreBundle.from_json(raw), _AnySigner())
    except (SkillwarrantError, Error, ValueError) as error:
        raise TrustError(
            f"the new bundle does not verify against {instance.name}, and is thrown away",
            found=words(error),
            fix="The signing config and the trusted root must be of one instance.",
        ) from error
    if signed != (PAYLOAD_TYPE, statement.raw):
        raise TrustError("the new bundle holds another statement than the one that was to be signed")
    return raw


class _AnySigner:
    """Whoever Fulcio certified: the token said who, and the caller is shown the certificate."""

    def verify(self, cert: Certificate) -> None:
        """Accept; the certificate's chain and times are the verifier's."""
