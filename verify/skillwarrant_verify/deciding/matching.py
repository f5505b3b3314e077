"""Who stands for what, where each may stand for one only: a maximum matching of two sets. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["matched"]

Wanted = TypeVar("Wanted")
Given = TypeVar("Given")


def matched(wanted: Sequence[Wanted], given: Sequence[Given], fits: Callable[[Wanted, Given], bool]) -> list[int]:
    """As many as possible of what is wanted get one of what is given, each its own (augmenting paths, Kuhn).

    Returns:
        Places in `given` that are taken, sorted; one for each of `wanted` that got one.
    """
    taken: dict[int, int] = {}  # place in given -> place in wanted that has it

    def place(one: int, tried: set[int]) -> bool:
        for number, item in enumerate(given):
            if number in tried or not fits(wanted[one], item):
                continue
            tried.add(number)
            if number not in taken or place(taken[number], tried):
                taken[number] = one
                return True
        return False

    for one in range(len(wanted)):
        place(one, set())
    return sorted(taken)
