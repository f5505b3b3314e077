"""The `[[evidence]]` of a policy document: which further attestations an adapter needs, and from whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from skillwarrant_format import limits
from skillwarrant_format.endorsement import APPROVAL_TYPE, CERTIFICATION_TYPE
from skillwarrant_format.errors import FormatError, PolicyError
from skillwarrant_format.fields import Fields
from skillwarrant_format.toml import only
from skillwarrant_verify.identity import IdentityPattern, kind_of_name

__all__ = ["EvidenceRule", "most_persons", "person"]

_MAX_SIGNERS: Final = 50
_SHORT: Final = {"approval": APPROVAL_TYPE, "certification": CERTIFICATION_TYPE}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRule:
    """One kind of attestation that must be there.

    Args:
        predicate_type: exactly.
        signers: who may have signed it; at least one.
        distinct: how many different ones must have. Each pattern counts for one, whoever it covers, and so does
            each `person`, whatever issuers and refs it has signed with.
        max_age_days: oldest signature accepted.
        independent: the manifest's own signer does not count, nor who could have signed it in its place. Always so
            for approvals.
    """

    predicate_type: str
    signers: tuple[IdentityPattern, ...]
    distinct: int = 1
    max_age_days: int | None = None
    independent: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.signers, tuple) or not self.signers:
            raise PolicyError("evidence.signers names nobody", expected="a tuple with at least one pattern")
        if not 1 <= self.distinct <= (most := most_persons(self.signers)):
            raise PolicyError(
                "evidence.distinct can never be met",
                expected=f"1 to {most}: each of the signers counts once, under whatever issuers and refs",
                found=str(self.distinct),
                fix="Name more signers who are others, or ask for fewer.",
            )
        if self.predicate_type == APPROVAL_TYPE and not self.independent:
            raise PolicyError("an approval by the publisher is none", expected="independent = true, or no such key")

    @property
    def code(self) -> str:
        """The requirement that it belongs to."""
        return {APPROVAL_TYPE: "release.approved", CERTIFICATION_TYPE: "behaviour.certified"}.get(
            self.predicate_type, "evidence.present"
        )

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """Read an item.

        Raises:
            FormatError, PolicyError: an unknown key, or one that is missing, empty, malformed, or never met.
        """
        only(fields, "predicate_type", "signers", "distinct", "max_age_days", "independent")
        named = fields.text("predicate_type", limit=limits.MAX_URI_CHARS)
        predicate_type = _SHORT.get(named, named)
        if "://" not in predicate_type:
            expected = f"a URI, or {' or '.join(_SHORT)}"
            raise FormatError(f"{fields.at('predicate_type')} is no predicate type", expected=expected, found=named)
        signers = tuple(_signer(item) for item in fields.objects("signers", least=1, most=_MAX_SIGNERS))
        if len(set(signers)) != len(signers):
            raise FormatError(f"{fields.at('signers')} names somebody twice")
        independent = fields.maybe("independent", fields.boolean)
        return cls(
            predicate_type=predicate_type,
            signers=signers,
            distinct=fields.maybe("distinct", lambda key: fields.integer(key, least=1)) or 1,
            max_age_days=fields.maybe(
                "max_age_days", lambda key: fields.integer(key, least=1, most=limits.MAX_AGE_DAYS)
            ),
            independent=predicate_type == APPROVAL_TYPE if independent is None else independent,
        )


def person(identity: str) -> str:
    """Who an identity is, whatever issuer says so: one address in any case of its letters, one workflow whatever
    the ref (the part after `@`) it runs from."""
    if kind_of_name(identity) == "uri":
        return identity.partition("@")[0]
    return identity.lower()


def most_persons(signers: Sequence[IdentityPattern]) -> int:
    """How many persons these patterns can count for: one that leaves the person open stands for a further one."""
    known = [person(signer.identity) for signer in signers]
    opened = sum("*" in one for one in known)
    return opened + len({one for one in known if "*" not in one})


def _signer(fields: Fields) -> IdentityPattern:
    only(fields, "issuer", "identity")
    return IdentityPattern(issuer=fields.text("issuer"), identity=fields.text("identity", limit=2048))
