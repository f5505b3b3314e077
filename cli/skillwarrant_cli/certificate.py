"""What a Fulcio certificate says of its holder, read with `cryptography` alone. Nothing is verified here.

Source: https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

from skillwarrant_format.errors import FormatError, shown

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["ClaimedSigner"]

_FULCIO: Final = "1.3.6.1.4.1.57264.1."
_ISSUER_V1, _ISSUER_V2 = f"{_FULCIO}1", f"{_FULCIO}8"
_SOURCE, _SOURCE_DIGEST, _RUN = f"{_FULCIO}12", f"{_FULCIO}13", f"{_FULCIO}21"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedSigner:
    """Who a certificate names. Every text is safe for one terminal line.

    Args:
        identity: the subject alternative name: a workflow's URI or an e-mail address.
        issuer: the OIDC issuer that is said to have vouched for the identity.
        source: repository and commit of a CI job.
        run: the CI job's own URL.
    """

    identity: str
    issuer: str
    not_before: datetime
    not_after: datetime
    source: str | None
    run: str | None

    @classmethod
    def parse(cls, der: bytes) -> Self:
        """Read a certificate.

        Raises:
            FormatError: not an X.509 certificate, or none that names one holder and its issuer.
        """
        from cryptography import x509

        try:
            certificate = x509.load_der_x509_certificate(der)
            identity, texts = _identity(certificate), _texts(certificate)
            not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            raise FormatError("the signing certificate cannot be read", found=str(error)) from None
        issuer = texts[_ISSUER_V2] or texts[_ISSUER_V1]
        if not identity or not issuer:
            raise FormatError(
                "the signing certificate is not of Fulcio's kind",
                expected="one identity and its OIDC issuer",
                found=f"identity {identity or 'none'}, issuer {issuer or 'none'}",
            )
        source = "@".join(filter(None, (texts[_SOURCE], texts[_SOURCE_DIGEST])))
        return cls(
            identity=shown(identity, 2048),
            issuer=issuer,
            not_before=not_before,
            not_after=not_after,
            source=source or None,
            run=texts[_RUN] or None,
        )


def _identity(certificate: x509.Certificate) -> str | None:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    found = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier | x509.RFC822Name)]
    return found[0] if len(found) == len(list(names)) == 1 else None


def _texts(certificate: x509.Certificate) -> dict[str, str]:
    """Fulcio's extensions: the first holds bare text, the later ones a DER UTF8String (ITU-T X.690, 8.23)."""
    from cryptography import x509

    found = dict.fromkeys((_ISSUER_V1, _ISSUER_V2, _SOURCE, _SOURCE_DIGEST, _RUN), "")
    for extension in certificate.extensions:
        oid, value = extension.oid.dotted_string, extension.value
        if oid in found and isinstance(value, x509.UnrecognizedExtension):
            raw = value.value if oid == _ISSUER_V1 else _utf8_string(value.value)
            found[oid] = shown(raw.decode("utf-8", "replace"), 2048)
    return found


def _utf8_string(der: bytes) -> bytes:
    if len(der) < 2 or der[0] != 0x0C:
        return b""
    size, head = der[1], 2
    if size & 0x80:
        head = 2 + (size & 0x7F)
        size = int.from_bytes(der[2:head], "big")
    return der[head:] if len(der) == head + size else b""
