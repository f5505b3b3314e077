"""The story of `skillwarrant demo`, from the first line to the last. Read `_play` and you have read it.

Everything in it is real: services, cryptography, model, training, files. Nothing leaves this machine but a Hub id
that the environment variable SKILLWARRANT_DEMO_BASE names. Must not know: how any step is done.
"""

from __future__ import annotations

import importlib.util
import logging
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from skillwarrant_cli import output
from skillwarrant_cli.demo import base
from skillwarrant_cli.demo.cache import default_cache
from skillwarrant_cli.demo.place import ENVIRONMENT, Place
from skillwarrant_cli.demo.stage import Scene, Stage
from skillwarrant_cli.demo.told import OtherThanTold, Told
from skillwarrant_format.errors import Unavailable
from skillwarrant_format.strict_json import JsonObject

__all__ = ["run"]

_NEEDED: Final = ("asn1crypto", "gguf", "jwt", "peft", "safetensors", "torch", "transformers", "werkzeug")
_WORK: Final = "last-run"

START = Told(
    number="1",
    title="Start a Sigstore instance",
    why="Signing without keys needs an identity provider, a certificate authority and a transparency log.",
    expected="all of it served on loopback",
)
TRAIN = Told(
    number="2",
    title="Get a real base model, and train an adapter for it",
    why="A LoRA that makes it answer as the support desk of Tamarack Kettles, a company that does not exist.",
    expected="the base answers in its own words",
)
SIGN = Told(
    number="3",
    title="Sign the adapter as a CI release workflow does",
    why="The job's own identity gets a certificate for ten minutes; what it signs is logged. No key to keep.",
    expected="signed by release.yml, and logged",
)
LOAD = Told(
    number="4",
    title="Verify, then load",
    why="Signature, log, files, policy and the base in memory come first; PEFT then gets the very bytes verified.",
    expected="loaded, and the answer is another",
)
OTHER_BASE = Told(
    number="5a",
    title="Refuse another base model",
    why="One training step away: the same architecture, name and shapes. Only measuring tells them apart.",
    expected="refused: base.matches",
)
SUBSTITUTED = Told(
    number="5b",
    title="Refuse a substituted adapter",
    why="A mirror hands out other bytes under the same name: here, one byte of the weights.",
    expected="refused: files.digest",
)
DEVELOPMENT = Told(
    number="5c",
    title="Refuse a development adapter in production",
    why="The right publisher, the right bytes, the right base, and a place it was never released for.",
    expected="refused: environment.allowed",
)
RECORD = Told(
    number="6",
    title="Read the record",
    why="Each decision is a signed observation in an append-only log, made before anybody heard of it.",
    expected="five observations, all of them verify",
)


def run(*, directory: Path | None = None, as_json: bool = False) -> None:
    """Play the demo.

    Args:
        directory: where it works, and leaves what it made for a look; in the cache by default.
        as_json: show no story, and print one object at the end.

    Raises:
        OtherThanTold: a step went otherwise than told.
        SkillwarrantError: the demo could not be played: something is not installed, the disk is full.
    """
    base.share_the_cores()
    _check_installed()
    place = Place(directory=(directory or default_cache() / _WORK).absolute())
    begun = time.monotonic()
    stage = Stage(quiet=as_json)
    with place.held():
        try:
            commands = _play(stage, place)
        except OtherThanTold:
            stage.curtain(time.monotonic() - begun)
            raise
    stage.curtain(time.monotonic() - begun)
    stage.encore("Try next", commands)
    if as_json:
        output.answer("", _fields(stage, place, commands, time.monotonic() - begun), code="played", as_json=True)


def _play(stage: Stage, place: Place) -> list[tuple[str, str]]:
    from skillwarrant_cli.demo import steps
    from skillwarrant_devstack import Devstack

    stage.opening(
        "skillwarrant demo: no warrant, no load",
        "Who vouches for an adapter, for which base model, and where may it be used? Everything here is real,",
        f"and happens on this machine, in {place.directory}",
    )
    with ExitStack() as opened:
        with stage.step(START) as scene, _warnings_shown(scene):
            stack = opened.enter_context(Devstack(place.devstack))
            steps.start(scene, stack)
            place.write_policy(stack.issuer)
        with stage.step(TRAIN) as scene:
            trained = steps.train_adapter(scene, default_cache())
        with stage.step(SIGN) as scene:
            adapter = steps.sign_release(scene, place, stack, trained)
        with stage.step(LOAD) as scene:
            steps.verify_then_load(scene, place, trained, adapter)
        with stage.step(OTHER_BASE) as scene:
            steps.refuse_another_base(scene, place, trained, adapter)
        with stage.step(SUBSTITUTED) as scene:
            substituted = steps.refuse_substituted(scene, place, trained, adapter)
        with stage.step(DEVELOPMENT) as scene:
            steps.refuse_development(scene, place, stack, trained)
    return _next(place, adapter, substituted, trained.base_dir)


def _next(place: Place, adapter: Path, substituted: Path, base_dir: Path) -> list[tuple[str, str]]:
    """Commands that work as they stand, in the directory that the demo was called from."""
    us = shlex.quote(_program())

    def verify(directory: Path) -> str:
        demand = f"--policy {shlex.quote(str(place.policy))} --environment {ENVIRONMENT}"
        given = f"--base {shlex.quote(str(base_dir))} --devstack {shlex.quote(str(place.devstack))}"
        return f"{us} verify {shlex.quote(str(directory))} {demand} {given}"

    return [
        ("who signed what, for which base, logged where", f"{us} inspect {shlex.quote(str(adapter))}"),
        ("the same verification without loading anything, and without torch", verify(adapter)),
        ("the substituted adapter: refused, exit code 1", verify(substituted)),
    ]


def _program() -> str:
    """What to type for `skillwarrant` here: its name where the shell finds this one, else its path."""
    ours = Path(sys.executable).with_name("skillwarrant")
    found = shutil.which("skillwarrant")
    if found is not None and Path(found).resolve() == ours.resolve():
        return "skillwarrant"
    here = Path.cwd()
    return str(ours.relative_to(here)) if ours.is_relative_to(here) else str(ours)


def _fields(stage: Stage, place: Place, commands: list[tuple[str, str]], seconds: float) -> JsonObject:
    return {
        "seconds": round(seconds, 2),
        "directory": str(place.directory),
        "steps": [row.to_json() for row in stage.rows],
        "next": [command for _, command in commands],
    }


@contextmanager
def _warnings_shown(scene: Scene) -> Iterator[None]:
    """What the devstack warns of belongs into its step, and not between the lines."""
    logger = logging.getLogger("skillwarrant_devstack")
    handler = _ToScene(scene)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _ToScene(logging.Handler):
    def __init__(self, scene: Scene) -> None:
        super().__init__(logging.WARNING)
        self._scene = scene

    def emit(self, record: logging.LogRecord) -> None:
        self._scene.facts(("warning", record.getMessage()))


def _check_installed() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Unavailable(
            "the demo is not installed",
            expected="the packages of skillwarrant's demo extra",
            found=f"no module {', '.join(missing)}",
            fix="pip install 'skillwarrant[demo]'",
        )
