"""What is suspicious in the publishers of a policy: those that grant nothing, and patterns that cover nothing more.

A policy may have a thousand publishers and five thousand patterns, so they are not compared each with each: what
has no wildcard is looked up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from skillwarrant_verify.document.policy_lines import KeyPath
from skillwarrant_verify.document.policy_sections import PublisherRule
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.review.lint_remark import Remark
from skillwarrant_verify.review.policy_overlap import Identities, Names, can_be_a_name, covers_identity

__all__ = ["RULES", "publishers"]

RULES: Final = {
    "publisher.duplicate": "two publishers are the same",
    "publisher.shadowed": "a publisher grants nothing that another does not",
    "publisher.revoked": "a publisher all of whose signatures are revoked",
    "skills.over-wide": "a publisher may vouch for skills of any organisation",
    "skills.never": "a pattern that no skill's name is like",
    "skills.redundant": "a pattern of skills that another one covers",
}


def publishers(policy: Policy, now: datetime) -> Iterator[Remark]:
    """Every remark about the publishers."""
    others = _Publishers(policy.publishers)
    revoked = _gone(policy, now)
    for number, rule in enumerate(policy.publishers):
        yield from _idle(others, number)
        yield from _revoked(revoked, rule, number)
        yield from _skills(rule, others.skills[number], number)


class _Publishers:
    """The publishers of a policy, by what they may vouch for."""

    def __init__(self, rules: tuple[PublisherRule, ...]) -> None:
        self.rules = rules
        self.skills = [Names(rule.skills) for rule in rules]
        self._bases = [Names(rule.base_models) for rule in rules]
        self._all = Names(skill for rule in rules for skill in rule.skills)
        self._whose: dict[str, list[int]] = defaultdict(list)
        for number, rule in enumerate(rules):
            for skill in rule.skills:
                self._whose[skill].append(number)

    def granting(self, number: int) -> Iterator[int]:
        """The other publishers that grant all that one does: only who grants its rarest skill can."""
        rarest = min(self.rules[number].skills, key=lambda skill: len(self._whose[skill]))
        for pattern in self._all.covering(rarest):
            for other in self._whose[pattern]:
                if other != number and self.grants(other, number):
                    yield other

    def grants(self, wide: int, narrow: int) -> bool:
        """Whether one grants all that the other does."""
        one, other = self.rules[wide], self.rules[narrow]
        return (
            covers_identity(one.signer, other.signer)
            and all(map(self.skills[wide].cover, other.skills))
            and (
                not one.base_models
                or (bool(other.base_models) and all(map(self._bases[wide].cover, other.base_models)))
            )
        )


def _idle(others: _Publishers, number: int) -> Iterator[Remark]:
    at: KeyPath = ("publishers", number)
    for place in others.granting(number):
        if not others.grants(number, place):
            message = f"all that this publisher may, publishers[{place}] grants it too, and more"
            fix = "Take this one out; or narrow the other, if this one was to be a limit: publishers only ever add."
            yield Remark(code="publisher.shadowed", message=message, at=at, fix=fix)
            return
        if place < number:
            message = f"this publisher is the same as publishers[{place}]"
            yield Remark(code="publisher.duplicate", message=message, at=at, fix="Take one of them out.")
            return


def _gone(policy: Policy, now: datetime) -> tuple[Identities, Identities]:
    """Whose signatures are all revoked; and whose are, or are too old."""
    age, signers = policy.max_age_days, policy.revocations.signers
    always = [one.signer for one in signers if one.since is None]
    since = [(one.signer, one.since) for one in signers if one.since is not None]
    older = [signer for signer, when in since if age is not None and now - when >= timedelta(days=age)]
    return Identities(always), Identities(older)


def _revoked(gone: tuple[Identities, Identities], rule: PublisherRule, number: int) -> Iterator[Remark]:
    for revoked, why in zip(gone, ("", ", or too old"), strict=True):
        if revoked.cover(rule.signer):
            message, fix = f"every signature of this publisher is revoked{why}", "Take the publisher out."
            yield Remark(code="publisher.revoked", message=message, at=("publishers", number), fix=fix)
            return


def _skills(rule: PublisherRule, patterns: Names, number: int) -> Iterator[Remark]:
    for place, pattern in enumerate(rule.skills):
        at: KeyPath = ("publishers", number, "skills", place)
        organisation, slash, _ = pattern.partition("/")
        if slash and "*" in organisation:
            message = f"{pattern} covers skills of other organisations too"
            fix = "Name the organisation: acme/*"
            yield Remark(code="skills.over-wide", message=message, at=at, fix=fix)
        if not can_be_a_name(pattern):
            fix = "Write lower case, organisation/skill, like acme/*"
            yield Remark(code="skills.never", message=f"no skill has a name like {pattern}", at=at, fix=fix)
        wider = next((other for other in patterns.covering(pattern) if other != pattern), None)
        if wider is not None:
            message = f"{pattern} adds nothing to {wider}"
            yield Remark(code="skills.redundant", message=message, at=at, fix="Take one of them out.")
