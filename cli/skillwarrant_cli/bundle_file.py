"""A bundle file, read and taken apart without verifying any of it. Needs no sigstore."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from skillwarrant_format.bundle import BUNDLE_NAME, RawBundle
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, UsageError
from skillwarrant_format.manifest import SkillManifest
from skillwarrant_format.statement import PAYLOAD_TYPE, Statement
from skillwarrant_verify.proof.certificate import Signer, parse_certificate, read_signer
from skillwarrant_verify.proof.fetch import read_bundle

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["ReadBundle"]

_EXPECTED: Final = f"a bundle file, or a directory with {BUNDLE_NAME}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBundle:
    """What a bundle claims. Nothing here is proved."""

    bundle: RawBundle
    certificate: x509.Certificate
    signer: Signer
    statement: Statement
    manifest: SkillManifest

    @property
    def statement_digest(self) -> Digest:
        """SHA-256 of what is signed: what a policy's revocations name, however the bundle is written."""
        return Digest.of(self.statement.raw)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a bundle file, or the one in an adapter's directory.

        Raises:
            UsageError: there is no such path.
            ManifestMissing: the directory has none.
            FormatError: it is not a bundle with an in-toto statement.
            SignatureInvalid: its certificate is not one that Fulcio issues.
            WrongPredicate: it signs something else than a skill manifest.
            Unavailable: it cannot be read.
        """
        if not path.exists():
            raise UsageError("there is no such file or directory", expected=_EXPECTED, found=str(path))
        if not path.is_dir():
            return cls.parse(read_bundle(path))
        inside = path / BUNDLE_NAME
        if inside.exists() and not inside.is_file():  # a fifo would hang us
            raise FormatError("the bundle is no regular file", found=str(inside))
        return cls.parse(read_bundle(inside))

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Take a bundle's bytes apart. Raises as `read`."""
        bundle = RawBundle.parse(raw)
        if (found := bundle.envelope.payload_type) != PAYLOAD_TYPE:
            raise FormatError("the bundle signs no in-toto statement", expected=PAYLOAD_TYPE, found=found)
        statement, manifest = SkillManifest.read(bundle.envelope.payload)
        certificate = parse_certificate(bundle.certificate)
        return cls(
            bundle=bundle,
            certificate=certificate,
            signer=read_signer(certificate),
            statement=statement,
            manifest=manifest,
        )
