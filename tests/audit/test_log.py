"""The log file: what is acknowledged stays, what is not is cut off loudly, and damage stops every writer."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from skillwarrant_audit import log as log_module
from skillwarrant_audit import log_file
from skillwarrant_audit.framing import MAGIC, frame
from skillwarrant_audit.log import GENESIS, FileLog, Position, TornTail, read_records
from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import AuditError


def constant(leaf: bytes) -> Callable[[int, Digest], bytes]:
    return lambda _seq, _previous: leaf


def chained(seq: int, previous: Digest) -> bytes:
    return b'{"seq":%d,"previous":"%b"}' % (seq, previous.hex.encode())


def check_chain(path: Path) -> int:
    """How many records the log has, each of which must have been given its place and the leaf before."""
    previous, count = GENESIS, 0
    for count, record in enumerate(read_records(path), start=1):
        assert record.leaf.startswith(chained(count - 1, previous)[:-1])
        previous = record.digest
    return count


def refuse(*_: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.log"


# --- appending ----------------------------------------------------------------------------------------------------


def test_each_leaf_is_made_for_its_place_and_read_back(path: Path) -> None:
    log = FileLog.open(path)
    positions = [log.append(chained) for _ in range(5)]
    records = list(log.records())
    assert positions == [Position(seq=record.seq, leaf=record.digest) for record in records]
    assert check_chain(path) == 5


def test_a_new_log_is_its_owner_s_alone_and_empty(path: Path) -> None:
    FileLog.open(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == MAGIC
    assert list(read_records(path)) == []


def test_a_log_continues_after_a_restart(path: Path) -> None:
    for count in range(1, 4):
        assert FileLog.open(path).append(chained).seq == count - 1
    assert check_chain(path) == 3


def test_two_writers_of_one_file_see_each_other_s_records(path: Path) -> None:
    one, other = FileLog.open(path), FileLog.open(path)
    for _ in range(4):
        one.append(chained)
        other.append(chained)
        other.append(chained)
    assert check_chain(path) == 12


def test_many_threads_through_one_and_several_logs_make_one_chain(path: Path) -> None:
    logs = [FileLog.open(path) for _ in range(2)]
    seen: list[int] = []

    def write(log: FileLog) -> None:
        for _ in range(10):
            seen.append(log.append(chained).seq)

    threads = [threading.Thread(target=write, args=(log,)) for log in logs for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(80))
    assert check_chain(path) == 80


def test_the_bytes_are_synced_before_the_append_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, synced = FileLog.open(path), []
    monkeypatch.setattr(log_module, "sync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    log.append(constant(b"{}"))
    assert synced == [path.stat().st_size]


def test_the_name_of_a_log_is_synced_by_whoever_opens_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever made the file may have been killed before it could.
    synced: list[Path] = []
    monkeypatch.setattr(log_module, "sync_directory", synced.append)
    FileLog.open(path)
    FileLog.open(path)
    assert synced == [path.parent] * 2


def test_a_leaf_that_cannot_be_made_or_kept_leaves_the_log_as_it_was(path: Path) -> None:
    log = FileLog.open(path)
    log.append(chained)
    before = path.read_bytes()
    for bad in (constant(b""), constant(b"a\nb"), constant(b"x" * (limits.MAX_LEAF_BYTES + 1))):
        with pytest.raises(AuditError):
            log.append(bad)
    with pytest.raises(ZeroDivisionError):
        log.append(lambda seq, _: b"%d" % (seq // 0))
    assert path.read_bytes() == before
    log.append(chained)
    assert check_chain(path) == 2


# --- failing disks ------------------------------------------------------------------------------------------------


def test_a_record_that_cannot_be_synced_is_not_acknowledged_and_not_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = FileLog.open(path)
    log.append(chained)
    before = path.read_bytes()
    monkeypatch.setattr(log_module, "sync", refuse)
    with pytest.raises(AuditError, match="Input/output error"):
        log.append(chained)
    assert path.read_bytes() == before


def test_an_interrupted_append_is_taken_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, real = FileLog.open(path), os.fdatasync
    calls: list[int] = []

    def interrupt(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            raise KeyboardInterrupt
        real(descriptor)

    monkeypatch.setattr(log_module, "sync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        log.append(chained)
    assert path.read_bytes() == MAGIC
    log.append(chained)
    assert check_chain(path) == 1


def test_a_partial_write_that_cannot_even_be_taken_back_is_cut_by_the_next_append(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log, real = FileLog.open(path), os.write
    log.append(chained)
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:30]) and refuse())
        broken.setattr(os, "ftruncate", refuse)
        with pytest.raises(AuditError, match="Input/output error"):
            log.append(chained)
    assert "was left in the log" in caplog.text
    with pytest.raises(TornTail):
        list(log.records())
    log.append(chained)
    assert check_chain(path) == 2


@pytest.mark.parametrize("where", ["file/a.log", "missing/a.log", "file", "."])
def test_a_log_that_cannot_be_made_is_an_audit_error(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_bytes(b"something else\n")
    with pytest.raises(AuditError):
        FileLog.open(tmp_path / where)
    assert (tmp_path / "file").read_bytes() == b"something else\n"


# --- torn tails and damage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("torn", [1, 10, 31, 32, 33, 60])
def test_a_torn_tail_is_cut_loudly_by_a_writer_and_by_no_reader(
    path: Path, caplog: pytest.LogCaptureFixture, torn: int
) -> None:
    log = FileLog.open(path)
    log.append(chained)
    whole = path.read_bytes()
    path.write_bytes(whole + frame(1, chained(1, GENESIS))[:torn])
    with pytest.raises(TornTail):
        list(read_records(path))
    assert len(path.read_bytes()) == len(whole) + torn
    with caplog.at_level(logging.WARNING):
        FileLog.open(path)
    assert path.read_bytes() == whole
    assert f"cut {torn} bytes" in caplog.text
    assert str(path) in caplog.text


def test_a_tail_that_another_process_tore_is_cut_by_a_log_that_is_open(path: Path) -> None:
    log = FileLog.open(path)
    log.append(chained)
    with path.open("ab") as file:
        file.write(frame(1, b"{}") + frame(2, b"torn")[:-2])
    assert log.append(constant(b'{"after":"it"}')).seq == 2
    assert [record.leaf for record in read_records(path)][1:] == [b"{}", b'{"after":"it"}']


@pytest.mark.parametrize("written", range(len(MAGIC)))
def test_a_log_whose_creation_was_interrupted_is_created_again(path: Path, written: int) -> None:
    path.write_bytes(MAGIC[:written])
    with pytest.raises(TornTail):
        list(read_records(path))
    FileLog.open(path).append(chained)
    assert check_chain(path) == 1


@pytest.mark.parametrize("index", [0, 1, 2])
def test_nothing_is_appended_to_a_damaged_log(path: Path, index: int) -> None:
    log = FileLog.open(path)
    ends = [0, *(log.append(chained) and path.stat().st_size for _ in range(3))]
    data = bytearray(path.read_bytes())
    data[(ends[index] or len(MAGIC)) + 40] ^= 1
    path.write_bytes(data)
    with pytest.raises(AuditError, match="is damaged"):
        FileLog.open(path)
    assert path.read_bytes() == data


def test_damage_behind_the_part_that_is_known_stops_a_log_that_is_open(path: Path) -> None:
    log = FileLog.open(path)
    log.append(chained)
    with path.open("ab") as file:
        file.write(frame(1, b"{}").replace(b"{}", b"[]"))
    before = path.read_bytes()
    with pytest.raises(AuditError, match="is damaged"):
        log.append(chained)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"something else\n", b"skillwarrant-log v2\n", b"{}", b"\0" * 64])
def test_a_file_that_is_no_log_is_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(AuditError, match="is not a log"):
        FileLog.open(path)
    with pytest.raises(AuditError, match="is not a log"):
        list(read_records(path))
    assert path.read_bytes() == content


def test_a_long_log_is_opened_from_its_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = FileLog.open(path)
    for _ in range(60):
        log.append(chained)
    monkeypatch.setattr(log_module, "OPEN_WINDOW", 700)
    assert FileLog.open(path).append(chained).seq == 60
    assert check_chain(path) == 61
    with path.open("ab") as file:
        file.write(frame(61, b"torn")[:-1])
    assert FileLog.open(path).append(chained).seq == 61
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    with pytest.raises(AuditError, match="is damaged"):
        FileLog.open(path)


# --- a file that is taken away ------------------------------------------------------------------------------------


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    content = path.read_bytes()
    path.rename(path.with_suffix(".old"))
    path.write_bytes(content)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("attack", [remove, replace, empty, shorten])
def test_a_log_that_is_taken_away_while_in_use_refuses(path: Path, attack: Callable[[Path], None]) -> None:
    log = FileLog.open(path)
    log.append(chained)
    attack(path)
    left = path.read_bytes() if path.exists() else None
    with pytest.raises(AuditError):
        log.append(chained)
    assert (path.read_bytes() if path.exists() else None) == left


def link(path: Path) -> None:
    path.with_suffix(".victim").write_bytes(b"")
    path.symlink_to(path.with_suffix(".victim"))


@pytest.mark.parametrize("place", [link, os.mkfifo, Path.mkdir], ids=["link", "fifo", "directory"])
def test_only_a_regular_file_is_a_log(path: Path, place: Callable[[Path], None]) -> None:
    place(path)
    with pytest.raises(AuditError):
        FileLog.open(path)
    with pytest.raises(AuditError):
        list(read_records(path))


# --- locks --------------------------------------------------------------------------------------------------------


def test_a_lock_that_somebody_keeps_is_waited_for_and_not_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "LOCK_SECONDS", 0.2)
    log = FileLog.open(path)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        started = time.monotonic()
        for use in (lambda: log.append(chained), lambda: list(log.records())):
            with pytest.raises(AuditError, match="is locked"):
                use()
        assert time.monotonic() - started < 5
    assert log.append(chained).seq == 0


def test_a_reader_does_not_keep_writers_waiting(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "LOCK_SECONDS", 0.2)
    log = FileLog.open(path)
    log.append(chained)
    log.append(chained)
    reading = log.records()
    next(reading)
    log.append(chained)
    assert [record.seq for record in reading] == [1]  # what was there when reading began


def test_appending_from_within_an_append_fails_and_harms_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "LOCK_SECONDS", 0.2)
    log = FileLog.open(path)
    with pytest.raises(AuditError, match="is locked"):
        log.append(lambda *_: b"%d" % log.append(chained).seq)
    assert log.append(chained).seq == 0
    assert check_chain(path) == 1
