"""One Rego worker process, from outside: started, asked, ended; and what it died of.

It knows nothing of Rego, nor of other workers.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from skillwarrant_format.errors import Unavailable, shown
from skillwarrant_verify.rego.frames import receive, send
from skillwarrant_verify.rego.install import engine_directory

__all__ = ["WALL_SECONDS", "Worker", "WorkerRefused", "WorkerStopped"]

WALL_SECONDS: Final = 60.0  # for what CPU seconds do not end; a busy machine is no reason to refuse

_START: Final = (
    "import json, sys; sys.path[:0] = json.loads(sys.argv[1]);"
    "from skillwarrant_verify.rego.worker import main; main()"
)
_DEATHS: Final[Mapping[int, str]] = {
    signal.SIGABRT: "it needs too much memory, or the engine gave up",
    signal.SIGKILL: "something killed it",
    signal.SIGSEGV: "the engine crashed, as a function that calls itself makes it do",
}


class WorkerStopped(Exception):
    """A worker ended, or was ended, while it was asked; `timeout`: since it took too long."""

    def __init__(self, reason: str, *, timeout: bool = False) -> None:
        super().__init__(reason)
        self.timeout = timeout


class WorkerRefused(Exception):
    """The engine's answer is an error: its own words."""


class Worker:
    """A process, and the socket to it. For one thread at a time.

    Raises:
        Unavailable: it cannot be started, or its engine is not the one that is known.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", "-c", _START, json.dumps(_import_paths())]
        self._stream, theirs = socket.socketpair()
        said = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the worker
        with theirs:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    env=_environment(),
                    start_new_session=True,  # an interrupt at the terminal is for the program, not for this
                )
            except OSError as error:
                self._stream.close()
                said.close()
                raise Unavailable("no Rego worker can be started", found=str(error)) from None
        self._process, self._said = process, said
        self._end = weakref.finalize(self, _end, process, self._stream, said)
        self.functions = self._greeted()

    def _greeted(self) -> frozenset[str]:
        """The engine's functions, from a worker that finds its engine in order."""
        try:
            wrong, functions = json.loads(receive(self._stream, seconds=WALL_SECONDS)[0])
        except (EOFError, OSError, ValueError) as error:
            raise Unavailable("no Rego worker can be started", found=str(self._stopped(error))) from None
        if wrong:
            self.close()
            raise Unavailable(
                "the Rego engine does not answer as it must",
                expected="the known answers of the pinned engine",
                found="; ".join(wrong[:3]),
            )
        return frozenset(functions)

    def ask(self, name: str, *frames: bytes, seconds: float) -> list[bytes]:
        """One request.

        Args:
            seconds: CPU time that it may take.

        Raises:
            WorkerRefused: the engine says why not. The worker goes on.
            WorkerStopped: it took too long, too much memory, or crashed.
        """
        try:
            self._stream.settimeout(WALL_SECONDS)
            send(self._stream, [name.encode(), str(seconds).encode(), *frames])
            state, *answer = receive(self._stream, seconds=WALL_SECONDS)
        except (EOFError, OSError, ValueError) as error:
            raise self._stopped(error, seconds) from None
        if state != b"ok":
            raise WorkerRefused(answer[0].decode(errors="replace"))
        return answer

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it."""
        self._end()

    def forget(self) -> None:
        """Let go of it without ending it: in a forked child it is the parent's."""
        self._end.detach()
        self._stream.close()
        self._said.close()
        self._process.returncode = 0  # or Popen would warn that it still runs

    def _stopped(self, error: Exception, seconds: float = WALL_SECONDS) -> WorkerStopped:
        if isinstance(error, TimeoutError):
            self.close()
            return WorkerStopped(f"it took more than {WALL_SECONDS:.0f} s", timeout=True)
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            self.close()
            return WorkerStopped(f"its answer cannot be read ({error})")
        self._said.seek(0)
        said = " ".join(self._said.read().decode(errors="replace").split())[-1000:]
        self.close()
        if code == -signal.SIGPROF:
            return WorkerStopped(f"it took more than {seconds:g} s of CPU time", timeout=True)
        reason = _DEATHS.get(-code, f"it ended with code {code}")
        return WorkerStopped(f"{reason}: {shown(said, 1000)}" if said else reason)


def _end(process: subprocess.Popen[bytes], stream: socket.socket, said: IO[bytes]) -> None:
    stream.close()
    process.kill()
    process.wait()
    said.close()


def _import_paths() -> Sequence[str]:
    """Where the engine and our own packages are; a worker imports from nowhere else but Python's library."""
    import skillwarrant_format
    import skillwarrant_verify

    ours = [Path(module.__file__ or "").parents[1] for module in (skillwarrant_format, skillwarrant_verify)]
    return [str(path) for path in (engine_directory(), *ours)]


def _environment() -> dict[str, str]:
    # A backtrace costs the engine 0.2 s for each error, and enforcement is for processes that load models.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUST_", "SKILLWARRANT_"))}
    return {**kept, "MIMALLOC_ARENA_RESERVE": "64MiB"}  # the engine's allocator would reserve 1 GiB at once
