"""`RevisionStore`: the highest revision of each policy that this host has seen, so that no policy goes back.

    policy-revisions.log          one line of RFC 8785 JSON for each revision that was taken, oldest first
    {"digest": …, "name": …, "previous": SHA-256 of the line before, "revision": …, "time": …}

A line is on disk before its policy decides anything, and is never taken back. Where the file is not there, the log
of observations beside it says which signed policies have decided on this host. Somebody who can write both can make
a host forget; what is signed still has to be, and has to be in its time.
It knows nothing of what policies say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from skillwarrant_audit.log import Record, TornTail, read_records
from skillwarrant_audit.log_file import locked_for_writing, opened_for_reading, sync
from skillwarrant_audit.recorder import LOG_NAME
from skillwarrant_audit.signing import read_envelope
from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.durable import make_directory, sync_directory
from skillwarrant_format.errors import AuditError, FormatError, PolicyRefused, TrustError
from skillwarrant_format.fields import Fields, format_time
from skillwarrant_format.observation import PREDICATE_TYPE, PolicyUsed
from skillwarrant_format.statement import Statement
from skillwarrant_format.strict_json import JsonObject, canonical, loads_canonical
from skillwarrant_verify.arguments import path_of

__all__ = ["REVISIONS_NAME", "Mark", "RevisionStore"]

REVISIONS_NAME: Final = "policy-revisions.log"
_START: Final = Digest("0" * 64)
_MAX_BYTES: Final = 4 * limits.MIB  # some 15,000 revisions
_SKEW: Final = timedelta(minutes=5)  # how far a clock may be set back
_RESTORE: Final = (
    "Restore it from a backup. Only if you know which revision is in force: move it away, and demand that revision."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One revision that was taken.

    Args:
        digest: SHA-256 of the policy document.
        time: of the host, then.
    """

    name: str
    revision: int
    digest: Digest
    time: datetime

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        return cls(
            name=fields.text("name"),
            revision=fields.integer("revision", least=1),
            digest=fields.digest("digest"),
            time=fields.time("time"),
        )

    def to_json(self) -> JsonObject:
        return {
            "name": self.name,
            "revision": self.revision,
            "digest": {"sha256": self.digest.hex},
            "time": format_time(self.time),
        }


