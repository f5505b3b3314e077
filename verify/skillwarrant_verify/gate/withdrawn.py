"""Whether what is on a model was revoked since it came there: by the policy that is in force now.

An adapter stays where it is when a policy changes; nothing takes it off by itself. So its manifest, which the
register keeps, is held against the revocations of releases again before others join it, and whenever somebody
looks. Not against those of approvals: who withdraws the approval of what is on a model revokes its release too.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Final

from skillwarrant_format.errors import PolicyDenied, shown
from skillwarrant_format.observation import Check
from skillwarrant_verify.deciding.rules_versions import revoked_release
from skillwarrant_verify.gate.charter import Charter
from skillwarrant_verify.gate.companions import MERGED, Register, Skill

__all__ = ["CODE", "refuse_withdrawn", "withdrawn_checks"]

CODE: Final = "adapter.not-revoked"
_RULE: Final = "manifest.not-revoked"


def refuse_withdrawn(
    charter: Charter, register: Register, names: AbstractSet[str], *, besides: AbstractSet[str] = frozenset()
) -> None:
    """Let nothing join, or be made of, what is revoked by now.

    Args:
        names: of all adapters on the model.
        besides: of adapters that are decided about anyway.

    Raises:
        PolicyDenied: the policy revokes a release that is on the model, or was merged into it.
    """
    found = [(name, said) for name, _, said in _members(charter, register, names - besides) if said]
    if not found:
        return
    reasons = tuple(f"{name}: {_RULE}: it is revoked: {said}" for name, said in found)
    away = " and ".join(
        f"deactivate {name!r}" for name in dict.fromkeys(name for name, _ in found) if name != MERGED
    )
    again = "load the base model anew" if any(name == MERGED for name, _ in found) else ""
    fix = f"First {', and '.join(filter(None, (away, again)))}."
    raise PolicyDenied(f"policy {charter.policy.name!r} revokes what is on the model", reasons=reasons, fix=fix)


def withdrawn_checks(charter: Charter, register: Register, names: AbstractSet[str]) -> Iterator[Check]:
    """One for each release on the model, and for each adapter of which nobody knows the release."""
    for name, skill, said in _members(charter, register, names):
        release = f"{skill.verified.manifest.skill.name} {skill.verified.manifest.skill.version}"
        yield Check(
            code=CODE,
            outcome="not-proved" if said else "proved",
            message=shown(f"{name} is revoked by now: {said}" if said else f"{release} is not revoked", 1000),
            adapter=name,
        )
    for name in register.foreign(names):
        message = shown(f"nobody knows which release {name} is, so whether it is revoked", 1000)
        yield Check(code=CODE, outcome="not-checked", message=message, adapter=shown(name, 200))


def _members(
    charter: Charter, register: Register, names: AbstractSet[str]
) -> Iterator[tuple[str, Skill, str | None]]:
    present = [(one.adapter_name, skill) for one in register.present(names) for skill in one.skills]
    for name, skill in (*present, *((MERGED, skill) for skill in register.merged)):
        found = revoked_release(charter.policy, skill.verified)
        yield name, skill, None if found is None else found[1]
