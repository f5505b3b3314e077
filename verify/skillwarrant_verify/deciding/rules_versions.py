"""Rules about releases: is this one revoked, too low, or lower than one that was in use here? Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import format_time
from skillwarrant_format.names import matches
from skillwarrant_format.semver import SemVer
from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.facts import Facts
from skillwarrant_verify.deciding.requirement import no, proves, unknown, yes
from skillwarrant_verify.policy import Policy

__all__: list[str] = []  # importing this module registers its rules

_PATH: Final = "manifest.skill.version"


@proves("manifest.not-revoked")
def _not_revoked(policy: Policy, facts: Facts) -> Finding:
    code, path = "manifest.not-revoked", "warrant.bundle"
    found = next(_revoked(policy, facts), None)
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


def _revoked(policy: Policy, facts: Facts) -> Iterator[tuple[str, str]]:
    """Path and name of each reason."""
    warrant, skill, listed = facts.warrant, facts.manifest.skill, policy.revocations
    if warrant.bundle in listed.manifests:
        yield "warrant.bundle", f"the bundle {warrant.bundle.short}…"
    if listed.manifests and warrant.statement_digest in listed.manifests:
        yield "warrant.statement", f"the statement {warrant.statement_digest.short}…"
    for revoked in listed.skills:
        if revoked.covers(skill.name, skill.version):
            yield _PATH, f"{skill.name} {skill.version} ({revoked.name} {revoked.versions or 'in every version'})"
    for signer in listed.signers:
        if signer.signer.matches(facts.signer) and (signer.since is None or facts.signed_at >= signer.since):
            since = "" if signer.since is None else f", signed since {format_time(signer.since)}"
            yield "warrant.signer", f"{facts.signer.identity}{since}"


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
