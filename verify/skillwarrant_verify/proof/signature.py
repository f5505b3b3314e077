"""From bytes to a `Verified`: who signed which manifest, where it is logged, and that these are the signed files.

The steps, in the order they are taken; the numbers are repeated in the code:

    (0) the trust root is fresh enough
    (1) the bundle is read strictly: one envelope, one signature, one certificate, one log entry
    (2) its log entry claims nothing that no signature covers
    (3) its times are proven, and the trust root is narrowed to what was in use then
    (4) sigstore: chain, SCT, inclusion proof, checkpoint, promise, signature, and entry and envelope agree
    (5) what sigstore verified is byte for byte what was read in (1); the certificate names one signer
    (6) the payload is an in-toto statement in canonical form
    (7) its predicate is a skill manifest of a known version
    (8) its subjects are exactly the files, by name and by digest

What remains the caller's: whether this signer may vouch for this skill, here and now (`decide`). No clock is read.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from skillwarrant_format.bundle import RawBundle
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import SignatureInvalid
from skillwarrant_format.manifest import SkillManifest
from skillwarrant_format.observation_parts import LogPlace, TrustUsed
from skillwarrant_format.signed_files import check_files, require_statement
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_format.statement import Statement, Subject
from skillwarrant_verify.arguments import check_time
from skillwarrant_verify.proof.certificate import Signer, read_signer
from skillwarrant_verify.proof.evidence import Evidence
from skillwarrant_verify.proof.log_entry import place_in_log
from skillwarrant_verify.proof.sigstore_light import Signed, verify_envelope
from skillwarrant_verify.proof.trusted_root import Window
from skillwarrant_verify.trust import TrustRoot

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["Signature", "Signer", "Verified", "verify", "verify_signature"]

_SEAL: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A payload and the proof of who signed it. It may be any tool's: a warrant is only what `verify` returns.

    Args:
        payload: the signed bytes; `payload_type` is signed with them.
        signer: from the certificate.
        log: where the signature is logged.
        bundle: SHA-256 of the bundle's bytes.
        signed_at: the earliest proven time of the signature.
        certificate: when the signing certificate was valid.
        trust: the root that verified it.
    """

    payload_type: str
    payload: bytes
    signer: Signer
    log: LogPlace
    bundle: Digest
    signed_at: datetime
    certificate: Window
    trust: TrustUsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A skill manifest of which everything in this module's docstring holds. Built by `verify` only.

    `dataclasses.replace` and a constructor call without this module's seal fail.
    """

    statement: Statement
    manifest: SkillManifest
    signer: Signer
    log: LogPlace
    bundle: Digest
    signed_at: datetime
    certificate: Window
    trust: TrustUsed
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a Verified is made by skillwarrant_verify.proof.signature.verify, and by nothing else")

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """The signed files, sorted by name."""
        return self.statement.subjects

    @property
    def statement_digest(self) -> Digest:
        """SHA-256 of the signed statement's bytes."""
        return Digest.of(self.statement.raw)


def verify(snapshot: Snapshot, bundle: bytes, trust: TrustRoot, *, now: datetime) -> Verified:
    """Verify a manifest and the files it is for.

    Args:
        snapshot: every file of the adapter.
        bundle: the bundle's bytes.
        trust: whose signatures count.
        now: the host's time, for the age of the trust root.

    Raises:
        FormatError: the bundle or statement is malformed.
        SignatureInvalid, NotLogged: it does not verify.
        WrongPredicate: it verifies and is no skill manifest.
        FilesMismatch, DigestMismatch: the files are not the signed ones.
        TrustError: the trust root is stale or unusable.
        Unavailable: sigstore failed in a way that is no answer.
        UsageError: `now` is no time, or one without a zone.
    """
    signature = verify_signature(bundle, trust, now=now)
    require_statement(signature.payload_type)  # (6)
    statement, manifest = SkillManifest.read(signature.payload)  # (7)
    found = {name: file.digest for name, file in snapshot.files.items()}
    check_files(statement.subjects, found, what="adapter")  # (8)
    return Verified(
        statement=statement,
        manifest=manifest,
        signer=signature.signer,
        log=signature.log,
        bundle=signature.bundle,
        signed_at=signature.signed_at,
        certificate=signature.certificate,
        trust=signature.trust,
        seal=_SEAL,
    )


def verify_signature(bundle: bytes, trust: TrustRoot, *, now: datetime) -> Signature:
    """Verify who signed a payload and that it is logged, whatever the payload says: steps (0) to (5).

    Raises:
        FormatError, SignatureInvalid, NotLogged, TrustError, Unavailable, UsageError: as `verify`.
    """
    check_time("now", now)
    trust.require_fresh(now)  # (0)
    raw = RawBundle.parse(bundle)  # (1)
    place = place_in_log(raw.entry)  # (2)
    evidence = Evidence.gather(raw, trust.root, trust.source)  # (3)
    holder = _Holder(raw.certificate)
    signed = verify_envelope(raw.raw, evidence.root, holder)  # (4)
    signer, window = holder.proven()
    _check_same(signed, raw)  # (5)
    return Signature(
        payload_type=signed.payload_type,
        payload=signed.payload,
        signer=signer,
        log=place,
        bundle=raw.digest,
        signed_at=evidence.signed_at,
        certificate=window,
        trust=trust.used(),
    )


class _Holder:
    """sigstore's policy seam: learns who holds the certificate that sigstore verifies, and that it is ours."""

    def __init__(self, certificate: bytes) -> None:
        self._expected = certificate
        self._found: tuple[Signer, Window] | None = None

    def verify(self, cert: Certificate) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding

        if cert.public_bytes(Encoding.DER) != self._expected:
            raise SignatureInvalid("sigstore read another certificate than was checked")
        self._found = read_signer(cert), Window(cert.not_valid_before_utc, cert.not_valid_after_utc)

    def proven(self) -> tuple[Signer, Window]:
        """Only after sigstore has returned."""
        if self._found is None:
            raise SignatureInvalid("sigstore did not check the certificate's holder")
        return self._found


def _check_same(signed: Signed, raw: RawBundle) -> None:
    """Two readers of the same JSON must have seen the same envelope."""
    envelope = raw.envelope
    if (signed.payload_type, signed.payload) != (envelope.payload_type, envelope.payload):
        raise SignatureInvalid("sigstore read another payload than was checked")
