"""The recorder: from an observation to a signed, durable leaf. The gate's only door to the log.

It decides nothing and knows nothing of policies or adapters.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from skillwarrant_audit.log import FileLog, Log
from skillwarrant_audit.log_file import sync_directory
from skillwarrant_audit.observer import ObserverKey
from skillwarrant_audit.operator_key import OperatorKey, write_new
from skillwarrant_audit.process_lock import PROCESS_LOCK
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import AuditError, UsageError
from skillwarrant_format.fields import format_time, parse_time
from skillwarrant_format.observation import Observation, Place
from skillwarrant_format.statement import Statement, Subject

__all__ = ["LOG_NAME", "OPERATOR_KEY_NAME", "OPERATOR_PUBLIC_NAME", "Recorded", "Recorder"]

LOG_NAME: Final = "observations.log"
OPERATOR_KEY_NAME: Final = "operator.pem"
OPERATOR_PUBLIC_NAME: Final = "operator.pub"

_opened: Final[dict[Path, Recorder]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An observation that is on disk.

    Args:
        seq: its number in the log, from 0.
        leaf: SHA-256 of its leaf. With `seq` it is a head that an auditor can hold the log to.
        statement: what was signed.
    """

    seq: int
    leaf: Digest
    statement: Statement


class Recorder:
    """Signs observations with this process's key and appends them. Thread-safe and fork-safe.

    Args:
        log: where to.
        operator: who vouches for this process's key.
    """

    def __init__(self, log: Log, operator: OperatorKey) -> None:
        self._log = log
        self._operator = operator
        self._key: ObserverKey | None = None

    @classmethod
    def open(cls, directory: Path) -> Recorder:
        """The recorder of a directory, one for the whole process, so that its key is delegated once.

        The directory and what is missing in it are made: `operator.pem`, the operator's key; `operator.pub`, the
        same for auditors; `observations.log`.

        Raises:
            UsageError: the operator's key cannot be used, is missing beside an existing log, or is not the one in
                `operator.pub`.
            AuditError: the directory or a file in it cannot be written, or the log is damaged.
        """
        with PROCESS_LOCK:
            place = Path(os.path.realpath(directory))  # Path.resolve raises RuntimeError for a loop of links
            if place not in _opened:
                _opened[place] = cls._open(place)
            return _opened[place]

    @classmethod
    def _open(cls, directory: Path) -> Self:
        try:
            _make(directory)
            operator = _operator(directory)
            _publish(directory / OPERATOR_PUBLIC_NAME, operator.public_pem())
        except OSError as error:
            raise AuditError(
                f"cannot keep a log in {directory}",
                found=error.strerror or str(error),
                fix="Name a directory that can be written.",
            ) from error
        return cls(FileLog.open(directory / LOG_NAME), operator)

    def record(self, observation: Observation, subjects: tuple[Subject, ...]) -> Recorded:
        """Sign and append an observation; it is on disk when this returns.

        Args:
            observation: what happened.
            subjects: as in `Observation.to_statement`.

        Raises:
            FormatError, UsageError: the observation is not one that could be read again, or its time has no zone.
            AuditError: it could not be made durable: not acknowledged, so nothing may be activated.
        """
        key = self._delegated(parse_time(format_time(observation.time)))
        made: list[Statement] = []

        def leaf(seq: int, previous: Digest) -> bytes:
            made.append(observation.to_statement(subjects, seq=seq, previous=previous))
            return key.sign(made[-1].raw).to_bytes()

        position = self._log.append(leaf)
        return Recorded(seq=position.seq, leaf=position.leaf, statement=made[-1])

    def _delegated(self, moment: datetime) -> ObserverKey:
        """This process's key for a time, its delegation in the log."""
        with PROCESS_LOCK:
            if self._key is None or not self._key.may_sign(moment):
                key = ObserverKey.generate(self._operator.key_id, moment)
                self._delegate(key)
                self._key = key
            return self._key

    def _delegate(self, key: ObserverKey) -> None:
        def leaf(seq: int, previous: Digest) -> bytes:
            statement = key.delegation.to_statement(Place(seq=seq, previous=previous))
            return self._operator.sign(statement.raw).to_bytes()

        self._log.append(leaf)


def _make(directory: Path) -> None:
    """The directory and those above it, durably; what is new is for its owner alone."""
    if directory.is_dir():
        return
    _make(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    sync_directory(directory.parent)


def _operator(directory: Path) -> OperatorKey:
    path = directory / OPERATOR_KEY_NAME
    # In this order: a process that starts at the same time makes the key first and the log last.
    if (log := directory / LOG_NAME).exists() and not path.exists():
        raise UsageError(
            f"the operator's key of {log} is gone",
            expected=str(path),
            found="nothing",
            fix="Restore it, or begin a new log in an empty directory.",
        )
    if not path.exists():
        with suppress(UsageError):  # where another process was faster
            return OperatorKey.create(path)
    return OperatorKey.load(path)


def _publish(path: Path, public: bytes) -> None:
    try:
        write_new(path, public)
        path.chmod(0o644)
    except FileExistsError:
        if path.read_bytes() != public:
            raise UsageError(
                f"{path} is another operator's",
                expected=f"the public half of {OPERATOR_KEY_NAME}",
                fix="Restore the key that the log was begun with, or begin a new log in an empty directory.",
            ) from None
