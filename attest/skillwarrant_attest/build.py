"""Adapter + skill.toml + measured bases -> the statement that is signed.

The same three give the same bytes, on any machine at any time: no clock, no path and no order of a directory gets
in. It knows nothing of keys and networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from skillwarrant_attest.adapter import Adapter
from skillwarrant_attest.sections import NamedBase
from skillwarrant_attest.skill_toml import SkillToml
from skillwarrant_format.base_directory import cast_directory, fingerprint_directory
from skillwarrant_format.base_facts import BaseFacts
from skillwarrant_format.errors import FormatError, UsageError
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.hashing import Progress
from skillwarrant_format.manifest import BaseModel, Cast, SkillManifest
from skillwarrant_format.statement import Statement

__all__ = ["base_from_directory", "base_from_facts", "build", "measure_bases"]


def build(adapter: Adapter, skill: SkillToml, bases: tuple[BaseModel, ...]) -> Statement:
    """The statement for an adapter.

    Args:
        bases: what `measure_bases` gave, or bases measured in memory (`base_from_facts`); at least one.

    Raises:
        UsageError: a verifier would refuse this manifest: no base, one base twice, too long a text.
    """
    manifest = SkillManifest(
        skill=skill.skill,
        publisher=skill.publisher,
        adapter=adapter.facts,
        base_models=bases,
        deployment=skill.deployment,
        policy_class=skill.policy_class,
        composition=skill.composition,
        training_data=skill.training_data,
        requires=skill.requires,
        evidence=skill.evidence,
    )
    try:
        return manifest.to_statement(adapter.subjects)
    except FormatError as error:
        raise UsageError(
            f"this manifest would be refused: {error.message}",
            expected=error.expected,
            found=error.found,
            fix=error.fix,
        ) from None


def measure_bases(
    skill: SkillToml, *, directory: Path | None = None, progress: Progress | None = None
) -> tuple[BaseModel, ...]:
    """Every base of a skill.toml, measured where it does not state a measurement.

    Args:
        directory: of the one base that skill.toml names, whatever it says about where that is.
        progress: told (bytes hashed, bytes in total) for each base.

    Raises:
        UsageError: a base is neither stated nor to be found; a directory is given for several bases; or what
            skill.toml states is not what the directory measures.
        FormatError: a directory is no model that can be measured.
        Unavailable: it cannot be read.
    """
    if directory is not None and len(skill.bases) > 1:
        raise UsageError(
            "one base directory is given for several bases",
            expected="`directory` in each [[base]] of skill.toml",
            found=", ".join(base.name for base in skill.bases),
        )
    return tuple(_measure(base, directory or base.directory, progress) for base in skill.bases)


def base_from_directory(
    directory: Path,
    *,
    name: str,
    revision: str | None = None,
    casts: Sequence[str] = (),
    progress: Progress | None = None,
) -> BaseModel:
    """Measure a base model's safetensors files; `name` and `revision` are labels.

    Args:
        casts: dtypes (`bfloat16`, `float16`, `float32`) in which it is vouched for as well; the files are read
            once more for each.
        progress: told (bytes hashed, bytes in total) for each reading.

    Raises:
        UsageError: there is no such directory, or a cast changes nothing.
        FormatError: it is no model that can be measured, or cast.
        Unavailable: it cannot be read.
    """
    measured = fingerprint_directory(directory, progress)
    found = tuple(cast_directory(directory, dtype, progress) for dtype in casts)
    return base_from_facts(measured.fingerprint, measured.facts, name=name, revision=revision, casts=found)


def base_from_facts(
    fingerprint: Fingerprint,
    facts: BaseFacts,
    *,
    name: str,
    revision: str | None = None,
    casts: tuple[Cast, ...] = (),
) -> BaseModel:
    """A base that was measured elsewhere: in memory, say, by `skillwarrant_verify.base.measure`."""
    return BaseModel(
        name=name,
        revision=revision,
        architecture=facts.architecture,
        parameters=facts.parameters,
        dtype=facts.dtype,
        quantization=facts.quantization,
        fingerprint=fingerprint,
        casts=casts,
    )


def _measure(base: NamedBase, directory: Path | None, progress: Progress | None) -> BaseModel:
    if directory is None:
        if base.stated is not None:
            return base.stated
        raise UsageError(
            f"the base model {base.name} is not measured",
            expected="its fingerprint, or a directory to measure",
            found="neither",
            fix="Give `--base DIR`, or `directory` or `fingerprint` in the [[base]] of skill.toml.",
        )
    stated = base.stated
    casts = base.casts if stated is None else tuple(cast.dtype for cast in stated.casts)
    measured = base_from_directory(
        directory, name=base.name, revision=base.revision, casts=casts, progress=progress
    )
    if stated is not None and (stated.fingerprint, stated.casts) != (measured.fingerprint, measured.casts):
        raise UsageError(
            f"{directory} is not the base model that skill.toml states",
            expected=_forms(stated),
            found=_forms(measured),
        )
    return measured


def _forms(base: BaseModel) -> str:
    return ", ".join(
        (str(base.fingerprint), *(f"{cast.kind} {cast.dtype} {cast.fingerprint}" for cast in base.casts))
    )
