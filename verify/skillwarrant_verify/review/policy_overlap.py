"""Which patterns cover which: of identities, names and version ranges. For lint; nothing is decided by it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from skillwarrant_format.names import SKILL_NAME, matches
from skillwarrant_format.semver import SemVer
from skillwarrant_verify.identity import IdentityPattern
from skillwarrant_verify.proof.certificate import Signer

__all__ = [
    "Identities",
    "Names",
    "can_be_a_name",
    "covers_identity",
    "covers_name",
    "identities_may_meet",
    "names_meet",
    "range_is_empty",
    "semver_candidates",
]

_STARS: Final = re.compile(r"\*+")
_ANY: Final = "\x01"  # what no pattern holds: only a wildcard stands for it


def covers_identity(wide: IdentityPattern, narrow: IdentityPattern) -> bool:
    """Whether whoever matches one pattern matches the other."""
    return wide.issuer == narrow.issuer and wide.matches(_example(narrow))


@lru_cache(maxsize=8192)
def _example(pattern: IdentityPattern) -> Signer:
    example = pattern.identity.replace("**", f"{_ANY}/{_ANY}").replace("*", _ANY)
    return Signer(identity=example, issuer=pattern.issuer, kind=pattern.kind, extensions={})


class Identities:
    """Patterns of identities, to be compared with many others: those without a wildcard are looked up."""

    def __init__(self, patterns: Iterable[IdentityPattern]) -> None:
        listed = dict.fromkeys(patterns)
        self._plain = dict.fromkeys(one for one in listed if "*" not in one.identity)
        globs = [one for one in listed if "*" in one.identity]
        self._globs = tuple((one, one.identity.rpartition("*")[2]) for one in globs)

    def covering(self, narrow: IdentityPattern) -> Iterator[IdentityPattern]:
        """The patterns that cover whoever another does, itself among them."""
        if narrow in self._plain:
            yield narrow
        example = _example(narrow)
        yield from (one for one, end in self._globs if example.identity.endswith(end) and one.matches(example))

    def cover(self, narrow: IdentityPattern) -> bool:
        """Whether one pattern covers whoever another does."""
        return next(self.covering(narrow), None) is not None

    def may_meet(self, pattern: IdentityPattern) -> bool:
        """Whether somebody may match a pattern and one of these."""
        if "*" not in pattern.identity:
            return self.cover(pattern)
        others = (*self._plain, *(one for one, _ in self._globs))
        return any(identities_may_meet(pattern, one) for one in others)


def identities_may_meet(one: IdentityPattern, other: IdentityPattern) -> bool:
    """Whether somebody may match both patterns; where both have wildcards, it is only looked at how they begin."""
    if "*" not in other.identity:
        one, other = other, one
    if "*" not in one.identity:
        return covers_identity(other, one)
    begin, start = one.identity.partition("*")[0], other.identity.partition("*")[0]
    return one.issuer == other.issuer and (begin.startswith(start) or start.startswith(begin))


def covers_name(wide: str, narrow: str) -> bool:
    """Whether every name that one pattern covers is covered by the other."""
    return matches(wide, narrow.replace("*", _ANY))


def names_meet(one: str, other: str) -> bool:
    """Whether there is a name that both patterns cover."""
    parts, others = one.split("/"), other.split("/")
    return len(parts) == len(others) and all(map(_parts_meet, parts, others))


def _parts_meet(one: str, other: str) -> bool:
    """Of two with wildcards: what one begins with, all that stands between, and what one ends with is in both."""
    if "*" not in one or "*" not in other:
        return matches(one, other) if "*" in one else matches(other, one)
    (begin, _, _), (start, _, _) = one.partition("*"), other.partition("*")
    (_, _, end), (_, _, close) = one.rpartition("*"), other.rpartition("*")
    return (begin.startswith(start) or start.startswith(begin)) and (end.endswith(close) or close.endswith(end))


def can_be_a_name(pattern: str) -> bool:
    """Whether a pattern of skills covers anything that can be a skill's name."""
    return any(SKILL_NAME.fullmatch(_STARS.sub(least, pattern)) for least in ("0", ""))


class Names:
    """Patterns of names, to be compared with many others: those without a wildcard are looked up."""

    def __init__(self, patterns: Iterable[str]) -> None:
        listed = dict.fromkeys(patterns)
        self._plain = dict.fromkeys(one for one in listed if "*" not in one)
        self._globs = tuple(one for one in listed if "*" in one)

    def covering(self, narrow: str) -> Iterator[str]:
        """The patterns that cover every name that another does, itself among them."""
        if narrow in self._plain:
            yield narrow
        example = narrow.replace("*", _ANY)
        yield from (wide for wide in self._globs if matches(wide, example))

    def cover(self, narrow: str) -> bool:
        """Whether one pattern covers every name that another does."""
        return next(self.covering(narrow), None) is not None

    def meet(self, pattern: str) -> bool:
        """Whether there is a name that a pattern and one of these cover."""
        if "*" not in pattern:
            return self.cover(pattern)
        plain = any(matches(pattern, one) for one in self._plain)
        return plain or any(names_meet(pattern, one) for one in self._globs)


def range_is_empty(specifier: str) -> bool:
    """Whether no version of a PEP 440 range exists.

    What satisfies a range is made of intervals that begin at a version that it names, right above one, or at the
    lowest of all; so if none of these does, none does.
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        clauses = SpecifierSet(specifier)
    except InvalidSpecifier:
        return True  # and no rule will ever find one in it
    candidates = ["0.dev0"]
    for clause in clauses:
        named = clause.version.removesuffix(".*")
        candidates += [named, f"{named}.0.0.0.1", f"{named}.post1", f"{named}.dev0"]
    for text in candidates:
        try:
            version = Version(text)
        except InvalidVersion:
            continue
        if clauses.contains(version, prereleases=True):
            return False
    return True


def semver_candidates(bounds: Iterable[SemVer]) -> list[SemVer]:
    """Versions of which one is in any set that clauses with these bounds cover or leave, if the set has any.

    Such a set is made of intervals that begin at the lowest version of all, at a bound or right above one.
    """
    found = [SemVer((0, 0, 0), ("0",), "0.0.0-0")]
    for bound in bounds:
        major, minor, patch = bound.core
        if bound.pre:
            above = SemVer(bound.core, (*bound.pre, "0"), f"{major}.{minor}.{patch}-{'.'.join(bound.pre)}.0")
        else:
            above = SemVer((major, minor, patch + 1), ("0",), f"{major}.{minor}.{patch + 1}-0")
        found += [bound, above]
    return found
