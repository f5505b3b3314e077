"""P-256 keys: the operator's, in a file, and the process's, in memory; and DSSE signatures by either.

ECDSA P-256 with SHA-256 over the DSSE pre-authentication encoding; a key id is the SHA-256 of the
SubjectPublicKeyInfo in DER. What is signed is not known here.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from skillwarrant_format.digest import Digest
from skillwarrant_format.dsse import Envelope, Signature, pae
from skillwarrant_format.errors import AuditError
from skillwarrant_format.statement import PAYLOAD_TYPE, Statement

__all__ = ["PublicKey", "SigningKey"]

_ALGORITHM: Final = ec.ECDSA(SHA256())
_MAX_PEM: Final = 4096  # bytes; a P-256 key takes 250


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A P-256 public key."""

    key: ec.EllipticCurvePublicKey

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read a SubjectPublicKeyInfo in PEM.

        Raises:
            AuditError: it is anything else.
        """
        try:
            key = load_pem_public_key(pem[: _MAX_PEM + 1])
        except (ValueError, UnsupportedAlgorithm):
            raise AuditError("not a public key", expected="a P-256 public key in PEM") from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise AuditError("a key of the wrong kind", expected="a P-256 public key", found=type(key).__name__)
        return cls(key)

    @classmethod
    def load(cls, path: Path) -> Self:
        """`from_pem` of a file."""
        try:
            return cls.from_pem(path.read_bytes())
        except OSError as error:
            raise AuditError(f"cannot read the public key {path}", found=error.strerror) from error

    @property
    def id(self) -> Digest:
        """SHA-256 of the SubjectPublicKeyInfo."""
        return Digest.of(self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def pem(self) -> str:
        """SubjectPublicKeyInfo in PEM."""
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def signed(self, envelope: Envelope) -> bool:
        """Whether the envelope's signature is by this key. Its key id is only a hint, and not looked at."""
        try:
            self.key.verify(envelope.signature.sig, envelope.signed_bytes(), _ALGORITHM)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A P-256 private key."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def generate(cls) -> Self:
        """A new key, in memory only."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key that only its owner can read.

        Raises:
            AuditError: unreadable, readable by others, a link, encrypted, or no P-256 key in PEM.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:  # noqa: PTH123  # a descriptor, not a path
                _check_private(os.fstat(descriptor), path)
                pem = file.read(_MAX_PEM + 1)
        except OSError as error:
            raise AuditError(f"cannot read the key {path}", found=error.strerror) from error
        try:
            key = load_pem_private_key(pem, password=None)
        except (TypeError, ValueError, UnsupportedAlgorithm):
            raise AuditError(f"{path} is no key", expected="an unencrypted P-256 key in PEM (PKCS #8)") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise AuditError(f"{path} is a key of the wrong kind", expected="a P-256 key", found=type(key).__name__)
        return cls(key)

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """`load`, or a new key written with mode 0600. Of two processes that create it at once, one key wins.

        Raises:
            AuditError: as `load`, or it cannot be written.
        """
        if os.path.lexists(path):
            return cls.load(path)
        key = cls.generate()
        pem = key.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            _write_new(part, pem)
            try:
                os.link(part, path)  # fails where somebody else was first, and never shows half a key
            finally:
                part.unlink()
        except FileExistsError:
            return cls.load(path)
        except OSError as error:
            raise AuditError(f"the key {path} could not be written", found=error.strerror) from error
        return key

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(self.key.public_key())

    def sign(self, statement: Statement) -> Envelope:
        """A DSSE envelope around a statement."""
        signature = self.key.sign(pae(PAYLOAD_TYPE, statement.raw), _ALGORITHM)
        return Envelope(
            payload_type=PAYLOAD_TYPE,
            payload=statement.raw,
            signature=Signature(sig=signature, keyid=self.public.id.hex),
        )


def _check_private(status: os.stat_result, path: Path) -> None:
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise AuditError(
            f"the key {path} can be read by others",
            expected="mode 0600",
            found=oct(stat.S_IMODE(status.st_mode)),
            fix=f"Make a new key, or run chmod 600 {path} if nobody has read it.",
        )


def _write_new(path: Path, data: bytes) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123  # a descriptor, not a path
        file.write(data)
        file.flush()
        os.fsync(descriptor)
