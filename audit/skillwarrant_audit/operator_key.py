"""The operator's key file: the identity that vouches for the keys of the processes.

In this version it is a P-256 key in a PEM file that only its owner can read. It signs delegations and nothing else.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from skillwarrant_audit import signing
from skillwarrant_audit.log_file import sync_directory
from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.dsse import Envelope
from skillwarrant_format.errors import AuditError, UsageError

__all__ = ["OperatorKey", "write_new"]

_MAX_BYTES: Final = 64 * limits.KIB


class OperatorKey:
    """Get one with `create` or `load`."""

    __slots__ = ("_private", "key_id")

    def __init__(self, private: signing.PrivateKey) -> None:
        self._private = private
        self.key_id: Digest = signing.key_id(private.public_key())

    @classmethod
    def create(cls, path: Path, *, password: bytes | None = None) -> Self:
        """A new key in a new file: PKCS #8 PEM, mode 0600, durable; encrypted where a password is given.

        Raises:
            UsageError: there is a file already.
            AuditError: the file cannot be written.
        """
        private = signing.generate()
        how: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
        try:
            write_new(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))
        except FileExistsError:
            raise UsageError(
                f"{path} exists", expected="a new file", fix="Load it, or name another file."
            ) from None
        except OSError as error:
            raise AuditError(
                f"cannot write the operator's key {path}", found=error.strerror or str(error)
            ) from error
        return cls(private)

    @classmethod
    def load(cls, path: Path, *, password: bytes | None = None) -> Self:
        """The key in a file.

        Raises:
            UsageError: the file is missing, is readable by others, holds no P-256 private key in PEM, is encrypted
                and no or the wrong password was given, or the other way round.
        """
        return cls(_parse(_read_private(path), password, path))

    def public_pem(self) -> bytes:
        """What auditors need: SubjectPublicKeyInfo in PEM."""
        return self._private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, payload: bytes) -> Envelope:
        """Sign a delegation's statement."""
        return signing.sign(self._private, payload)


def write_new(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 that is there as a whole or not at all, durably, and replaces nothing.

    Raises:
        OSError: FileExistsError where there is a file.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.link(temporary, path)
    finally:
        Path(temporary).unlink()
    sync_directory(path.parent)


def _read_private(path: Path) -> bytes:
    """The bytes of a file that only its owner can read; the file that is checked is the file that is read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise UsageError(f"the operator's key {path} is no regular file")
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise UsageError(
                    f"the operator's key {path} is open to others",
                    expected="mode 0600",
                    found=f"mode {stat.S_IMODE(mode):04o}",
                    fix=f"Run: chmod 600 {path}. If others may have read it, make a new key.",
                )
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise UsageError(f"cannot read the operator's key {path}", found=error.strerror or str(error)) from error


def _parse(data: bytes, password: bytes | None, path: Path) -> signing.PrivateKey:
    try:
        key = load_pem_private_key(data, password=password)
    except TypeError:
        asked = "no password, since it is not encrypted" if password else "a password, since it is encrypted"
        raise UsageError(f"cannot decrypt the operator's key {path}", expected=asked) from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(
            f"the operator's key {path} cannot be read",
            expected="a P-256 private key in PEM, and its password where it has one",
        ) from None
    if not isinstance(key, signing.PrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"the operator's key {path} is of another kind", expected="a P-256 key")
    return key
