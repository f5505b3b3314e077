"""What else would be on the model, as the command line says: other skills, adapters of nobody's, hooks.

A gate sees these on the model in memory. Here nothing is loaded, and so they are supposed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skillwarrant_cli import progress
from skillwarrant_cli.options import PATH
from skillwarrant_format.errors import SkillwarrantError, UsageError

if TYPE_CHECKING:
    from skillwarrant_verify.deciding.composition import Companion
    from skillwarrant_verify.trust import TrustRoot

__all__ = ["CompanyChoice", "company_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanyChoice:
    """The company of an adapter.

    Args:
        beside: directories of signed adapters.
        beside_unsigned: names of adapters that came through no gate.
        weight: with which the adapter is mixed in; None: as it is, which counts as 1.
        alterations: each as `kind: place`.
    """

    beside: tuple[Path, ...]
    beside_unsigned: tuple[str, ...]
    weight: float | None
    alterations: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether anything was said."""
        return bool(self.beside or self.beside_unsigned or self.alterations) or self.weight is not None

    def check(self) -> None:
        """Everything that can be wrong with it before anything is read. Raises UsageError."""
        from skillwarrant_verify.document.policy_sections import ALTERATIONS

        for text in self.alterations:
            kind, _, place = text.partition(": ")
            if kind not in ALTERATIONS or not place:
                raise UsageError(
                    "--alteration is of no kind that a gate finds",
                    expected=f"'KIND: PLACE' with one of {', '.join(ALTERATIONS)}",
                    found=text,
                )

    def companions(self, trust: TrustRoot) -> tuple[Companion, ...]:
        """Each verified as the adapter itself is: files, signature and log.

        Raises:
            SkillwarrantError: as `fetch` and `verify`; the message says of which.
        """
        from skillwarrant_verify.deciding.composition import Companion

        unsigned = (Companion(adapter_name=name, manifest=None) for name in self.beside_unsigned)
        return (*self._signed(trust), *unsigned)

    def _signed(self, trust: TrustRoot) -> Iterator[Companion]:
        from skillwarrant_verify.deciding.composition import Companion
        from skillwarrant_verify.proof.fetch import fetch, manifest_bytes
        from skillwarrant_verify.proof.signature import verify

        for directory in self.beside:
            try:
                with progress.hashing(f"reading {directory.name}") as callback:
                    snapshot = fetch(directory, progress=callback)
                verified = verify(snapshot, manifest_bytes(snapshot, None), trust, now=datetime.now(UTC))
            except SkillwarrantError as error:
                error.message = f"--beside {directory}: {error.message}"
                raise
            yield Companion(adapter_name=directory.resolve().name, manifest=verified.manifest)


_OPTIONS = (
    click.option(
        "--beside",
        metavar="DIR",
        type=PATH,
        multiple=True,
        help="Suppose that this signed adapter is on the model too.",
    ),
    click.option(
        "--beside-unsigned",
        metavar="NAME",
        multiple=True,
        help="Suppose that an adapter is on the model that came through no gate.",
    ),
    click.option("--weight", metavar="NUMBER", type=float, help="Suppose that it is mixed in with this weight."),
    click.option(
        "--alteration",
        "alterations",
        metavar="'KIND: PLACE'",
        multiple=True,
        help="Suppose that this hangs on the base model: 'forward-hook: model.layers.0'.",
    ),
)


def company_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of an adapter's company, as one `company: CompanyChoice`."""

    @wraps(command)
    def with_company(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in CompanyChoice.__dataclass_fields__}
        command(**given, company=CompanyChoice(**chosen))

    for option in reversed(_OPTIONS):
        with_company = option(with_company)
    return with_company
