"""Rules about what an adapter is by its own verified files: their kinds, and whether the manifest says the same.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final

from skillwarrant_format.adapter_files import ADAPTER, CONFIG_NAME, WEIGHTS_NAME
from skillwarrant_format.manifest import AdapterFacts
from skillwarrant_verify.deciding.adapter_seen import AdapterSeen
from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.facts import Facts
from skillwarrant_verify.deciding.file_seen import FileSeen
from skillwarrant_verify.deciding.requirement import any_of, no, proves, yes
from skillwarrant_verify.policy import Policy

__all__: list[str] = []  # importing this module registers its rules

_MOST_NAMED: Final = 3
_RELEASE: Final = "Ask the publisher for a manifest made by `skillwarrant sign`."
_DELETE: Final = "Delete it, and get the adapter again from its publisher."


@proves("files.exact")
def _exact(_: Policy, facts: Facts) -> Finding:
    code, path = "files.exact", "warrant.files"
    signed, seen = {one.name for one in facts.warrant.subjects}, {one.name for one in facts.adapter.files}
    if not signed or signed != seen:
        return no(
            code,
            "the files of the adapter are not those that were signed",
            path,
            expected=_some(sorted(signed)) or "at least one signed file",
            found=_some(sorted(seen)) or "none",
            fix="Get the adapter again from its publisher.",
        )
    return yes(code, f"all {len(signed)} files are the signed bytes, and no other file is there", path)


@proves("files.safe")
def _safe(_: Policy, facts: Facts) -> Finding:
    code, path, files = "files.safe", "adapter.files", facts.adapter.files
    if missing := {CONFIG_NAME, WEIGHTS_NAME} - {file.name for file in files}:
        return no(
            code,
            "it is no adapter of the kind that is accepted",
            path,
            expected=f"{CONFIG_NAME} and {WEIGHTS_NAME}",
            found=f"no {any_of(tuple(sorted(missing)))}",
            fix="Ask the publisher for a release saved with model.save_pretrained(directory).",
        )
    if refused := _refused(files):
        return no(
            code,
            "the adapter has a file of a kind that is not accepted",
            path,
            expected=f"{WEIGHTS_NAME}, text, tokenizers and licences only",
            found=_some([f"{name}: {why}" for name, why, _ in refused]),
            fix=refused[0][2],
        )
    return yes(code, f"all {len(files)} files are safetensors weights, text, tokenizers or licences", path)


@lru_cache(maxsize=256)
def _refused(files: tuple[FileSeen, ...]) -> tuple[tuple[str, str, str], ...]:
    """Name of each file that may not be there, why, and what to do. The same files come again and again."""
    return tuple(
        (file.name, *objection) for file in files if (objection := _objection(file.name, file.content)) is not None
    )


def _objection(name: str, content: str) -> tuple[str, str] | None:
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "no plain relative path", _DELETE
    if (objection := ADAPTER.objection(PurePosixPath(name))) is not None:
        return objection
    wanted = "safetensors" if name == WEIGHTS_NAME else "other"
    return None if content == wanted else (f"its bytes are {content}", _DELETE)


@proves("adapter.as-declared")
def _as_declared(_: Policy, facts: Facts) -> Finding:
    code, path = "adapter.as-declared", "manifest.adapter"
    different = list(_differences(facts.manifest.adapter, facts.adapter))
    if different:
        return no(
            code,
            "the manifest does not say what the adapter's files do",
            path,
            expected=", ".join(f"{what} {seen}" for what, seen, _ in different),
            found=", ".join(f"{what} {stated}" for what, _, stated in different),
            fix=_RELEASE,
        )
    return yes(code, f"declared and found: {_told(facts.adapter)}", path)


def _differences(stated: AdapterFacts, seen: AdapterSeen) -> Iterator[tuple[str, str, str]]:
    """What the manifest states otherwise than it is: a name for it, what is, what is stated.

    Rank, alpha, task type and modules may be left out of it; what it leaves out, it does not claim. The contents of
    tensors are compared when they are loaded.
    """
    if stated.peft_type != seen.peft_type:
        yield "method", seen.peft_type, stated.peft_type
    if (declared := _hazards(stated)) != (found := _hazards(seen)):
        yield "hazards", _some(found) or "none", _some(declared) or "none"
    if stated.parameters != seen.parameters:
        yield "parameters", str(seen.parameters), str(stated.parameters)
    if stated.tensors != seen.tensors:
        yield "tensors", str(seen.tensors), str(stated.tensors)
    if stated.rank is not None and stated.rank != seen.default_rank:
        yield "rank", _number(seen.default_rank), _number(stated.rank)
    if stated.alpha is not None and stated.alpha != seen.default_alpha:
        yield "alpha", _number(seen.default_alpha), _number(stated.alpha)
    if stated.task_type is not None and stated.task_type != seen.task_type:
        yield "task type", seen.task_type or "none", stated.task_type
    if stated.target_modules and set(stated.target_modules) != set(seen.target_modules):
        yield "target modules", _some(seen.target_modules) or "none", _some(stated.target_modules)


def _hazards(said: AdapterFacts | AdapterSeen) -> list[str]:
    return sorted({*said.hazards, *(("changes-base",) if said.changes_base else ())})


def _told(seen: AdapterSeen) -> str:
    return f"{seen.peft_type} with {', '.join(_hazards(seen)) or 'no hazard'}"


def _number(found: float | None) -> str:
    return "none" if found is None else f"{found:g}" if isinstance(found, float) else str(found)


def _some(names: list[str] | tuple[str, ...]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


@proves("hazards.allowed")
def _allowed(policy: Policy, facts: Facts) -> Finding:
    code, path, named = "hazards.allowed", "adapter.hazards", _hazards(facts.adapter)
    refused = tuple(hazard for hazard in named if hazard not in policy.allow_hazards)
    if refused:
        return no(
            code,
            "the adapter's configuration does more than add weights",
            path,
            expected=any_of(policy.allow_hazards) or "no hazard",
            found=", ".join(refused),
            fix="If this is meant, name the hazard in the policy's allow_hazards.",
        )
    return yes(code, "the adapter only adds weights" if not named else f"allowed: {', '.join(named)}", path)
