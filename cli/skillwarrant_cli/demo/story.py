"""The story of `skillwarrant demo`, from the first line to the last. Read `_play` and you have read it.

Everything in it is real: services, cryptography, model, training, files. Nothing leaves this machine, but for the
name of a base on the Hub where SKILLWARRANT_DEMO_BASE has one. Must not know: how any step is done.
"""

from __future__ import annotations

import importlib.util
import logging
import shlex
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
    why="Signing without keys takes an identity provider, a certificate authority and a log.",
    expected="served on loopback",
)
TRAIN = Told(
    number="2",
    title="Train an adapter",
    why="On a real base model: to answer as the support desk of a company that does not exist.",
    expected="the base in its own words",
)
SIGN = Told(
    number="3",
    title="Sign it as a CI release",
    why="The job's own identity gets a certificate for ten minutes. No key to keep, and all logged.",
    expected="by release.yml, and logged",
)
LOAD = Told(
    number="4",
    title="Verify, then load",
    why="First signature, log, files, policy and base; then PEFT gets the very bytes verified.",
    expected="loaded, another answer",
)
OTHER_BASE = Told(
    number="5a",
    title="Refuse another base",
    why="One training step away: same architecture, name and shapes. Only measuring tells.",
    expected="refused: base.matches",
)
SUBSTITUTED = Told(
    number="5b",
    title="Refuse a substitute",
    why="A mirror hands out other bytes under the same name: here, one byte of the weights.",
    expected="refused: files.digest",
)
DEVELOPMENT = Told(
    number="5c",
    title="Refuse a development build",
    why="The right publisher, bytes and base; but it was never released for production.",
    expected="refused: environment.allowed",
)
RECORD = Told(
    number="6",
    title="Read the record",
    why="Each decision is a signed observation, on disk before the caller hears of it.",
    expected="5 observations, all verify",
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
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # libraries to each other, and not to who watches
                ending = _play(stage, place)
        except OtherThanTold:
            stage.curtain(time.monotonic() - begun)
            raise
    stage.curtain(time.monotonic() - begun)
    stage.encore("Try next", ending.commands, "your own adapter: skillwarrant init DIR, then skillwarrant sign DIR")
    if as_json:
        output.answer("", _fields(stage, place, ending, time.monotonic() - begun), code="played", as_json=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ending:
    """What is left when all steps are played: rows of observations, and (what for, command) to try next."""

    observations: list[dict[str, str]]
    commands: list[tuple[str, str]]


def _play(stage: Stage, place: Place) -> _Ending:
    from skillwarrant_cli.demo import record, refusals, steps
    from skillwarrant_devstack import Devstack

    stage.opening(
        "skillwarrant demo: no warrant, no load",
        "Who vouches for an adapter, for which base model, and where may it be used?",
        "Everything here is real, and happens on this machine, in",
        str(place.directory),
    )
    with ExitStack() as opened:
        with stage.step(START) as scene, _warnings_shown(scene):
            stack = opened.enter_context(Devstack(place.devstack))
            steps.start(scene, stack)
            place.write_policy(stack.issuer)
        with stage.step(TRAIN) as scene:
            trained = steps.train_adapter(scene, default_cache())
            place.link_base(trained.base_dir)
        with stage.step(SIGN) as scene:
            adapter = steps.sign_release(scene, place, stack, trained)
        with stage.step(LOAD) as scene:
            steps.verify_then_load(scene, place, trained, adapter)
        with stage.step(OTHER_BASE) as scene:
            refusals.refuse_another_base(scene, place, trained, adapter)
        with stage.step(SUBSTITUTED) as scene:
            substituted = refusals.refuse_substituted(scene, place, trained, adapter)
        with stage.step(DEVELOPMENT) as scene:
            refusals.refuse_development(scene, place, stack, trained)
    with stage.step(RECORD) as scene:
        observations = record.read_record(scene, place)
    return _Ending(observations=observations, commands=_next(place, adapter, substituted))


def _next(place: Place, adapter: Path, substituted: Path) -> list[tuple[str, str]]:
    """Commands that work as they stand, one after the other."""
    us = shlex.quote(_program())

    def here(path: Path) -> str:
        return shlex.quote(str(path.relative_to(place.directory)))

    def verify(directory: Path) -> str:
        demand = f"--policy {here(place.policy)} --environment {ENVIRONMENT}"
        given = f"--base {here(place.base)} --devstack {here(place.devstack)}"
        return f"{us} verify {here(directory)} \\\n    {demand} {given}"

    return [
        ("everything of this demo lies here", f"cd {shlex.quote(str(place.directory))}"),
        ("who signed what, for which base model, logged where", f"{us} inspect {here(adapter)}"),
        ("the verification by itself; it needs neither torch nor the model's code", verify(adapter)),
        ("the substituted adapter: refused, with exit code 1", verify(substituted)),
    ]


def _program() -> str:
    """What to type for `skillwarrant`: its name where the shell finds this very one, else its path."""
    ours = Path(sys.executable).with_name("skillwarrant")
    found = shutil.which("skillwarrant")
    return "skillwarrant" if found is not None and Path(found).samefile(ours) else str(ours)


def _fields(stage: Stage, place: Place, ending: _Ending, seconds: float) -> JsonObject:
    return {
        "seconds": round(seconds, 2),
        "directory": str(place.directory),
        "steps": [row.to_json() for row in stage.rows],
        "observations": [dict(row) for row in ending.observations],
        "next": [command for _, command in ending.commands],
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
