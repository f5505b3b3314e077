"""Looking a policy over: what cannot be used, and what can and is suspicious. It changes no decision.

`check` gives remarks with stable codes, each at the line of the document that it is about. What to look for is in
`lint_trust` (identities), `lint_publishers`, `lint_never` (what nothing can satisfy), `lint_idle` (what changes
nothing) and `lint_rules` (all else).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError, PolicyError, SkillwarrantError, Unavailable
from skillwarrant_format.strict_json import JsonValue
from skillwarrant_verify.document.policy_document import PolicyDocument
from skillwarrant_verify.document.policy_lines import KeyPath, shown_path
from skillwarrant_verify.document.policy_reach import NONE
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.review.lint_idle import RULES as OF_IDLE
from skillwarrant_verify.review.lint_idle import idle
from skillwarrant_verify.review.lint_never import RULES as OF_NEVER
from skillwarrant_verify.review.lint_never import never, nothing_left
from skillwarrant_verify.review.lint_publishers import RULES as OF_PUBLISHERS
from skillwarrant_verify.review.lint_publishers import publishers
from skillwarrant_verify.review.lint_remark import Remark
from skillwarrant_verify.review.lint_rules import RULES as OF_RULES
from skillwarrant_verify.review.lint_rules import rules
from skillwarrant_verify.review.lint_trust import RULES as OF_TRUST
from skillwarrant_verify.review.lint_trust import trust

__all__ = ["RULES", "Found", "check"]

RULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "policy.invalid": "the policy cannot be used",
        **OF_TRUST,
        **OF_PUBLISHERS,
        **OF_RULES,
        **OF_NEVER,
        **OF_IDLE,
    }
)
"""Every code, and what it is about."""
_PATH: Final = re.compile(r"policy((?:\.[A-Za-z_]+|\[\d+\])+)")
_STEP: Final = re.compile(r"\.([A-Za-z_]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One remark about a file.

    Args:
        level: an error is what no gate would take; a warning is for its author to look at, and a
            note says what may well be meant.
        line: from 1; None for JSON, and where it is about the whole.
        key: `publishers[0].identity`, empty for the whole.
        fix: what to do, as an imperative.
    """

    code: str
    level: Literal["error", "warning", "note"]
    message: str
    fix: str | None
    key: str
    line: int | None

    def __str__(self) -> str:
        return f"{self.message}. {self.fix}" if self.fix else self.message


def check(path: Path, now: datetime) -> tuple[Found, ...]:
    """Look over a policy file. Nothing of it is run, and nobody is contacted.

    Args:
        now: the host's time, UTC.

    Returns:
        An error alone, where it cannot be used; else the warnings and notes, in the order of the document.

    Raises:
        Unavailable: it, or something it needs, cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limits.MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"cannot read the policy {path}", found=error.strerror) from None
    try:
        document = PolicyDocument.parse(data, name=str(path))
    except FormatError as error:
        return (_error(error, path, None),)
    try:
        policy = Policy.load(path, reach=NONE)
    except PolicyError as error:
        return (_error(error, path, document),)
    found = [_found(remark, document) for remark in _remarks(policy, now)]
    return tuple(sorted(found, key=lambda one: one.line or 0))


def _remarks(policy: Policy, now: datetime) -> Iterator[Remark]:
    found = [*trust(policy), *publishers(policy, now), *rules(policy, now), *never(policy), *idle(policy)]
    yield from found
    yield from nothing_left(policy, found, now)


def _found(remark: Remark, document: PolicyDocument) -> Found:
    line = document.lines.get(remark.at)
    key = shown_path(remark.at)
    return Found(code=remark.code, level=remark.level, message=remark.message, fix=remark.fix, key=key, line=line)


def _error(error: SkillwarrantError, path: Path, document: PolicyDocument | None) -> Found:
    """What is wrong, at the line of the key that the message names, or of the value that it quotes."""
    said = str(error).removeprefix(f"{path}: ")
    lines = {} if document is None else document.lines
    at = _path_in(said) or (() if document is None else _place_of(document.plain, error.found) or ())
    near = next((at[:length] for length in range(len(at), 0, -1) if at[:length] in lines), ())
    return Found(
        code="policy.invalid",
        level="error",
        message=said.removesuffix(f". {error.fix}"),
        fix=error.fix,
        key=shown_path(near),
        line=lines.get(near) or _line_in(error.found),
    )


def _path_in(message: str) -> KeyPath:
    match = _PATH.search(message)
    steps = _STEP.findall(match.group(1)) if match else []
    return tuple(name or int(number) for name, number in steps)


def _place_of(value: JsonValue, quoted: str | None) -> KeyPath | None:
    """Where in a document a text stands."""
    if isinstance(value, str):
        return () if value == quoted else None
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = ((key, _place_of(item, quoted)) for key, item in inside)
    return next(((key, *rest) for key, rest in found if rest is not None), None)


def _line_in(found: str | None) -> int | None:
    """Of what is no TOML, Python's reader names the line."""
    match = re.search(r"\(at line (\d+), column \d+\)", found or "")
    return int(match.group(1)) if match else None
