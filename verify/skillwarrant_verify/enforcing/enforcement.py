"""`enforce()`: from then on, in this process, no adapter gets onto a model but through the gate.

Every door that is known (`doors`) is closed for good (`guard`): at once in libraries that are imported already, in
the others as soon as somebody imports them (`late_import`); none is imported for it. Code of the gate itself
passes, by a passage. There is no way back but to end the process.

What it is not: a wall against code that means to get round it. Code in this process can take guards away, or write
weights itself. docs/explanation/threat-model.md says what is left and how it shows.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Final

from skillwarrant_format.errors import Unavailable, UsageError
from skillwarrant_verify.enforcing.doors import doors_of, is_watched, required
from skillwarrant_verify.enforcing.guard import close, closed
from skillwarrant_verify.enforcing.late_import import AfterImport

__all__ = ["VARIABLE", "Enforcement", "enforce", "enforce_if_asked"]

VARIABLE: Final = "SKILLWARRANT_ENFORCE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforcement:
    """What is closed.

    Args:
        doors: the functions that refuse now, by name, sorted; none of a library that is not imported yet.
        awaited: known functions of modules that are not imported yet. They refuse as soon as they exist.
    """

    doors: tuple[str, ...]
    awaited: tuple[str, ...]


def enforce() -> Enforcement:
    """Close every door. May be called at any time, from any thread, and again; best before models are made.

    An adapter that is on a model already stays there; the gate will not add to such a model unless the policy
    accepts what it does not know.

    Returns:
        What is closed now, and what will be once it is imported.

    Raises:
        Unavailable: an imported library is of a version whose doors are not known. What is known is closed all the
            same; the process should end.
    """
    with _LOCK:
        if _HOOK not in sys.meta_path:
            sys.meta_path.insert(0, _HOOK)
    for name in [name for name in list(sys.modules) if is_watched(name)]:
        _close_doors(_whole(name))
    doors = closed()
    return Enforcement(doors=doors, awaited=tuple(sorted(set(required()) - set(doors))))


def enforce_if_asked() -> None:
    """Enforce where the environment asks for it: `SKILLWARRANT_ENFORCE=1`. Empty and `0` are no.

    Raises:
        UsageError: the variable has another value. The doors are closed all the same, since somebody wanted
            something of the kind.
        Unavailable: as `enforce`.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked in {"", "0"}:
        return
    enforce()
    if asked != "1":
        raise UsageError(f"{VARIABLE} has a value that is not known", expected="1, 0 or nothing", found=asked)


def _whole(name: str) -> ModuleType:
    module = import_module(name)  # waits where another thread is importing it
    if getattr(module.__spec__, "_initializing", False):
        raise Unavailable(
            f"{name} is half imported: its doors cannot be closed",
            fix="Call enforce() before the import or after it.",
        )
    return module


def _close_doors(module: ModuleType) -> None:
    for door, function in doors_of(module):
        close(door, function)


_LOCK: Final = threading.Lock()
_HOOK: Final = AfterImport(is_watched, _close_doors)
