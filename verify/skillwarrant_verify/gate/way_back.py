"""`WayBack`: how to undo an adapter that changed its base, kept as long as the model around both.

It refers to the base, and the base is a part of that model: in a table beside it, weak as its keys may be, neither
would ever be freed. So the model holds it, in an attribute that is no part of what is copied or saved. A copy is a
model that no gate knows, with a base of its own: what the original's base was, is nothing to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

__all__ = ["WayBack"]

ATTRIBUTE: Final = "_skillwarrant_way_back"


@dataclass(frozen=True, slots=True, eq=False)
class WayBack:
    """What makes a base what it was before an adapter changed it."""

    undo: Callable[[], None]

    def keep(self, model: Any) -> None:
        """From now on the model knows it."""
        vars(model)[ATTRIBUTE] = self

    @classmethod
    def take(cls, model: Any) -> Self | None:
        """What a model knows, which it then does not know any more; None for a copy, and where there is nothing."""
        found = vars(model).pop(ATTRIBUTE, None)
        return found if isinstance(found, cls) else None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()  # copied, pickled and saved as None, which needs nothing of ours to be read
