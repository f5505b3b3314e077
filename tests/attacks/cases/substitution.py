"""Other bytes than the signed ones, put in their place at every moment of an activation."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import Any

from attack import NO_EFFECT, attack
from insider import SIGNED
from lab import Delivered, Forged, flip
from skillwarrant_format.adapter_files import CONFIG_NAME, WEIGHTS_NAME
from skillwarrant_format.bundle import BUNDLE_NAME
from skillwarrant_format.digest import Digest
from skillwarrant_format.snapshot import File, Snapshot

GROUP = "substitution"
WORDS = "Somebody who can write to the adapter's directory, a mirror or a cache, at every moment of an activation."

READ = "skillwarrant_format.directory_reader.Reader.read"
HASH = "skillwarrant_format.hashing.StreamHasher.feed"
LOAD = "skillwarrant_verify.loader.load.load"
INJECT = "peft.tuners.tuners_utils.BaseTuner.inject_adapter"


def case(name: str, refused_by: str, says: str = "", *, setup: Any = Delivered) -> Any:
    return attack(GROUP, name, setup=setup, refused_by=refused_by, says=says)


# The files are not the signed ones


@case("one bit of a weight is changed after signing", "files.digest", "'adapter_model.safetensors' is not the file")
def _(attempt: Delivered) -> None:
    flip(attempt.weights)


@case("the scaling factor in the configuration is changed after signing", "files.digest", "'adapter_config.json'")
def _(attempt: Delivered) -> None:
    config = json.loads(attempt.config.read_text())
    attempt.config.write_text(json.dumps({**config, "lora_alpha": 800}))


@case("a space is added to the configuration, which changes nothing of what it says", "files.digest", CONFIG_NAME)
def _(attempt: Delivered) -> None:
    attempt.config.write_bytes(attempt.config.read_bytes() + b" ")


@case("the readme is changed after signing", "files.digest", "'README.md'")
def _(attempt: Delivered) -> None:
    (attempt.adapter / "README.md").write_text("Load it with trust_remote_code=True.")


@case("the weights file is emptied", "files.digest", WEIGHTS_NAME)
def _(attempt: Delivered) -> None:
    attempt.weights.write_bytes(b"")


@case("the weights file is cut off in its middle", "files.digest", WEIGHTS_NAME)
def _(attempt: Delivered) -> None:
    os.truncate(attempt.weights, attempt.weights.stat().st_size // 2)


@case("bytes are appended to the weights file", "files.digest", WEIGHTS_NAME)
def _(attempt: Delivered) -> None:
    with attempt.weights.open("ab") as file:
        file.write(bytes(64))


@case("weights and configuration change names with each other", "files.digest", "is not the file that was signed")
def _(attempt: Delivered) -> None:
    attempt.weights.rename(attempt.room / "kept")
    attempt.config.rename(attempt.weights)
    (attempt.room / "kept").rename(attempt.config)


@case("the weights are those of another adapter of the same publisher", "files.digest", WEIGHTS_NAME)
def _(attempt: Delivered) -> None:
    shutil.copy(attempt.lab.other("other", seed=2) / WEIGHTS_NAME, attempt.weights)


# Files that are no files, and files that are not there


@case("a file is replaced by a symlink to the same bytes", "files.mismatch", "symlink")
def _(attempt: Delivered) -> None:
    attempt.weights.rename(attempt.room / "elsewhere")
    attempt.weights.symlink_to(attempt.room / "elsewhere")


@case("a symlink to a file of the host is added under an innocent name", "files.mismatch", "symlink")
def _(attempt: Delivered) -> None:
    (attempt.adapter / "notes.txt").symlink_to("/etc/passwd")


@case("a symlink to a directory of signed-looking files is added", "files.mismatch", "symlink")
def _(attempt: Delivered) -> None:
    (attempt.adapter / "more").symlink_to(attempt.lab.adapter)


@case("the bundle is replaced by a symlink to the same bytes", "files.mismatch", "symlink")
def _(attempt: Delivered) -> None:
    attempt.bundle.rename(attempt.room / "elsewhere")
    attempt.bundle.symlink_to(attempt.room / "elsewhere")


@case("a file is replaced by a fifo that nobody writes to", "files.mismatch", "something that is no file")
def _(attempt: Delivered) -> None:
    attempt.weights.unlink()
    os.mkfifo(attempt.weights)


@case("a file is replaced by a socket", "files.mismatch", "something that is no file")
def _(attempt: Delivered) -> None:
    attempt.config.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(attempt.adapter, os.O_RDONLY)  # a socket's path may have 107 bytes
        listener.bind(f"/proc/self/fd/{here}/{CONFIG_NAME}")
        os.close(here)


@case("a file is replaced by a directory of its name", "files.mismatch", "adapter_model.safetensors/adapter.json")
def _(attempt: Delivered) -> None:
    attempt.weights.unlink()
    attempt.weights.mkdir()
    (attempt.weights / "adapter.json").write_text("{}")


@case("the readme is deleted", "files.mismatch", "signed files are missing")
def _(attempt: Delivered) -> None:
    (attempt.adapter / "README.md").unlink()


@case("the weights file is deleted", "files.mismatch", "signed files are missing")
def _(attempt: Delivered) -> None:
    attempt.weights.unlink()


@case("all files but the bundle are deleted", "files.mismatch", "there is no adapter")
def _(attempt: Delivered) -> None:
    for path in attempt.adapter.iterdir():
        if path != attempt.bundle:
            path.unlink()


@case("the configuration is renamed to capitals", "files.mismatch", "files that nobody signed")
def _(attempt: Delivered) -> None:
    attempt.config.rename(attempt.adapter / "ADAPTER_CONFIG.json")


# Files that nobody signed


def added(name: str, file: str, refused_by: str, says: str) -> None:
    @case(name, refused_by, says)
    def _(attempt: Delivered) -> None:
        path = attempt.adapter / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x80\x04." if file.endswith((".bin", ".pt", ".pkl")) else b"{}")


added("a pickle that PEFT would prefer on a bad day is added", "adapter_model.bin", "files.mismatch", "pickle")
added("an optimizer's pickle is added", "optimizer.pt", "files.mismatch", "pickle")
added("a Python module is added", "modeling.py", "files.mismatch", "does not have")
added("a compiled Python module is added", "__pycache__/modeling.pyc", "files.mismatch", "does not have")
added("a tokenizer that nobody signed is added", "tokenizer.json", "files.mismatch", "nobody signed")
added("a chat template that nobody signed is added", "chat_template.jinja", "files.mismatch", "nobody signed")
added("a second weights file is added", "model.safetensors", "files.mismatch", "weights that are not")
added(
    "a weights file in a subdirectory is added", "more/adapter_model.safetensors", "files.mismatch", "weights that"
)
added("a hidden file is added", ".config.json", "files.mismatch", "hidden file")
added("a hidden directory is added", ".git/config.json", "files.mismatch", "hidden directory")
added("a file that differs from a signed one in case only", "Adapter_Config.json", "format", "differ only in case")
added("a name in decomposed Unicode is added", "re\u0301sume\u0301.txt", "format", "Unicode normal form C")
added("a name with a line break is added", "a\nREADME.md", "format", "control characters")
added("a name with a right-to-left override is added", "a\u202etxt.json", "format", "control characters")
added("a name with a backslash is added", "a\\b.txt", "format", "backslash")
added(
    "a name that is longer than any is added",
    "a" * 200 + "/" + "b" * 200 + "/" + "c" * 200 + ".txt",
    "format",
    "512",
)
added("a file nine directories down is added", "a/a/a/a/a/a/a/a/a/a.txt", "format", "nested too deeply")
added("a policy of the attacker's own is added", "policy.toml", "files.mismatch", "nobody signed")


@case("two hundred and one directories are added", "format", "too many directories")
def _(attempt: Delivered) -> None:
    for number in range(201):
        (attempt.adapter / f"d{number}").mkdir()


# The bundle


@case("the bundle is deleted", "manifest.missing", "no signed manifest")
def _(attempt: Delivered) -> None:
    attempt.bundle.unlink()


@case("the bundle is renamed", "manifest.missing", "no signed manifest")
def _(attempt: Delivered) -> None:
    attempt.bundle.rename(attempt.adapter / "manifest.json")


@case("the bundle is emptied", "format", "not JSON")
def _(attempt: Delivered) -> None:
    attempt.bundle.write_bytes(b"")


@case("the bundle is cut off", "format", "not JSON")
def _(attempt: Delivered) -> None:
    os.truncate(attempt.bundle, attempt.bundle.stat().st_size - 100)


@case("the bundle is filled up beyond the limit", "format", "too large")
def _(attempt: Delivered) -> None:
    os.truncate(attempt.bundle, 16 * 2**20 + 1)


@case("a manifest beyond the limit is named by the caller", "format", "too large")
def _(attempt: Delivered) -> None:
    attempt.manifest = attempt.room / "large.json"
    attempt.manifest.write_bytes(b" " * (16 * 2**20 + 1))


@case("the valid bundle of another adapter lies beside the files", "files.digest", WEIGHTS_NAME)
def _(attempt: Delivered) -> None:
    shutil.copy(attempt.lab.other("other", seed=2) / BUNDLE_NAME, attempt.bundle)


@case("the valid bundle of another adapter is named by the caller", "files.digest", WEIGHTS_NAME)
def _(attempt: Delivered) -> None:
    attempt.manifest = str(attempt.lab.other("other", seed=2) / BUNDLE_NAME)


@case("another adapter's files under the honest bundle, named by the caller", "files.digest", WEIGHTS_NAME)
def _(attempt: Delivered) -> None:
    attempt.adapter, attempt.manifest = attempt.lab.other("other", seed=2), attempt.bundle


@case("a valid older release is delivered in place of the new one", "manifest.age", "too old", setup=Forged)
def _(attempt: Forged) -> None:
    attempt.extra = "max_age_days = 30"
    attempt.when = lambda: SIGNED + timedelta(days=31)


@case("a release is signed for a day that has not come", "manifest.age", "in the future", setup=Forged)
def _(attempt: Forged) -> None:
    attempt.when = lambda: SIGNED - timedelta(days=1)


# Between listing and reading


def meanwhile(name: str, refused_by: str, says: str = "") -> Callable[[Callable[[Path], None]], None]:
    """Do something to the weights file once the directory is listed, and before any file is read."""

    def register(change: Callable[[Path], None]) -> None:
        @case(name, refused_by, says)
        def _(attempt: Delivered) -> None:
            attempt.before(READ, once(lambda: change(attempt.weights)))

    return register


def once(change: Callable[[], None]) -> Callable[[], None]:
    left = [change]
    return lambda: left.pop()() if left else None


CHANGED = "a file changed while it was being read"


@meanwhile("between listing and reading, a file is replaced by another of its size", "format", CHANGED)
def _(path: Path) -> None:
    other = path.parent.parent / "kept"
    other.write_bytes(path.read_bytes())
    flip(other)
    other.replace(path)


@meanwhile("between listing and reading, a file is written to in place", "files.digest", WEIGHTS_NAME)
def _(path: Path) -> None:
    flip(path)


@meanwhile("between listing and reading, a file becomes a symlink", "format", CHANGED)
def _(path: Path) -> None:
    path.rename(path.parent.parent / "kept")
    path.symlink_to(path.parent.parent / "kept")


@meanwhile("between listing and reading, a file becomes a fifo", "format", CHANGED)
def _(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@meanwhile("between listing and reading, a file becomes a directory", "format", CHANGED)
def _(path: Path) -> None:
    path.unlink()
    path.mkdir()


@meanwhile("between listing and reading, a file is deleted", "format", CHANGED)
def _(path: Path) -> None:
    path.unlink()


@meanwhile("between listing and reading, a file grows", "format", CHANGED)
def _(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@meanwhile("between listing and reading, a file shrinks", "format", CHANGED)
def _(path: Path) -> None:
    os.truncate(path, 100)


@meanwhile("between listing and reading, a pickle is added", NO_EFFECT)
def _(path: Path) -> None:
    path.with_name("adapter_model.bin").write_bytes(b"\x80\x04.")


@meanwhile("between listing and reading, the whole directory is exchanged", NO_EFFECT)
def _(path: Path) -> None:
    """The reader holds the directory that it listed, and not its name."""
    path.parent.rename(path.parent.parent / "kept")
    path.parent.mkdir()
    path.write_bytes(b"evil")


# While a file is being read


@case("while it is being read, a file is written to in place", "format", CHANGED)
def _(attempt: Delivered) -> None:
    time.sleep(0.02)  # the file system's clock has ticks
    attempt.after(HASH, lambda: flip(attempt.weights))
    attempt.after(HASH, lambda: flip(attempt.config))


@case("while it is being read, a file is written to and its old time put back", "format", CHANGED)
def _(attempt: Delivered) -> None:
    time.sleep(0.02)
    state = attempt.weights.stat()

    def write() -> None:
        for path in (attempt.weights, attempt.config, attempt.adapter / "README.md"):
            path.write_bytes(path.read_bytes())
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    attempt.after(HASH, write)


@case("while it is being read, a file is cut off", "format", CHANGED)
def _(attempt: Delivered) -> None:
    time.sleep(0.02)

    def cut() -> None:
        for path in attempt.adapter.iterdir():
            os.truncate(path, 10)

    attempt.after(HASH, cut)


# After it was read: too late


def destroy(directory: Path) -> None:
    """Everything at once: written in place, cut off, replaced, deleted."""
    flip(directory / CONFIG_NAME)
    flip(directory / WEIGHTS_NAME)
    os.truncate(directory / WEIGHTS_NAME, 64)
    (directory / WEIGHTS_NAME).unlink()
    (directory / WEIGHTS_NAME).write_bytes(b"\xff" * 4096)
    (directory / BUNDLE_NAME).write_text("{}")


def at_clock(attempt: Delivered, change: Callable[[], None]) -> None:
    attempt.at_clock = lambda count: change() if count == 1 else None


@case("between hashing and deciding, every file is written to", NO_EFFECT)
def _(attempt: Delivered) -> None:
    at_clock(attempt, lambda: destroy(attempt.adapter))


@case("between hashing and deciding, the directory is exchanged for another adapter's", NO_EFFECT)
def _(attempt: Delivered) -> None:
    def exchange() -> None:
        attempt.adapter.rename(attempt.room / "kept")
        attempt.adapter.symlink_to(attempt.lab.other("other", seed=2))

    at_clock(attempt, exchange)


@case("between hashing and deciding, the directory's own symlink is turned elsewhere", NO_EFFECT)
def _(attempt: Delivered) -> None:
    real, link = attempt.adapter, attempt.room / "current"
    link.symlink_to(real)
    attempt.adapter = link

    def turn() -> None:
        link.unlink()
        link.symlink_to(attempt.lab.other("other", seed=2))

    at_clock(attempt, turn)


@case("between the decision and loading, every file is written to", NO_EFFECT)
def _(attempt: Delivered) -> None:
    attempt.before(LOAD, lambda: destroy(attempt.adapter))


@case("between the decision and loading, the directory is deleted", NO_EFFECT)
def _(attempt: Delivered) -> None:
    attempt.before(LOAD, lambda: shutil.rmtree(attempt.adapter))


@case("while PEFT attaches the adapter, every file is written to", NO_EFFECT)
def _(attempt: Delivered) -> None:
    attempt.before(INJECT, lambda: destroy(attempt.adapter))


def afterwards(name: str, change: Callable[[Delivered], Any]) -> None:
    """The live weights must not be those of a file that others can write to, however they were loaded."""
    for how, keywords in (
        ("", {}),
        (" with little memory", {"low_cpu_mem_usage": True}),
        (" to be trained", {"is_trainable": True}),
    ):

        @case(f"after loading{how}, {name}", NO_EFFECT)
        def _(attempt: Delivered, keywords: dict[str, bool] = keywords) -> None:
            def run() -> list[Any]:
                outcome = attempt.once()
                change(attempt)
                return outcome

            attempt.keywords, attempt.run = keywords, run


def overwrite(attempt: Delivered) -> None:
    with attempt.weights.open("r+b") as file:
        file.write(b"\xff" * attempt.weights.stat().st_size)


afterwards("a weight is written in place on disk", lambda attempt: flip(attempt.weights))
afterwards("every byte of the weights is written over on disk", overwrite)
afterwards("the weights file is cut off", lambda attempt: os.truncate(attempt.weights, 8))
afterwards("the directory is deleted", lambda attempt: shutil.rmtree(attempt.adapter))


# A caller's memory in place of a directory


@case("a snapshot in memory is written to before it is activated", "files.digest", WEIGHTS_NAME)
def _(attempt: Delivered) -> None:
    attempt.adapter = Snapshot.read(attempt.adapter)
    attempt.adapter.weights.buffer[-1] ^= 1


@case("a snapshot in memory is written to after it was verified", NO_EFFECT)
def _(attempt: Delivered) -> None:
    attempt.adapter = snapshot = Snapshot.read(attempt.adapter)

    def write() -> None:
        snapshot.weights.buffer[:] = bytes(len(snapshot.weights.buffer))

    at_clock(attempt, write)
    attempt.before(LOAD, write)


@case("a snapshot says another digest than its bytes have", "files.digest", WEIGHTS_NAME)
def _(attempt: Delivered) -> None:
    honest = Snapshot.read(attempt.adapter)
    digest: Future[Digest] = Future()
    digest.set_result(honest.weights.digest)
    evil = bytearray(honest.weights.data)
    evil[-1] ^= 1
    files = {**honest.files, WEIGHTS_NAME: File(WEIGHTS_NAME, memoryview(evil), digest)}
    attempt.adapter = Snapshot(files=files, bundle=honest.bundle, source="a liar")


@case("a snapshot has one weights file for the check and another for the loader", NO_EFFECT)
def _(attempt: Delivered) -> None:
    other = Snapshot.read(attempt.lab.other("other", seed=2))

    class TwoFaced(Snapshot):
        @property
        def weights(self) -> File:
            return other.weights

        @property
        def config(self) -> File:
            return other.config

    honest = Snapshot.read(attempt.adapter)
    attempt.adapter = TwoFaced(files=honest.files, bundle=honest.bundle, source="two faces")


@case("a path names the honest directory the first time and another one afterwards", NO_EFFECT)
def _(attempt: Delivered) -> None:
    class Turning(os.PathLike[str]):
        asked = iter([attempt.adapter])

        def __fspath__(self) -> str:
            return str(next(self.asked, attempt.lab.other("other", seed=2)))

    attempt.adapter = Turning()
