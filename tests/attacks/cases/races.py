"""Many threads on one gate and one model, and a log that is taken away while the gate works."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from attack import NO_EFFECT, attack
from lab import Delivered, Second, flip
from skillwarrant_verify import Policy

GROUP = "races"
WORDS = """\
Many threads at once: for one name, for one model, with honest and damaged files; files that change under them; a
clock that goes back; a log that is taken away between the intent and the load."""

THREADS = 6
LOAD = "skillwarrant_verify.loader.load.load"


def case(name: str, refused_by: str, says: str = "", *, setup: Any = Second, **options: Any) -> Any:
    return attack(GROUP, name, setup=setup, refused_by=refused_by, says=says, **options)


def together(work: list[Callable[[], Any]]) -> list[Any]:
    """All at once, as far as threads can: each waits for the others."""
    barrier = threading.Barrier(len(work))

    def run(one: Callable[[], Any]) -> Any:
        barrier.wait()
        return one()

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(run, work))


@case("six threads want one name on one model", "usage", "has an adapter of that name", let_in=1)
def _(attempt: Second) -> None:
    attempt.run = lambda: together([attempt.activate] * THREADS)


@case(
    "six threads want to be the first on a base model",
    "usage",
    "carries adapters already",
    setup=Delivered,
    let_in=1,
)
def _(attempt: Delivered) -> None:
    attempt.run = lambda: together([partial(attempt.activate, f"a{number}") for number in range(THREADS)])


@case("three of six threads bring damaged files", "files.digest", "is not the file that was signed", let_in=3)
def _(attempt: Second) -> None:
    damaged = attempt.lab.copy(attempt.room / "damaged")
    flip(damaged / "adapter_model.safetensors")

    def one(number: int) -> Any:
        adapter = damaged if number % 2 else attempt.adapter
        return attempt.activate(f"a{number}", adapter=adapter)

    attempt.run = lambda: together([partial(one, number) for number in range(THREADS)])


@case(
    "a skill that must be alone and another one want one model at once",
    "usage",
    "carries adapters already",
    setup=Delivered,
    let_in=1,
)
def _(attempt: Delivered) -> None:
    loner = attempt.lab.other("loner-of-the-same-weights", alone=True)
    attempt.run = lambda: together(
        [partial(attempt.activate, "one", adapter=loner), partial(attempt.activate, "two")]
    )


@case("two gates with a policy each want one name on one model", "usage", "has an adapter of that name", let_in=1)
def _(attempt: Second) -> None:
    gates = [attempt.new_gate() for _ in range(2)]
    attempt.run = lambda: together([partial(attempt.activate, gate=gate) for gate in gates])


@case(
    "two gates want one model, and the policy of one does not govern there",
    "environment.allowed",
    "does not govern",
    let_in=1,
)
def _(attempt: Second) -> None:
    text = attempt.lab.world.policy_text().replace('["production"]', '["staging"]')
    strict = attempt.new_gate(policy=Policy.parse(text.encode()))
    attempt.run = lambda: together(
        [partial(attempt.activate, "one"), partial(attempt.activate, "two", gate=strict)]
    )


@case(
    "a thread writes to the files while others load them",
    "files.digest or format or files.mismatch",
    "file",
    let_in=None,
)
def _(attempt: Second) -> None:
    stop = threading.Event()
    honest = attempt.weights.read_bytes()

    def write() -> None:
        while not stop.is_set():
            flip(attempt.weights)
            attempt.weights.write_bytes(honest)

    def run() -> list[Any]:
        thread = threading.Thread(target=write)
        thread.start()
        try:
            return together([partial(attempt.activate, f"a{number}") for number in range(THREADS)])
        finally:
            stop.set()
            thread.join()

    attempt.run = run


@case("the clock goes back a year between the check and the record", NO_EFFECT)
def _(attempt: Second) -> None:
    def back() -> None:
        attempt.when = lambda: datetime.now(UTC) - timedelta(days=365)

    attempt.before(LOAD, back)


@case("the clock gives a time without a zone", "usage", "time zone", recorded=False)
def _(attempt: Second) -> None:
    attempt.when = lambda: datetime(2026, 11, 22)  # noqa: DTZ001


# The log


def logless(name: str, says: str, change: Callable[[Second], Any]) -> None:
    """No ack, no activation."""

    @case(name, "audit", says, recorded=False)
    def _(attempt: Second) -> None:
        assert attempt.gate
        change(attempt)


def at_load(attempt: Second, change: Callable[[], Any]) -> None:
    attempt.before(LOAD, change)


logless(
    "the log's directory is deleted before the activation",
    "cannot write the log",
    lambda attempt: shutil.rmtree(attempt.log),
)
logless(
    "the log's directory is moved away before the activation",
    "cannot write the log",
    lambda attempt: attempt.log.rename(attempt.room / "x"),
)
logless(
    "the log is deleted before the activation",
    "cannot write the log",
    lambda attempt: (attempt.log / "observations.log").unlink(),
)
logless(
    "the log is cut off before the activation",
    "was replaced or cut",
    lambda attempt: os.truncate(attempt.log / "observations.log", 3),
)
logless(
    "the log's directory is deleted between the intent and the load",
    "cannot write the log",
    lambda attempt: at_load(attempt, lambda: shutil.rmtree(attempt.log)),
)
logless(
    "the log is deleted between the intent and the load",
    "cannot write the log",
    lambda attempt: at_load(attempt, (attempt.log / "observations.log").unlink),
)
