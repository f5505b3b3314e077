"""The process that a Rego engine lives in: it answers on the socket that is its standard input, within bounds.

Each request names the CPU seconds that it may take; the kernel ends the process when they are over, whatever the
engine is in, and whether or not anybody still waits. It reads nothing but its socket.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from skillwarrant_verify.rego.engine import EngineError, Modules, functions, wrong_answers
from skillwarrant_verify.rego.frames import receive, send
from skillwarrant_verify.rego.walk import outline

__all__ = ["main"]

_MEMORY: Final = 768 * 1024 * 1024  # bytes of address space; 256 KiB of policy need half of it
_OUTPUT: Final = 64 * 1024  # bytes of standard error, where a panic writes


def main() -> None:
    """Answer until the other side is gone. The first answer says what the engine gets wrong, and its functions."""
    _bound()
    stream = socket.socket(fileno=0)
    send(stream, [json.dumps([wrong_answers(), functions()]).encode()])
    worker = _Worker()
    while True:
        try:
            name, seconds, *frames = receive(stream)
        except (EOFError, ConnectionError):
            return
        os.lseek(2, 0, os.SEEK_SET)  # what was said before was of a request that ended well
        os.ftruncate(2, 0)
        signal.setitimer(signal.ITIMER_PROF, float(seconds))
        answer = _answered(worker.actions[name], frames)
        signal.setitimer(signal.ITIMER_PROF, 0)
        send(stream, answer)


def _bound() -> None:
    """Whatever the program that started this has set for itself."""
    for limit, most in ((resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_FSIZE, _OUTPUT), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(limit)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(OSError, ValueError):  # a system without this limit; the time is bounded all the same
            resource.setrlimit(limit, (least, least))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})


def _answered(action: Callable[..., list[bytes]], frames: list[bytes]) -> list[bytes]:
    try:
        return [b"ok", *action(*frames)]
    except EngineError as error:
        return [b"error", str(error).encode(errors="replace")]
    except (MemoryError, RecursionError) as error:
        return [b"error", f"too much for the engine ({type(error).__name__})".encode()]


class _Worker:
    """One set of modules, and what can be asked of it."""

    def __init__(self) -> None:
        self.actions: dict[bytes, Callable[..., list[bytes]]] = {
            b"evaluate": self.evaluate,
            b"load": self.load,
            b"outline": self.outline,
            b"test": self.test,
        }

    def load(self, *frames: bytes) -> list[bytes]:
        """name, text, name, text, …"""
        texts = [frame.decode() for frame in frames]
        self._modules = Modules(dict(zip(texts[::2], texts[1::2], strict=True)))
        return []

    def outline(self) -> list[bytes]:
        """JSON of the outlines of all modules."""
        return [json.dumps([outline(tree) for tree in self._modules.trees()]).encode()]

    def evaluate(self, config: bytes, document: bytes, *rules: bytes) -> list[bytes]:
        """For each rule `=` and its value, or `!` and why there is none."""
        names = [rule.decode() for rule in rules]
        found = self._modules.evaluate(names, document=document.decode(), config=config)
        return [
            b"!" + str(item).encode(errors="replace") if isinstance(item, EngineError) else b"=" + item.encode()
            for item in found
        ]

    def test(self, config: bytes, rule: bytes) -> list[bytes]:
        """JSON of what a test gave."""
        return [json.dumps(self._modules.test(rule.decode(), config=config)).encode()]
