"""A host that has used a newer release, and is offered an older one that is validly signed."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from attack import attack
from cases.races import LOAD, together
from lab import Delivered, Forged
from skillwarrant_audit import recorder
from skillwarrant_verify import LoadOptions, StackItem
from skillwarrant_verify.gate import version_history
from world import PRODUCTION

GROUP = "rollback"
WORDS = """\
A valid older release, signed and logged, on a host whose policy forbids to go back (`no_rollback`) and whose gate
has put a newer one to use: later, in another process, at the same moment, under another spelling of its number.
Releases are ordered by SemVer alone: of two that differ in build metadata only, either may follow the other."""

NO_ROLLBACK = "[versions]\nno_rollback = true"
CODE = "version.no-rollback"


def case(name: str, refused_by: str, says: str, *, setup: Any = Delivered, **options: Any) -> Any:
    return attack(GROUP, name, setup=setup, refused_by=refused_by, says=says, **options)


def use_newer(attempt: Delivered, gate: Any = None) -> Any:
    """Release 2.0.0 of the same skill, with the same weights, on a model of its own."""
    newer = attempt.lab.other("adapter-2", version="2.0.0", skill="acme/adapter")
    return (gate or attempt.gate).activate(attempt.lab.model(), newer, context=PRODUCTION)


def after(name: str, refused_by: str = CODE, says: str = "2.0.0 or higher", **options: Any) -> Any:
    """The newer release was put to use; then the rest of the attack is made, and the older one delivered."""

    def register(change: Callable[[Delivered], Any]) -> None:
        @case(name, refused_by, says, **options)
        def _(attempt: Delivered) -> None:
            attempt.extra = NO_ROLLBACK
            use_newer(attempt)
            change(attempt)

    return register


@after("the older release is delivered after the newer one")
def _(_: Delivered) -> None:
    pass


@after("the older release is delivered after the newer one was taken off again")
def _(attempt: Delivered) -> None:
    model = use_newer(attempt)
    attempt.gate.deactivate(model, "default")


@after("the older release is delivered after the newer one became a part of its model")
def _(attempt: Delivered) -> None:
    attempt.gate.merge_and_unload(use_newer(attempt), context=PRODUCTION)


@after("the older release is delivered to a gate that has forgotten everything but its log")
def _(attempt: Delivered) -> None:
    forget()
    del attempt.gate


def forget() -> None:
    """As a new process begins."""
    version_history._READERS.clear()
    recorder._opened.clear()


@after("the older release is delivered to another gate with the same log")
def _(attempt: Delivered) -> None:
    attempt.run = lambda: [attempt.activate(gate=attempt.new_gate())]


@after("the older release is delivered in a stack, behind another skill")
def _(attempt: Delivered) -> None:
    items = [
        StackItem(adapter=attempt.lab.other("other", seed=2), adapter_name="other"),
        StackItem(adapter=attempt.adapter, adapter_name="older"),
    ]
    attempt.run = lambda: [
        attempt.answer(lambda: attempt.gate.activate_stack(attempt.model, items, context=PRODUCTION))
    ]


@case("another process puts the newer release to use, and the older one is delivered here", CODE, "2.0.0 or higher")
def _(attempt: Delivered) -> None:
    attempt.extra = NO_ROLLBACK
    assert attempt.gate
    if (child := os.fork()) == 0:
        try:
            use_newer(attempt)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


@case("the newer release is put to use while the older one is being loaded", CODE, "2.0.0 or higher")
def _(attempt: Delivered) -> None:
    attempt.extra = NO_ROLLBACK
    other, left = attempt.new_gate(), [use_newer]

    def meanwhile() -> None:
        if left:
            left.pop()(attempt, other)

    attempt.before(LOAD, meanwhile)


@case(
    "six gates race for the newer and the older release, and then the older one comes",
    CODE,
    "2.0.0",
    let_in=None,
)
def _(attempt: Delivered) -> None:
    attempt.extra = NO_ROLLBACK

    def one(number: int) -> Any:
        gate = attempt.new_gate()
        if number % 2:
            return attempt.answer(lambda: use_newer(attempt, gate))
        older = partial(gate.activate, attempt.lab.model(), attempt.adapter, context=PRODUCTION)
        return attempt.answer(older)

    attempt.run = lambda: [*together([partial(one, number) for number in range(6)]), attempt.activate()]


@case("threads deliver the older release, again and again, while the newer one comes", CODE, "2.0.0", let_in=None)
def _(attempt: Delivered) -> None:
    attempt.extra = NO_ROLLBACK
    used = threading.Event()

    def older() -> Any:
        found = attempt.answer(
            partial(attempt.gate.activate, attempt.lab.model(), attempt.adapter, context=PRODUCTION)
        )
        assert isinstance(found, Exception) or not used.is_set()
        return found

    def newer() -> Any:
        return attempt.answer(lambda: use_newer(attempt))

    def run() -> list[Any]:
        first = together([newer, older, older])
        used.set()
        return [*first, older(), older()]

    attempt.run = run


# The memory itself


@after("the log is deleted, to make the gate forget", "audit", "cannot write the log", recorded=False)
def _(attempt: Delivered) -> None:
    (attempt.log / "observations.log").unlink()


@after("the log is replaced by the one from before the newer release", "audit", "was replaced", recorded=False)
def _(attempt: Delivered) -> None:
    path = attempt.log / "observations.log"
    before = path.with_name("before")
    before.write_bytes(b"")
    before.replace(path)


@after("the log is cut off before the newer release", "audit", "was replaced or cut", recorded=False)
def _(attempt: Delivered) -> None:
    os.truncate(attempt.log / "observations.log", 100)


@after("the log's directory is another one by now", "audit", "cannot write the log", recorded=False)
def _(attempt: Delivered) -> None:
    shutil.move(attempt.log, attempt.room / "elsewhere")


@after("a record of the log is damaged, the one of the newer release", "audit", "log", recorded=False)
def _(attempt: Delivered) -> None:
    forget()
    path = attempt.log / "observations.log"
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    del attempt.gate
    attempt.run = lambda: [attempt.answer(lambda: attempt.activate(gate=attempt.new_gate()))]


# The number


def spelt(name: str, version: str, refused_by: str = CODE, says: str = "1.0.0 or higher") -> None:
    """The honest release 1.0.0 was put to use; then one comes whose number is meant to be read as a higher one."""

    @case(name, refused_by, says, setup=Forged)
    def _(attempt: Forged) -> None:
        attempt.rule = NO_ROLLBACK
        honest = Forged(attempt.lab, attempt.room)
        honest.rule = NO_ROLLBACK
        honest.prepare()
        honest.gate.activate(
            attempt.lab.model(),
            honest.adapter,
            context=PRODUCTION,
            manifest=honest.manifest,
            options=LoadOptions(adapter_name="used"),
        )
        attempt.statement(lambda found: found["predicate"]["skill"].update(version=version))


spelt("a preview of the release in use comes", "1.0.0-rc.1")
spelt("a preview of the release in use comes, of a huge number", "1.0.0-99999999999999999999999999")
spelt("an older release comes, with the newer one's number behind a plus", "0.9.0+2.0.0")
spelt("an older release comes, with the newer one's number behind a hyphen", "0.9.0-2.0.0")
for text, what in {
    "2.0": "of two parts",
    "v2.0.0": "with a v",
    "2.0.0.0": "of four parts",
    "02.0.0": "with a nought before it",
    "9999999999.0.0": "of ten digits",
    "\uff12.0.0": "in full-width digits",
    "\u0662.0.0": "in Arabic digits",
    "2.0.0 ": "with a space behind it",
    "2.0.0\n": "with a line break behind it",
    "": "that is empty",
}.items():
    spelt(f"a release comes with a number {what}", text, "format", "version")
