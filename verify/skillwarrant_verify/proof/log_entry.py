"""What sigstore leaves open about a log entry: the numbers around the proof, and the fields no signature covers.

The Merkle proof, the checkpoint's signature and the signed entry timestamp are sigstore's to verify. It compares
the checkpoint's root hash and not its size, so that one proof would do for several (index, size) pairs, and it
looks at neither the outer index of a v2 entry nor an integrated time that nothing vouches for.
"""

from __future__ import annotations

import re
from typing import Final

from skillwarrant_format.bundle import LogEntry
from skillwarrant_format.errors import NotLogged
from skillwarrant_format.observation_parts import LogPlace

__all__ = ["place_in_log"]

_V1: Final = ("dsse", "0.0.1")
_V2: Final = ("hashedrekord", "0.0.2")  # over the DSSE pre-authentication encoding
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


def place_in_log(entry: LogEntry) -> LogPlace:
    """Where the entry stands, in numbers that the log's signatures cover once sigstore has verified them.

    Raises:
        NotLogged: an unknown kind of entry, or a number that nothing proves.
    """
    kind = (entry.kind, entry.version)
    if kind == _V1:
        _check_v1(entry)
    elif kind == _V2:
        _check_v2(entry)
    else:
        expected = f"{'/'.join(_V1)} (Rekor v1) or {'/'.join(_V2)} (Rekor v2)"
        raise NotLogged(
            "the log entry is of a kind that proves no DSSE signature", expected=expected, found="/".join(kind)
        )
    _check_size(entry)
    return LogPlace(
        origin=entry.origin, log_id=entry.log_id, index=entry.index, integrated_time=entry.integrated_time
    )


def _check_v1(entry: LogEntry) -> None:
    """A v1 entry's outer index and time are proved by its signed entry timestamp, and by nothing else."""
    if not entry.promised or entry.integrated_time is None:
        raise NotLogged(
            "the log's promise is missing", expected="a signed entry timestamp and its time", found="a bare entry"
        )


def _check_v2(entry: LogEntry) -> None:
    if entry.promised or entry.integrated_time is not None:
        raise NotLogged("a Rekor v2 entry claims a time", expected="no integrated time, no promise", found="one")
    if entry.index != entry.proof_index:
        raise NotLogged(
            "the entry's index is not the proof's", expected=str(entry.proof_index), found=str(entry.index)
        )


def _check_size(entry: LogEntry) -> None:
    """The proof must be for the very tree that the checkpoint signs (C2SP tlog-checkpoint: origin, size, root)."""
    lines = entry.checkpoint.split("\n")
    signed = lines[1] if len(lines) > 2 else ""
    if not entry.origin.strip() or not _SIZE.fullmatch(signed):
        raise NotLogged(
            "the checkpoint is malformed", expected="origin, size and root hash", found=entry.checkpoint
        )
    if int(signed) != entry.tree_size:
        raise NotLogged(
            "the proof is not for the signed tree", expected=f"size {signed}", found=str(entry.tree_size)
        )
    if entry.proof_index >= entry.tree_size:
        raise NotLogged(
            "the proof's index is outside of the tree",
            expected=f"less than {entry.tree_size}",
            found=str(entry.proof_index),
        )
