"""`Facts`: everything a decision is made from. A rule gets them and the policy, and can ask nobody else.

All of it can be written as one document and read back (`decision_input`), but for one thing: whether the warrant
was verified. Facts without a `Verified` are hypothetical, and nothing that is decided of them allows anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.manifest import BaseModel, SkillManifest
from skillwarrant_verify.arguments import check_time
from skillwarrant_verify.context import Context
from skillwarrant_verify.deciding.adapter_seen import AdapterSeen
from skillwarrant_verify.deciding.composition import Companion
from skillwarrant_verify.deciding.context_seen import ContextSeen
from skillwarrant_verify.deciding.evidence_seen import EvidenceSeen
from skillwarrant_verify.deciding.warrant import Warrant
from skillwarrant_verify.proof.certificate import Signer
from skillwarrant_verify.proof.signature import Verified

__all__ = ["AuthorisedBase", "Facts", "History"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorisedBase:
    """A base model of the manifest, recognised.

    Args:
        form: empty for the reference itself, else which cast of it: `cast to float16, rounded`.
    """

    base: BaseModel
    form: str = ""

    @classmethod
    def find(cls, bases: Iterable[BaseModel], measured: Fingerprint) -> Self | None:
        """The one that measures so, if there is one."""
        for base in bases:
            if base.fingerprint == measured:
                return cls(base=base)
            for cast in base.casts:
                if cast.fingerprint == measured:
                    return cls(base=base, form=f"cast to {cast.dtype}, {cast.kind}")
        return None

    @property
    def name(self) -> str:
        """The publisher's label for the model."""
        return self.base.name

    def __str__(self) -> str:
        return f"{self.base.name}, {self.form}" if self.form else self.base.name


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a log says of this skill.

    Args:
        highest: the highest version that was ever activated; None where it never was.
    """

    highest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything a decision is made from. `Facts.of` makes them of what a gate has; times are in whole seconds.

    A time without a zone is refused (UsageError): nobody could tell which moment it is.

    Args:
        warrant: the manifest and who signed it; where it is a `Verified`, signature, log and files were checked.
        adapter: what its own files say, read from the verified bytes.
        base: what the base model measures; None where there is no base to measure.
        companions: the adapters that are on the model already.
        context: where it is to be used.
        now: the host's time, UTC.
        versions: installed package -> version, for the manifest's `requires` and the policy's `dependencies`; None
            where unknown.
        alterations: hooks, patches and adapters on the base model, each as `kind: place`, as it was measured.
        weight: with which the adapter is to be mixed in; None: as it is, which counts as 1.
        evidence: further attestations that were verified and are about this very adapter.
        history: what this gate's log says of the skill; None where nobody looked.
        manifest: what the publisher vouches for.
        signer, signed_at: who signed the manifest, and when.
        members: all that would be on the model: this adapter, then the others.
    """

    warrant: Warrant
    adapter: AdapterSeen
    base: Fingerprint | None
    companions: tuple[Companion, ...]
    context: ContextSeen
    now: datetime
    versions: Mapping[str, str] | None
    alterations: tuple[str, ...] = ()
    weight: float | None = None
    evidence: tuple[EvidenceSeen, ...] = ()
    history: History | None = None
    manifest: SkillManifest = field(init=False, repr=False, compare=False)
    signer: Signer = field(init=False, repr=False, compare=False)
    signed_at: datetime = field(init=False, repr=False, compare=False)
    members: tuple[Companion, ...] = field(init=False, repr=False, compare=False)
    _base: AuthorisedBase | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """What rules ask again and again is worked out once."""
        warrant = self.warrant
        this = Companion(adapter_name="", manifest=warrant.manifest, weight=self.weight)
        bases, measured = warrant.manifest.base_models, self.base
        for name, value in (
            ("now", _whole(self.now)),
            ("manifest", warrant.manifest),
            ("signer", warrant.signer),
            ("signed_at", _whole(warrant.signed_at)),
            ("members", (this, *self.companions)),
            ("_base", None if measured is None else AuthorisedBase.find(bases, measured)),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def of(
        cls,
        *,
        verified: Verified,
        adapter: AdapterSeen,
        base: Fingerprint | None,
        companions: tuple[Companion, ...],
        context: Context,
        now: datetime,
        versions: Mapping[str, str] | None,
        alterations: tuple[str, ...] = (),
        weight: float | None = None,
        evidence: tuple[EvidenceSeen, ...] = (),
        history: History | None = None,
    ) -> Self:
        """The facts of a real activation. The arguments are as the attributes."""
        return cls(
            warrant=verified,
            adapter=adapter,
            base=base,
            companions=companions,
            context=ContextSeen.of(context),
            now=now,
            versions=versions,
            alterations=alterations,
            weight=weight,
            evidence=evidence,
            history=history,
        )

    @property
    def verified(self) -> Verified | None:
        """The proof of the warrant; None where these facts are hypothetical."""
        return self.warrant if isinstance(self.warrant, Verified) else None

    def authorised_base(self) -> AuthorisedBase | None:
        """The manifest's entry for the measured base, if there is one, and the form that it measures as."""
        return self._base


def _whole(moment: datetime) -> datetime:
    """In UTC and whole seconds, as a document has it.

    Raises:
        UsageError: no time, or one without a zone.
    """
    if type(moment) is datetime and moment.tzinfo is UTC and not moment.microsecond:
        return moment
    check_time("the time of these facts", moment)
    return moment.astimezone(UTC).replace(microsecond=0)
