"""Real processes, really killed, really out of space: every acknowledged record is there afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skillwarrant_audit.log import GENESIS, FileLog, TornTail, read_records
from skillwarrant_format.digest import Digest

LEAF = """
import os, signal, sys, threading
from pathlib import Path
from skillwarrant_audit.log import FileLog
path = Path(sys.argv[1])
def leaf(seq, previous):
    return b'{"seq":%d,"previous":"%b","fill":"%b"}' % (seq, previous.hex.encode(), b"x" * 20_000)
"""
WRITER = f"""{LEAF}
log = FileLog.open(path)
while True:
    position = log.append(leaf)
    os.write(1, b"%d %b\\n" % (position.seq, position.leaf.hex.encode()))
"""
KILLED_IN_A_WRITE = f"""{LEAF}
log, real, part = FileLog.open(path), os.write, int(sys.argv[2])
log.append(leaf)
def torn(descriptor, data):
    real(descriptor, bytes(data)[:part])
    os.kill(os.getpid(), signal.SIGKILL)
os.write = torn
log.append(leaf)
"""
THREADS = f"""{LEAF}
log = FileLog.open(path)
def work():
    for _ in range(5):
        log.append(leaf)
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
FULL = f"""{LEAF}
import resource
from skillwarrant_format.errors import AuditError
log = FileLog.open(path)
log.append(leaf)
whole = path.read_bytes()
for room in (0, 1, 50, 15_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + room, resource.RLIM_INFINITY))
    try:
        log.append(leaf)
    except AuditError as error:
        print(error)
    else:
        sys.exit("acknowledged")
    assert path.read_bytes() == whole, room
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert log.append(leaf).seq == 1
"""
FULL_AT_CREATION = f"""{LEAF}
import resource
from skillwarrant_format.errors import AuditError
resource.setrlimit(resource.RLIMIT_FSIZE, (7, resource.RLIM_INFINITY))
try:
    FileLog.open(path)
except AuditError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert FileLog.open(path).append(leaf).seq == 0
"""
FORK = f"""{LEAF}
log, stop = FileLog.open(path), threading.Event()
def work():
    while not stop.is_set():
        log.append(leaf)
threads = [threading.Thread(target=work) for _ in range(2)]
[thread.start() for thread in threads]
for _ in range(20):  # while other threads are in the middle of appending
    child = os.fork()
    if child == 0:
        log.append(leaf)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
stop.set()
[thread.join() for thread in threads]
"""
STOPS = f"""{LEAF}
log = FileLog.open(path)
log.append(leaf)
os.kill(os.getpid(), signal.SIGSTOP)
assert log.append(leaf).seq == 2
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.log"


def chained(seq: int, previous: Digest) -> bytes:
    return b'{"seq":%d,"previous":"%b"}' % (seq, previous.hex.encode())


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    """What it printed; it must have ended well."""
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output


def digests(path: Path) -> list[Digest]:
    """The digest of every record, once each is found to have been made for its place."""
    found = [GENESIS]
    for seq, record in enumerate(read_records(path)):
        assert record.leaf.startswith(b'{"seq":%d,"previous":"%b"' % (seq, found[-1].hex.encode()))
        found.append(record.digest)
    return found[1:]


def test_what_was_acknowledged_survives_every_kill(path: Path) -> None:
    acknowledged: dict[int, str] = {}
    for round_ in range(6):
        process = start(WRITER, path)
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(0.005 * round_)
        process.kill()
        rest = process.stdout.read()  # not communicate(), which loses what readline() has read ahead
        process.communicate()
        lines = [line.split() for line in (first + rest).splitlines(keepends=True) if line.endswith("\n")]
        acknowledged.update({int(seq): leaf for seq, leaf in lines})
        FileLog.open(path)  # cuts what the kill tore
        found = digests(path)
        assert {seq: found[seq].hex for seq in acknowledged} == acknowledged
        # At most one record a round was whole and not yet acknowledged when the process was killed.
        assert len(found) <= len(acknowledged) + round_ + 1
    assert len(acknowledged) >= 6


@pytest.mark.parametrize("part", [1, 31, 32, 500, 20_000])
def test_a_process_killed_inside_a_write_leaves_a_tail_that_is_cut(path: Path, part: int) -> None:
    process = start(KILLED_IN_A_WRITE, path, part)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(TornTail) as caught:
        list(read_records(path))
    assert caught.value.size == part
    FileLog.open(path)
    assert len(digests(path)) == 1


def test_many_processes_with_many_threads_make_one_chain(path: Path) -> None:
    for process in [start(THREADS, path) for _ in range(3)]:
        finish(process)
    assert len(digests(path)) == 3 * 4 * 5


def test_a_full_disk_acknowledges_nothing_and_leaves_the_log_as_it_was(path: Path) -> None:
    output = finish(start(FULL, path))
    assert output.count("File too large") == 4
    assert len(digests(path)) == 2


def test_a_disk_that_is_full_at_once_leaves_nothing_that_stops_the_next_start(path: Path) -> None:
    assert "File too large" in finish(start(FULL_AT_CREATION, path))
    assert len(digests(path)) == 1


def test_a_fork_in_the_middle_of_appending_breaks_neither_lock_nor_chain(path: Path) -> None:
    finish(start(FORK, path))
    assert len(digests(path)) >= 20


def test_a_stopped_writer_that_goes_on_finds_what_others_wrote(path: Path) -> None:
    process = start(STOPS, path)
    os.waitpid(process.pid, os.WUNTRACED)
    assert FileLog.open(path).append(chained).seq == 1
    process.send_signal(signal.SIGCONT)
    finish(process)
    assert len(digests(path)) == 3
