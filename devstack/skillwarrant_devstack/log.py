"""A verifiable log on disk: entries in a journal, their Merkle tree in memory, no entry twice.

Both Rekor versions stand on this. It knows nothing of what an entry says, of keys or of HTTP.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from skillwarrant_devstack.journal import Journal
from skillwarrant_devstack.merkle import Tree, leaf_hash
from skillwarrant_format.dsse import decode_base64, encode_base64
from skillwarrant_format.errors import AuditError, FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.strict_json import canonical, loads

__all__ = ["Entry", "Log", "Proof"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One leaf: the canonical body that was hashed, and when it was taken in (Unix seconds)."""

    body: bytes
    integrated_time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """That the leaf `index` is in the tree of `size` leaves with this root (hashes from the leaf upwards)."""

    index: int
    size: int
    root: bytes
    hashes: list[bytes]


class Log:
    """Thread-safe. Entries are durable before `add` returns."""

    def __init__(self, path: Path) -> None:
        """Open the log at `path` and rebuild its tree.

        Raises:
            AuditError: when a record is damaged or the tree is not the one that was written.
            Unavailable: when the file cannot be read.
        """
        self._lock = threading.Lock()
        self._tree = Tree()
        self._entries: list[Entry] = []
        self._index: dict[bytes, int] = {}
        self._journal = Journal(path)
        root = None
        for line in self._journal.lines():
            entry, root = self._read(line)
            self._keep(entry)
        if root is not None and root != self._tree.root(self.size):
            self._journal.close()
            raise self._damaged(f"root {self._tree.root(self.size).hex()}", f"the root {root.hex()} it wrote")

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._journal.close()

    @property
    def size(self) -> int:
        """How many entries are durable."""
        return len(self._entries)

    def add(self, body: bytes, integrated_time: int) -> tuple[int, bool]:
        """The entry's index, and whether it is new: an equal body is never logged twice."""
        leaf = leaf_hash(body)
        with self._lock:
            if (known := self._index.get(leaf)) is not None:
                return known, False
            self._tree.append(leaf)
            try:
                self._journal.append(self._line(Entry(body=body, integrated_time=integrated_time)))
            except BaseException:
                self._tree.pop()
                raise
            self._remember(leaf, Entry(body=body, integrated_time=integrated_time))
            return self.size - 1, True

    def entry(self, index: int) -> Entry:
        """The entry at `index`. Raises IndexError where there is none."""
        if not 0 <= index < self.size:
            raise IndexError(f"no entry {index} in a log of {self.size}")
        return self._entries[index]

    def find(self, leaf: bytes) -> int | None:
        """The index of the entry with this leaf hash (32 bytes)."""
        return self._index.get(leaf)

    def indexes_of(self, text: str) -> list[int]:
        """Every entry whose body contains `text`, by a plain scan: a trial log is small."""
        needle = text.encode()
        return [index for index, entry in enumerate(self._entries) if needle in entry.body]

    def root(self, size: int) -> bytes:
        """The root hash at a size (32 bytes)."""
        return self._tree.root(size)

    def prove(self, index: int) -> Proof:
        """Inclusion in the log as it is now. Raises IndexError where there is no such entry."""
        size = self.size
        return Proof(index=index, size=size, root=self._tree.root(size), hashes=self._tree.inclusion(index, size))

    def consistency(self, first: int, second: int) -> list[bytes]:
        """That the log of `second` entries continues the one of `first`. Raises IndexError outside the log."""
        if second > self.size:
            raise IndexError(f"the log has {self.size} entries, not {second}")
        return self._tree.consistency(first, second)

    def hashes(self, height: int, begin: int, end: int) -> list[bytes]:
        """The complete subtree hashes [begin, end) of a height that lie within the durable entries."""
        return self._tree.hashes(height, begin, min(end, self.size >> height))

    def _line(self, entry: Entry) -> bytes:
        return canonical(
            {
                "body": encode_base64(entry.body),
                "integratedTime": entry.integrated_time,
                "root": encode_base64(self._tree.root(len(self._tree))),
            }
        )

    def _read(self, line: bytes) -> tuple[Entry, bytes]:
        try:
            fields = Fields(loads(line, what="record"), "record")
            body = decode_base64(fields.text("body", limit=len(line)), fields.at("body"))
            root = decode_base64(fields.text("root"), fields.at("root"))
            return Entry(body=body, integrated_time=fields.integer("integratedTime")), root
        except FormatError as error:
            self._journal.close()
            raise self._damaged(str(error), f"a readable record {self.size}") from None

    def _keep(self, entry: Entry) -> None:
        leaf = leaf_hash(entry.body)
        self._tree.append(leaf)
        self._remember(leaf, entry)

    def _remember(self, leaf: bytes, entry: Entry) -> None:
        self._index[leaf] = len(self._entries)
        self._entries.append(entry)

    def _damaged(self, found: str, expected: str) -> AuditError:
        return AuditError(
            f"the log {self._journal.path} is damaged",
            expected=expected,
            found=found,
            fix="Restore it from a copy, or start a new devstack in an empty directory.",
        )
