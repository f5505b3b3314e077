"""What is suspicious in whom a policy believes: identities of publishers, operators, and signers of evidence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skillwarrant_verify.document.policy_evidence import EvidenceRule, most_persons
from skillwarrant_verify.document.policy_lines import KeyPath
from skillwarrant_verify.identity import IdentityPattern
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.review.lint_remark import Remark
from skillwarrant_verify.review.policy_overlap import Identities, covers_identity

__all__ = ["RULES", "trust"]

RULES: Final = {
    "identity.over-wide": "an identity's pattern covers more than one reviewed place",
    "identity.any-branch": "an identity's pattern covers every branch",
    "identity.pull-request": "an identity covers pull requests, which anybody can open",
    "identity.never": "an identity that its issuer never certifies",
    "evidence.never": "evidence that nobody can give",
}
_GITHUB: Final = "https://token.actions.githubusercontent.com"
_GITHUB_HOST: Final = "https://github.com/"
_PIN: Final = "Name the workflow and the tags: …/.github/workflows/release.yml@refs/tags/v*"


def trust(policy: Policy) -> Iterator[Remark]:
    """Every remark about whom a policy believes."""
    for at, pattern in _patterns(policy):
        yield from _identity(pattern, at)
        if at[0] != "operators" and (why := _never(pattern)):  # tokens name their subjects in another way
            yield Remark(code="identity.never", message=why, at=at, fix=_PIN)
    revoked = Identities(one.signer for one in policy.revocations.signers if one.since is None)
    publishers = tuple(dict.fromkeys(publisher.signer for publisher in policy.publishers))
    for number, rule in enumerate(policy.evidence):
        yield from _evidence(revoked, publishers, rule, number)


def _patterns(policy: Policy) -> Iterator[tuple[KeyPath, IdentityPattern]]:
    for number, publisher in enumerate(policy.publishers):
        yield ("publishers", number, "identity"), publisher.signer
    for number, issuer in enumerate(policy.operators.issuers):
        for place, subject in enumerate(issuer.subjects):
            yield ("operators", "issuers", number, "subjects", place), subject
    for number, rule in enumerate(policy.evidence):
        for place, signer in enumerate(rule.signers):
            yield ("evidence", number, "signers", place, "identity"), signer


def _identity(pattern: IdentityPattern, at: KeyPath) -> Iterator[Remark]:
    whole, _, ref = pattern.identity.partition("@")
    workflow, last = whole.rpartition("/")[2], pattern.identity.rpartition("/")[2]
    if last == "**" and not ref:
        scope = pattern.identity.removesuffix("**")
        yield _wide(f"this covers everything below {scope}, whoever may run it", at, pattern)
    elif "*" in workflow and "/.github/workflows/" in whole:
        yield _wide("this covers any workflow of the repository: who can add one can sign", at, pattern)
    if ref in {"*", "**", "refs/*", "refs/**"}:
        yield _wide("this covers every ref: who can push a branch can sign", at, pattern)
    elif ref in {"refs/heads/*", "refs/heads/**"}:
        message = "this covers every branch: who can push one can sign, unreviewed"
        yield Remark(code="identity.any-branch", message=message, at=at, fix=_PIN)
    elif ref.startswith("refs/pull/"):
        message = "this covers pull requests, which anybody can open"
        yield Remark(code="identity.pull-request", message=message, at=at, fix=_PIN)


def _wide(message: str, at: KeyPath, pattern: IdentityPattern) -> Remark:
    fix = _PIN if pattern.issuer == _GITHUB else "Name who it is, as far as it can be told."
    return Remark(code="identity.over-wide", message=message, at=at, fix=fix)


def _never(pattern: IdentityPattern) -> str | None:
    """Why no certificate has such a name; None where one can."""
    if pattern.issuer != _GITHUB:
        return None
    if not pattern.identity.startswith(_GITHUB_HOST):
        return f"this issuer certifies only what begins with {_GITHUB_HOST}: nobody will ever match"
    if "@" not in pattern.identity and not pattern.identity.endswith("/**"):
        return "this issuer's identities end in @ and a ref: nobody will ever match"
    return None


def _evidence(
    revoked: Identities, publishers: tuple[IdentityPattern, ...], rule: EvidenceRule, number: int
) -> Iterator[Remark]:
    """Who could have signed the manifest does not count as independent of who did; who never signs, or is revoked
    whenever it was, does not count at all."""
    at: KeyPath = ("evidence", number, "signers")
    able = [signer for signer in rule.signers if not _never(signer) and not revoked.cover(signer)]
    if most_persons(able) < rule.distinct:
        message = (
            f"of these signers, {most_persons(able)} can ever sign so that it counts, and {rule.distinct} must"
        )
        fix = "Correct their identities, or name others than those who are revoked."
        yield Remark(code="evidence.never", message=message, at=at, fix=fix)
        return
    free = [one for one in able if not all(covers_identity(who, one) for who in publishers)]
    if rule.independent and most_persons(free) < rule.distinct:
        message = "the publishers could sign this themselves, so no signature by these signers counts"
        fix = "Name signers that no publisher's pattern covers."
        yield Remark(code="evidence.never", message=message, at=at, fix=fix)
