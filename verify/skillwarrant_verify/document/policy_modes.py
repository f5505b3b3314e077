"""Which requirements deny, and which only warn, at which time: for a staged roll-out.

`mode = "warn"` lets what is not proved pass, on record; `effective_on` does so until that moment. Both can be said
of the whole policy and of one requirement, and of one it weighs more. Some requirements can never be only a warning
(`Known.always`): without them it is not known whose adapter it is, or nothing else that is decided means anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, Self

from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.toml import only
from skillwarrant_verify.deciding.catalogue import CATALOGUE, nearest
from skillwarrant_verify.deciding.decision import Severity

__all__ = ["Mode", "Modes"]

_WORDS: Final = {"enforce": "deny", "warn": "warn"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """Deny, or warn; with `effective_on`, warn before that moment and deny from it on."""

    severity: Severity = "deny"
    effective_on: datetime | None = None

    @classmethod
    def parse(cls, fields: Fields) -> Self | None:
        """From the keys `mode` and `effective_on` of an object; None where it has neither.

        Raises:
            FormatError: both, or one that is malformed.
        """
        if "mode" in fields and "effective_on" in fields:
            raise FormatError(
                f"{fields.path} contradicts itself",
                expected="mode, or effective_on, which warns before that moment and enforces from it on",
                found="both",
            )
        if "effective_on" in fields:
            return cls(effective_on=fields.time("effective_on"))
        if "mode" in fields:
            return cls(severity="warn" if fields.choice("mode", tuple(_WORDS)) == "warn" else "deny")
        return None

    def at(self, now: datetime) -> Severity:
        """What holds at a time."""
        return "warn" if self.effective_on is not None and now < self.effective_on else self.severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """The modes of a policy.

    Args:
        all: of every requirement that can be a warning.
        each: of single requirements, by code.
    """

    all: Mode = field(default_factory=Mode)
    each: Mapping[str, Mode] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    @classmethod
    def parse(cls, fields: Fields, own: Iterable[str]) -> Self:
        """From a policy document.

        Args:
            own: codes of the policy's own rules.

        Raises:
            FormatError: an unknown code, one that can never be a warning, or a table that says nothing.
        """
        tables = fields.maybe("requirements", fields.object)
        codes = {*CATALOGUE, *own}
        found = {} if tables is None else _each(tables, codes)
        if tables is not None and not found:
            raise FormatError(f"{tables.path} says nothing", expected='a table like [requirements."manifest.age"]')
        return cls(all=Mode.parse(fields) or Mode(), each=MappingProxyType(found))

    @property
    def lenient(self) -> bool:
        """Whether anything is only a warning, at any time."""
        return bool(self.each) or self.all.severity == "warn" or self.all.effective_on is not None

    def severity(self, code: str, now: datetime) -> Severity:
        """Of a requirement, or of what a Rego rule says."""
        known = CATALOGUE.get(code)
        if known is not None and known.always:
            return "deny"
        return self.each.get(code, self.all).at(now)


def _each(tables: Fields, codes: set[str]) -> dict[str, Mode]:
    return {code: _one(tables, code, codes) for code in tables.keys()}  # noqa: SIM118  # Fields is no mapping


def _one(tables: Fields, code: str, codes: set[str]) -> Mode:
    if code not in codes:
        raise FormatError(
            f"{tables.at(code)} is no requirement",
            expected="one of the codes in docs/reference/policy.md",
            found=code,
            fix=nearest(code, codes),
        )
    table = tables.object(code)
    only(table, "mode", "effective_on")
    if (mode := Mode.parse(table)) is None:
        raise FormatError(f"{table.path} says nothing", expected='mode = "warn", or effective_on')
    if code in CATALOGUE and CATALOGUE[code].always and mode != Mode():
        raise FormatError(
            f"{table.path} can never be only a warning",
            expected="that it is enforced",
            found=f"{code} as a warning",
            fix="Take these lines out.",
        )
    return mode
