"""The directory of an instance: one owner at a time, private files, every file whole or absent.

::

    D/                          0700
      README.txt                what this is, and is not
      trusted_root.json …       what clients need (written by the stack)
      ci.env                    0600, a ready CI environment
      state/                    0700
        lock                    held while an instance runs
        instance.json           0600, keys and certificates
        port                    the port of the last run
        rekor-v1.jsonl          0600, the logs
        rekor-v2.jsonl
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Final

from skillwarrant_devstack.keys import Instance
from skillwarrant_format.durable import sync_directory
from skillwarrant_format.errors import AuditError, FormatError, Unavailable, UsageError

__all__ = ["BANNER", "State", "write_file"]

PRIVATE_FILE: Final = 0o600
PUBLIC_FILE: Final = 0o644
PRIVATE_DIRECTORY: Final = 0o700

BANNER: Final = "skillwarrant devstack: NOT A PRODUCTION CA. Any process on this machine can sign as any user."
_README: Final = f"""{BANNER}

This directory is a whole Sigstore instance for trials, demos and tests: an identity provider that asks for no
password, a certificate authority, two transparency logs and a timestamp authority, served on 127.0.0.1 only.
Its private keys lie unencrypted in state/. Trust nothing in production because of what it signed.

trusted_root.json              for verifiers
signing_config.json            for signers: Rekor v1 and a timestamp authority
signing_config_v2.json         for signers: Rekor v2 and a timestamp authority
client_trust_config.json       the trusted root and signing_config.json in one (…_v2.json likewise)
ci.env                         `. ./ci.env` makes a shell look like a CI job to Sigstore clients
state/                         keys and logs. Deleting it makes another instance
"""


class State:
    """A locked directory. Close it to let another process have it."""

    def __init__(self, directory: Path) -> None:
        """Lock `directory`, creating it where it is missing.

        Raises:
            UsageError: for a directory that is somebody else's, in use, or open to other users.
            Unavailable: when the disk refuses.
        """
        self.directory = directory
        self.private = directory / "state"
        try:
            self._prepare()
            self._lock = self._acquire()
        except OSError as error:
            raise Unavailable(f"cannot use the directory {directory}", found=str(error)) from error

    def close(self) -> None:
        """Give up the lock."""
        os.close(self._lock)

    def instance(self, now: datetime) -> Instance:
        """The instance that lives here; made, valid from `now`, where there is none yet.

        Raises:
            UsageError: when the file can be read by other users.
            AuditError: when it is damaged: a new one would silently be another trust root.
            Unavailable: when it cannot be read or written.
        """
        path = self.private / "instance.json"
        if not path.exists():
            if self.log_path("rekor-v1").exists():
                raise AuditError(f"{path} is missing", fix="Restore it, or start in an empty directory.")
            write_file(path, Instance.generate(now).to_bytes(), mode=PRIVATE_FILE)
        _refuse_shared(path)
        try:
            return Instance.loads(path.read_bytes())
        except FormatError as error:
            # Its message only: what was found there may be a private key.
            raise AuditError(
                f"{path} is damaged", found=error.message, fix="Restore it, or start in an empty directory."
            ) from None
        except OSError as error:
            raise Unavailable(f"cannot read {path}", found=str(error)) from error

    def log_path(self, name: str) -> Path:
        """Where a log's entries are."""
        return self.private / f"{name}.jsonl"

    def last_port(self) -> int:
        """The port of the last run; 0 where there is none."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.private / "port").read_text())
        return 0

    def remember_port(self, port: int) -> None:
        """Keep the port for the next run: URLs are in the configuration files."""
        if port != self.last_port():
            write_file(self.private / "port", f"{port}\n".encode())

    def write_readme(self) -> None:
        """Say loudly what this directory is."""
        self.publish("README.txt", _README.encode())

    def publish(self, name: str, data: bytes, *, mode: int = PUBLIC_FILE) -> Path:
        """Write a file for clients, unless it already says exactly this."""
        path = self.directory / name
        if not path.exists() or path.read_bytes() != data:
            write_file(path, data, mode=mode)
        return path

    def _prepare(self) -> None:
        self.directory.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        if not self.private.exists():
            if any(self.directory.iterdir()):
                raise UsageError(
                    f"{self.directory} is not a devstack directory",
                    expected="an empty or missing directory, or one that a devstack made",
                )
            self.private.mkdir(mode=PRIVATE_DIRECTORY)
        self.directory.chmod(PRIVATE_DIRECTORY)
        self.private.chmod(PRIVATE_DIRECTORY)

    def _acquire(self) -> int:
        lock = os.open(self.private / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise UsageError(
                f"{self.directory} is in use by another devstack",
                found=f"process {owner}",
                fix="Stop it, or use another directory.",
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        return lock


def write_file(path: Path, data: bytes, *, mode: int = PUBLIC_FILE) -> None:
    """Replace `path` by `data`, durably: readers see the old file or the new one, never a part.

    Raises:
        Unavailable: when the disk is full or refuses; the old file is then still there.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        part.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise Unavailable(f"cannot write {path}", found=str(error)) from error


def _refuse_shared(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise UsageError(
            f"{path} is open to other users",
            expected="mode 0600",
            found=f"mode {mode:04o}",
            fix=f"chmod 600 {path}",
        )
