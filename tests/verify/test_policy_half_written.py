"""A policy that nobody signs, and that is written where it lies: half of it is a policy too, and is not taken."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from publisher import document
from skillwarrant_format.errors import PolicyError, Unavailable
from skillwarrant_verify import Policy, ReloadingPolicy
from skillwarrant_verify.signed_policy.quiet_file import QUIET_SECONDS, SETTLED_SECONDS

REVOKED = '[revocations]\n[[revocations.skills]]\nname = "acme/*"\n'


def whole(revision: int) -> bytes:
    """A policy that says last what it revokes."""
    return document(revision=revision) + b"#" * 5000 + b"\n" + REVOKED.encode()


class Stopwatch:
    """What `time.monotonic` says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    found = Stopwatch()
    monkeypatch.setattr(time, "monotonic", found)
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_bytes(whole(1))
    return path


@pytest.fixture
def policies(watch: Stopwatch, path: Path) -> ReloadingPolicy:
    return ReloadingPolicy(path, every=0)


def revokes(policy: Policy) -> bool:
    return len(policy.revocations.skills) == 1


def test_half_of_a_policy_is_a_policy() -> None:
    """So that the tests below are of something."""
    assert revokes(Policy.parse(whole(2)))
    assert not revokes(Policy.parse(whole(2)[:4096]))


def test_what_is_written_piece_by_piece_is_taken_when_it_is_whole(
    policies: ReloadingPolicy, path: Path, watch: Stopwatch
) -> None:
    with path.open("wb") as file:
        for start in range(0, len(whole(2)), 1000):
            file.write(whole(2)[start : start + 1000])
            file.flush()
            watch.now += QUIET_SECONDS - 0.1
            assert policies.current().revision == 1
            assert revokes(policies.current())
    watch.now += QUIET_SECONDS - 0.1
    assert policies.current().revision == 1
    watch.now += QUIET_SECONDS
    assert policies.current().revision == 2
    assert revokes(policies.current())
    assert policies.current().notice is None


