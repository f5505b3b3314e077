"""The parts of a policy document: publishers, bases, operators, composition, and the words of its lists.

Each reads itself from TOML and refuses what is empty, contradictory or could never be met. Nothing is decided here;
`policy` is the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Self, cast

from skillwarrant_format.adapter_config import HAZARDS
from skillwarrant_format.errors import FormatError, PolicyError
from skillwarrant_format.fields import Fields, check_text
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.limits import MAX_NAME_CHARS
from skillwarrant_format.names import SKILL_PATTERN
from skillwarrant_format.toml import only
from skillwarrant_verify.document.policy_terms import prohibition
from skillwarrant_verify.identity import IdentityPattern

__all__ = [
    "ALLOWABLE_HAZARDS",
    "ALTERATIONS",
    "AllowedBase",
    "CompositionRules",
    "OperatorIssuer",
    "OperatorRules",
    "PublisherRule",
    "Require",
    "parse_publishers",
]

ALTERATIONS: Final = (
    "accelerate-hook",
    "active-adapter",
    "forward-hook",
    "global-hook",
    "merged-adapter",
    "parametrization",
    "patched-forward",
)
"""Kinds of what can change a model's answers without changing a tensor of it, as measuring a base finds them."""

ALLOWABLE_HAZARDS: Final = (*sorted(HAZARDS), "changes-base", "non-finite")
"""What `allow_hazards` may name: the configuration's hazards, and weights that are NaN or infinite."""

Require = Literal["none", "claimed", "verified"]
_MAX_SKILLS: Final = 5_000  # patterns of all publishers: every one of them may be asked for every signature
_MAX_SET: Final = 8  # skills that one conflict names
_MAX_SETS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherRule:
    """One trusted publisher: whose certificate, and which skills and base models it may vouch for.

    Args:
        signer: exact issuer, and exact or anchored-glob identity.
        skills: patterns of skill names; `*` stands for any characters but `/`.
        base_models: patterns of the base model names the publisher may name; empty: any.
    """

    signer: IdentityPattern
    skills: tuple[str, ...]
    base_models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.skills, tuple) or not self.skills or not isinstance(self.base_models, tuple):
            raise PolicyError("publishers.skills names no skill", expected="a tuple with at least one pattern")

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        only(fields, "issuer", "identity", "skills", "base_models")
        signer = IdentityPattern(issuer=fields.text("issuer"), identity=fields.text("identity", limit=2048))
        return cls(
            signer=signer,
            skills=fields.texts("skills", least=1),
            base_models=fields.maybe("base_models", lambda key: fields.texts(key, least=1)) or (),
        )


