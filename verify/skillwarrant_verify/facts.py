"""`Facts`: everything a decision is made from. A rule gets them and the policy, and can ask nobody else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.digest import Digest
from skillwarrant_format.fields import format_time
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.manifest import BaseModel
from skillwarrant_format.strict_json import JsonObject, JsonValue, canonical
from skillwarrant_verify.composition import Companion
from skillwarrant_verify.context import Context
from skillwarrant_verify.signature import Verified
from skillwarrant_verify.verified_operator import VerifiedOperator

__all__ = ["AuthorisedBase", "Facts"]


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
class Facts:
    """Everything a decision is made from.

    Args:
        verified: the manifest and signer; that it exists means signature, log and files were checked.
        config: what the adapter's own configuration says, read from the verified bytes: never the manifest's word.
        base: what the base model measures; None where there is no base to measure.
        companions: the adapters that are on the model already.
        context: where it is to be used.
        now: the host's time, UTC.
        versions: installed package -> version, for the manifest's `requires`; None where unknown.
        alterations: hooks, patches and adapters on the base model, each as `kind: place`, as it was measured.
        weight: with which the adapter is to be mixed in; None: as it is, which counts as 1.
    """

    verified: Verified
    config: AdapterConfig
    base: Fingerprint | None
    companions: tuple[Companion, ...]
    context: Context
    now: datetime
    versions: Mapping[str, str] | None
    alterations: tuple[str, ...] = ()
    weight: float | None = None

    @property
    def members(self) -> tuple[Companion, ...]:
        """All that would be on the model: this adapter, then the others."""
        return (Companion(adapter_name="", manifest=self.verified.manifest, weight=self.weight), *self.companions)

    def digest(self) -> Digest:
        """SHA-256 of the canonical JSON of the inputs, so that a decision can be replayed."""
        versions: JsonValue = None if self.versions is None else dict(self.versions)
        inputs: JsonObject = {
            "manifest": self.verified.bundle.hex,
            "statement": Digest.of(self.verified.statement.raw).hex,
            "signer": {"identity": self.verified.signer.identity, "issuer": self.verified.signer.issuer},
            "signedAt": format_time(self.verified.signed_at),
            "log": self.verified.log.to_json(),
            "base": None if self.base is None else str(self.base),
            "companions": [self._companion(companion) for companion in self.companions],
            "context": self.context.record(""),
            "operatorClaims": self._claims(),
            "now": format_time(self.now),
            "versions": versions,
            "alterations": list(self.alterations),
            "weight": _exact(self.weight),
        }
        return Digest.of(canonical(inputs))

    def _claims(self) -> str | None:
        """A digest of what the operator's token says."""
        operator = self.context.operator
        return Digest.of(canonical(operator.claims)).hex if isinstance(operator, VerifiedOperator) else None

    @staticmethod
    def _companion(companion: Companion) -> JsonObject:
        manifest = companion.manifest
        return {
            "adapterName": companion.adapter_name,
            "manifest": None if manifest is None else Digest.of(canonical(manifest.to_json())).hex,
            "weight": _exact(companion.weight),
        }

    def authorised_base(self) -> AuthorisedBase | None:
        """The manifest's entry for the measured base, if there is one, and the form that it measures as."""
        return None if self.base is None else AuthorisedBase.find(self.verified.manifest.base_models, self.base)


def _exact(weight: float | None) -> str | None:
    """A weight in JSON, which has neither NaN nor infinities: those are inputs too, and refused by a rule."""
    return None if weight is None else repr(weight)
