"""Messages between a process and its Rego worker: lists of byte strings on a stream socket.

A count and the lengths, each as four bytes, then the strings. It knows nothing of what they say, and imports
little: the worker's start waits for it.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from typing import Final

__all__ = ["MAX_FRAMES", "MAX_MESSAGE", "UNDEFINED", "receive", "send"]

MAX_FRAMES: Final = 10_000
MAX_MESSAGE: Final = 64 * 1024 * 1024  # bytes
UNDEFINED: Final = '"<undefined>"'  # what stands for a rule's value where it has none


def send(stream: socket.socket, frames: Sequence[bytes]) -> None:
    """Write one message.

    Raises:
        OSError: the other side is gone, or (TimeoutError) does not read.
    """
    head = struct.pack(f">{len(frames) + 1}I", len(frames), *map(len, frames))
    stream.sendall(b"".join((head, *frames)))


def receive(stream: socket.socket, *, seconds: float | None = None) -> list[bytes]:
    """Read one message.

    Args:
        seconds: for all of it; None waits for ever.

    Raises:
        EOFError: the other side is gone.
        OSError: as the socket says; TimeoutError where `seconds` are over.
        ValueError: no message of ours.
    """
    end = None if seconds is None else time.monotonic() + seconds
    (count,) = struct.unpack(">I", _exactly(stream, 4, end))
    if count > MAX_FRAMES:
        raise ValueError(f"a message of {count} frames")
    lengths = struct.unpack(f">{count}I", _exactly(stream, 4 * count, end))
    if sum(lengths) > MAX_MESSAGE:
        raise ValueError(f"a message of {sum(lengths)} bytes")
    return [_exactly(stream, length, end) for length in lengths]


def _exactly(stream: socket.socket, length: int, end: float | None) -> bytes:
    found = bytearray()
    while len(found) < length:
        if end is not None:
            if (left := end - time.monotonic()) <= 0:
                raise TimeoutError
            stream.settimeout(left)
        part = stream.recv(min(length - len(found), 1 << 20))
        if not part:
            raise EOFError
        found += part
    return bytes(found)