class RevisionStore:
    """The revisions that one host has seen. Threads and processes may share its directory.

    Args:
        directory: of the activation log; made where it is not there.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = path_of("the directory of revisions", directory)
        self._path = self._directory / REVISIONS_NAME
        self._log = self._directory / LOG_NAME

    @property
    def path(self) -> Path:
        """The file, which need not be there yet."""
        return self._path

    def check(self, mark: Mark) -> None:
        """Whether a policy may be used, without taking it.

        Raises:
            PolicyRefused: an older revision than one that was seen, or another policy of the same revision.
            TrustError: the host's clock is behind what was seen.
            AuditError: the file cannot be read, or is damaged.
        """
        data = b""
        if os.path.lexists(self._path):
            with opened_for_reading(self._path) as (descriptor, size):
                data = _whole(descriptor, size, self._path)
        _check(mark, self._known(data).get(mark.name))

    def take(self, mark: Mark) -> None:
        """`check`, and from now on no older revision: it is on disk when this returns.

        Raises:
            PolicyRefused, TrustError: as `check`; nothing was taken.
            AuditError: as `check`, or it could not be written.
        """
        try:
            make_directory(self._directory)
        except OSError as error:
            raise AuditError(f"cannot keep revisions in {self._directory}", found=error.strerror) from error
        with locked_for_writing(self._path, create=True) as descriptor:
            size = os.fstat(descriptor).st_size
            data = _whole(descriptor, size, self._path)
            known = self._known(data)
            _check(mark, last := known.get(mark.name))
            new = [] if data else [*known.values()]
            if last is None or last.revision < mark.revision:
                new.append(mark)
            if new:
                if size != len(data):
                    os.ftruncate(descriptor, len(data))
                self._append(descriptor, data, new)

    def _known(self, data: bytes) -> dict[str, Mark]:
        """The last mark of each policy."""
        marks = _marks(data, self._path) if data else _decided(self._log)
        return {mark.name: mark for mark in marks}

    def _append(self, descriptor: int, data: bytes, marks: list[Mark]) -> None:
        previous = Digest.of(data.splitlines()[-1]) if data else _START
        added = b""
        for mark in marks:
            line = canonical({**mark.to_json(), "previous": {"sha256": previous.hex}})
            previous = Digest.of(line)
            added += line + b"\n"
        if os.write(descriptor, added) != len(added):
            raise AuditError(f"cannot write all of {self._path}", fix="Check that the disk is not full.")
        sync(descriptor)
        sync_directory(self._path.parent)


def _check(new: Mark, last: Mark | None) -> None:
    if last is None:
        return
    if new.time < last.time - _SKEW:
        raise TrustError(
            "this host's clock is behind the last time that it took a policy",
            expected=f"{format_time(last.time)} or later",
            found=format_time(new.time),
            fix="Check this machine's clock.",
        )
    if new.revision < last.revision:
        raise PolicyRefused(
            f"the policy {new.name!r} has gone back",
            expected=f"revision {last.revision} or later, which this host has seen",
            found=f"revision {new.revision}",
            fix="To go back to what an older one says, sign it under a new revision.",
        )
    if new.revision == last.revision and new.digest != last.digest:
        raise PolicyRefused(
            f"there are two policies {new.name!r} of revision {new.revision}",
            expected=str(last.digest),
            found=str(new.digest),
            fix="Find out which is meant, and sign that under a new revision.",
        )


def _whole(descriptor: int, size: int, path: Path) -> bytes:
    """The whole lines. What follows the last newline was cut off by a crash, and never acknowledged."""
    if size > _MAX_BYTES:
        raise _damaged(path, f"{size} bytes, more than {_MAX_BYTES}")
    data = os.pread(descriptor, size, 0)
    return data[: data.rfind(b"\n") + 1]


def _marks(data: bytes, path: Path) -> Iterator[Mark]:
    """Every line, in order."""
    previous, newest = _START, dict[str, int]()
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            fields = Fields(loads_canonical(line, what=f"line {number}"), f"line {number}")
            fields.only("digest", "name", "previous", "revision", "time")
            mark, follows = Mark.parse(fields), fields.digest("previous")
        except FormatError as error:
            raise _damaged(path, str(error)) from None
        if follows != previous or mark.revision <= newest.get(mark.name, 0):
            raise _damaged(path, f"line {number} does not follow the lines before")
        previous, newest[mark.name] = Digest.of(line), mark.revision
        yield mark


def _decided(log: Path) -> Iterator[Mark]:
    """What the log, where there is one, says of signed policies that decided here. Nothing of it is verified."""
    if not os.path.lexists(log):
        return
    newest = dict[str, int]()
    with suppress(TornTail):  # a record that a crash cut off, after all others
        for record in read_records(log):
            found = _decision(record, log)
            if found is not None and found.revision > newest.get(found.name, 0):
                newest[found.name] = found.revision
                yield found


def _decision(record: Record, log: Path) -> Mark | None:
    try:
        statement = Statement.parse(read_envelope(record.leaf).payload)
        if statement.predicate_type != PREDICATE_TYPE:
            return None
        fields = Fields(statement.predicate, "predicate")
        used, time = PolicyUsed.parse(fields.object("policy")), fields.time("time")
    except FormatError as error:
        raise _damaged(log, f"record {record.seq}: {error}") from None
    if used.origin is None:
        return None
    return Mark(name=used.name, revision=used.revision, digest=used.digest, time=time)


def _damaged(path: Path, found: str) -> AuditError:
    return AuditError(
        f"{path} is damaged, so nobody can tell which revisions this host has seen", found=found, fix=_RESTORE
    )
