"""`skillwarrant policy diff`: which past decisions another policy would change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from skillwarrant_cli import output, progress
from skillwarrant_cli.one_policy import one_policy
from skillwarrant_cli.options import FILE, PATH, json_option
from skillwarrant_cli.reach_choice import ReachChoice, reach_options
from skillwarrant_format.fields import format_time

if TYPE_CHECKING:
    from skillwarrant_format.strict_json import JsonObject
    from skillwarrant_verify.policy import Policy
    from skillwarrant_verify.review.policy_diff import Remade

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("unchanged", "policy.changes", "policy.unsure")
FIELDS: Final = {
    "old": "`name`, `revision`, `digest`, `engine`",
    "new": "the same",
    "operatorKey": "`given`, or `beside the log`, which proves only that the log is of one piece",
    "decisions": "how many the log has",
    "same": "how many both policies decide alike",
    "changed": "each: `seq` in the log, `activation`, `time`, `adapter`, `skill`, `environment`, `policy` (name, "
    "revision and digest on record), `old` and `new` outcome, `reasons` (checks)",
    "unknown": "each decision of which it cannot be told: the same without outcomes, and `why`",
}
_BESIDE: Final = (
    "with the key beside it, which proves only that it is of one piece; --operator-key proves whose it is"
)
_TITLES: Final = {
    "now-denied": "would be denied now",
    "now-allowed": "would be allowed now",
    "otherwise": "would come out otherwise",
}


@click.command("diff")
@click.argument("old", metavar="OLD", type=PATH)
@click.argument("new", metavar="NEW", type=PATH)
@click.option(
    "--over", "log", metavar="LOG", type=PATH, required=True, help="A gate's log: its directory, or file."
)
@click.option(
    "--operator-key",
    metavar="FILE",
    type=FILE,
    help="The operator's public key, got by another way than the log. Default: operator.pub beside it.",
)
@reach_options
@json_option
def command(
    *, old: Path, new: Path, log: Path, operator_key: Path | None, reach: ReachChoice, as_json: bool
) -> None:
    """Which past decisions of a log another policy would change.

    The log is verified first. Each decision is then made again under both policies, from the inputs that the gate
    keeps beside the log, at the decision's own time: what is asked is what would have been decided then. What OLD
    decided must come out as it is on record. Where one of the policies has Python rules of its own, or an OPA
    server, deciding runs the one and sends inputs to the other: --run-rules, --contact-opa.

    Exit 0: none would change. 1: some would. 3: none would, as far as can be told, since some inputs are not there,
    or the log has no decision; or a policy was not allowed to decide.
    """
    from skillwarrant_verify.review.past import past_decisions
    from skillwarrant_verify.review.policy_diff import compare

    before, after = one_policy(old, reach.reach()), one_policy(new, reach.reach())
    with progress.waiting("verifying the log"):
        decisions = past_decisions(log, operator_key)
    with progress.waiting("deciding again"):
        found = compare(before, after, decisions)
    _tell(before, after, found, key=operator_key, as_json=as_json)


def _tell(old: Policy, new: Policy, found: Sequence[Remade], *, key: Path | None, as_json: bool) -> None:
    changed = [one for one in found if one.change in _TITLES]
    unknown = [one for one in found if one.change == "unknown"]
    fields: JsonObject = {
        "old": old.used().to_json(),
        "new": new.used().to_json(),
        "operatorKey": "beside the log" if key is None else "given",
        "decisions": len(found),
        "same": len(found) - len(changed) - len(unknown),
        "changed": [_changed(one) for one in changed],
        "unknown": [{**_fields(one), "why": one.unknown} for one in unknown],
    }
    text = "\n".join(_lines(old, new, found, key))
    if changed:
        message = f"{len(changed)} of {len(found)} decisions would change"
        output.refuse(text, fields, code=CODES[1], message=message, as_json=as_json)
    if unknown:
        message = f"{len(unknown)} of {len(found)} decisions cannot be made again"
        output.refuse(text, fields, code=CODES[2], message=message, as_json=as_json, exit_code=3)
    if not found:
        message = "the log has no decision, so nothing was compared"
        output.refuse(text, fields, code=CODES[2], message=message, as_json=as_json, exit_code=3)
    output.answer(text, fields, code=CODES[0], as_json=as_json)


def _lines(old: Policy, new: Policy, found: Sequence[Remade], key: Path | None) -> Iterator[str]:
    one = len(found) == 1
    yield f"{len(found)} {'decision' if one else 'decisions, each'}{',' if one else ''} made again at its own time"
    verified = _BESIDE if key is None else f"with {output.place(key)}"
    yield output.facts((("old", _named(old)), ("new", _named(new)), ("log", verified)))
    for change, title in _TITLES.items():
        yield from _block(title, [one for one in found if one.change == change])
    yield from _block("cannot be told", [one for one in found if one.change == "unknown"])


def _named(policy: Policy) -> str:
    return f"{policy.name} revision {policy.revision} ({policy.digest.short}…)"


def _block(title: str, found: Sequence[Remade]) -> Iterator[str]:
    if not found:
        return
    yield f"\n{output.loud(title)}: {len(found)}"
    for one in found:
        past = one.past
        where = f"{past.skill} {past.version} in {past.environment}"
        yield f"  #{past.seq}  {format_time(past.time)}  {where}  ({past.activation})"
        said = "because of" if one.new != "allow" else "was refused for"
        yield from (f"    {said}  {check.message}" for check in one.reasons)
        if one.unknown:
            yield f"    {one.unknown}"


def _changed(one: Remade) -> JsonObject:
    return {
        **_fields(one),
        "old": one.old,
        "new": one.new,
        "reasons": [check.to_json() for check in one.reasons],
    }


def _fields(one: Remade) -> JsonObject:
    past = one.past
    return {
        "seq": past.seq,
        "activation": past.activation,
        "time": format_time(past.time),
        "adapter": past.adapter,
        "skill": {"name": past.skill, "version": past.version},
        "environment": past.environment,
        "policy": past.policy.to_json(),
    }
