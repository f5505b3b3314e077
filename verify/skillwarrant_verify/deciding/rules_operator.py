"""Rules about who operates the deployment. Pure: time is an input. Findings go on record, and name nobody."""

from __future__ import annotations

from typing import Final

from skillwarrant_format.fields import format_time
from skillwarrant_verify.deciding.context_seen import OperatorSeen
from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.facts import Facts
from skillwarrant_verify.deciding.requirement import WITHHELD, any_of, listed, no, proves, unknown, yes
from skillwarrant_verify.document.policy_sections import OperatorIssuer
from skillwarrant_verify.policy import Policy

__all__: list[str] = []  # importing this module registers its rules

_FIX: Final = "Verify a token with verify_operator, and give what it returns as Context.operator."
_AS_ASKED: Final = {
    "none": "the policy does not ask who operates this deployment",
    "claimed": "the operator is named, which is all that the policy asks",
}


@proves("operator.verified")
def _verified(policy: Policy, facts: Facts) -> Finding:
    code, path, operator = "operator.verified", "context.operator", facts.context.operator
    if operator is not None and operator.expires_at is not None and facts.now >= operator.expires_at:
        return no(
            code,
            "the operator's credential has expired",
            path,
            expected=f"one that is valid at {format_time(facts.now)}",
            found=f"one until {format_time(operator.expires_at)}",
            fix="Get a fresh token, and verify it.",
        )
    required = policy.operators.require
    if required == "none" or (required == "claimed" and operator is not None):
        return yes(code, _AS_ASKED[required], path)
    if operator is None or not operator.verified:
        message = "the operator is only claimed" if operator else "nobody says who operates this deployment"
        found = "a claim" if operator else "nothing"
        return no(code, message, path, expected=_expected(policy), found=found, fix=_FIX)
    if not operator.name:
        return unknown(code, "the operator's name is withheld from this document", path, WITHHELD)
    if not any(_covers(issuer, operator) for issuer in policy.operators.issuers):
        return no(
            code,
            "the operator is none that the policy trusts",
            path,
            expected=_expected(policy),
            found=f"a subject of {operator.issuer}, for {operator.audience}",
            fix="If you trust this operator, add it to the policy's operators.",
        )
    return yes(code, f"{operator.issuer} vouches for the operator", path)


def _covers(issuer: OperatorIssuer, operator: OperatorSeen) -> bool:
    return issuer.audience == operator.audience and any(known.matches(operator) for known in issuer.subjects)


def _expected(policy: Policy) -> str:
    known = tuple(
        f"one of {len(issuer.subjects)} subjects of {issuer.subjects[0].issuer}, for {issuer.audience}"
        for issuer in policy.operators.issuers
    )
    return any_of(known) or "an operator's name"


@proves("operator.allowed")
def _allowed(_: Policy, facts: Facts) -> Finding:
    operators, operator = facts.manifest.deployment.operators, facts.context.operator
    if operators and operator is not None and not operator.name:
        message = "the operator's name is withheld from this document"
        return unknown("operator.allowed", message, "context.operator", WITHHELD)
    found = None if operator is None else operator.name
    finding = listed("operator.allowed", "context.operator.name", "operator", operators, found)
    if finding.outcome == "proved":
        return finding
    expected = f"one of {len(operators)} that the manifest names"
    return finding._replace(expected=expected, found="another" if found else "nothing")
