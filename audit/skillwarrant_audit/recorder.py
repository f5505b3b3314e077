"""The recorder: from an observation to a signed, durable leaf. The gate's only door to the log.

It decides nothing and knows nothing of policies or adapters.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from skillwarrant_audit import signing
from skillwarrant_audit.fit import fitted
from skillwarrant_audit.inputs import INPUTS_NAME, InputStore, inputs_digest
from skillwarrant_audit.log import FileLog, Log, MakeLeaf, Position, Record
from skillwarrant_audit.observer import ObserverKey
from skillwarrant_audit.operator_key import RESTORE_KEY, OperatorKey
from skillwarrant_audit.process_lock import PROCESS_LOCK
from skillwarrant_format.digest import Digest
from skillwarrant_format.durable import make_directory, write_new
from skillwarrant_format.errors import AuditError, FormatError
from skillwarrant_format.fields import format_time, parse_time
from skillwarrant_format.observation import Observation, Place
from skillwarrant_format.statement import Statement, Subject

__all__ = ["LOG_NAME", "OPERATOR_KEY_NAME", "OPERATOR_PUBLIC_NAME", "Recorded", "Recorder"]

LOG_NAME: Final = "observations.log"
OPERATOR_KEY_NAME: Final = "operator.pem"
OPERATOR_PUBLIC_NAME: Final = "operator.pub"

_logger = logging.getLogger("skillwarrant.audit")
_opened: Final[dict[Path, tuple[FileLog, Recorder]]] = {}


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
        inputs: where what decisions were made from is kept; None: nowhere.
    """

    def __init__(self, log: Log, operator: OperatorKey, inputs: InputStore | None = None) -> None:
        self.directory: Path | None = None
        """Where it records, if it was opened there."""
        self._log = log
        self._operator = operator
        self._inputs = inputs
        self._key: ObserverKey | None = None

    @classmethod
    def open(cls, directory: Path) -> Recorder:
        """The recorder of a directory, one for the whole process, so that its key is delegated once.

        The directory and what is missing in it are made: `operator.pem`, the operator's key; `operator.pub`, the
        same for auditors; `observations.log`. Where the log was moved away since, this is a new recorder of a new
        log; recorders that are in use stay with the old one, and refuse.

        Raises:
            AuditError: the directory or a file in it cannot be written; the operator's key cannot be used, is
                missing beside an existing log, or is not the one that the log was begun with; the log is damaged.
        """
        with PROCESS_LOCK:
            place = Path(os.path.realpath(directory))  # Path.resolve raises RuntimeError for a loop of links
            log, recorder = _opened.get(place, (None, None))
            if log is not None and not log.is_in_place():
                _logger.warning(
                    "%s was moved or replaced: what follows is recorded in the file there now", log.path
                )
                recorder = None
            if recorder is None:
                operator = _operator_of(place)
                log = _log_of(place, operator)
                recorder = cls(log, operator, InputStore(place / INPUTS_NAME))
                recorder.directory = place
                _opened[place] = log, recorder
            return recorder

    def record(
        self, observation: Observation, subjects: tuple[Subject, ...], inputs: Sequence[bytes] = ()
    ) -> Recorded:
        """Sign and append an observation; it is on disk when this returns.

        Args:
            observation: what happened.
            subjects: as in `Observation.to_statement`.
            inputs: what its decisions were made from, to be kept beside the log: the documents that its `inputs`
                is the digest of, or none.

        Sentences that are too long for a leaf are cut.

        Raises:
            AuditError: it could not be made durable: not acknowledged, so nothing may be activated. Or it is none
                that could be read again.
            UsageError: its time has no zone.
            ValueError: it is about other inputs.
        """
        if inputs and inputs_digest(inputs) != observation.inputs:
            raise ValueError("these are not the inputs of this observation")
        if inputs and self._inputs is not None:
            self._inputs.keep(inputs)  # first: what the log names is there
        key = self._delegated(parse_time(format_time(observation.time)))
        made: list[Statement] = []

        def leaf(seq: int, previous: Digest) -> bytes:
            made.append(fitted(observation, lambda found: found.to_statement(subjects, seq=seq, previous=previous)))
            return key.sign(made[-1].raw).to_bytes()

        position = self._append(leaf)
        return Recorded(seq=position.seq, leaf=position.leaf, statement=made[-1])

    def records(self, *, after: Record | None = None) -> Iterator[Record]:
        """What is in the log by now; see `Log.records`."""
        return self._log.records(after=after)

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

        self._append(leaf)

    def _append(self, leaf: MakeLeaf) -> Position:
        try:
            return self._log.append(leaf)
        except FormatError as error:
            raise AuditError(
                f"this cannot be recorded: {error.message}", expected=error.expected, found=error.found
            ) from error


def _operator_of(directory: Path) -> OperatorKey:
    """The operator's key; a new one only where nothing was begun with another."""
    key, public, log = (directory / name for name in (OPERATOR_KEY_NAME, OPERATOR_PUBLIC_NAME, LOG_NAME))
    try:
        make_directory(directory)
        # Looked for in this order: a process that starts at the same time makes the key first and the log last.
        begun = os.path.lexists(log) or os.path.lexists(public)
        operator = OperatorKey.load(key) if begun else OperatorKey.load_or_create(key)
        _publish(public, operator.public_pem())
    except OSError as error:
        raise AuditError(
            f"cannot keep a log in {directory}",
            found=error.strerror or str(error),
            fix="Name a directory that can be written.",
        ) from error
    return operator


def _log_of(directory: Path, operator: OperatorKey) -> FileLog:
    """The log, which this operator began: records by another would make it one that nobody can verify."""
    log = FileLog.open(directory / LOG_NAME)
    if (first := next(log.records(), None)) is not None:
        try:
            found = signing.read_envelope(first.leaf).signature.keyid
        except FormatError as error:
            raise AuditError(f"the first record of {log.path} cannot be read", found=error.message) from error
        if found != operator.key_id.hex:
            raise _another(f"the log {log.path} was begun", expected=operator.key_id.hex, found=found)
    return log


def _publish(path: Path, public: bytes) -> None:
    try:
        write_new(path, [public])
        path.chmod(0o644)
    except FileExistsError:
        if path.read_bytes() != public:
            raise _another(f"{path} was written", expected=f"the public half of {OPERATOR_KEY_NAME}") from None


def _another(what: str, expected: str, found: str | None = None) -> AuditError:
    return AuditError(f"{what} with another operator's key", expected=expected, found=found, fix=RESTORE_KEY)
