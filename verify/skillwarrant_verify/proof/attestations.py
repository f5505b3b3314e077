"""From the bytes of further attestations to what a decision may read of them: verified, and about this adapter.

An attestation is any in-toto statement in a Sigstore bundle: a build's provenance, a certification, an approval.
Its signature is verified as a manifest's is, against the same trust root. It is about an adapter where one of its
subjects is the digest of the manifest's bundle or of the signed statement, or where every file of the adapter is
among them. One that does not verify is an error, and never left out; one that is about something else is left out,
because a host may give the same evidence for every member of a stack. What it says and who signed it, rules judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, cast

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import SkillwarrantError, UsageError, WrongPredicate
from skillwarrant_format.fields import Fields
from skillwarrant_format.statement import PAYLOAD_TYPE, STATEMENT_TYPE
from skillwarrant_format.strict_json import JsonObject, loads_object
from skillwarrant_verify.arguments import check_sequence, path_of
from skillwarrant_verify.deciding.evidence_seen import About, EvidenceSeen
from skillwarrant_verify.proof.fetch import BundleSource, read_bundle
from skillwarrant_verify.proof.signature import Signature, Verified, verify_signature
from skillwarrant_verify.trust import TrustRoot

__all__ = ["MAX_EVIDENCE", "MAX_EVIDENCE_BYTES", "verify_evidence"]

MAX_EVIDENCE: Final = 64  # attestations for one adapter
MAX_EVIDENCE_BYTES: Final = 1 * limits.MIB  # the payload of one


def verify_evidence(
    given: Sequence[BundleSource], verified: Verified, trust: TrustRoot, *, now: datetime
) -> tuple[EvidenceSeen, ...]:
    """Verify attestations, and keep those that are about this adapter.

    Args:
        given: bundles as bytes or files, in any order.
        verified: the adapter's manifest.
        trust: whose signatures count.
        now: the host's time, for the age of the trust root.

    Returns:
        In the order they were given, none twice.

    Raises:
        FormatError, SignatureInvalid, NotLogged, TrustError, Unavailable: as `signature.verify`; the message says
            which one it is.
        WrongPredicate: what was signed is no in-toto statement.
        UsageError: there are too many, or they are no sequence of bundles.
    """
    check_sequence("evidence", given, "a list of bundles, as paths or bytes")
    if len(given) > MAX_EVIDENCE:
        raise UsageError("there is too much evidence", expected=f"at most {MAX_EVIDENCE}", found=str(len(given)))
    seen: dict[Digest, EvidenceSeen] = {}
    for number, source in enumerate(given, start=1):
        try:
            item = _verify(source, verified, trust, now)
        except SkillwarrantError as error:
            error.message = f"evidence {number} of {len(given)}: {error.message}"
            raise
        if item is not None:
            seen.setdefault(item.bundle, item)
    return tuple(seen.values())


def _verify(source: BundleSource, verified: Verified, trust: TrustRoot, now: datetime) -> EvidenceSeen | None:
    data = source if isinstance(source, bytes) else read_bundle(path_of("a bundle of the evidence", source))
    signature = verify_signature(data, trust, now=now)
    if signature.payload_type != PAYLOAD_TYPE:
        raise WrongPredicate("it signs no statement", expected=PAYLOAD_TYPE, found=signature.payload_type)
    fields = Fields(
        loads_object(signature.payload, what="the statement", limit=MAX_EVIDENCE_BYTES), "the statement"
    )
    if (found := fields.text("_type")) != STATEMENT_TYPE:
        raise WrongPredicate("it signs no statement", expected=STATEMENT_TYPE, found=found)
    about = _about(_digests(fields), verified)
    return None if about is None else _seen(fields, signature, about)


def _seen(fields: Fields, signature: Signature, about: About) -> EvidenceSeen:
    fields.object("predicate")
    return EvidenceSeen(
        predicate_type=fields.text("predicateType", limit=limits.MAX_URI_CHARS),
        predicate=cast("JsonObject", fields.value("predicate")),
        about=about,
        signer=signature.signer,
        signed_at=signature.signed_at.replace(microsecond=0),  # as a document has it: rules compare these times
        bundle=signature.bundle,
        statement=Digest.of(signature.payload),
    )


def _digests(fields: Fields) -> set[str]:
    """SHA-256 of the subjects. Other tools give further algorithms too, and subjects that have none of ours."""
    subjects = fields.objects("subject", least=1, most=limits.MAX_FILES)
    sets = [subject.object("digest") for subject in subjects]
    return {digests.text("sha256") for digests in sets if "sha256" in digests}


def _about(digests: set[str], verified: Verified) -> About | None:
    if verified.bundle.hex in digests:
        return "manifest"
    if verified.statement_digest.hex in digests:
        return "statement"
    if all(subject.digest.hex in digests for subject in verified.subjects):
        return "files"
    return None
