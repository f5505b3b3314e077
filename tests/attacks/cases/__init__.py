"""Every attack, by group; importing this registers them all."""

from __future__ import annotations

from typing import Final

from cases import substitution

__all__ = ["GROUPS"]

GROUPS: Final = {
    substitution.GROUP: substitution.WORDS,
}
