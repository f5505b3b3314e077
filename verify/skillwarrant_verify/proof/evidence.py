"""From a bundle's evidence to the smallest trusted root that can judge it.

Who vouches is read from the evidence (log id, CT log id, issuer's name, timestamp), when is proven by it; only keys
and authorities that match both are handed on. A retired or stolen key therefore proves nothing about a time after
its end, whatever ids an attacker writes. Nothing but timestamps is verified here: `sigstore_light` does that next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Self, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from skillwarrant_format.bundle import RawBundle
from skillwarrant_format.errors import NotLogged, SignatureInvalid, TrustError, VerificationError
from skillwarrant_verify.proof.certificate import parse_certificate, read_authority, read_promise
from skillwarrant_verify.proof.timestamp import proven_time
from skillwarrant_verify.proof.trusted_root import Authority, LogKey, TrustedRoot

__all__ = ["Evidence"]

Vouching = TypeVar("Vouching", LogKey, Authority)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Times and the root that judges them.

    Args:
        signed_at: the earliest time for which the bundle has evidence; proven once `root` has verified the log.
        root: a trusted root of only what was in use then, RFC 8785 JSON.
    """

    signed_at: datetime
    root: bytes

    @classmethod
    def gather(cls, bundle: RawBundle, trusted: TrustedRoot, source: str) -> Self:
        """Select from a trusted root.

        Args:
            source: the root's name in messages.

        Raises:
            NotLogged: the log is not one of the root, or its key was not in use.
            SignatureInvalid: the same for the certificate's authority and CT log, or no proven time.
        """
        stamps = [
            proven_time(stamp, bundle.envelope.signature.sig, trusted.timestamp_authorities)
            for stamp in bundle.timestamps
        ]
        logged = bundle.entry.integrated_time
        times = [moment for moment, _ in stamps] + ([logged] if logged else [])
        if not times:
            raise SignatureInvalid(
                "nothing proves when this was signed",
                expected="a log's integrated time or a timestamp",
                found="neither",
            )
        signed_at = min(times)
        certificate = parse_certificate(bundle.certificate)
        root = trusted.narrowed(
            log=_log(bundle, trusted, [logged or signed_at], source),
            ct_log=_ct_log(certificate, trusted, source),
            authorities=_authorities(certificate, trusted, times, source),
            timestamps=[authority for _, authority in stamps],
        )
        return cls(signed_at=signed_at, root=root)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sought:
    """What is looked for in the trust root, for messages, and whose fault it is when it is not there."""

    what: str
    found: str
    source: str
    error: type[VerificationError] = SignatureInvalid

    def in_use(self, known: Sequence[Vouching], times: Sequence[datetime]) -> list[Vouching]:
        """Those that were in use at all of the times; at least one."""
        if not known:
            raise self.error(
                f"{self.what} is not one that the trust root knows",
                expected=f"one of {self.source}",
                found=self.found,
                fix="If you trust the Sigstore instance that signed this, verify with its trusted root.",
            )
        valid = [one for one in known if one.window.covers(times)]
        if not valid:
            moments = ", ".join(f"{moment:%Y-%m-%d %H:%M:%SZ}" for moment in times)
            raise self.error(
                f"{self.what} was not in use when this was signed",
                expected=f"a time within {' or '.join(str(one.window) for one in known)}",
                found=f"{moments} ({self.found})",
                fix="Ask the publisher to sign again; if the trust root is old, refresh it.",
            )
        return valid


def _log(bundle: RawBundle, trusted: TrustedRoot, times: Sequence[datetime], source: str) -> LogKey:
    entry = bundle.entry
    found = f"{entry.origin} ({entry.log_id[:16]}…)"
    sought = _Sought(what="the transparency log", found=found, source=source, error=NotLogged)
    return _usable(sought.in_use([log for log in trusted.logs if log.log_id == entry.log_id], times)[0])


def _ct_log(certificate: x509.Certificate, trusted: TrustedRoot, source: str) -> LogKey:
    promise = read_promise(certificate)
    sought = _Sought(what="the certificate's CT log", found=f"{promise.log_id[:16]}…", source=source)
    known = [log for log in trusted.ct_logs if log.log_id == promise.log_id]
    return _usable(sought.in_use(known, [promise.time])[0])


def _authorities(
    certificate: x509.Certificate, trusted: TrustedRoot, times: Sequence[datetime], source: str
) -> list[Authority]:
    name, text = read_authority(certificate)
    sought = _Sought(what="the certificate's authority", found=text, source=source)
    known = [authority for authority in trusted.authorities if name in map(_subject, authority.chain)]
    return sought.in_use(known, times)


def _usable(log: LogKey) -> LogKey:
    """sigstore passes over a key that it cannot read, and says that the signature is bad."""
    try:
        load_der_public_key(log.key)
    except (ValueError, UnsupportedAlgorithm) as error:
        what = f"the key of the log {log.log_id[:16]}… in the trust root is unusable"
        raise TrustError(what, found=str(error), fix="Refresh the trust root.") from None
    return log


@lru_cache(maxsize=64)
def _subject(der: bytes) -> x509.Name:
    try:
        return x509.load_der_x509_certificate(der).subject
    except ValueError as error:
        raise TrustError("a certificate of the trust root cannot be read", found=str(error)) from None
