"""Test cases of a policy: inputs in files beside it, and what must be decided of each. Reading them only.

Beside `policy.toml` lie `cases.toml` and, each one case, `cases/*.json`; beside a policy of another name,
`NAME.cases.toml` and `NAME.cases/*.json`. Running them is in `policy_test`. Format: docs/reference/policy-test.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self, cast

from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError, Unavailable, UsageError
from skillwarrant_format.fields import Fields
from skillwarrant_format.strict_json import JsonObject, JsonValue, loads_object
from skillwarrant_format.toml import only, parse_toml
from skillwarrant_verify.document.policy_lines import key_lines
from skillwarrant_verify.review.case_change import merged
from skillwarrant_verify.review.case_input import document_of

__all__ = ["DOCUMENTS", "Case", "Outcome", "case_files", "find_policies", "read_cases", "skipped_folders"]

Outcome = Literal["allow", "deny", "undecided"]
DOCUMENTS: Final = ("policy.toml", "policy.json")
_CASES: Final = re.compile(r"(?:.*[._-])?cases?(?:\.(?:toml|json|ya?ml))?", re.IGNORECASE | re.DOTALL)
"""What people call cases, rightly or not."""
_OUTCOMES: Final = ("allow", "deny", "undecided")
_MAX_CASES: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case.

    Args:
        name: one of its kind for a policy.
        file: where it is written.
        line: of that file, from 1; None for JSON.
        document: the input document, or what is none.
        outcome: what must be decided.
        deny: the codes that must not be proved, exactly; of an allowed case none.
        warn: the codes that must be no more than a warning, exactly.
    """

    name: str
    file: Path
    line: int | None
    document: JsonValue
    outcome: Outcome
    deny: frozenset[str]
    warn: frozenset[str]

    @property
    def place(self) -> str:
        """`cases.toml:12`."""
        return str(self.file) if self.line is None else f"{self.file}:{self.line}"

    @classmethod
    def parse(cls, fields: Fields, document: JsonValue, *, name: str, file: Path, line: int | None) -> Self:
        """What must be decided, from a case's fields `outcome`, `deny` and `warn`.

        Raises:
            FormatError: one that is missing or malformed, or that contradicts another.
        """
        deny = frozenset(fields.texts("deny"))
        plain = "deny" if deny else "allow"
        outcome = fields.maybe("outcome", lambda key: fields.choice(key, _OUTCOMES)) or plain
        if (outcome == "allow") == bool(deny):
            raise FormatError(
                f"{fields.path} contradicts itself",
                expected="codes in deny, or the outcome allow",
                found=f"{outcome} with {len(deny)} codes",
            )
        warn = fields.maybe("warn", fields.texts) or ()
        return cls(
            name=name,
            file=file,
            line=line,
            document=document,
            outcome=cast("Outcome", outcome),
            deny=deny,
            warn=frozenset(warn),
        )


def find_policies(path: Path) -> tuple[Path, ...]:
    """The policy documents that a path means: a file itself; a directory's own; else those of the ones in it.

    Raises:
        UsageError: there is none, or a directory has two.
        Unavailable: it cannot be read.
    """
    try:
        if not path.is_dir():
            if not path.exists():
                expected = "a policy file, or a directory that holds one"
                raise UsageError("there is no such policy", expected=expected, found=str(path))
            return (path,)
        below = [child for child in sorted(path.iterdir()) if child.is_dir()]
    except OSError as error:
        raise Unavailable(f"{path} cannot be read", found=error.strerror) from error
    if found := _own(path):
        return (found,)
    policies = tuple(document for child in below if (document := _own(child)) is not None)
    if not policies:
        raise UsageError(f"{path} holds no policy", expected=" or ".join(DOCUMENTS), found="neither, nor below")
    return policies


def skipped_folders(path: Path) -> tuple[Path, ...]:
    """The folders in a directory that `find_policies` passes over, and who names the directory may think it reads.

    Where it holds a policy, those in it that hold another; else those that hold none. Hidden ones are left out.

    Raises:
        UsageError: one holds two policies, or one of a misspelt name.
        Unavailable: it cannot be read.
    """
    if not path.is_dir():
        return ()
    has_own = _own(path) is not None
    folders = [child for child in _entries(path) if child.is_dir() and not child.name.startswith(".")]
    return tuple(child for child in folders if (_own(child) is not None) == has_own)


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError as error:
        raise Unavailable(f"{directory} cannot be read", found=error.strerror) from error


def _own(directory: Path) -> Path | None:
    found = [entry for entry in _entries(directory) if entry.name.lower() in DOCUMENTS and entry.is_file()]
    for entry in found:
        if entry.name not in DOCUMENTS:
            expected = " or ".join(DOCUMENTS)
            raise UsageError(f"{entry} is not read", expected=expected, found=entry.name, fix="Rename it.")
    if len(found) > 1:
        raise UsageError(f"{directory} holds two policies", expected=" or ".join(DOCUMENTS), found="both")
    return found[0] if found else None


