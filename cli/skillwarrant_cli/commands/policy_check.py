"""`skillwarrant policy check`: what is wrong with a policy, and what is suspicious."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from skillwarrant_cli import output
from skillwarrant_cli.options import FILE, PATH, json_option

if TYPE_CHECKING:
    from skillwarrant_cli.sarif import Result
    from skillwarrant_format.strict_json import JsonObject
    from skillwarrant_verify.review.policy_lint import Found

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("checked", "policy.unclean")
FIELDS: Final = {
    "policies": "each: `file` and `remarks`",
    "skipped": "folders in DIR that were not looked at: they hold no policy, or DIR holds one itself",
    "policies[].remarks": "each: `code`, `level` (`error`, `warning` or `note`), `message`, `key` of the document, "
    "and where there are any `line` and `fix`",
}


@click.command("check")
@click.argument("path", metavar="DIR|FILE", type=PATH)
@click.option("--strict", is_flag=True, help="A warning is a no, too.")
@click.option("--sarif", metavar="FILE", type=FILE, help="Also write what was found as SARIF 2.1.0.")
@json_option
def command(path: Path, strict: bool, sarif: Path | None, as_json: bool) -> None:
    """Look a policy over for what is wrong, and for what is suspicious.

    An error is what no gate takes; Rego modules are compiled and looked over too. A warning is for the policy's
    author: publishers that grant nothing, identities that cover too much, rules that nothing can meet, dates that
    have passed. A note is what may well be meant. The codes are in docs/reference/policy-check.md. DIR may hold one
    policy, or directories with one each. Nothing of the policy is run, and no server that it names is contacted.
    """
    from skillwarrant_verify.review.policy_cases import find_policies, skipped_folders
    from skillwarrant_verify.review.policy_lint import RULES, check

    now = datetime.now(UTC)
    found = [(file, check(file, now)) for file in find_policies(path)]
    if sarif is not None:
        from skillwarrant_cli.sarif import write_sarif

        write_sarif(sarif, [_result(file, one) for file, remarks in found for one in remarks], RULES)
    _tell(found, skipped_folders(path), strict=strict, as_json=as_json)


def _tell(
    found: Sequence[tuple[Path, Sequence[Found]]], skipped: Sequence[Path], *, strict: bool, as_json: bool
) -> None:
    blocks = ["\n".join(_lines(file, remarks)) for file, remarks in found]
    text = "\n\n".join(blocks + output.skipped(skipped))
    fields: JsonObject = {
        "policies": [{"file": str(file), "remarks": list(map(_fields, remarks))} for file, remarks in found],
        "skipped": list(map(str, skipped)),
    }
    levels = [one.level for _, remarks in found for one in remarks]
    errors, warnings = levels.count("error"), levels.count("warning")
    if errors or (strict and warnings):
        message = f"{_count(errors, 'error')} and {_count(warnings, 'warning')}"
        output.refuse(text, fields, code=CODES[1], message=message, as_json=as_json)
    output.answer(text, fields, code=CODES[0], as_json=as_json)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _lines(file: Path, remarks: Sequence[Found]) -> Iterator[str]:
    if not remarks:
        yield f"{output.good('clean')}  {output.place(file)}"
    for one in remarks:
        word = output.bad("error") if one.level == "error" else output.loud(one.level)
        place = output.place(file if one.line is None else f"{file}:{one.line}")
        yield f"{word}  {place}  {one.key}  [{one.code}]".replace("    [", "  [")
        yield f"    {one.message}"
        if one.fix:
            yield f"    {one.fix}"


def _fields(one: Found) -> JsonObject:
    found = {
        "code": one.code,
        "level": one.level,
        "message": one.message,
        "key": one.key,
        "line": one.line,
        "fix": one.fix,
    }
    return {name: value for name, value in found.items() if value is not None}


def _result(file: Path, one: Found) -> Result:
    from skillwarrant_cli.sarif import Result

    return Result(rule=one.code, level=one.level, message=str(one), file=file, line=one.line)
