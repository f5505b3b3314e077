"""`RegoAnswer`: what Rego rules gave, with everything that is no finding turned into a denial.

A message is a string, or an object of `msg`, `code` and `details`; nobody's code is one of ours. A number, a
boolean, null, an empty message, an unknown key, a result that is no list, no result at all: a rule that says so
meant something, and is not ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from skillwarrant_format.errors import shown
from skillwarrant_format.limits import MAX_MESSAGE_CHARS
from skillwarrant_format.names import LABEL
from skillwarrant_format.strict_json import JsonValue, kind_of
from skillwarrant_verify.deciding.codes import is_reserved
from skillwarrant_verify.rego.lint import ALLOW, RegoRule

__all__ = ["MAX_FINDINGS", "RegoAnswer", "RegoFinding", "answer", "refusal"]

MAX_FINDINGS: Final = 1_000  # of one rule
_KEYS: Final = frozenset({"code", "details", "msg"})
_MALFORMED: Final = "rego.malformed"
_RESERVED: Final = "rego.reserved"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegoFinding:
    """One message of one rule.

    Args:
        code: the rule's own, or `rego.` and its name: `rego.deny_region`. Ours are `rego.malformed`, `rego.allow`,
            `rego.reserved`, `rego.missing`, `rego.error`, `rego.timeout`, `rego.undefined`.
        message: one sentence, from the policy's author: untrusted text.
        rule: its path, data.skillwarrant.deny_region.
        details: whatever the rule gave.
        where: `file:line` of each definition of the rule; which of them spoke is not known.
    """

    code: str
    message: str
    rule: str
    details: JsonValue = None
    where: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RegoAnswer:
    """What the rules gave. It can only add to a native decision: no denial here is no permission.

    Args:
        evaluated: the path of every rule that was evaluated; at least one.
        decision_id: of the OPA server that answered.
    """

    denials: tuple[RegoFinding, ...]
    warnings: tuple[RegoFinding, ...]
    evaluated: tuple[str, ...]
    decision_id: str | None = None

    def __post_init__(self) -> None:
        if not self.evaluated:
            raise ValueError("an answer of no rule is no answer")

    def __bool__(self) -> NoReturn:
        raise TypeError("a RegoAnswer is neither true nor false: read denials")


def refusal(rule: RegoRule, code: str, message: str, details: JsonValue = None) -> RegoFinding:
    """A denial of ours about a rule."""
    return RegoFinding(code=code, message=shown(message, 1000), rule=rule.path, details=details, where=rule.where)


def answer(
    evaluated: Iterable[RegoRule],
    results: Iterable[tuple[RegoRule, JsonValue]],
    refusals: Iterable[RegoFinding] = (),
    *,
    decision_id: str | None = None,
) -> RegoAnswer:
    """The answer of these rules.

    Args:
        evaluated: all rules, those without a value too; at least one.
        results: each rule that has a value, and the value.
        refusals: denials for other reasons, of rules that have none.
    """
    denials = list(refusals)
    warnings: list[RegoFinding] = []
    for rule, value in results:
        for finding in _findings(rule, value):
            warns = rule.name.startswith("warn") and finding.code not in (_MALFORMED, _RESERVED)
            (warnings if warns else denials).append(finding)
    return RegoAnswer(
        denials=tuple(denials),
        warnings=tuple(warnings),
        evaluated=tuple(rule.path for rule in evaluated),
        decision_id=decision_id,
    )


def _findings(rule: RegoRule, value: JsonValue) -> list[RegoFinding]:
    if rule.name == ALLOW:
        if not isinstance(value, bool):
            return [refusal(rule, _MALFORMED, f"{rule.path} is {kind_of(value)}, neither true nor false", value)]
        return [] if value else [refusal(rule, "rego.allow", f"{rule.path} is not true", value)]
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        return [refusal(rule, _MALFORMED, f"{rule.path} is {kind_of(value)}, no set of messages", value)]
    if len(value) > MAX_FINDINGS:
        return [refusal(rule, _MALFORMED, f"{rule.path} has {len(value)} messages, more than {MAX_FINDINGS}")]
    return [_finding(rule, item) for item in value]


def _finding(rule: RegoRule, item: JsonValue) -> RegoFinding:
    fields: Mapping[str, JsonValue] = item if isinstance(item, Mapping) else {"msg": item}
    message, code = fields.get("msg"), fields.get("code")
    wrong = [
        f"msg is {_kind(message)}" if not isinstance(message, str) or not message.strip() else "",
        f"msg has more than {MAX_MESSAGE_CHARS} characters" if len(str(message)) > MAX_MESSAGE_CHARS else "",
        "code is no label" if "code" in fields and not (isinstance(code, str) and LABEL.fullmatch(code)) else "",
        *(f"{shown(key, 60)} is no field of a message" for key in fields.keys() - _KEYS),
    ]
    if why := ", ".join(filter(None, wrong)):
        return refusal(rule, _MALFORMED, f"a message of {rule.path} cannot be read: {why}", item)
    if isinstance(code, str) and is_reserved(code):
        said = f"{rule.path} says this under the code {code}, which is skillwarrant's own: {message}"
        return refusal(rule, _RESERVED, said, item)
    return RegoFinding(
        code=str(code or f"rego.{rule.name}"),
        message=str(message),
        rule=rule.path,
        details=fields.get("details"),
        where=rule.where,
    )


def _kind(value: JsonValue) -> str:
    return "empty" if isinstance(value, str) else kind_of(value)
