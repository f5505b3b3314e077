"""`skillwarrant policy explain`: what a policy asks, what it decides of an input, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, cast

import click

from skillwarrant_cli import output
from skillwarrant_cli.adapter_choice import AdapterChoice, PlaceChoice, adapter_options, place_options
from skillwarrant_cli.company_choice import CompanyChoice, company_options
from skillwarrant_cli.one_policy import one_policy
from skillwarrant_cli.options import FILE, PATH, TrustChoice, json_option, trust_options
from skillwarrant_cli.policy_choice import PolicySigner, signer_options
from skillwarrant_cli.reach_choice import ReachChoice, reach_options
from skillwarrant_format.errors import Unavailable, UsageError
from skillwarrant_format.fields import format_time

if TYPE_CHECKING:
    from skillwarrant_cli.demand import Given
    from skillwarrant_format.strict_json import JsonObject, JsonValue
    from skillwarrant_verify.deciding.decision import Decision
    from skillwarrant_verify.policy import Policy
    from skillwarrant_verify.review.past import PastDecision
    from skillwarrant_verify.trust import TrustRoot

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("explained", "policy.denied", "policy.undecided")
FIELDS: Final = {
    "policy": "`name`, `revision`, `digest`, `engine`",
    "requirements": "without an input: each requirement's `code`, `severity` now, and `askedBy`, its line",
    "decisions": "with an input: each `outcome`, `hypothetical`, `policy`, `inputs`, `requirements` (`code`, "
    "`outcome`, `severity`, `message`, `input`, `expected`, `found`, `fix`, `askedBy`); from a log also `past` "
    "(`seq`, `time`, `adapter`, `outcome` and `policy` on record)",
}
_SAID: Final = {"allow": "was allowed", "deny": "was denied", "undecided": "could not be decided"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """A decision, and which past one it is, where it is one."""

    decision: Decision
    past: PastDecision | None = None


@click.command("explain")
@click.argument("policy", metavar="POLICY", type=PATH)
@click.argument("adapter", metavar="[ADAPTER]", type=PATH, required=False)
@click.option(
    "--input",
    "document",
    metavar="FILE",
    type=FILE,
    help="An input document, as JSON: a gate keeps its own in inputs/, beside its log.",
)
@click.option("--log", metavar="LOG", type=PATH, help="A log with what was decided; with --activation.")
@click.option("--activation", metavar="ID", help="Which decision of the log: its id, or how it begins.")
@click.option(
    "--operator-key",
    metavar="FILE",
    type=FILE,
    help="Verifies the log. Default: operator.pub beside it.",
)
@click.option("--why-allowed", is_flag=True, help="Also what was proved, by what, and which line asks for it.")
@adapter_options
@place_options
@company_options
@trust_options
@signer_options
@reach_options
@json_option
def command(
    *,
    policy: Path,
    adapter: Path | None,
    document: Path | None,
    log: Path | None,
    activation: str | None,
    operator_key: Path | None,
    why_allowed: bool,
    about: AdapterChoice,
    place: PlaceChoice,
    company: CompanyChoice,
    trust: TrustChoice,
    signer: PolicySigner,
    reach: ReachChoice,
    as_json: bool,
) -> None:
    """Say what a policy decides, and why.

    Alone, what it asks for, and in which line. Of an ADAPTER (with its --base and its --environment), of an input
    document, or of a decision of a log, what it decides: each denial with the field of the input, what was expected
    and found, the line of the policy that asks, and what to do. Nothing is loaded, whatever the answer. An ADAPTER
    has its model to itself, unless --beside and --alteration suppose what a gate would find there.

    A policy with Python rules of its own, or with an OPA server, decides only with --run-rules or --contact-opa, or
    where it is the signed policy of who is named: POLICY may then be a pack. To say what a policy asks for, nothing
    of it runs, whoever signed it.

    Exit 0: allowed. 1: denied. 3: an input is missing, or the policy was not allowed to decide.
    """
    from skillwarrant_verify.signed_policy.policy_place import refuse_inside

    if (log is None) != (activation is None) or (operator_key is not None and log is None):
        raise UsageError("half a decision is named", expected="--log LOG and --activation ID")
    if sum(source is not None for source in (adapter, document, log)) > 1:
        raise UsageError("several inputs are given", expected="ADAPTER, --input or --log")
    if adapter is None and (company or place.context() is not None):
        raise UsageError("a place or company is given, and no adapter for it", expected="POLICY ADAPTER")
    for directory in () if adapter is None else (adapter, *company.beside):
        refuse_inside(policy, directory)
    root = cache(trust.load)
    asks_only = adapter is None and document is None and log is None
    found = _load(policy, signer, root, None if asks_only else reach)
    if asks_only:
        _ask(found, as_json=as_json)
        return
    if adapter is not None:
        on_disk = _OnDisk(adapter=adapter, about=about, place=place, company=company, root=root)
        decided = [_Told(decision=on_disk.decide(found))]
    elif document is not None:
        decided = [_Told(decision=_supposed(found, document))]
    else:
        decided = list(_past(found, cast("Path", log), activation or "", operator_key))
    _tell(found, decided, why_allowed, as_json=as_json)


def _load(policy: Path, signer: PolicySigner, root: Callable[[], TrustRoot], chosen: ReachChoice | None) -> Policy:
    """The policy, which may act where it decides: of one that is signed by who is named, all of it."""
    from skillwarrant_verify.document.policy_reach import ALL, NONE

    if signer:
        return signer.load(policy, root(), take=False, reach=NONE if chosen is None else ALL)
    return one_policy(policy, NONE if chosen is None else chosen.reach())


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnDisk:
    """An adapter on disk, and what is said of the model that it would be loaded onto."""

    adapter: Path
    about: AdapterChoice
    place: PlaceChoice
    company: CompanyChoice
    root: Callable[[], TrustRoot]

    def decide(self, policy: Policy) -> Decision:
        """What would be decided of it."""
        from skillwarrant_verify.deciding.decide import decide

        self.about.check()
        self.company.check()
        if (context := self.place.context()) is None:
            raise UsageError("a policy is for a place", expected="--environment NAME with ADAPTER")
        return decide(policy, self._given().facts(context, policy))

    def _given(self) -> Given:
        return replace(
            self.about.gather(self.adapter, self.root),
            companions=self.company.companions(self.root()),
            alterations=self.company.alterations,
            weight=self.company.weight,
        )


def _supposed(policy: Policy, path: Path) -> Decision:
    from skillwarrant_format.limits import MAX_JSON_BYTES
    from skillwarrant_format.strict_json import loads
    from skillwarrant_verify.deciding.decide import decide_document

    try:
        with path.open("rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"cannot read the input {path}", found=error.strerror) from error
    return decide_document(policy, loads(data, what=str(path)))


def _past(policy: Policy, log: Path, activation: str, operator_key: Path | None) -> Iterator[_Told]:
    from skillwarrant_verify.deciding.decide import decide_document
    from skillwarrant_verify.review.past import past_decisions

    found = [one for one in past_decisions(log, operator_key) if one.activation.startswith(activation)]
    if len({one.activation for one in found}) != 1:
        which = "several activations" if found else "no decision of that activation"
        raise UsageError(f"the log has {which}", expected="the id of one", found=activation)
    for one in found:
        if one.document is None:
            reasons = "; ".join(check.message for check in one.checks if check.code in one.reasons)
            raise Unavailable(
                f"the decision about {one.adapter} cannot be made again: {one.missing}",
                found=f"on record: it {_SAID[one.outcome]} {reasons}".rstrip(),
            )
        yield _Told(decision=decide_document(policy, one.document), past=one)


def _tell(policy: Policy, told: Sequence[_Told], why_allowed: bool, *, as_json: bool) -> None:
    from skillwarrant_verify.deciding.explain import explain

    text = "\n\n".join(
        "\n".join((*_record(one.past, policy), explain(one.decision).text(why_allowed=why_allowed))) for one in told
    )
    fields: JsonObject = {"policy": policy.used().to_json(), "decisions": [_fields(one) for one in told]}
    outcomes = {one.decision.outcome for one in told}
    if outcomes == {"allow"}:
        output.answer(text, fields, code=CODES[0], as_json=as_json)
    else:
        _refuse(policy, text, fields, denied="deny" in outcomes, as_json=as_json)


def _refuse(policy: Policy, text: str, fields: JsonObject, *, denied: bool, as_json: bool) -> NoReturn:
    message = f"policy {policy.name!r} {'denies this' if denied else 'cannot decide this'}"
    code, exit_code = (CODES[1], 1) if denied else (CODES[2], 3)
    output.refuse(text, fields, code=code, message=message, as_json=as_json, exit_code=exit_code)


def _record(past: PastDecision | None, policy: Policy) -> Iterator[str]:
    if past is None:
        return
    same = "this policy" if past.policy.digest == policy.digest else "another policy"
    which = f"{same}, {past.policy.name} revision {past.policy.revision}"
    what = f"{past.skill} {past.version} in {past.environment}"
    yield f"on record as #{past.seq}: {what} {_SAID[past.outcome]} at {format_time(past.time)} by {which}\n"


def _fields(one: _Told) -> JsonObject:
    from skillwarrant_verify.deciding.explain import explain

    found = explain(one.decision).to_json()
    if one.past is None:
        return found
    past = one.past
    record: JsonObject = {
        "seq": past.seq,
        "time": format_time(past.time),
        "adapter": past.adapter,
        "outcome": past.outcome,
        "policy": past.policy.to_json(),
    }
    return {**found, "past": record}


def _ask(policy: Policy, *, as_json: bool) -> None:
    """What it asks, without an input."""
    from skillwarrant_verify.deciding.catalogue import CATALOGUE

    now = datetime.now(UTC)
    asked = [(code, policy.severity(code, now), policy.asked_by(code)) for code in (*CATALOGUE, *policy.rules)]
    fields: JsonObject = {"policy": policy.used().to_json(), "requirements": [_asked(*one) for one in asked]}
    own = [(code, f"{line}{_mode(severity)}") for code, severity, line in asked if line]
    every = [(code, _keys(CATALOGUE[code].asks) + _mode(severity)) for code, severity, line in asked if not line]
    lines = [f"{policy.name} revision {policy.revision} ({policy.engine})"]
    lines += ["", "asked for by this policy", output.facts(own)]
    lines += ["", "asked for by every policy, and where a policy would say more of it", output.facts(every)]
    output.answer("\n".join(lines), fields, code=CODES[0], as_json=as_json)


def _asked(code: str, severity: str, line: str | None) -> dict[str, JsonValue]:
    return {"code": code, "severity": severity, **({} if line is None else {"askedBy": line})}


def _keys(keys: tuple[str, ...]) -> str:
    return f"({', '.join(keys)})" if keys else ""


def _mode(severity: str) -> str:
    return "  only a warning now" if severity == "warn" else ""
