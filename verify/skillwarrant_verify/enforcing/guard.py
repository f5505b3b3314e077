"""Close a function in place, for whoever holds it.

Replacing a name in a module leaves open whatever was taken from there before: `from peft import get_peft_model`, a
bound method, a `functools.partial`. So the function object stays, and its code is replaced: whoever calls it, from
wherever, runs the guard, which asks for a passage and then runs what the function did before.

It knows neither PEFT nor which functions are doors.
"""

from __future__ import annotations

import threading
from types import CodeType, FunctionType
from typing import Any, Final

from skillwarrant_format.errors import NotWarranted, Unavailable
from skillwarrant_verify.passage import inside

__all__ = ["close", "closed", "through"]

LOGGER: Final = "skillwarrant.enforce"
_LOCK: Final = threading.Lock()
_GUARDS: Final[dict[FunctionType, CodeType]] = {}
_DOORS: Final[list[tuple[str, FunctionType]]] = []  # by number: the door's name, and what it did before
_NUMBER: Final = "the number of the door"  # stands in the templates for it


def close(door: str, function: FunctionType) -> None:
    """Make a function ask for a passage. Closing it again does nothing, or closes it where somebody opened it.

    Args:
        door: its name, for messages.

    Raises:
        Unavailable: the function holds more variables of others than a method does.
    """
    from inspect import signature

    with _LOCK:
        if function not in _GUARDS:
            template = _template(door, function)
            _DOORS.append((door, _copy(function)))
            number = len(_DOORS) - 1
            constants = tuple(number if value == _NUMBER else value for value in template.co_consts)
            _GUARDS[function] = template.replace(co_consts=constants)
            function.__dict__["__signature__"] = signature(function)  # libraries look at it
        function.__code__ = _GUARDS[function]


def closed() -> tuple[str, ...]:
    """The names of the doors that were closed so far, sorted."""
    with _LOCK:
        return tuple(sorted({door for door, _ in _DOORS}))


def through(number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a closed function does. Called by the guards alone.

    Raises:
        NotWarranted: the calling thread is in no passage.
    """
    door, opened = _DOORS[number]
    if not inside():
        import logging  # not before it is needed: this module is imported by every program that is enforced

        logging.getLogger(LOGGER).warning("refused past the gate: %s", door, stacklevel=3)
        raise NotWarranted(
            "enforcement is on in this process, and this would put an adapter onto a model past the gate",
            expected="skillwarrant_verify.verify_and_load, or an operation of Gate",
            found=door,
            fix="Load it with verify_and_load(model, adapter, policy=..., context=...);"
            " make and train adapters in a process without enforcement.",
        )
    return opened(*args, **kwargs)


def _copy(function: FunctionType) -> FunctionType:
    copy = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = dict(function.__kwdefaults__ or {})
    copy.__qualname__ = function.__qualname__
    return copy


def _template(door: str, function: FunctionType) -> CodeType:
    """Code for a function's place must refer to as many outer variables as the function does."""
    outer = len(function.__code__.co_freevars)
    if outer > 1:
        raise Unavailable(
            "a door cannot be closed",
            expected="a function, or a method that may call super()",
            found=f"{door} with {outer} outer variables",
        )
    return (_of_method() if outer else _of_function()).__code__


def _of_function() -> FunctionType:
    def guard(*args: Any, **kwargs: Any) -> Any:
        from skillwarrant_verify.enforcing.guard import through

        return through("the number of the door", args, kwargs)  # type: ignore[arg-type]

    return guard  # type: ignore[return-value]


def _of_method() -> FunctionType:
    cell = None

    def guard(*args: Any, **kwargs: Any) -> Any:
        from skillwarrant_verify.enforcing.guard import through

        _ = cell
        return through("the number of the door", args, kwargs)  # type: ignore[arg-type]

    return guard  # type: ignore[return-value]
