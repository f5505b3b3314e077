"""The way through the gate: code of this package that may put adapters onto models marks itself by it.

Where `enforce` is in force, PEFT's doors open only inside a passage. It knows neither torch nor PEFT.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

__all__ = ["inside", "passage"]

_INSIDE: Final[ContextVar[bool]] = ContextVar("skillwarrant_passage", default=False)


@contextmanager
def passage() -> Iterator[None]:
    """Let this thread through, and no other, until the block is left."""
    token = _INSIDE.set(True)
    try:
        yield
    finally:
        _INSIDE.reset(token)


def inside() -> bool:
    """Whether the calling thread is in a passage."""
    return _INSIDE.get()
