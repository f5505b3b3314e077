"""Findings as SARIF 2.1.0, which services show beside the lines of a change. It knows nothing of policies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from skillwarrant_format.errors import shown
from skillwarrant_format.strict_json import JsonObject

__all__ = ["Level", "Result", "sarif", "write_sarif"]

Level = Literal["error", "warning", "note"]
_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_MAX_MESSAGE: Final = 2_000  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One finding.

    Args:
        rule: its stable code.
        line: from 1; None: the file as a whole.
    """

    rule: str
    level: Level
    message: str
    file: Path
    line: int | None = None


def sarif(results: Iterable[Result], rules: Mapping[str, str]) -> JsonObject:
    """A log of one run.

    Args:
        rules: code -> what it is about; codes that only results have are added.
    """
    listed = list(results)
    known = {**dict.fromkeys(result.rule for result in listed), **rules}
    codes = {code: index for index, code in enumerate(known)}
    driver: JsonObject = {
        "name": "skillwarrant",
        "version": version("skillwarrant"),
        "informationUri": "https://skillwarrant.dev",
        "rules": [{"id": code, "shortDescription": {"text": known[code] or code}} for code in codes],
    }
    found = [_result(result, codes[result.rule]) for result in listed]
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": found}]}


def write_sarif(path: Path, results: Iterable[Result], rules: Mapping[str, str]) -> None:
    """Write the log to a file. Raises OSError."""
    path.write_text(json.dumps(sarif(results, rules), indent=2) + "\n", encoding="utf-8")


def _result(result: Result, index: int) -> JsonObject:
    region: JsonObject = {} if result.line is None else {"region": {"startLine": result.line}}
    place: JsonObject = {"physicalLocation": {"artifactLocation": {"uri": _uri(result.file)}, **region}}
    return {
        "ruleId": result.rule,
        "ruleIndex": index,
        "level": result.level,
        "message": {"text": shown(result.message, _MAX_MESSAGE)},
        "locations": [place],
    }


def _uri(file: Path) -> str:
    """Relative where it lies below here, as the services want it."""
    absolute = file.absolute()
    if absolute.is_relative_to(Path.cwd()):
        return quote(os.fsencode(absolute.relative_to(Path.cwd()).as_posix()))
    return absolute.as_uri()
