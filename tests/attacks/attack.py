"""What an attack is, and the list of all of them.

    @attack(GROUP, "a weight is changed", setup=Delivered, refused_by="files.digest", says="not the file")
    def _(attempt: Delivered) -> None:
        flip(attempt.adapter / "adapter_model.safetensors")

The set-up is an honest activation that is ready to run, and is run as it is by a test of its own: it gets in. An
attack gets it and changes one thing. So whatever refuses the attack refuses that change, and nothing else.
It knows nothing of models or gates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["ATTACKS", "NO_EFFECT", "Attack", "attack"]

NO_EFFECT: Final = "nothing of it gets in"
"""In place of a code: the attack comes too late, the honest adapter is loaded, and the result is the honest one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One named attack.

    Args:
        group: the attacker's lever.
        name: what the attacker does, in words.
        setup: makes the honest activation.
        change: does it.
        refused_by: the `code` of the error; or of the one requirement that the policy did not find proved (with a
            space between them, of the two); several with ` or ` between them, where chance decides; or `NO_EFFECT`.
        says: a part of the error's text.
        let_in: how many of the attempts get in all the same, because they are honest (races); None for any number.
        recorded: whether the refusal is in the activation log. Where it is not, the log itself was attacked.
        overwritten: names of base weights that the attacker himself changes in memory while the gate works.
    """

    group: str
    name: str
    setup: Any
    change: Callable[[Any], None]
    refused_by: str
    says: str
    let_in: int | None = 0
    recorded: bool = True
    overwritten: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.group}: {self.name}"


ATTACKS: Final[list[Attack]] = []


def attack(
    group: str,
    name: str,
    *,
    setup: Any,
    refused_by: str,
    says: str = "",
    let_in: int | None = 0,
    recorded: bool = True,
    overwritten: tuple[str, ...] = (),
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Register an attack. An error has to be told by its text too."""
    if (refused_by == NO_EFFECT) == bool(says):
        raise ValueError(f"{group}: {name}: say which words the refusal has, or that there is none")

    def register(change: Callable[[Any], None]) -> Callable[[Any], None]:
        ATTACKS.append(
            Attack(
                group=group,
                name=name,
                setup=setup,
                change=change,
                refused_by=refused_by,
                says=says,
                let_in=let_in,
                recorded=recorded,
                overwritten=overwritten,
            )
        )
        return change

    return register
