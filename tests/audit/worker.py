"""Another process for the tests: `worker.py COMMAND DIRECTORY …` prints what came of it."""

from __future__ import annotations

import os
import resource
import sys
import threading
from pathlib import Path

from logbook import SUBJECTS, observation

from skillwarrant_audit import OperatorKey, Recorder
from skillwarrant_format.errors import AuditError


def create(directory: Path) -> None:
    """A recorder, when told; prints its place and the operator that it found."""
    sys.stdin.read()
    recorded = Recorder.open(directory).record(observation("refused", os.getpid()), SUBJECTS)
    print(recorded.seq, OperatorKey.load(directory / "operator.pem").key_id.hex)


def full(directory: Path, limit: str) -> None:
    """A recorder where no file may become longer than `limit` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    try:
        Recorder.open(directory).record(observation(), SUBJECTS)
    except AuditError as error:
        print(error)


def loads(directory: Path, count: str) -> None:
    """What `verify_and_load` does to the record, on several threads."""

    def work(number: int) -> None:
        for index in range(int(count)):
            for phase in ("intent", "activated"):
                Recorder.open(directory).record(
                    observation(phase, f"{os.getpid()}/{number}/{index}"),
                    SUBJECTS,
                )

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    {"create": create, "full": full, "loads": loads}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