def test_until_then_the_old_one_says_why_it_is_in_force(
    policies: ReloadingPolicy, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(whole(2))
    with caplog.at_level(logging.WARNING, "skillwarrant.policy"):
        kept = policies.current()
    assert kept.notice == (
        f"revision 1 stays in force, and what was to take its place does not: {path} has changed a moment ago, so "
        "it may be half written: expected the same file, 2 s later. Ask again then. Put a policy in place by a "
        "rename, or sign it: then no half of it is ever taken."
    )
    assert caplog.records == []  # every change is like that for a moment


def test_who_asks_for_it_to_be_read_now_is_told_that_it_is_not_taken(
    policies: ReloadingPolicy, path: Path, watch: Stopwatch
) -> None:
    path.write_bytes(whole(2)[:4096])
    found = policies.reload()
    assert (found.outcome, found.policy.revision) == ("kept", 1)
    assert isinstance(found.error, Unavailable)
    watch.now += QUIET_SECONDS
    assert policies.reload().outcome == "taken"


def test_the_same_size_and_time_do_not_make_another_content_quiet(
    policies: ReloadingPolicy, path: Path, watch: Stopwatch
) -> None:
    """As on a file system that tells of changes late."""
    with path.open("r+b") as file:
        file.write(whole(2))
        file.flush()
        os.utime(file.fileno(), ns=(5, 5))
        assert policies.current().revision == 1
        watch.now += QUIET_SECONDS
        file.seek(0)
        file.write(whole(3))
        file.flush()
        os.utime(file.fileno(), ns=(5, 5))
    assert policies.current().revision == 1
    watch.now += QUIET_SECONDS
    assert policies.current().revision == 3


@pytest.mark.parametrize(
    "seconds", [0.0, 3600.0, 86400.0 * 365 * 20, -3600.0], ids=["now", "1 h", "20 years", "past"]
)
def test_a_time_that_is_not_now_makes_it_wait_no_longer_and_no_shorter(
    policies: ReloadingPolicy, path: Path, watch: Stopwatch, seconds: float
) -> None:
    """Of another host's clock, or given by whoever writes (`cp -p`); the file system keeps another one."""
    path.write_bytes(whole(2))
    os.utime(path, (time.time() + seconds,) * 2)
    assert policies.current().revision == 1
    watch.now += QUIET_SECONDS
    assert policies.current().revision == 2


def test_a_change_that_is_a_minute_old_is_taken_at_the_first_look(
    policies: ReloadingPolicy, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate that is asked once an hour does not decide by what was revoked an hour ago."""
    path.write_bytes(whole(2))
    later = time.time() + SETTLED_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert policies.current().revision == 2


def test_a_rename_is_whole_and_waits_as_long(policies: ReloadingPolicy, path: Path, watch: Stopwatch) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(whole(2))
    new.replace(path)
    assert policies.current().revision == 1
    watch.now += QUIET_SECONDS
    assert policies.current().revision == 2


def test_a_change_that_is_taken_back_is_none(policies: ReloadingPolicy, path: Path) -> None:
    path.write_bytes(whole(2))
    assert policies.current().notice
    path.write_bytes(whole(1))
    assert (policies.current().revision, policies.current().notice) == (1, None)


def test_half_a_policy_that_comes_back_as_it_was_begins_to_wait_anew(
    policies: ReloadingPolicy, path: Path, watch: Stopwatch
) -> None:
    """Time in which the old one was there is none in which this one was quiet."""

    def put(data: bytes) -> None:
        path.write_bytes(data)
        os.utime(path, (time.time(), 1_000_000_000))

    put(whole(2))
    assert policies.current().revision == 1
    put(whole(1))
    assert (policies.current().revision, policies.current().notice) == (1, None)
    watch.now += 2 * QUIET_SECONDS
    put(whole(2))
    assert policies.current().revision == 1
    watch.now += QUIET_SECONDS
    assert policies.current().revision == 2


def test_of_a_policy_that_nobody_signs_nothing_is_demanded_but_that_it_can_be_read(
    policies: ReloadingPolicy, path: Path, watch: Stopwatch, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(whole(7))
    policies.current()
    watch.now += QUIET_SECONDS
    assert policies.current().revision == 7
    path.write_bytes(document(revision=2))
    policies.current()
    watch.now += QUIET_SECONDS
    assert policies.current().revision == 2
    path.write_bytes(b"nonsense")
    policies.current()
    watch.now += QUIET_SECONDS
    with caplog.at_level(logging.WARNING, "skillwarrant.policy"):
        found = policies.reload()
        policies.current()
    assert isinstance(found.error, PolicyError)
    assert (found.policy.revision, len(caplog.records)) == (2, 1)
    assert "nonsense" not in (policies.current().notice or "")


@pytest.mark.parametrize(
    "spoil", [Path.unlink, lambda path: (path.unlink(), path.mkdir())], ids=["gone", "a directory"]
)
def test_a_file_that_cannot_be_read_leaves_the_old_one_in_force(
    policies: ReloadingPolicy, path: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(path)
    found = policies.reload()
    assert isinstance(found.error, Unavailable)
    assert "cannot read the policy" in (policies.current().notice or "")
    assert policies.current().revision == 1


def test_a_file_that_changes_while_it_is_read_is_not_taken(
    policies: ReloadingPolicy, path: Path, watch: Stopwatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(whole(2))
    policies.current()
    watch.now += QUIET_SECONDS
    real = Policy.load

    def changed(found: Path) -> Policy:
        path.write_bytes(whole(3)[:4096])
        return real(found)

    monkeypatch.setattr(Policy, "load", changed)
    assert policies.current().revision == 1
    assert policies.reload().outcome == "kept"


def test_the_first_is_taken_as_it_is(tmp_path: Path) -> None:
    """There is no old one to stand in for it: rename, or sign."""
    path = tmp_path / "policy.toml"
    path.write_bytes(whole(1)[:4096])
    assert not revokes(ReloadingPolicy(path).current())
