"""Which patterns cover which: of identities, names and version ranges. For lint; nothing is decided by it."""

from __future__ import annotations

from collections.abc import Iterable

from skillwarrant_format.names import matches
from skillwarrant_format.semver import SemVer
from skillwarrant_verify.identity import IdentityPattern
from skillwarrant_verify.proof.certificate import Signer

__all__ = ["covers_identity", "covers_name", "names_meet", "range_is_empty", "semver_candidates"]

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

    below = [set(other[there:]) <= {"*"} for there in range(len(other) + 1)]  # of nothing more in `one`
    for first in reversed(one):
        row = [first == "*" and below[-1]]
        for there in range(len(other) - 1, -1, -1):
            second = other[there]
            if first == "*":
                found = below[there] or (second != "/" and row[-1])
            elif second == "*":
                found = row[-1] or (first != "/" and below[there])
            else:
                found = first == second and below[there + 1]
            row.append(found)
        below = row[::-1]
    return below[0]


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
