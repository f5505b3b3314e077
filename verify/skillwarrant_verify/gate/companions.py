"""What came onto each live model through a gate of this process, and what else is on it.

A register is kept for the base model, not for the `PeftModel` around it, and as long as that lives. It is replaced
as a whole, so that an operation which fails leaves the one before. It knows nothing of PEFT but names of adapters.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.errors import UsageError
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_verify.arguments import check_names
from skillwarrant_verify.context import Context
from skillwarrant_verify.deciding.adapter_seen import AdapterSeen
from skillwarrant_verify.deciding.composition import Companion
from skillwarrant_verify.deciding.evidence_seen import EvidenceSeen
from skillwarrant_verify.gate.observe import Candidate
from skillwarrant_verify.loader.peft_adapter import base_of
from skillwarrant_verify.proof.signature import Verified

if TYPE_CHECKING:
    from skillwarrant_verify.base import Measurement

__all__ = ["Register", "Resident", "Seal", "Skill", "prompted", "wanted"]

MERGED: Final = "(merged into the base)"


class Seal(Protocol):
    """Tells whether an adapter's live tensors still are what was verified."""

    def check(self, model: Any) -> str | None:
        """What is different; None where nothing is."""

    def still_holds(self, model: Any) -> bool:
        """Whether nothing seems different, without reading them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """A verified manifest whose adapter is in use, or a part of one that is.

    Args:
        weight: its factor in a mixture.
    """

    verified: Verified
    config: AdapterConfig
    adapter: AdapterSeen
    evidence: tuple[EvidenceSeen, ...] = ()
    weight: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """An adapter that came through a gate.

    Args:
        activation: that put it onto the model.
        skills: its own one, or for a mixture those of what it was made of.
        mixed: whether it is a mixture.
        base, base_after: what the base model measured when it was judged, and with the adapter on it.
    """

    adapter_name: str
    activation: str
    skills: tuple[Skill, ...]
    seal: Seal
    context: Context
    base: Fingerprint
    base_after: Fingerprint
    mixed: bool = False

    def difference(self, model: Any, measure: str) -> str | None:
        """What is different of it on its model, looked for as strictly as a policy measures; None: nothing.

        What is not read is only looked at; adapters are small, so `sampled` reads all of them.
        """
        if measure == "once-verified" and self.seal.still_holds(model):
            return None
        return self.seal.check(model)

    def mixed_in(self, weight: float | None) -> tuple[Skill, ...]:
        """Its skills as parts of a mixture; those that are mixed in already weigh as much less, or more."""
        if weight is None:
            return self.skills
        return tuple(
            replace(skill, weight=weight if skill.weight is None else weight * skill.weight)
            for skill in self.skills
        )

    def candidates(self, weight: float | None = None) -> tuple[Candidate, ...]:
        """What is known of its skills, for an operation on it."""
        return tuple(
            Candidate(
                adapter_name=self.adapter_name,
                request=self.adapter_name,
                weight=skill.weight,
                bundle=skill.verified.bundle,
                verified=skill.verified,
                config=skill.config,
                adapter=skill.adapter,
                evidence=skill.evidence,
            )
            for skill in self.mixed_in(weight)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """The adapters of one model that came through a gate.

    Args:
        residents: by name.
        merged: skills that are a part of the base model by now.
        base, buffers: what the base measured after the last operation of a gate; None before the first.
        alterations: hooks and the like that were on the base then.
    """

    residents: Mapping[str, Resident] = field(default_factory=lambda: MappingProxyType({}))
    merged: tuple[Skill, ...] = ()
    base: Fingerprint | None = None
    buffers: Fingerprint | None = None
    alterations: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: Any) -> Register:
        """The register of a model, or of the base model that it is around; an empty one where there is none."""
        with _GUARD:
            found = _KEPT.get(base_of(model))
        return cls() if found is None else found

    def keep(self, model: Any) -> None:
        """From now on this is the model's register."""
        base = base_of(model)
        with _GUARD:
            _KEPT[base] = self
            _AROUND[base] = weakref.ref(model)

    @staticmethod
    def way_back(model: Any) -> Callable[[], None]:
        """What makes the register that a model has now the model's again."""
        base = base_of(model)
        with _GUARD:
            before, around = _KEPT.get(base), _AROUND.get(base)

        def restore() -> None:
            with _GUARD:
                _put(_KEPT, base, before)
                _put(_AROUND, base, around)

        return restore

    def adding(self, *residents: Resident) -> Self:
        """A register with these residents too."""
        more = {resident.adapter_name: resident for resident in residents}
        return replace(self, residents=MappingProxyType({**self.residents, **more}))

    def without(self, *adapter_names: str) -> Self:
        """A register without the residents of these names."""
        left = {name: one for name, one in self.residents.items() if name not in adapter_names}
        return replace(self, residents=MappingProxyType(left))

    def settled(self, measured: Measurement) -> Self:
        """A register of the model as an operation leaves it: what `Gate.check` compares with later.

        No policy judges buffers that no file holds, so on the same base those of its first operation stay.
        """
        return replace(
            self,
            base=measured.fingerprint,
            buffers=self.buffers if self.base == measured.fingerprint else measured.buffers,
            alterations=self.unexplained(measured.alterations),
        )

    def describes(self, measured: Measurement) -> bool:
        """Whether a model measures as the last operation of a gate left it, and has nothing new hung onto it."""
        same = (measured.fingerprint, measured.buffers) == (self.base, self.buffers)
        return same and set(self.unexplained(measured.alterations)) <= set(self.alterations)

    def unexplained(self, alterations: tuple[str, ...]) -> tuple[str, ...]:
        """Those alterations of a model that are more than a resident being active, as it should be."""
        return tuple(one for one in alterations if one.removeprefix("active-adapter: ") not in self.residents)

    def present(self, names: AbstractSet[str]) -> tuple[Resident, ...]:
        """The residents that are on a model, where these are the names of all adapters on it. Others were taken off
        without the gate, and act no more."""
        return tuple(one for name, one in sorted(self.residents.items()) if name in names)

    def foreign(self, names: AbstractSet[str]) -> tuple[str, ...]:
        """Those adapters on a model, of these names, that did not come through a gate, sorted."""
        return tuple(sorted(names - self.residents.keys()))

    def companions(
        self, names: AbstractSet[str], *, besides: AbstractSet[str] = frozenset()
    ) -> tuple[Companion, ...]:
        """Whatever is on a model, as composition rules see it.

        A skill that went into a mixture counts there, with its weight, and not for its own adapter again.

        Args:
            names: of all adapters on it.
            besides: names of adapters that do not count.
        """
        present = [one for one in self.present(names) if one.adapter_name not in besides]
        inside = {skill.verified.bundle for one in present if one.mixed for skill in one.skills}
        counted = [
            (one.adapter_name, skill)
            for one in present
            for skill in one.skills
            if one.mixed or skill.verified.bundle not in inside
        ]
        known = [
            Companion(adapter_name=name, manifest=skill.verified.manifest, weight=skill.weight)
            for name, skill in (*counted, *((MERGED, skill) for skill in self.merged))
        ]
        unknown = [Companion(adapter_name=name, manifest=None) for name in self.foreign(names)]
        return tuple(sorted([*known, *unknown], key=lambda companion: companion.adapter_name))


