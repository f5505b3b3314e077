"""The operator's key file: the identity that vouches for the keys of the processes.

In this version it is a P-256 key in a PEM file that only its owner can read. It signs delegations and nothing else.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from skillwarrant_audit import signing
from skillwarrant_format.digest import Digest
from skillwarrant_format.dsse import Envelope
from skillwarrant_format.durable import write_new
from skillwarrant_format.errors import AuditError

__all__ = ["RESTORE_KEY", "OperatorKey"]

RESTORE_KEY: Final = "Restore the key that the log was begun with, or begin a new log in an empty directory."

_MAX_BYTES: Final = 4096  # a P-256 key takes 250
_ROOT: Final = 0  # user id; secrets that a host mounts belong to it


class OperatorKey:
    """Get one with `load` or `load_or_create`."""

    __slots__ = ("_private", "key_id")

    def __init__(self, private: signing.PrivateKey) -> None:
        self._private = private
        self.key_id: Digest = signing.key_id(private.public_key())

    @classmethod
    def load(cls, path: Path) -> Self:
        """The key in a file.

        Raises:
            AuditError: the file is missing, a link, not its user's own or readable by others, or holds anything but
                an unencrypted P-256 private key in PEM.
        """
        return cls(_parse(_read_private(path), path))

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """`load`, or a new key in a new file: PKCS #8 PEM, mode 0600, durable. One key wins where two are made.

        Raises:
            AuditError: as `load`, or the file cannot be written.
        """
        if not os.path.lexists(path):
            pem = signing.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            try:
                write_new(path, [pem])
            except FileExistsError:  # another process was faster
                pass
            except OSError as error:
                raise AuditError(f"cannot write the operator's key {path}", found=str(error.strerror)) from error
        return cls.load(path)

    def public_pem(self) -> bytes:
        """What auditors need: SubjectPublicKeyInfo in PEM."""
        return self._private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, payload: bytes) -> Envelope:
        """Sign a delegation's statement."""
        return signing.sign(self._private, payload)


def _read_private(path: Path) -> bytes:
    """The bytes of a file that only its owner can read; the file that is checked is the file that is read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            _check_private(os.fstat(descriptor), path)
            return file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise AuditError(
            f"cannot read the operator's key {path}", found=error.strerror or str(error), fix=RESTORE_KEY
        ) from error


def _check_private(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise AuditError(f"the operator's key {path} is no regular file")
    if status.st_uid not in {os.geteuid(), _ROOT}:
        raise AuditError(
            f"the operator's key {path} is somebody else's",
            expected=f"a file of user {os.geteuid()} or of root",
            found=f"one of user {status.st_uid}",
        )
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise AuditError(
            f"the operator's key {path} is open to others",
            expected="mode 0600",
            found=f"mode {stat.S_IMODE(status.st_mode):04o}",
            fix=f"Run: chmod 600 {path}. If others may have read it, begin a new log with a new key.",
        )


def _parse(data: bytes, path: Path) -> signing.PrivateKey:
    try:
        key = load_pem_private_key(data, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        key = None
    if not isinstance(key, signing.PrivateKey) or not signing.is_p256(key.curve):
        raise AuditError(
            f"the operator's key {path} cannot be used",
            expected="an unencrypted P-256 private key in PEM (PKCS #8)",
        )
    return key
