"""Versions of SemVer 2.0.0 by their precedence (section 11), and ranges of them.

A range is clauses joined by commas, all of which must hold: `>=1.2.0,<2.0.0`. It is by precedence alone: a
pre-release of 2.0.0 is below 2.0.0, so `<2.0.0` covers it. Build metadata has no precedence.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import total_ordering
from typing import Final, Self

from skillwarrant_format.errors import FormatError
from skillwarrant_format.limits import MAX_RANGE_CHARS, MAX_VERSION_CHARS
from skillwarrant_format.names import SEMVER, like

__all__ = ["SemVer", "SemVerRange"]

_OPERATORS: Final[dict[str, Callable[[SemVer, SemVer], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_CLAUSE: Final = re.compile(r"\s*(<=|>=|==|!=|<|>)\s*(\S+)\s*")


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class SemVer:
    """A version; equal are those of one precedence, whatever their build metadata.

    Args:
        core: major, minor, patch.
        pre: the identifiers of a pre-release, empty for a release.
        text: as it was written.
        order: what it is compared by: a release is above its pre-releases; numbers are below words; fewer
            identifiers are below more.
    """

    core: tuple[int, int, int]
    pre: tuple[str, ...]
    text: str
    order: tuple[object, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        identifiers = [(0, int(one), "") if one.isdigit() else (1, 0, one) for one in self.pre]
        object.__setattr__(self, "order", (*self.core, not self.pre, *identifiers))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a version.

        Raises:
            FormatError: it is none.
        """
        if not isinstance(text, str) or len(text) > MAX_VERSION_CHARS or not SEMVER.fullmatch(text):
            raise FormatError("that is no version", expected=like(SEMVER), found=str(text))
        main, _, pre = text.partition("+")[0].partition("-")
        major, minor, patch = map(int, main.split("."))
        return cls((major, minor, patch), tuple(pre.split(".")) if pre else (), text)

    def __eq__(self, other: object) -> bool:
        return self.order == other.order if isinstance(other, SemVer) else NotImplemented

    def __lt__(self, other: SemVer) -> bool:
        return self.order < other.order

    def __hash__(self) -> int:
        return hash(self.order)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class SemVerRange:
    """Versions that keep every clause; at least one clause."""

    clauses: tuple[tuple[str, SemVer], ...]
    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a range.

        Raises:
            FormatError: it is none.
        """
        matches = [_CLAUSE.fullmatch(part) for part in text.split(",")] if len(text) <= MAX_RANGE_CHARS else [None]
        if not all(matches):
            raise FormatError("that is no range of versions", expected="clauses like >=1.2.0,<2.0.0", found=text)
        return cls(tuple((match[1], SemVer.parse(match[2])) for match in matches if match), text)

    def covers(self, version: SemVer) -> bool:
        """Whether a version keeps every clause."""
        return all(_OPERATORS[sign](version, bound) for sign, bound in self.clauses)

    def __str__(self) -> str:
        return self.text