def wanted(model: Any, adapter_names: Sequence[str]) -> list[Resident]:
    """The residents of these names, in this order.

    Raises:
        UsageError: no name, one twice, or one that did not come through a gate.
    """
    check_names("adapter_names", adapter_names)
    residents = Register.of(model).residents
    if not adapter_names or len(set(adapter_names)) != len(adapter_names):
        found = ", ".join(map(str, adapter_names)) or "none"
        raise UsageError("which adapters?", expected="at least one name, and none twice", found=found)
    for name in adapter_names:
        if name not in residents:
            raise UsageError(
                "this adapter did not come through a gate of this process",
                expected=" or ".join(sorted(residents)) or "an adapter that one activated",
                found=str(name),
            )
    return [residents[name] for name in adapter_names]


def prompted(model: Any) -> Any | None:
    """Another `PeftModel` around the same base, which a gate gave and which has a prompt of its own.

    A prompt is no part of the base, where layers are looked for; whatever is put into the base acts behind it.
    """
    with _GUARD:
        kept = _AROUND.get(base_of(model))
    other = None if kept is None else kept()
    if other is None or other is model or getattr(other, "base_model", None) is not base_of(other):
        return None
    return other


def _put(table: weakref.WeakKeyDictionary[Any, Any], key: Any, value: object) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


_AROUND: Final[weakref.WeakKeyDictionary[Any, weakref.ref[Any]]] = weakref.WeakKeyDictionary()
_KEPT: Final[weakref.WeakKeyDictionary[Any, Register]] = weakref.WeakKeyDictionary()
_GUARD: Final = threading.Lock()
