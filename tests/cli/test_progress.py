"""Progress is for people who wait: only on a terminal, only after a while, and gone when the job is."""

from __future__ import annotations

import io
import time
from contextlib import redirect_stderr

import pytest

from skillwarrant_cli import progress

ERASED = "\x1b[2K"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)


def test_nobody_is_told_where_nobody_looks(impatient):
    with (
        redirect_stderr(io.StringIO()) as shown,
        progress.hashing("reading") as callback,
        progress.waiting("asking"),
    ):
        assert callback is None
    assert shown.getvalue() == ""


def test_a_quick_job_shows_nothing():
    with redirect_stderr(Terminal()) as shown, progress.hashing("reading") as callback, progress.waiting("asking"):
        assert callback is not None
        callback(1, 2)
        callback(2, 2)
    assert shown.getvalue() == ""


def test_a_slow_job_shows_how_far_it_is(impatient):
    with redirect_stderr(Terminal()) as shown, progress.hashing("measuring the base model") as callback:
        assert callback is not None
        callback(50_000_000, 100_000_000)
    assert "measuring the base model" in shown.getvalue()
    assert "50.0/100.0 MB" in shown.getvalue()


def test_a_long_wait_shows_that_it_is_one_and_leaves_no_trace(impatient):
    with redirect_stderr(Terminal()) as shown, progress.waiting("signing"):
        deadline = time.monotonic() + 10
        while "signing" not in shown.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "signing" in shown.getvalue()
    assert shown.getvalue().endswith(ERASED)


def test_a_failure_still_ends_it(impatient):
    def fail() -> None:
        with progress.hashing("reading") as callback:
            assert callback is not None
            callback(1, 2)
            raise KeyboardInterrupt

    with redirect_stderr(Terminal()) as shown, pytest.raises(KeyboardInterrupt):
        fail()
    assert shown.getvalue().endswith(ERASED)
