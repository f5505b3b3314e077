"""The sections of a skill.toml, each read into the manifest's own type.

Keys are as TOML people write them (`not_before`), and messages name them so. Nothing here opens a file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.manifest import (
    BaseModel,
    Cast,
    Composition,
    Deployment,
    Evidence,
    Publisher,
    Skill,
    TrainingData,
)
from skillwarrant_format.manifest_facts import CAST_DTYPES
from skillwarrant_format.names import LABEL
from skillwarrant_format.toml import only

__all__ = [
    "NamedBase",
    "read_base",
    "read_composition",
    "read_deployment",
    "read_evidence",
    "read_publisher",
    "read_requires",
    "read_skill",
    "read_training_data",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedBase:
    """A base model as skill.toml names it.

    Args:
        directory: where its weights are to be measured, relative to skill.toml; None where it does not say.
        stated: what it measures, where skill.toml states that instead.
        casts: the dtypes whose casts are to be measured with it.
    """

    name: str
    revision: str | None = None
    directory: Path | None = None
    stated: BaseModel | None = None
    casts: tuple[str, ...] = ()


def read_skill(fields: Fields) -> Skill:
    only(fields, "name", "version", "description")
    named = {key: fields.value(key) for key in ("name", "version", "description")}
    return Skill.parse(Fields({**named, "kind": "peft-adapter"}, fields.path))


def read_publisher(fields: Fields) -> Publisher:
    only(fields, "name", "contact")
    return Publisher.parse(fields)


def read_base(fields: Fields, directory: Path) -> NamedBase:
    measured = ("fingerprint", "architecture", "parameters", "dtype", "quantization")
    only(fields, "name", "revision", "directory", "casts", *measured)
    if "directory" in fields and "fingerprint" in fields:
        raise FormatError(f"{fields.at('directory')} and fingerprint are both given", expected="one of them")
    if "fingerprint" not in fields and (extra := next((key for key in measured if key in fields), None)):
        raise FormatError(
            f"{fields.at(extra)} is given without a fingerprint",
            expected="a fingerprint, or nothing of what is measured",
            fix="`skillwarrant fingerprint DIR` prints all of it.",
        )
    place = fields.maybe("directory", fields.text)
    return NamedBase(
        name=fields.text("name"),
        revision=fields.maybe("revision", fields.text),
        directory=None if place is None else directory / place,
        stated=_stated(fields) if "fingerprint" in fields else None,
        casts=() if "fingerprint" in fields else fields.maybe("casts", _dtypes(fields)) or (),
    )


def _dtypes(fields: Fields) -> Callable[[str], tuple[str, ...]]:
    def read(key: str) -> tuple[str, ...]:
        found = fields.texts(key, least=1)
        if unknown := [dtype for dtype in found if dtype not in CAST_DTYPES]:
            raise FormatError(
                f"{fields.at(key)} names no dtype to cast to", expected=" or ".join(CAST_DTYPES), found=unknown[0]
            )
        return found

    return read


def _stated(fields: Fields) -> BaseModel:
    return BaseModel(
        name=fields.text("name"),
        revision=fields.maybe("revision", fields.text),
        architecture=fields.text("architecture"),
        parameters=fields.integer("parameters", least=1),
        dtype=fields.text("dtype", pattern=LABEL),
        quantization=fields.maybe("quantization", fields.text),
        fingerprint=_in_place(fields, "fingerprint", Fingerprint.from_text),
        casts=tuple(_stated_cast(item) for item in fields.maybe("casts", fields.objects) or ()),
    )


def _stated_cast(fields: Fields) -> Cast:
    only(fields, "dtype", "kind", "fingerprint")
    fingerprint = _in_place(fields, "fingerprint", Fingerprint.from_text)
    named = {key: fields.value(key) for key in ("dtype", "kind")}
    return Cast.parse(Fields({**named, "fingerprint": fingerprint.to_json()}, fields.path))


def read_deployment(fields: Fields) -> Deployment:
    only(fields, "environments", "not_before", "not_after", "regions", "operators", "system_prompts")
    deployment = Deployment(
        environments=fields.texts("environments", least=1, pattern=LABEL),
        not_before=fields.maybe("not_before", fields.time),
        not_after=fields.maybe("not_after", fields.time),
        regions=fields.maybe("regions", lambda key: fields.texts(key, pattern=LABEL)) or (),
        operators=fields.maybe("operators", fields.texts) or (),
        system_prompts=_digests(fields, "system_prompts"),
    )
    before, after = deployment.not_before, deployment.not_after
    if before is not None and after is not None and before >= after:
        raise FormatError(f"{fields.at('not_after')} is not after not_before", expected=f"after {before}")
    return deployment


def read_composition(fields: Fields | None) -> Composition:
    if fields is None:
        return Composition()
    only(fields, "stackable", "max_skills", "allow_with", "deny_with")
    return Composition(
        stackable=fields.boolean("stackable"),
        max_skills=fields.maybe("max_skills", lambda key: fields.integer(key, least=1)),
        allow_with=fields.maybe("allow_with", fields.texts) or (),
        deny_with=fields.maybe("deny_with", fields.texts) or (),
    )


def read_training_data(fields: Fields) -> TrainingData:
    only(fields, "name", "licence", "rights", "uri", "digest")
    return TrainingData(
        name=fields.text("name"),
        licence=fields.text("licence"),
        rights=fields.text("rights"),
        uri=fields.maybe("uri", fields.text),
        digest=_in_place(fields, "digest", Digest.parse) if "digest" in fields else None,
    )


def read_evidence(fields: Fields) -> Evidence:
    only(fields, "name", "digest", "uri", "media_type")
    return Evidence(
        name=fields.text("name"),
        digest=_in_place(fields, "digest", Digest.parse),
        uri=fields.maybe("uri", fields.text),
        media_type=fields.maybe("media_type", fields.text),
    )


def read_requires(fields: Fields | None) -> tuple[tuple[str, str], ...]:
    if fields is None:
        return ()
    return tuple((name, _version_range(fields, name)) for name in sorted(fields.keys()))


def _version_range(fields: Fields, name: str) -> str:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    wanted = fields.text(name, limit=128)
    try:
        SpecifierSet(wanted)
    except InvalidSpecifier:
        raise FormatError(
            f"{fields.at(name)} is no version range", expected='PEP 440, like ">=0.21,<0.22"', found=wanted
        ) from None
    return wanted


def _in_place(fields: Fields, key: str, read: Callable[[str], T]) -> T:
    """Read a string field; what `read` refuses is reported at the field."""
    text = fields.text(key)
    try:
        return read(text)
    except FormatError as error:
        raise FormatError(
            f"{fields.at(key)}: {error.message}", expected=error.expected, found=error.found
        ) from None


def _digests(fields: Fields, key: str) -> tuple[Digest, ...]:
    texts = fields.maybe(key, fields.texts) or ()
    return tuple(_in_place(Fields({key: text}, fields.path), key, Digest.parse) for text in texts)
