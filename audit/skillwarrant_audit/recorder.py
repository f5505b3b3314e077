"""Signs observations and appends them durably: the only writer of a log.

A process makes a key of its own when it first has something to record, and the operator's key delegates it in the
same log, before the first observation that it signs. A forked child is another process and makes its own.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from skillwarrant_audit.delegation import Delegation
from skillwarrant_audit.keys import SigningKey
from skillwarrant_audit.log import FileLog, Log
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import AuditError
from skillwarrant_format.observation import Observation
from skillwarrant_format.statement import Statement, Subject

__all__ = ["KEY_NAME", "LOG_NAME", "PUBLIC_NAME", "Recorded", "Recorder"]

LOG_NAME: Final = "observations.log"
KEY_NAME: Final = "operator.pem"
PUBLIC_NAME: Final = "operator.pub"
_LIFETIME: Final = timedelta(days=1)  # of a process key; a longer process is delegated anew
_SKEW: Final = timedelta(minutes=5)  # clocks of the host may be set back a little


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An observation that is on disk."""

    seq: int
    leaf: Digest
    statement: Statement


@dataclass(frozen=True, slots=True)
class _Process:
    """This process's key and until when it is delegated."""

    pid: int
    key: SigningKey
    not_before: datetime
    not_after: datetime

    def covers(self, moment: datetime) -> bool:
        return self.pid == os.getpid() and self.not_before <= moment < self.not_after


class Recorder:
    """Thread-safe; one per log directory and process is enough.

    Args:
        log: where records go.
        operator: the key that delegates process keys.
    """

    def __init__(self, log: Log, operator: SigningKey) -> None:
        self._log = log
        self._operator = operator
        self._mutex = threading.Lock()
        self._process: _Process | None = None
        os.register_at_fork(after_in_child=self._forget)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """The log of a directory, which is made (mode 0700) with an operator key where there is none.

        Raises:
            AuditError: it cannot be written, or what is there is no log or no key.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            operator = SigningKey.load_or_create(directory / KEY_NAME)
            _publish(directory / PUBLIC_NAME, operator.public.pem())
        except OSError as error:
            raise AuditError(
                f"the log directory {directory} cannot be used",
                found=error.strerror,
                fix="Name a directory that can be written: without a record nothing is activated.",
            ) from error
        return cls(FileLog.open(directory / LOG_NAME), operator)

    def record(self, observation: Observation, subjects: tuple[Subject, ...]) -> Recorded:
        """Sign an observation and append it; on disk when this returns.

        Args:
            subjects: what was observed, by digest.

        Raises:
            AuditError: it is not on disk; the caller must not go on.
        """
        with self._mutex:
            key = self._delegated(observation.time)
            written: list[Statement] = []

            def make(seq: int, previous: Digest) -> bytes:
                written[:] = [observation.to_statement(subjects, seq=seq, previous=previous)]
                return key.sign(written[0]).to_bytes()

            position = self._log.append(make)
        return Recorded(seq=position.seq, leaf=position.leaf, statement=written[0])

    def _delegated(self, moment: datetime) -> SigningKey:
        """This process's key; delegated first, where that has not been done for this moment."""
        if self._process is None or not self._process.covers(moment):
            process = _Process(os.getpid(), SigningKey.generate(), moment - _SKEW, moment + _LIFETIME)
            self._log.append(self._delegation(process))
            self._process = process
        return self._process.key

    def _delegation(self, process: _Process) -> Callable[[int, Digest], bytes]:
        delegation = Delegation(
            key=process.key.public,
            not_before=process.not_before.astimezone(UTC),
            not_after=process.not_after.astimezone(UTC),
            operator=self._operator.public.id,
            process={"host": socket.gethostname() or "unknown", "pid": process.pid},
        )
        return lambda seq, previous: self._operator.sign(
            delegation.to_statement(seq=seq, previous=previous)
        ).to_bytes()

    def _forget(self) -> None:
        """A forked child shares neither the parent's key nor a lock that the parent held."""
        self._process = None
        self._mutex = threading.Lock()


def _publish(path: Path, pem: str) -> None:
    """The operator's public key beside the log, for auditors, who compare it with the one they were given."""
    try:
        if path.read_text(encoding="ascii") == pem:
            return
    except FileNotFoundError:
        pass
    except ValueError:
        raise AuditError(f"{path} is not this operator's public key") from None
    else:
        raise AuditError(
            f"{path} is not this operator's public key",
            expected="the public half of operator.pem",
            found="another key",
            fix="Put the right operator.pem beside the log, or name a new directory.",
        )
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(pem, encoding="ascii")
    part.replace(path)
