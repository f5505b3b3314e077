"""An observation that fits into one leaf, however long the texts in it are.

A refusal quotes names from what it refuses, in up to four bytes a character. One that were too large to be recorded
would be one that nobody hears of, so the sentences of an observation are cut until it fits. The facts in it are
never cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from skillwarrant_audit.signing import MAX_PAYLOAD
from skillwarrant_format.observation import Observation
from skillwarrant_format.statement import Statement

__all__ = ["cut", "fitted"]

_SIZES: Final = (4096, 2048, 1024, 512, 256, 128, 64, 32)  # bytes of each sentence, the largest that fits
_MARK: Final = "…"  # as everywhere that something of ours is cut


def fitted(observation: Observation, build: Callable[[Observation], Statement]) -> Statement:
    """The statement of an observation, its sentences cut where it would not fit into a leaf.

    Args:
        build: makes the statement.

    Returns:
        A statement of at most `MAX_PAYLOAD` bytes; of more where the facts alone take more.

    Raises:
        FormatError: from `build`.
    """
    statement = build(observation)
    for size in _SIZES:
        if len(statement.raw) <= MAX_PAYLOAD:
            break
        statement = build(_shortened(observation, size))
    return statement


def cut(text: str, size: int) -> str:
    """`text` in at most `size` bytes of UTF-8, with a mark where something was cut off."""
    encoded = text.encode()
    if len(encoded) <= size:
        return text
    return encoded[: size - len(_MARK.encode())].decode(errors="ignore") + _MARK


def _shortened(observation: Observation, size: int) -> Observation:
    checks = tuple(replace(check, message=cut(check.message, size)) for check in observation.checks)
    policy = observation.policy
    if policy.notice is not None:
        policy = replace(policy, notice=cut(policy.notice, size))
    return replace(observation, message=cut(observation.message, size), checks=checks, policy=policy)
