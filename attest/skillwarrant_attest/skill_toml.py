"""`skill.toml`: what only a person can say of an adapter, and what `build` adds to the derived facts.

Its usual place is beside the adapter directory and not inside it (`out/support-lora` is described by
`out/support-lora.skill.toml`): whatever lies inside is signed and published, and its own name keeps one adapter's
description from being signed for another. docs/reference/skill-toml.md is the reference.

An unknown key is refused, with the nearest known one, and so is a placeholder that `skillwarrant init` left to be
filled in. It knows nothing of signing and measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from skillwarrant_attest import sections
from skillwarrant_attest.sections import NamedBase
from skillwarrant_attest.toml_lines import line_of
from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError, Unavailable, UsageError
from skillwarrant_format.fields import Fields
from skillwarrant_format.manifest import (
    Composition,
    Deployment,
    Evidence,
    Publisher,
    Skill,
    TrainingData,
)
from skillwarrant_format.names import LABEL
from skillwarrant_format.strict_json import JsonValue
from skillwarrant_format.toml import only, parse_toml

__all__ = ["PLACEHOLDER", "SkillToml", "default_path"]

PLACEHOLDER: Final = "<fill in"
_ROOT: Final = "skill.toml"
_SECTIONS: Final = (
    "policy_class",
    "skill",
    "publisher",
    "base",
    "deployment",
    "composition",
    "training_data",
    "requires",
    "evidence",
)


def default_path(adapter: Path) -> Path:
    """`DIR.skill.toml` beside the directory DIR."""
    directory = adapter.resolve()
    return directory.parent / f"{directory.name}.skill.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillToml:
    """A parsed skill.toml."""

    skill: Skill
    publisher: Publisher
    bases: tuple[NamedBase, ...]
    deployment: Deployment
    policy_class: str
    composition: Composition
    training_data: tuple[TrainingData, ...] = ()
    requires: tuple[tuple[str, str], ...] = ()
    evidence: tuple[Evidence, ...] = ()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            UsageError: there is none, or it says something that cannot be signed; the message has key and line.
            Unavailable: it cannot be read.
        """
        try:
            with path.open("rb") as file:
                data = file.read(limits.MAX_POLICY_BYTES + 1)
        except FileNotFoundError:
            raise UsageError(
                f"there is no {path}",
                expected="what only you can say of the adapter: name, version, environments, …",
                fix="Run `skillwarrant init` on the adapter directory, and fill in what it writes.",
            ) from None
        except OSError as error:
            raise Unavailable(f"cannot read {path}", found=error.strerror) from None
        return cls.parse(data, name=str(path), directory=path.parent)

    @classmethod
    def parse(cls, data: bytes, *, name: str = _ROOT, directory: Path | None = None) -> Self:
        """Read a document.

        Args:
            name: what messages call it.
            directory: what relative directories in it start from; the working directory by default.

        Raises:
            UsageError: as `load`.
        """
        try:
            document = parse_toml(data, what=name)
            _refuse_placeholders(document, data, name)
            return cls._read(Fields(document, _ROOT), directory or Path())
        except FormatError as error:
            raise _located(error, data, name) from None

    @classmethod
    def _read(cls, fields: Fields, directory: Path) -> Self:
        only(fields, *_SECTIONS)
        return cls(
            skill=sections.read_skill(fields.object("skill")),
            publisher=sections.read_publisher(fields.object("publisher")),
            bases=tuple(sections.read_base(item, directory) for item in fields.objects("base", least=1)),
            deployment=sections.read_deployment(fields.object("deployment")),
            policy_class=fields.text("policy_class", pattern=LABEL),
            composition=sections.read_composition(fields.maybe("composition", fields.object)),
            training_data=tuple(
                sections.read_training_data(item) for item in fields.maybe("training_data", fields.objects) or ()
            ),
            requires=sections.read_requires(fields.maybe("requires", fields.object)),
            evidence=tuple(sections.read_evidence(item) for item in fields.maybe("evidence", fields.objects) or ()),
        )


def _refuse_placeholders(document: JsonValue, data: bytes, name: str) -> None:
    found = sorted((line_of(data, path) or 0, path) for path in _placeholders(document, ""))
    if found:
        places = ", ".join(f"{path} (line {line})" for line, path in found)
        raise UsageError(f"{name} is not filled in", expected="your own words", found=places)


def _placeholders(value: JsonValue, path: str) -> Iterator[str]:
    if isinstance(value, str) and PLACEHOLDER in value:
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _placeholders(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _placeholders(item, f"{path}[{index}]")


def _located(error: FormatError, data: bytes, name: str) -> UsageError:
    """The same complaint as a compiler would make it: file, line, key."""
    message = f"{name}: {error.message}" if name not in error.message else error.message
    if error.message.startswith(f"{_ROOT}."):
        told = error.message.removeprefix(f"{_ROOT}.")
        line = line_of(data, told.split(" ")[0].rstrip(":"))
        message = f"{name}:{line}: {told}" if line else f"{name}: {told}"
    return UsageError(message, expected=error.expected, found=error.found, fix=error.fix)
