"""`Remark`: something suspicious in a policy that can be used, and where in the document it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skillwarrant_verify.document.policy_lines import KeyPath

__all__ = ["Remark", "remark"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """One remark.

    Args:
        code: stable, `identity.over-wide`.
        message: one sentence.
        at: the key that it is about.
        fix: what to do, as an imperative.
        level: a note is what may well be meant: nothing makes it a no.
    """

    code: str
    message: str
    at: KeyPath
    fix: str | None = None
    level: Literal["warning", "note"] = "warning"


def remark(code: str, message: str, *at: str | int, fix: str | None = None) -> Remark:
    """A warning about the key `at`, in one line of its caller."""
    return Remark(code=code, message=message, at=at, fix=fix)
