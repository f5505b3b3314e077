"""The worker processes of one set of Rego modules: started when needed, replaced when they die, closed at exit.

Safe for threads: each request has a worker to itself. Safe for forks: a child starts workers of its own.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from skillwarrant_format.errors import Unavailable
from skillwarrant_verify.rego.process import WALL_SECONDS, Worker, WorkerRefused

__all__ = ["Workers"]

_PATIENCE: Final = 2 * WALL_SECONDS


class Workers:
    """Workers that all hold the same modules.

    Args:
        files: the modules, name -> text.
        size: most workers at once; a request beyond waits.
        load_seconds: CPU time to parse and compile the modules.
    """

    def __init__(self, files: Mapping[str, str], *, size: int, load_seconds: float) -> None:
        self._modules = [part.encode() for item in files.items() for part in item]
        self._size = size
        self._load_seconds = load_seconds
        self._closed = False
        self.start_again()
        _POOLS.add(self)

    def start_again(self) -> None:
        """With no worker, and none lent."""
        self._idle: list[Worker] = []
        self._free = threading.BoundedSemaphore(self._size)

    def ask(self, name: str, *frames: bytes, seconds: float) -> list[bytes]:
        """One request to one worker.

        Args:
            seconds: CPU time that it may take.

        Raises:
            WorkerRefused: the engine says why not.
            WorkerStopped: it took too long, too much memory, or crashed.
            Unavailable: no worker can be started, or all are busy.
        """
        with self._lent() as worker:
            return worker.ask(name, *frames, seconds=seconds)

    def functions(self) -> frozenset[str]:
        """The names of the engine's built-in functions. Raises as `ask`."""
        with self._lent() as worker:
            return worker.functions

    def close(self) -> None:
        """End all workers; what is asked afterwards is Unavailable."""
        self._closed = True
        while (idle := self._pop()) is not None:
            idle.close()

    def _pop(self) -> Worker | None:
        try:
            return self._idle.pop()
        except IndexError:  # none, or another thread was faster
            return None

    @contextmanager
    def _lent(self) -> Iterator[Worker]:
        if not self._free.acquire(timeout=_PATIENCE):
            raise Unavailable("every Rego worker is busy", found=f"no free one within {_PATIENCE:.0f} s")
        free = self._free
        try:
            worker = self._ready()
            usable = False
            try:
                yield worker
                usable = True
            except WorkerRefused:
                usable = True
                raise
            finally:
                self._return(worker, usable=usable)
        finally:
            free.release()

    def _ready(self) -> Worker:
        if self._closed:
            raise Unavailable("these Rego modules were closed")
        while (idle := self._pop()) is not None:
            if idle.is_alive():
                return idle
            idle.close()  # it died while nobody waited for it, so nobody lost an answer
        worker = Worker()
        _ALL.add(worker)
        try:
            worker.ask("load", *self._modules, seconds=self._load_seconds)
        except BaseException:
            worker.close()
            raise
        return worker

    def _return(self, worker: Worker, *, usable: bool) -> None:
        if usable:
            self._idle.append(worker)
        if self._closed or not usable:
            worker.close()


_ALL: Final[weakref.WeakSet[Worker]] = weakref.WeakSet()
_POOLS: Final[weakref.WeakSet[Workers]] = weakref.WeakSet()


def _after_fork() -> None:
    """In the child: every worker, lent or not, is the parent's."""
    for worker in list(_ALL):
        worker.forget()
    _ALL.clear()
    for pool in list(_POOLS):
        pool.start_again()


os.register_at_fork(after_in_child=_after_fork)
