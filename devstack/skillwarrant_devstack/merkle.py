"""The Merkle tree of RFC 6962 section 2, grown leaf by leaf, with its proofs.

Every complete subtree's hash is kept (64 bytes a leaf), so an append is amortised O(1) and a root or a proof
is O(log n). It knows nothing of entries, files or signatures.
"""

from __future__ import annotations

import hashlib
from typing import Final

__all__ = ["EMPTY_ROOT", "Tree", "leaf_hash", "node_hash"]

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry): 32 bytes."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right): 32 bytes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """An append-only tree of leaf hashes. Not locked: one writer; readers name the size they mean."""

    __slots__ = ("_levels",)

    def __init__(self) -> None:
        # _levels[h][i] is the hash of the complete subtree over leaves [i * 2^h, (i + 1) * 2^h).
        self._levels: list[list[bytes]] = [[]]

    def __len__(self) -> int:
        return len(self._levels[0])

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash (32 bytes) and every subtree that it completes."""
        height, done = 0, leaf
        while True:
            level = self._levels[height]
            level.append(done)
            if len(level) % 2:
                return
            done = node_hash(level[-2], level[-1])
            height += 1
            if height == len(self._levels):
                self._levels.append([])

    def pop(self) -> None:
        """Take back the last append, exactly: for a leaf that could not be made durable."""
        index = len(self) - 1
        if index < 0:
            raise IndexError("the tree is empty")
        for height in range((~index & (index + 1)).bit_length()):
            self._levels[height].pop()

    def root(self, size: int) -> bytes:
        """MTH of the first `size` leaves (section 2.1)."""
        self._within(size)
        return self._subtree(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """PATH(index, D[size]) (section 2.1.1), from the leaf upwards.

        Raises:
            IndexError: when `index` is not a leaf of the tree of that size.
        """
        self._within(size)
        if not 0 <= index < size:
            raise IndexError(f"leaf {index} is not in a tree of {size}")
        return self._path(index, 0, size)

    def consistency(self, first: int, second: int) -> list[bytes]:
        """PROOF(first, D[second]) (section 2.1.2).

        Raises:
            IndexError: unless 0 < first <= second <= the tree's size.
        """
        self._within(second)
        if not 0 < first <= second:
            raise IndexError(f"no consistency proof from {first} to {second}")
        return self._subproof(first, 0, second, whole=True)

    def hashes(self, height: int, begin: int, end: int) -> list[bytes]:
        """The complete subtrees [begin, end) of a height, as many as there are (for C2SP tiles)."""
        return self._levels[height][begin:end] if height < len(self._levels) else []

    def _within(self, size: int) -> None:
        if not 0 <= size <= len(self):
            raise IndexError(f"the tree has {len(self)} leaves, not {size}")

    def _subtree(self, begin: int, end: int) -> bytes:
        count = end - begin
        height = count.bit_length() - 1
        if count == 1 << height:
            return self._levels[height][begin >> height]
        split = begin + _split(count)
        return node_hash(self._subtree(begin, split), self._subtree(split, end))

    def _path(self, index: int, begin: int, end: int) -> list[bytes]:
        if end - begin == 1:
            return []
        split = begin + _split(end - begin)
        if index < split:
            return [*self._path(index, begin, split), self._subtree(split, end)]
        return [*self._path(index, split, end), self._subtree(begin, split)]

    def _subproof(self, first: int, begin: int, end: int, *, whole: bool) -> list[bytes]:
        if first == end:
            return [] if whole else [self._subtree(begin, end)]
        split = begin + _split(end - begin)
        if first <= split:
            return [*self._subproof(first, begin, split, whole=whole), self._subtree(split, end)]
        return [*self._subproof(first, split, end, whole=False), self._subtree(begin, split)]


def _split(count: int) -> int:
    """The largest power of two smaller than `count`."""
    return 1 << ((count - 1).bit_length() - 1)