def case_files(policy: Path) -> tuple[Path, ...]:
    """The files with cases that lie beside a policy, sorted.

    Raises:
        UsageError: beside it, or in the folder of its cases, lies what looks like cases and would not be run.
        Unavailable: the directory cannot be read.
    """
    prefix = "" if policy.name in DOCUMENTS else f"{policy.stem}."
    table, folder = policy.with_name(f"{prefix}cases.toml"), policy.with_name(f"{prefix}cases")
    beside = _entries(policy.parent)
    for entry in beside:
        if entry not in (table, folder) and _looks_like_cases(entry, beside):
            raise _not_run(entry, f"{table.name}, and {folder.name}/NAME.json")
    inside = [entry for entry in _entries(folder) if not entry.name.startswith(".")] if folder.is_dir() else []
    for entry in inside:
        if entry.suffix != ".json" or not entry.is_file():
            raise _not_run(entry, "only files whose names end in .json, each one case")
    return (*([table] if table.is_file() else ()), *inside)


def _looks_like_cases(entry: Path, beside: list[Path]) -> bool:
    """By its name, unless it is that of the cases of another policy, which is not asked for."""
    if not _CASES.fullmatch(entry.name):
        return False
    policies = {one.name for one in beside} | {*DOCUMENTS}
    whose = entry.name.removesuffix(".toml").removesuffix("cases")
    own = {"": set(DOCUMENTS), "policy.": set()}.get(whose, {f"{whose}toml", f"{whose}json"})
    return not (entry.name in (f"{whose}cases", f"{whose}cases.toml") and own & policies)


def _not_run(entry: Path, expected: str) -> UsageError:
    return UsageError(
        f"{entry} would not be run",
        expected=expected,
        found=entry.name,
        fix="Rename or move it, or take it away: what nobody runs shows nothing.",
    )


def read_cases(policy: Path) -> tuple[Case, ...]:
    """All cases beside a policy.

    Raises:
        UsageError: there are none: a policy that nothing was tried on is not tested; or some lie there that would
            not be run.
        FormatError: a file that is malformed, a case with an unknown key, or two of one name.
        Unavailable: a file cannot be read.
    """
    cases = [case for file in case_files(policy) for case in _read(file)]
    if not cases:
        raise UsageError(
            f"{policy} has no cases",
            expected=f"cases.toml or cases/*.json beside {policy.name}",
            found="none",
            fix="`skillwarrant policy new` writes both; docs/reference/policy-test.md says how cases look.",
        )
    names: set[str] = set()
    for case in cases:
        if case.name in names:
            raise FormatError(f"{case.place}: two cases have one name", found=case.name)
        names.add(case.name)
    return tuple(cases)


def _read(file: Path) -> Iterator[Case]:
    try:
        with file.open("rb") as opened:
            data = opened.read(limits.MAX_JSON_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"{file} cannot be read", found=error.strerror) from error
    if file.suffix == ".json":
        yield _from_json(loads_object(data, what=str(file)), file)
    else:
        yield from _from_toml(data, file)


def _from_json(document: JsonObject, file: Path) -> Case:
    """A case of its own: `name`, `input`, `deny`, and where need be `outcome` and `warn`."""
    fields = Fields(document, str(file))
    only(fields, "name", "input", "outcome", "deny", "warn")
    name = fields.maybe("name", fields.text) or file.stem
    return Case.parse(fields, fields.value("input"), name=name, file=file, line=None)


def _from_toml(data: bytes, file: Path) -> Iterator[Case]:
    """The good input, in words, and cases that change it. Vouched for is what the good one measures."""
    fields = Fields(parse_toml(data, what=str(file)), str(file))
    lines = key_lines(data.decode())
    only(fields, "input", "case")
    fields.object("input")
    plain = cast("JsonObject", fields.value("input"))
    if "measured" in plain:
        plain = {"vouched": plain["measured"], **plain}
    for number, case in enumerate(fields.objects("case", least=1, most=_MAX_CASES)):
        only(case, "name", "change", "outcome", "deny", "warn")
        line = lines.get(("case", number))
        changed = _changed(plain, cast("JsonObject", case.value("change"))) if "change" in case else plain
        document = document_of(Fields(changed, f"{file}:{line} input"))
        yield Case.parse(case, document, name=case.text("name"), file=file, line=line)


def _changed(plain: JsonObject, change: JsonObject) -> JsonObject:
    """A case's words replace those of the good input; only its `document` is added to."""
    both = {**plain, **change}
    if "document" in plain and "document" in change:
        both["document"] = merged(plain["document"], change["document"])
    return both