def parse_publishers(fields: Fields) -> tuple[PublisherRule, ...]:
    """The publishers of a document, at least one.

    Raises:
        FormatError, PolicyError: none, one that is malformed, or more patterns of skills than anybody reads.
    """
    found = tuple(map(PublisherRule.parse, fields.objects("publishers", least=1)))
    if (patterns := sum(len(rule.skills) for rule in found)) > _MAX_SKILLS:
        raise FormatError(
            "policy.publishers names too many skills",
            expected=f"at most {_MAX_SKILLS} patterns in all",
            found=str(patterns),
            fix="Cover many skills by one pattern, like acme/*.",
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedBase:
    """A base model this deployment may run, by fingerprint; the name is for messages."""

    name: str
    fingerprint: Fingerprint

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        only(fields, "name", "fingerprint")
        return cls(name=fields.text("name"), fingerprint=Fingerprint.from_text(fields.text("fingerprint")))


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorIssuer:
    """Whose word on operators counts.

    Args:
        audience: what the token must have been made for, exactly.
        subjects: one issuer, and exact or anchored-glob subjects; at least one.
    """

    audience: str
    subjects: tuple[IdentityPattern, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.subjects, tuple) or not self.subjects:
            raise PolicyError("operators.issuers names no subject", expected="a tuple with at least one pattern")

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        only(fields, "issuer", "audience", "subjects")
        issuer = fields.text("issuer")
        return cls(
            audience=fields.text("audience"),
            subjects=tuple(
                IdentityPattern(issuer=issuer, identity=subject) for subject in fields.texts("subjects", least=1)
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRules:
    """What the context must say of the operator: nothing, a claim, or a credential of one of the issuers."""

    require: Require = "none"
    issuers: tuple[OperatorIssuer, ...] = ()

    def __post_init__(self) -> None:
        if (self.require == "verified") != bool(self.issuers):
            raise PolicyError(
                "policy.operators contradicts itself",
                expected='require = "verified" and at least one [[operators.issuers]], or neither',
                found=f"require = {self.require!r} with {len(self.issuers)} issuers",
            )

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        only(fields, "require", "issuers")
        issuers = fields.maybe("issuers", lambda key: fields.objects(key, least=1)) or ()
        return cls(
            require=cast("Require", fields.choice("require", ("none", "claimed", "verified"))),
            issuers=tuple(map(OperatorIssuer.parse, issuers)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositionRules:
    """What the consumer lets share one model, beside what the publishers say. Names are patterns with `*`.

    Args:
        max_active: most adapters on one model.
        allowed_pairs: when not empty, every two of them must be one of these pairs.
        conflicts: sets of two or more, of which not all may be on one model.
        max_weight: largest weight of one adapter, whatever its sign; loaded as it is, an adapter weighs 1.
        max_total_weight: largest sum of them all.
    """

    max_active: int | None = None
    allowed_pairs: tuple[tuple[str, ...], ...] = ()
    conflicts: tuple[tuple[str, ...], ...] = ()
    max_weight: float | None = None
    max_total_weight: float | None = None

    def __post_init__(self) -> None:
        for pair in self.allowed_pairs:
            if any(sorted(pair) == sorted(conflict) for conflict in self.conflicts):
                raise _contradiction("a pair is allowed and in conflict", " and ".join(pair))
        if self.max_active == 1 and (self.allowed_pairs or self.conflicts):
            raise _contradiction("pairs are named, and max_active allows none", "max_active = 1")
        most, total = self.max_weight, self.max_total_weight
        if most is not None and total is not None and most > total:
            raise _contradiction("no weight could reach max_weight", f"{most} above max_total_weight = {total}")

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        only(fields, "max_active", "allowed_pairs", "conflicts", "max_weight", "max_total_weight")
        if not fields.keys():
            raise FormatError(f"{fields.path} says nothing", expected="at least one rule")
        return cls(
            max_active=fields.maybe("max_active", lambda key: fields.integer(key, least=1)),
            allowed_pairs=fields.maybe("allowed_pairs", lambda key: _sets(fields, key, most=2)) or (),
            conflicts=fields.maybe("conflicts", lambda key: _conflicts(fields, key)) or (),
            max_weight=fields.maybe("max_weight", lambda key: _weight(fields, key)),
            max_total_weight=fields.maybe("max_total_weight", lambda key: _weight(fields, key)),
        )


def _contradiction(message: str, found: str) -> PolicyError:
    return PolicyError(f"policy.composition contradicts itself: {message}", found=found)


def _conflicts(fields: Fields, key: str) -> tuple[tuple[str, ...], ...]:
    found = _sets(fields, key, most=_MAX_SET)
    for index, names in enumerate(found):
        for name in names:
            prohibition(name, f"{fields.at(key)}[{index}]")
    return found


def _sets(fields: Fields, key: str, *, most: int) -> tuple[tuple[str, ...], ...]:
    """Lists of two to `most` patterns. A pattern may stand twice in one: it then means two skills."""
    found = []
    for index, item in enumerate(fields.items(key, least=1, most=_MAX_SETS)):
        where = f"{fields.at(key)}[{index}]"
        if not isinstance(item, list) or not 2 <= len(item) <= most:
            expected = "two patterns" if most == 2 else f"2 to {most} patterns"
            raise FormatError(f"{where} is no set of skills", expected=expected, found=repr(item))
        found.append(tuple(check_text(name, where, MAX_NAME_CHARS, SKILL_PATTERN) for name in item))
    return tuple(found)


def _weight(fields: Fields, key: str) -> float:
    if (found := fields.number(key)) <= 0:
        raise FormatError(f"{fields.at(key)} allows no weight at all", expected="more than 0", found=str(found))
    return float(found)
