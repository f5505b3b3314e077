"""What the demo tells of each step, what was seen of it, and the error when the two differ.

A demo that always ends well shows nothing: whatever a step does otherwise than told ends it with exit code 1.
Must not know: the screen, and what the steps do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from skillwarrant_format.errors import PolicyDenied, SkillwarrantError, VerificationError
from skillwarrant_format.strict_json import JsonObject

__all__ = ["OtherThanTold", "Row", "Told", "codes", "expect", "refusal"]

_CODE: Final = re.compile(r"\[([a-z.-]+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A step as it is announced.

    Args:
        number: `1` to `6`, with a letter where a step has parts.
        why: one sentence.
        expected: what must come of it, in a few words.
    """

    number: str
    title: str
    why: str
    expected: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A step as it went: a line of the table at the end."""

    told: Told
    seen: str
    seconds: float
    as_told: bool

    def to_json(self) -> JsonObject:
        return {
            "step": self.told.number,
            "title": self.told.title,
            "expected": self.told.expected,
            "seen": self.seen,
            "asTold": self.as_told,
            "seconds": round(self.seconds, 2),
        }


class OtherThanTold(VerificationError):
    """A step went otherwise than told: checked, and the answer is no."""

    code = "demo.otherwise"


def expect(is_so: bool, expected: str, found: str) -> None:
    """Raises OtherThanTold unless it is so."""
    if not is_so:
        raise OtherThanTold("not as told", expected=expected, found=found)


def refusal(kind: type[SkillwarrantError], code: str, attempt: Callable[[], object]) -> SkillwarrantError:
    """The refusal that an attempt must end with: this kind, for this reason and no other.

    Raises:
        OtherThanTold: no refusal, another one, or "could not check".
    """
    expected = f"{kind.__name__} [{code}]"
    try:
        attempt()
    except SkillwarrantError as error:
        found = f"{type(error).__name__} [{', '.join(codes(error))}]: {error}"
        expect(type(error) is kind and codes(error) == (code,), expected, found)
        return error
    raise OtherThanTold("nothing was refused", expected=expected, found="no refusal: the adapter was loaded")


def codes(error: SkillwarrantError) -> tuple[str, ...]:
    """Why: the requirements that a policy found not proved, or else the error's own code."""
    if not isinstance(error, PolicyDenied):
        return (error.code,)
    matches = (_CODE.match(reason) for reason in error.reasons)
    return tuple(match[1] if match else "unnamed" for match in matches)
