"""Which versions of each skill were in use here, as the gate's own log says: for a policy with `no_rollback`.

The log is read once and then only what was appended since, by whichever process. Its signatures are an auditor's to
check: who can rewrite this file can also remove it, and only what was published of it elsewhere tells.
"""

from __future__ import annotations

import weakref
from typing import Final

from skillwarrant_audit.log import Record, TornTail
from skillwarrant_audit.process_lock import PROCESS_LOCK
from skillwarrant_audit.recorder import Recorder
from skillwarrant_format.dsse import Envelope
from skillwarrant_format.errors import AuditError, FormatError
from skillwarrant_format.observation import PREDICATE_TYPE, Observation
from skillwarrant_format.semver import SemVer
from skillwarrant_format.statement import Statement
from skillwarrant_verify.deciding.facts import History

__all__ = ["history"]

_PHASES: Final = ("activated", "merged")
_MARKS: Final = tuple(f'"phase":"{phase}"'.encode() for phase in _PHASES)


def history(recorder: Recorder, skill: str) -> History:
    """What the log of a recorder says of a skill by now.

    Raises:
        AuditError: the log is damaged or cannot be read.
    """
    with PROCESS_LOCK:
        reader = _READERS.setdefault(recorder, _Reader())
        reader.catch_up(recorder)
        highest = reader.highest.get(skill)
    return History(highest=None if highest is None else highest.text)


class _Reader:
    """The highest version of every skill, as far as a log was read."""

    def __init__(self) -> None:
        self.highest: dict[str, SemVer] = {}
        self._last: Record | None = None

    def catch_up(self, recorder: Recorder) -> None:
        try:
            for record in recorder.records(after=self._last):
                self._take(record)
                self._last = record
        except TornTail:
            return  # another process is writing; what it does is not acknowledged yet
        except FormatError as error:
            raise AuditError("a record of the log cannot be read", found=error.message) from error

    def _take(self, record: Record) -> None:
        payload = Envelope.loads(record.leaf).payload
        if not any(mark in payload for mark in _MARKS):  # canonical JSON: nearly every other record
            return
        statement = Statement.parse(payload)
        if statement.predicate_type != PREDICATE_TYPE:
            return
        observation = Observation.parse(statement)
        if observation.phase not in _PHASES:
            return
        for seen in observation.skills:
            try:
                version = SemVer.parse(seen.version)
            except FormatError:
                continue  # a manifest's version is one, or it is not read
            if seen.name not in self.highest or self.highest[seen.name] < version:
                self.highest[seen.name] = version


_READERS: Final[weakref.WeakKeyDictionary[Recorder, _Reader]] = weakref.WeakKeyDictionary()
