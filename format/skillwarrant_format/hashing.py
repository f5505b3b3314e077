"""SHA-256 at the speed of the machine: hashlib gives up the GIL, so a second thread really is a second core.

`StreamHasher` hashes what one reader hands it while the reader goes on reading. `hash_all` hashes many things that
are all at hand. Neither knows what the bytes are.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self

from skillwarrant_format.digest import Digest

__all__ = ["Progress", "Source", "StreamHasher", "hash_all"]

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in total); from one thread at a time, and not necessarily the caller's."""

THREADS: Final = 2


class StreamHasher:
    """One background thread that hashes a sequence of files chunk by chunk, as a context manager.

    Leaving the block does not wait: the digests that were asked for arrive when they are ready.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[memoryview | Future[Digest] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="skillwarrant-hash", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)

    def feed(self, chunk: memoryview) -> None:
        """The next bytes of the current file; they must not change until its digest is there."""
        self._queue.put(chunk)

    def finish(self) -> Future[Digest]:
        """The current file is complete: its digest, soon. What is fed next belongs to the next file."""
        digest: Future[Digest] = Future()
        self._queue.put(digest)
        return digest

    def _run(self) -> None:
        state = hashlib.sha256()
        while (item := self._queue.get()) is not None:
            if isinstance(item, Future):
                item.set_result(Digest(state.hexdigest()))
                state = hashlib.sha256()
            else:
                state.update(item)


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes to be hashed: how many, and how to get at them, in chunks."""

    size: int
    chunks: Callable[[], Iterable[bytes | bytearray | memoryview]]


def hash_all(sources: Sequence[Source], progress: Progress | None = None, threads: int = THREADS) -> list[Digest]:
    """The SHA-256 of each source, in order, computed on `threads` threads, the largest first.

    Raises:
        whatever a source raises; the other threads then stop at their next source.
    """
    digests: list[Digest | None] = [None] * len(sources)
    order = iter(sorted(range(len(sources)), key=lambda index: -sources[index].size))
    shared = _Shared(order=order, total=sum(source.size for source in sources), progress=progress)

    def work() -> None:
        try:
            while (index := shared.next()) is not None:
                digests[index] = _hash(sources[index], shared)
        except BaseException as error:  # noqa: BLE001  # carried to the caller's thread, and raised there
            shared.fail(error)

    helpers = [threading.Thread(target=work, name="skillwarrant-hash", daemon=True) for _ in range(threads - 1)]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    if shared.error is not None:
        raise shared.error
    return [digest for digest in digests if digest is not None]


def _hash(source: Source, shared: _Shared) -> Digest:
    state = hashlib.sha256()
    for chunk in source.chunks():
        state.update(chunk)
        shared.advance(len(chunk))
    return Digest(state.hexdigest())


class _Shared:
    """What the threads of one `hash_all` have in common."""

    def __init__(self, order: Iterable[int], total: int, progress: Progress | None) -> None:
        self._order = iter(order)
        self._total = total
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()
        self.error: BaseException | None = None

    def next(self) -> int | None:
        with self._lock:
            return None if self.error is not None else next(self._order, None)

    def fail(self, error: BaseException) -> None:
        with self._lock:
            self.error = self.error or error

    def advance(self, count: int) -> None:
        if self._progress is None:
            return
        with self._lock:
            self._done += count
            self._progress(self._done, self._total)
