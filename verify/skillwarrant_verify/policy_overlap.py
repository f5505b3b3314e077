"""Which patterns cover which: of identities, names and version ranges. For lint; nothing is decided by it."""

from __future__ import annotations

from functools import cache

from skillwarrant_format.names import matches
from skillwarrant_verify.certificate import Signer
from skillwarrant_verify.identity import IdentityPattern

__all__ = ["covers_identity", "covers_name", "names_meet", "range_is_empty"]

_ANY = "\x01"  # what no pattern holds: only a wildcard stands for it


def covers_identity(wide: IdentityPattern, narrow: IdentityPattern) -> bool:
    """Whether whoever matches one pattern matches the other."""
    example = narrow.identity.replace("**", f"{_ANY}/{_ANY}").replace("*", _ANY)
    signer = Signer(identity=example, issuer=narrow.issuer, kind=narrow.kind, extensions={})
    return wide.matches(signer)


def covers_name(wide: str, narrow: str) -> bool:
    """Whether every name that one pattern covers is covered by the other."""
    return matches(wide, narrow.replace("*", _ANY))


def names_meet(one: str, other: str) -> bool:
    """Whether there is a name that both patterns cover."""

    @cache
    def meet(at: int, there: int) -> bool:
        if at == len(one) or there == len(other):
            return set(one[at:]) | set(other[there:]) <= {"*"}
        first, second = one[at], other[there]
        if first == "*":
            return meet(at + 1, there) or (second != "/" and meet(at, there + 1))
        if second == "*":
            return meet(at, there + 1) or (first != "/" and meet(at + 1, there))
        return first == second and meet(at + 1, there + 1)

    return meet(0, 0)


def range_is_empty(specifier: str) -> bool:
    """Whether no version of a PEP 440 range exists.

    What satisfies a range is made of intervals that begin at a version that it names, right above one, or at the
    lowest of all; so if none of these does, none does.
    """
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion, Version

    clauses = SpecifierSet(specifier)
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
