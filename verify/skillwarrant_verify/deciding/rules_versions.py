"""Rules about releases: is this one revoked, too low, or lower than one that was in use here? Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import format_time
from skillwarrant_format.names import matches
from skillwarrant_format.semver import SemVer
from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.facts import Facts
from skillwarrant_verify.deciding.requirement import no, proves, unknown, yes
from skillwarrant_verify.deciding.warrant import Warrant
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.proof.certificate import Signer

__all__ = ["revoked", "revoked_release"]  # importing this module registers its rules too

_PATH: Final = "manifest.skill.version"


@proves("manifest.not-revoked")
def _not_revoked(policy: Policy, facts: Facts) -> Finding:
    code, path = "manifest.not-revoked", "warrant.statement"
    found = revoked_release(policy, facts.warrant)
    if found is not None:
        path, what = found
        return no(
            code,
            "it is revoked",
            path,
            expected="a release that the policy's revocations do not name",
            found=what,
            fix="Get another release from its publisher; do not use this one.",
        )
    return yes(code, "the policy's revocations do not name it", path)


def revoked_release(policy: Policy, warrant: Warrant) -> tuple[str, str] | None:
    """Whether a policy revokes a release: the input's path that says so and what is revoked; None: it does not."""
    skill, listed = warrant.manifest.skill, policy.revocations
    for one in listed.skills:
        if one.covers(skill.name, skill.version):
            return _PATH, f"{skill.name} {skill.version} ({one.name} {one.versions or 'in every version'})"
    if not (listed.manifests or listed.signers):
        return None
    found = revoked(policy, warrant.statement_digest, warrant.signer, warrant.signed_at)
    return None if found is None else (f"warrant.{found[0]}", found[1])


def revoked(policy: Policy, statement: Digest, signer: Signer, signed_at: datetime) -> tuple[str, str] | None:
    """Whether a policy revokes what somebody signed: `statement` or `signer`, and its name; None where it does not.

    A statement is named by the bytes that are signed. The bundle around it can be written in another way by
    anybody, and has another digest then.
    """
    if statement in policy.revocations.manifests:
        return "statement", f"the statement {statement.short}…"
    for one in policy.revocations.signers:
        if one.signer.matches(signer) and (one.since is None or signed_at >= one.since):
            since = "" if one.since is None else f", signed since {format_time(one.since)}"
            return "signer", f"{signer.identity}{since}"
    return None


@proves("revocations.fresh")
def _fresh(policy: Policy, facts: Facts) -> Finding:
    code, path, until = "revocations.fresh", "now", policy.revocations.valid_until
    if until is not None and facts.now >= until:
        return no(
            code,
            "the policy's list of revocations is stale",
            path,
            expected=f"a time before {format_time(until)}",
            found=format_time(facts.now),
            fix="Bring the policy's revocations up to date, and set valid_until anew.",
        )
    return yes(code, f"the list is good until {format_time(until)}" if until else "the policy sets no end", path)


@proves("version.floor")
def _floor(policy: Policy, facts: Facts) -> Finding:
    code, skill = "version.floor", facts.manifest.skill
    floors = [floor for floor in policy.versions.floors if matches(floor.skill, skill.name)]
    if not floors:
        return yes(code, "the policy sets no lowest version of this skill", _PATH)
    floor = max(floors, key=lambda floor: floor.least)
    if not _at_least(skill.version, floor.least):
        return no(
            code,
            "the version is lower than the policy allows",
            _PATH,
            expected=f"{floor.least} or higher",
            found=skill.version,
            fix="Get a newer release from its publisher.",
        )
    return yes(code, f"{skill.version} is at least {floor.least}", _PATH)


@proves("version.no-rollback")
def _no_rollback(policy: Policy, facts: Facts) -> Finding:
    code, skill, history = "version.no-rollback", facts.manifest.skill, facts.history
    if not policy.versions.no_rollback:
        return yes(code, "the policy allows to go back", _PATH)
    if history is None:
        fix = (
            "Decide through a gate, which looks into its log; in a document, give `history`, {} if there was none."
        )
        return unknown(code, "nobody looked which versions were in use here", "history", fix)
    if history.highest is None:
        return yes(code, "no version of this skill was in use here", "history")
    try:
        met = _at_least(skill.version, SemVer.parse(history.highest))
    except FormatError:
        met = False
    if not met:
        return no(
            code,
            "a higher version of this skill was in use here",
            _PATH,
            expected=f"{history.highest} or higher",
            found=skill.version,
            fix="Get a newer release from its publisher. If you must go back, take no_rollback out of the policy.",
        )
    return yes(code, f"the highest version in use here was {history.highest}", _PATH)


def _at_least(version: str, least: SemVer) -> bool:
    try:
        return SemVer.parse(version) >= least
    except FormatError:
        return False
