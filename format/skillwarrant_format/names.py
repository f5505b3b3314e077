"""The spellings of names that the formats share, as anchored patterns (they are used with fullmatch)."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["LABEL", "SEMVER", "SKILL_NAME", "matches"]

SKILL_NAME: Final = re.compile(
    r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?(?:/[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?)?"
)
LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
# SemVer 2.0.0, section "Is there a suggested regular expression"; ours is written for fullmatch and ASCII digits.
_NUMBER: Final = r"(?:0|[1-9][0-9]{0,8})"
_IDENTIFIER: Final = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
SEMVER: Final = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_IDENTIFIER}(?:\.{_IDENTIFIER})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)


def matches(pattern: str, name: str) -> bool:
    """Whether a name pattern covers a name: `*` stands for any characters but `/`, all else for itself.

    Anchored at both ends and case-sensitive; there are no character classes, so nothing can be misread.
    """
    parts = (re.escape(part) for part in pattern.split("*"))
    return re.fullmatch("[^/]*".join(parts), name) is not None
