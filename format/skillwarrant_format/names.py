"""The spellings of names that the formats share, as anchored patterns (they are used with fullmatch)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = [
    "ACTIVATION",
    "LABEL",
    "PACKAGE",
    "SEMVER",
    "SKILL_NAME",
    "SKILL_PATTERN",
    "VERSION_RANGE",
    "like",
    "matches",
    "matches_any",
]

SKILL_NAME: Final = re.compile(
    r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?(?:/[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?)?"
)
SKILL_PATTERN: Final = re.compile(r"[a-z0-9._*-]+(?:/[a-z0-9._*-]+)?")  # what a pattern of skill names may hold
LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
# SemVer 2.0.0, section "Is there a suggested regular expression"; ours is written for fullmatch and ASCII digits.
_NUMBER: Final = r"(?:0|[1-9][0-9]{0,8})"
_IDENTIFIER: Final = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
SEMVER: Final = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_IDENTIFIER}(?:\.{_IDENTIFIER})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
PACKAGE: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")  # normalised, as in PEP 503: one package, one spelling
_CLAUSE: Final = r"(?:~=|==|!=|<=|>=|<|>) ?[0-9A-Za-z][0-9A-Za-z.!+*-]*"
VERSION_RANGE: Final = re.compile(rf"{_CLAUSE}(?:, ?{_CLAUSE})*")  # PEP 440, without its arbitrary equality `===`
ACTIVATION: Final = re.compile(r"[0-9a-f]{32}")

_LIKE: Final = {
    SKILL_NAME: "lower-case letters, digits and . _ - like acme/support",
    SKILL_PATTERN: "a skill name, with * for any characters but /, like acme/*",
    LABEL: "letters, digits and . _ - like production or eu-west-1",
    SEMVER: "a version of SemVer 2.0.0 like 1.2.0",
    PACKAGE: "a package name in the normal form of PEP 503 like peft",
    VERSION_RANGE: "a version range of PEP 440 like >=0.21,<0.22",
    ACTIVATION: "32 lower-case hexadecimal digits",
}


def like(pattern: re.Pattern[str]) -> str:
    """What a pattern accepts, for people."""
    return _LIKE.get(pattern, pattern.pattern)


def matches(pattern: str, name: str) -> bool:
    """Whether a name pattern covers a name: `*` stands for any characters but `/`, all else for itself.

    Anchored at both ends and case-sensitive; there are no character classes, so nothing can be misread. Takes at
    most len(pattern) * len(name) steps: patterns come from manifests too, and a regular expression with twenty
    stars in it would hold the reader for years.
    """
    head, star, tail = pattern.partition("*")
    if not star:
        return pattern == name
    if not name.startswith(head):
        return False
    if "*" not in tail:  # nearly every pattern
        end = len(name) - len(tail)
        return end >= len(head) and name.endswith(tail) and "/" not in name[len(head) : end]
    wanted, found = pattern.split("/"), name.split("/")
    return len(wanted) == len(found) and all(map(_covers, wanted, found))


def matches_any(patterns: Iterable[str], name: str) -> bool:
    """Whether one of several patterns covers a name; none of them covers none."""
    for pattern in patterns:  # noqa: SIM110  # a generator takes as long as the match
        if matches(pattern, name):
            return True
    return False


def _covers(pattern: str, text: str) -> bool:
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    *between, last = rest
    if not text.startswith(first):
        return False
    at = len(first)
    for part in between:  # each as early as it can be: that leaves the most for the rest
        if (place := text.find(part, at)) < 0:
            return False
        at = place + len(part)
    return len(text) - at >= len(last) and text.endswith(last)
