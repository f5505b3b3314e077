"""Whose codes are whose: which only skillwarrant gives, so that a record says by its code who speaks.

A decision has findings of rules that are not ours (a policy's own, in Python, in Rego, on an OPA server), and a
record has what stopped an operation after its decision. With our codes, one could pass for the other.
"""

from __future__ import annotations

from typing import Final

from skillwarrant_format import errors
from skillwarrant_format.errors import SkillwarrantError
from skillwarrant_verify.deciding.catalogue import CATALOGUE

__all__ = ["STOPS", "is_reserved", "stop_code"]

_INTERNAL: Final = "internal"
_OURS: Final = {
    kind: kind.code
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, SkillwarrantError)
}
STOPS: Final = frozenset({_INTERNAL, *_OURS.values()})
"""What an operation can be stopped by, whatever was decided."""
_FAMILIES: Final = frozenset(
    {
        *("adapters", "demo", "input", "rego", "rule"),
        *(code.partition(".")[0] for code in (*CATALOGUE, *STOPS)),
    }
)


def is_reserved(code: str) -> bool:
    """Whether a code is of a family of ours (`base.matches`, `base.x`, `trust`), in whatever case."""
    return code.partition(".")[0].lower() in _FAMILIES


def stop_code(error: BaseException) -> str:
    """The code under which an error that stops an operation goes on record.

    Of an error that somebody else derives from one of ours, the code of ours: theirs could be any requirement's.
    """
    return next((_OURS[kind] for kind in type(error).__mro__ if kind in _OURS), _INTERNAL)
