"""The log on disk: what was acknowledged survives every kill, and damage is never mistaken for a torn tail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skillwarrant_devstack.journal import Journal
from skillwarrant_devstack.log import Log
from skillwarrant_devstack.merkle import leaf_hash
from skillwarrant_format.errors import AuditError, Unavailable

WRITER = """
import sys
from pathlib import Path
from skillwarrant_devstack.log import Log
log = Log(Path(sys.argv[1]))
while True:
    index, _ = log.add(b"%d " % log.size + b"x" * 20_000, 0)
    print(index, log.root(index + 1).hex(), flush=True)
"""
FULL_DISK = """
import resource, sys
from pathlib import Path
from skillwarrant_devstack.log import Log
from skillwarrant_format.errors import Unavailable
path = Path(sys.argv[1])
log = Log(path)
log.add(b"first", 0)
before, root = path.read_bytes(), log.root(1)
resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, resource.RLIM_INFINITY))
try:
    log.add(b"second", 0)
except Unavailable as error:
    print("refused:", error)
assert path.read_bytes() == before and log.size == 1 and log.root(1) == root
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert log.add(b"third", 0) == (1, True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def filled(path: Path, count: int) -> Log:
    log = Log(path)
    for number in range(count):
        log.add(b"%d" % number, number)
    return log


def test_a_log_continues_where_it_was(path: Path) -> None:
    log = filled(path, 5)
    root = log.root(5)
    log.close()
    again = Log(path)
    assert (again.size, again.root(5), again.entry(3).body, again.entry(3).integrated_time) == (5, root, b"3", 3)
    assert again.add(b"5", 5) == (5, True)


def test_an_equal_entry_is_not_logged_twice_even_after_a_restart(path: Path) -> None:
    filled(path, 3).close()
    log = Log(path)
    assert log.add(b"1", 99) == (1, False)
    assert log.size == 3


@given(cut=st.integers(1, 200))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_torn_tail_is_cut_and_the_rest_stays(path: Path, cut: int) -> None:
    path.unlink(missing_ok=True)
    filled(path, 4).close()
    lines = path.read_bytes().splitlines(keepends=True)
    torn = lines[3][: -1 - cut % (len(lines[3]) - 1)]
    path.write_bytes(b"".join(lines[:3]) + torn)
    log = Log(path)
    assert log.size == 3
    assert log.add(b"3", 3) == (3, True)
    assert path.read_bytes() == b"".join(lines)


def test_a_torn_first_record_leaves_an_empty_log(path: Path) -> None:
    path.write_bytes(b'{"body":')
    assert Log(path).size == 0
    assert path.read_bytes() == b""


def test_a_torn_tail_longer_than_the_read_chunk_is_cut(path: Path) -> None:
    filled(path, 2).close()
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * 3_000_000)
    Log(path).close()
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [lines[0], lines[2]],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [lines[0].replace(b'"body":"MA==', b'"body":"MQ=='), *lines[1:]],
        lambda lines: [*lines[:2], lines[2].replace(b'"body":"Mg==', b'"body":"Mw==')],
        lambda lines: [lines[0], b"\n", *lines[1:]],
        lambda lines: [lines[0], lines[1][:-20] + b"\n", lines[2]],
        lambda lines: [lines[0], b"{}\n", lines[2]],
        lambda lines: [lines[0], b"\x00" * 50 + b"\n", lines[2]],
    ],
    ids=["lost", "swapped", "body", "last body", "blank", "cut inside", "empty", "zeros"],
)
def test_damage_that_is_no_torn_tail_is_refused(path: Path, damage: Callable[[list[bytes]], list[bytes]]) -> None:
    filled(path, 3).close()
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = b"".join(damage(lines))
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    with pytest.raises(AuditError, match="damaged"):
        Log(path)
    assert path.read_bytes() == damaged


def test_a_file_that_somebody_else_wrote_to_takes_no_more_entries(path: Path) -> None:
    log = filled(path, 2)
    with path.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(AuditError, match="was changed"):
        log.add(b"next", 0)
    assert log.size == 2


def test_a_closed_log_takes_no_more_entries(path: Path) -> None:
    log = filled(path, 1)
    log.close()
    with pytest.raises(Unavailable, match="closed"):
        log.add(b"next", 0)


def test_a_record_is_one_line(path: Path) -> None:
    with pytest.raises(ValueError, match="one line"):
        Journal(path).append(b"a\nb")


def test_a_full_disk_refuses_the_entry_and_leaves_no_part_of_it(path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("refused: cannot write")
    assert Log(path).entry(1).body == b"third"


def test_every_acknowledged_entry_survives_kill_minus_nine(path: Path) -> None:
    acknowledged: dict[int, str] = {}
    for delay in (0.02, 0.05, 0.08):
        with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            first = child.stdout.readline()
            time.sleep(delay)
            os.kill(child.pid, signal.SIGKILL)
            lines = [first, *child.stdout.read().splitlines(keepends=True)]
        pairs = (line.split() for line in lines if line.endswith("\n"))
        acknowledged |= {int(index): root for index, root in pairs}
    log = Log(path)
    assert len(acknowledged) >= 3
    assert log.size > max(acknowledged)
    assert all(log.root(index + 1).hex() == root for index, root in acknowledged.items())
    assert all(log.entry(index).body.startswith(b"%d " % index) for index in range(log.size))


def test_nothing_of_an_entry_is_shown_before_it_is_durable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = filled(path, 1)
    seen: list[object] = []
    sync = os.fdatasync

    def watch(fd: int) -> None:
        seen.extend([log.size, log.find(leaf_hash(b"new")), len(log.hashes(0, 0, 9)), log.hashes(1, 0, 9)])
        sync(fd)

    monkeypatch.setattr(os, "fdatasync", watch)
    log.add(b"new", 0)
    assert seen == [1, None, 1, []]
    assert (log.size, len(log.hashes(0, 0, 9)), len(log.hashes(1, 0, 9))) == (2, 2, 1)


def test_threads_get_distinct_places_and_proofs_that_hold(path: Path, includes: Callable[..., bool]) -> None:
    log = Log(path)
    failures: list[str] = []

    def work(worker: int) -> None:
        for number in range(12):
            body = b"%d/%d" % (worker, number)
            index, new = log.add(body, 0)
            proof = log.prove(index)
            if not new or not includes(leaf_hash(body), index, proof.size, proof.hashes, proof.root):
                failures.append(f"{body!r} at {index}")

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert log.size == 72
    root = log.root(72)
    log.close()
    assert Log(path).root(72) == root
