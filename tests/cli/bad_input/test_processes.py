"""Bad luck that only a process of its own can have: Ctrl-C at any moment, and a disk that is full."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

World = Any
SCRIPT = Path(sys.executable).with_name("skillwarrant")
SMALL = 2048  # bytes that a file may have: less than a bundle or a skill.toml


def start(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [SCRIPT, *arguments],
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=options.pop("stderr", subprocess.PIPE),
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        **options,
    )


def full_disk() -> None:
    """As a full disk: writing beyond it fails in the middle of a file."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL))


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def hung(world: World, key: str) -> Path:
    document = json.loads(world.stack.trust_config.read_bytes())
    document["signingConfig"][key][0]["url"] = world.mute
    config: Path = world.directory / "config.json"
    config.write_text(json.dumps(document))
    return config


@pytest.mark.parametrize("key", ["caUrls", "rekorTlogUrls"])
def test_ctrl_c_while_a_service_hangs_is_one_line_and_leaves_nothing(world: World, key: str) -> None:
    arguments = ("sign", world.adapter, *world.signs[:2], "--trust-config", hung(world, key))
    before = files(world.directory)
    with start(*arguments) as child:
        assert child.stderr
        announced = "".join(iter(child.stderr.readline, "\n"))
        time.sleep(0.5)  # it is now importing, or waiting for the service
        child.send_signal(signal.SIGINT)
        begun = time.monotonic()
        out, err = child.communicate(timeout=20)
    assert "signing   acme/support 1.2.0" in announced
    assert time.monotonic() - begun < 5
    assert (child.returncode, out, err) == (130, "", "skillwarrant: interrupted\n")
    assert files(world.directory) == before


INTERRUPTED_AFTER = """
import os, signal, sys, threading
from skillwarrant_cli.main import main
timer = threading.Timer({seconds}, os.kill, (os.getpid(), signal.SIGINT))
timer.daemon = True
timer.start()
sys.argv[1:] = {arguments!r}
main()
"""


@pytest.mark.parametrize("seconds", [0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3])
def test_ctrl_c_at_any_moment_is_one_line_or_too_late(signed: World, seconds: float) -> None:
    arguments = ["verify", str(signed.adapter), *signed.trust, *signed.signer]
    code = INTERRUPTED_AFTER.format(seconds=seconds, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) in {(130, "skillwarrant: interrupted\n"), (0, "")}


def test_an_interruption_that_a_library_tells_as_its_own_error_is_still_one() -> None:
    code = """
import os, signal, sys
import skillwarrant_cli.commands.inspect as module, click
from skillwarrant_cli.main import main
def press():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
    except KeyboardInterrupt as error:
        raise ValueError("cannot build the model") from error
module.command = click.Command("inspect", callback=press)
sys.argv[1:] = ["inspect"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (130, "skillwarrant: interrupted\n")


def test_a_background_job_of_a_script_goes_on_when_the_script_is_interrupted(signed: World) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    with start("verify", signed.adapter, *signed.trust, *signed.signer, preexec_fn=ignore) as child:
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (0, "")
    assert out.startswith("verified ")


def refused_by_disk(world: World, *arguments: str | Path, preexec: Callable[[], None] = full_disk) -> str:
    before = files(world.directory)
    with start(*arguments, preexec_fn=preexec) as child:
        out, err = child.communicate(timeout=30)
    assert child.returncode == 3
    assert "Traceback" not in err
    assert files(world.directory) == before
    assert out == ""
    return err[err.index("skillwarrant: ") :]


def test_a_disk_that_is_full_while_signing_leaves_the_old_bundle(world: World) -> None:
    err = refused_by_disk(world, "sign", world.adapter, *world.signs)
    assert err.startswith("skillwarrant: could not sign: cannot write ")


def test_a_disk_that_is_full_while_signing_for_the_first_time_leaves_no_bundle(world: World) -> None:
    world.bundle.unlink()
    refused_by_disk(world, "sign", world.adapter, *world.signs)
    assert not world.bundle.exists()


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_disk_that_is_full_leaves_no_half_skill_toml(world: World, force: tuple[str, ...]) -> None:
    if not force:
        world.skill.unlink()
    err = refused_by_disk(world, "init", world.adapter, *force)
    assert err.startswith("skillwarrant: could not write: cannot write ")


def test_a_directory_that_may_not_be_written_keeps_its_bundle(world: World) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    world.adapter.chmod(0o555)
    try:
        refused_by_disk(world, "sign", world.adapter, *world.signs, preexec=lambda: None)
    finally:
        world.adapter.chmod(0o755)


def test_an_answer_that_cannot_be_written_is_no_yes(signed: World) -> None:
    arguments = ("verify", signed.adapter, *signed.trust, *signed.signer)
    with Path("/dev/full").open("w") as full, start(*arguments, stdout=full) as child:
        _, err = child.communicate(timeout=30)
    assert child.returncode == 3
    assert err.startswith("skillwarrant: could not check: ")
    assert "No space left on device" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_a_message_that_cannot_be_written_leaves_the_exit_code_as_it_is(
    signed: World, more: tuple[str, ...]
) -> None:
    """Python would exit with 1, and 1 is a no."""
    unanswered = ("verify", signed.adapter, "--trust-root", signed.directory / "none.json", *signed.signer)
    for code, arguments in ((2, ("verify", signed.adapter)), (3, unanswered)):
        with Path("/dev/full").open("w") as full, start(*arguments, *more, stdout=full, stderr=full) as child:
            child.communicate(timeout=30)
        assert child.returncode == code


def test_signing_without_room_for_a_message_is_no_refusal(world: World) -> None:
    kept = world.bundle.read_bytes()
    with Path("/dev/full").open("w") as full, start("sign", world.adapter, *world.signs, stderr=full) as child:
        out, _ = child.communicate(timeout=30)
    assert child.returncode == 3
    assert out == ""
    assert world.bundle.read_bytes() == kept


def test_a_devstack_on_a_full_disk_says_so(tmp_path: Path) -> None:
    with start("devstack", "--dir", tmp_path / "d", preexec_fn=full_disk) as child:
        _, err = child.communicate(timeout=30)
    assert child.returncode == 3
    assert "Traceback" not in err
