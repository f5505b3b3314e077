"""The recorder: what it is given stands signed in the log, and no other outcome is an acknowledgement."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import socket
import stat
import subprocess
import threading
import weakref
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from logbook import NOW, SUBJECTS, Book, finished, observation, worker

from skillwarrant_audit import FileLog, OperatorKey, Position, Recorder
from skillwarrant_audit.fit import cut
from skillwarrant_audit.signing import MAX_PAYLOAD, generate, sign
from skillwarrant_format import limits
from skillwarrant_format.errors import AuditError, UsageError
from skillwarrant_format.observation import Check, LogPlace, Observation, PolicyUsed, SkillSeen, TrustUsed
from skillwarrant_format.statement import Statement, Subject

# --- recording


def test_what_is_recorded_is_what_an_auditor_reads(book: Book) -> None:
    recorded = Recorder.open(book.directory).record(observation("refused", 1), SUBJECTS)
    report = book.verify()
    (found,) = report.observations
    assert found.observation == observation("refused", 1)
    assert found.statement == recorded.statement
    assert found.position == report.head == Position(seq=recorded.seq, leaf=recorded.leaf)
    assert found.observer.pid == os.getpid()


def test_a_directory_is_made_with_all_that_belongs_in_it(book: Book) -> None:
    Recorder.open(book.directory / "a" / "b")
    made = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (book.directory / "a" / "b").iterdir()}
    assert made == {"operator.pem": 0o600, "operator.pub": 0o644, "observations.log": 0o600}
    assert stat.S_IMODE((book.directory / "a").stat().st_mode) == 0o700


def test_a_process_delegates_its_key_once(book: Book) -> None:
    for activation in range(5):
        book.activate(activation)
    report = book.verify()
    assert (len(report.delegations), len(report.observations)) == (1, 10)


def test_opening_a_directory_again_by_another_name_gives_the_same_recorder(book: Book) -> None:
    recorder = Recorder.open(book.directory)
    (book.directory.parent / "link").symlink_to(book.directory)
    assert Recorder.open(book.directory.parent / "link") is recorder
    assert Recorder.open(book.directory / ".." / "log") is recorder


def test_threads_that_open_at_once_share_one_key(book: Book) -> None:
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        book.activate(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = book.verify()
    assert (len(report.delegations), len(report.observations)) == (1, 16)


def test_recorders_are_not_kept_alive_by_having_been_made(book: Book) -> None:
    recorder = book.process()
    recorder.record(observation(), SUBJECTS)
    gone = weakref.ref(recorder)
    del recorder
    gc.collect()
    assert gone() is None


def test_an_observation_that_could_not_be_read_again_is_not_recorded(book: Book) -> None:
    recorder = Recorder.open(book.directory)
    with pytest.raises(AuditError, match="this cannot be recorded"):
        recorder.record(observation(message="two\nlines"), SUBJECTS)
    with pytest.raises(AuditError, match="this cannot be recorded"):
        recorder.record(observation(runtime={"host": "\udcff"}), SUBJECTS)
    with pytest.raises(AuditError, match="this cannot be recorded"):
        recorder.record(observation(), ())
    with pytest.raises(UsageError, match="time zone"):
        recorder.record(observation(time=NOW.replace(tzinfo=None)), SUBJECTS)
    assert len(book.leaves()) == 1  # the delegation
    assert recorder.record(observation(), SUBJECTS).seq == 1


def test_a_time_of_another_zone_is_the_same_instant(book: Book) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=45)))
    Recorder.open(book.directory).record(observation(time=elsewhere), SUBJECTS)
    assert book.verify().observations[0].observation.time == NOW


def test_a_host_name_that_is_no_text_does_not_stop_the_record(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        socket, "gethostname", lambda: "a\udcff\nb"
    )  # Linux takes any bytes, and changes it for all
    book.activate(1)
    assert book.verify().delegations[0].host == r"a\udcff\nb"


# --- the clock


def test_a_key_is_renewed_when_its_time_is_over_or_not_begun(book: Book) -> None:
    recorder = Recorder.open(book.directory)
    day = timedelta(days=1).total_seconds()
    for activation, after in enumerate([0, -200, day - 1, day, day + 1, 2 * day, -400, -800]):
        recorder.record(observation("refused", activation, after=after), SUBJECTS)
    report = book.verify()
    windows = [(found.not_before - NOW, found.not_after - NOW) for found in report.delegations]
    five, whole = timedelta(minutes=5), timedelta(days=1)
    second, third, fourth = timedelta(days=1, seconds=1), timedelta(seconds=-400), timedelta(seconds=-800)
    assert windows == [
        (-five, whole),
        (second - five, second + whole),
        (third - five, third + whole),
        (fourth - five, fourth + whole),
    ]
    assert [finding.code for finding in report.findings] == ["clock.back", "clock.back"]


@pytest.mark.parametrize("end", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)])
def test_a_clock_at_the_end_of_time_is_not_believed(book: Book, end: datetime) -> None:
    with pytest.raises(AuditError, match="the clock cannot be right"):
        Recorder.open(book.directory).record(observation(time=end), SUBJECTS)


def test_fractions_of_a_second_do_not_fall_outside_the_keys_time(book: Book) -> None:
    recorder = Recorder.open(book.directory)
    recorder.record(observation("refused", 0, after=0.999999), SUBJECTS)
    recorder.record(observation("refused", 1, after=86400.999999), SUBJECTS)
    recorder.record(observation("refused", 2, after=86401), SUBJECTS)
    assert [len(book.verify().delegations), len(book.verify().observations)] == [2, 3]


# --- other processes


def test_processes_that_create_a_log_at_once_agree_on_one_key(book: Book) -> None:
    workers = [worker("create", book.directory, stdin=subprocess.PIPE) for _ in range(5)]
    for one in workers:
        assert one.stdin is not None
        one.stdin.close()
        one.stdin = None
    found = [finished(one).split() for one in workers]
    assert len({operator for _, operator in found}) == 1
    report = book.verify()
    assert (len(report.delegations), len(report.observations)) == (5, 5)
    assert sorted(path.name for path in book.directory.iterdir()) == [
        "observations.log",
        "operator.pem",
        "operator.pub",
    ]


def test_processes_and_threads_that_load_at_once_leave_one_chain(book: Book) -> None:
    for one in [worker("loads", book.directory, 3) for _ in range(3)]:
        finished(one)
    report = book.verify()
    assert (len(report.delegations), len(report.observations)) == (3, 3 * 4 * 3 * 2)
    assert report.findings == ()


def test_a_forked_child_makes_a_key_of_its_own_even_while_others_record(book: Book) -> None:
    recorder, stop = Recorder.open(book.directory), threading.Event()

    def work(name: str) -> None:
        number = 0
        while not stop.is_set():
            recorder.record(observation("refused", f"{name}{number}"), SUBJECTS)
            number += 1

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    try:
        for number in range(5):
            if (child := os.fork()) == 0:
                try:
                    Recorder.open(book.directory).record(observation("refused", f"child{number}"), SUBJECTS)
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    report = book.verify()
    assert len({found.pid for found in report.delegations}) == len(report.delegations) == 6
    assert os.getpid() in {found.pid for found in report.delegations}


@pytest.mark.parametrize(
    ("limit", "left"),
    [(100, set()), (300, {"operator.pem", "operator.pub", "observations.log"})],
    ids=["at the key", "at the first record"],
)
def test_a_disk_that_is_full_while_a_log_is_begun_leaves_nothing_half_made(
    book: Book, limit: int, left: set[str]
) -> None:
    assert "File too large" in finished(worker("full", book.directory, limit))
    assert {path.name for path in book.directory.iterdir()} == left
    assert not left or book.leaves() == []
    book.activate(1)
    assert len(book.verify().observations) == 2


# --- which operator, which file


@pytest.mark.parametrize("left", ["operator.pub", "observations.log"])
def test_where_the_operators_key_is_gone_no_other_is_made(book: Book, tmp_path: Path, left: str) -> None:
    book.activate(1)
    other = Book(tmp_path / "restored without its key")
    other.directory.mkdir()
    shutil.copy(book.directory / left, other.directory)
    with pytest.raises(AuditError, match=r"cannot read the operator's key.*Restore the key"):
        Recorder.open(other.directory)
    assert [path.name for path in other.directory.iterdir()] == [left]


def test_a_log_is_not_continued_by_another_operator(book: Book, tmp_path: Path) -> None:
    Recorder.open(book.directory).record(observation(), SUBJECTS)
    other = Book(tmp_path / "other")
    other.activate(1)
    moved = Book(tmp_path / "moved")
    book.directory.rename(moved.directory)
    moved.key.write_bytes(other.key.read_bytes())
    with pytest.raises(AuditError, match=r"operator\.pub was written with another operator's key"):
        Recorder.open(moved.directory)
    moved.public.unlink()
    with pytest.raises(AuditError, match=r"observations\.log was begun with another operator's key"):
        Recorder.open(moved.directory)
    assert len(moved.leaves()) == 2


def test_a_log_that_begins_with_no_record_of_ours_is_not_continued(book: Book) -> None:
    book.directory.mkdir()
    FileLog.open(book.path).append(lambda _seq, _previous: b"{}")
    OperatorKey.load_or_create(book.key)
    with pytest.raises(AuditError, match="cannot be read"):
        Recorder.open(book.directory)


@pytest.mark.parametrize("what", ["moved", "replaced"])
def test_a_recorder_in_use_refuses_when_its_log_is_gone_and_opening_again_begins_a_new_one(
    book: Book, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    old = Recorder.open(book.directory)
    old.record(observation("refused", 1), SUBJECTS)
    kept = book.path.rename(book.path.with_name("kept.log"))
    before = kept.read_bytes()
    if what == "replaced":
        book.path.write_bytes(b"skillwarrant-log v1\n")
    with pytest.raises(AuditError):
        old.record(observation("refused", 2), SUBJECTS)
    with caplog.at_level(logging.WARNING):
        new = Recorder.open(book.directory)
    assert "was moved or replaced" in caplog.text
    assert new is not old
    assert new is Recorder.open(book.directory)
    new.record(observation("refused", 3), SUBJECTS)
    assert [found.observation for found in book.verify().observations] == [observation("refused", 3)]
    with pytest.raises(AuditError, match="replaced or cut"):
        old.record(observation("refused", 4), SUBJECTS)
    assert kept.read_bytes() == before


def test_a_directory_that_was_renamed_is_begun_anew_with_another_operator(book: Book) -> None:
    book.activate(1)
    old = Book(book.directory.rename(book.directory.with_name("old")))
    book.activate(2)
    assert book.public.read_bytes() != old.public.read_bytes()
    assert len(book.verify().observations) == len(old.verify().observations) == 2


def test_a_log_that_was_cut_under_a_process_is_refused_also_when_opened_again(book: Book) -> None:
    book.activate(1)
    whole = book.path.read_bytes()
    os.truncate(book.path, len(whole) // 2)
    with pytest.raises(AuditError, match="replaced or cut"):
        book.activate(2)
    book.path.write_bytes(whole)
    book.activate(2)
    assert len(book.verify().observations) == 4


@pytest.mark.parametrize("obstacle", ["a file", "a loop of links", "a file above"])
def test_a_place_that_cannot_be_a_directory_is_refused(tmp_path: Path, obstacle: str) -> None:
    place = tmp_path / "log"
    if obstacle == "a file":
        place.write_text("mine")
    elif obstacle == "a loop of links":
        place.symlink_to("log")
    else:
        place.write_text("mine")
        place = place / "below"
    with pytest.raises(AuditError, match="cannot keep a log"):
        Recorder.open(place)


# --- size


LONGEST = "\N{EXTRATERRESTRIAL ALIEN}"  # four bytes a character, as it stands in canonical JSON


def hostile(text: str, checks: int = 17) -> Observation:
    """The longest that a gate can be made to say, as a gate cuts it."""
    return observation(
        message=text * 4001,
        adapters=(text * 201,),
        checks=tuple(
            Check(code=f"requirement.number-{number}", outcome="not-proved", message=text * 1001)
            for number in range(checks)
        ),
        skills=(
            SkillSeen(
                adapter=text * 201,
                name=("a" * 64 + "/" + "b" * 64)[:128],
                version="1.0.0-" + "a" * 58,
                manifest=SUBJECTS[0].digest,
                statement=SUBJECTS[0].digest,
                identity=text * 2048,
                issuer=text * 2048,
                log=LogPlace(
                    origin=text * 512, log_id="0" * 64, index=limits.MAX_JSON_INTEGER, integrated_time=NOW
                ),
            ),
        ),
        policy=PolicyUsed(
            name=text * 512, revision=limits.MAX_JSON_INTEGER, digest=SUBJECTS[0].digest, engine="native"
        ),
        trust=TrustUsed(source=text * 2048, digest=SUBJECTS[0].digest, retrieved_at=NOW),
        context={"environment": "e" * 64, "region": "r" * 64, "operator": "0" * 64, "prompt": "0" * 64},
        runtime={"versions": {f"package-{number}": "1.2.3" * 5 for number in range(10)}, "host": text * 64},
    )


@pytest.mark.parametrize("text", [LONGEST, '"', "\\", "x", "é"])
def test_the_longest_observation_that_a_gate_can_be_made_to_write_is_recorded(book: Book, text: str) -> None:
    given = hostile(text)
    Recorder.open(book.directory).record(given, (Subject(name=text * 512, digest=SUBJECTS[0].digest),))
    found = book.verify().observations[0].observation
    assert (found.skills, found.policy, found.trust) == (given.skills, given.policy, given.trust)
    for said, meant in [(found.message, given.message), (found.checks[-1].message, given.checks[-1].message)]:
        assert said == meant or (said.endswith("…") and meant.startswith(said[:-1]) and len(said) > 100)


@pytest.mark.parametrize(("over", "longest"), [(0, 4000), (1, 2048)])
def test_what_fits_is_not_cut_and_what_is_a_byte_too_long_is(book: Book, over: int, longest: int) -> None:
    """A sentence is cut to the next of 4096, 2048, … bytes."""
    checks = [Check(code="c", outcome="proved", message="x" * 4000) for _ in range(11)]

    def statement(filler: int) -> tuple[Observation, Statement]:
        last = Check(code="c", outcome="proved", message="x" * filler)
        made = observation(checks=(*checks, last))
        return made, made.to_statement(SUBJECTS, seq=1, previous=SUBJECTS[0].digest)

    room = MAX_PAYLOAD - len(statement(1)[1].raw) + 1
    given, made = statement(room + over)
    assert len(made.raw) == MAX_PAYLOAD + over
    recorded = Recorder.open(book.directory).record(given, SUBJECTS)
    assert len(recorded.statement.raw) <= MAX_PAYLOAD
    assert len(book.verify().observations[0].observation.checks[0].message.encode()) == longest


def test_facts_that_are_too_many_for_a_leaf_are_refused_and_not_cut(book: Book) -> None:
    recorder = Recorder.open(book.directory)
    with pytest.raises(AuditError, match="wrong size"):
        recorder.record(observation(context={"much": "x" * 60_000}), SUBJECTS)
    assert len(book.leaves()) == 1


def test_the_largest_payload_fits_into_a_leaf_and_the_next_does_not() -> None:
    largest = max(len(sign(generate(), b"x" * MAX_PAYLOAD).to_bytes()) for _ in range(20))
    assert limits.MAX_LEAF_BYTES - 8 < largest <= limits.MAX_LEAF_BYTES


@pytest.mark.parametrize("size", range(3, 12))
def test_text_is_cut_between_characters(size: int) -> None:
    for text in ("abcdefghijk", "éééééé", LONGEST * 3, "a" + LONGEST * 3):
        short = cut(text, size)
        assert len(short.encode()) <= size
        assert short == text or text.startswith(short.removesuffix("…"))


# --- what the leaf says


def test_a_leaf_names_the_key_that_signed_it(book: Book) -> None:
    book.activate(1)
    named = [json.loads(leaf)["signatures"][0]["keyid"] for leaf in book.leaves()]
    operator, process = OperatorKey.load(book.key).key_id.hex, book.verify().delegations[0].key_id.hex
    assert named == [operator, process, process]
