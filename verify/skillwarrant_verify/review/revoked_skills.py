"""Whether revocations and lowest versions leave anything of the skills that a pattern covers. For lint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Generic, TypeVar

from skillwarrant_format.semver import SemVer, SemVerRange
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.review.policy_overlap import Names, semver_candidates

__all__ = ["RevokedSkills", "tried"]

Value = TypeVar("Value")
_MOST_CLAUSES: Final = 100  # of ranges that are looked at together
_MOST_SETS: Final = 200  # of ranges, each looked at once


class RevokedSkills:
    """What a policy revokes, and the lowest versions that it asks for."""

    def __init__(self, policy: Policy) -> None:
        self._revoked = _ByName((one.name, one.versions) for one in policy.revocations.skills)
        self._floors = _ByName((one.skill, one.least) for one in policy.versions.floors)
        self._known: dict[tuple[frozenset[str], SemVer | None], bool] = {}

    def all_of(self, skill: str) -> bool:
        """Whether no version is left that is high enough. Where more ranges meet than are looked at: no."""
        listed = self._revoked.covering(skill)
        if not listed or None in listed:
            return bool(listed)
        ranges = {versions.text: versions for versions in listed if versions is not None}
        floor = max(self._floors.covering(skill), default=None)
        key = (frozenset(ranges), floor)
        if key not in self._known:
            if len(self._known) >= _MOST_SETS or sum(len(one.clauses) for one in ranges.values()) > _MOST_CLAUSES:
                return False
            self._known[key] = _leaves_nothing(tuple(ranges.values()), floor)
        return self._known[key]


class _ByName(Generic[Value]):
    """What is said of names, by a pattern each."""

    def __init__(self, items: Iterable[tuple[str, Value]]) -> None:
        self._values: dict[str, list[Value]] = {}
        for name, value in items:
            self._values.setdefault(name, []).append(value)
        self._names = Names(self._values)

    def covering(self, name: str) -> list[Value]:
        """What is said by every pattern that covers a name, or all names of a pattern."""
        return [value for pattern in self._names.covering(name) for value in self._values[pattern]]


def _leaves_nothing(ranges: tuple[SemVerRange, ...], floor: SemVer | None) -> bool:
    bounds = () if floor is None else (floor,)
    high = (one for one in tried(*ranges, bounds=bounds) if floor is None or one >= floor)
    return all(any(versions.covers(one) for versions in ranges) for one in high)


def tried(*ranges: SemVerRange, bounds: Sequence[SemVer] = ()) -> list[SemVer]:
    """Versions of which one is in what the ranges cover, or leave, wherever any is."""
    return semver_candidates([*bounds, *(bound for versions in ranges for _, bound in versions.clauses)])
