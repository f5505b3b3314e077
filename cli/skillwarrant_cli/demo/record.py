"""The demo's last step: the activation log, verified as an auditor would, and held to what was told.

Must not know: how the observations came into it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from skillwarrant_audit.recorder import LOG_NAME, OPERATOR_PUBLIC_NAME
from skillwarrant_audit.verify import verify_log
from skillwarrant_cli.demo.place import Place
from skillwarrant_cli.demo.stage import Scene
from skillwarrant_cli.demo.told import OtherThanTold, expect
from skillwarrant_format.errors import AuditError

if TYPE_CHECKING:
    from skillwarrant_audit.verify import LogReport, VerifiedObservation
    from skillwarrant_format.observation import Observation

__all__ = ["read_record"]

_COLUMNS: Final = ("seq", "phase", "outcome", "reason", "skill")
_TOLD: Final = [
    ("intent", ()),
    ("activated", ()),
    ("refused", ("base.matches",)),
    ("refused", ("files.digest",)),
    ("refused", ("environment.allowed",)),
]
"""Phase and reasons of every observation that the steps before leave."""


def read_record(scene: Scene, place: Place) -> list[dict[str, str]]:
    """Every decision of this demo, signed, in its order and with its reason; a row for each."""
    report = _verified(place)
    rows = [_row(record) for record in report.observations]
    scene.table(_COLUMNS, ([row[name] for name in _COLUMNS] for row in rows))
    kinds = f"{len(report.delegations)} delegation, {len(rows)} observations"
    scene.facts(
        ("verified", f"{report.head.seq + 1} records in one chain: {kinds}"),
        (
            "signed by",
            f"this process's key, which the operator's delegated ({place.log.name}/{OPERATOR_PUBLIC_NAME})",
        ),
        ("log", f"{place.log.name}/{LOG_NAME}"),
    )
    found = [(record.observation.phase, _reasons(record.observation)) for record in report.observations]
    expect(found == _TOLD, _listed(_TOLD), _listed(found))
    expect(not report.findings, "nothing to look at", "; ".join(finding.message for finding in report.findings))
    scene.seen = f"{len(rows)} observations, all verify"
    return rows


def _verified(place: Place) -> LogReport:
    """Here a log that does not verify is no mishap: it is not what was told."""
    try:
        return verify_log(place.log / LOG_NAME, place.log / OPERATOR_PUBLIC_NAME)
    except AuditError as error:
        raise OtherThanTold("the log does not verify", expected="a log that verifies", found=str(error)) from error


def _row(record: VerifiedObservation) -> dict[str, str]:
    observation = record.observation
    proved = sum(check.outcome == "proved" for check in observation.checks)
    skills = ", ".join(f"{skill.name} {skill.version}" for skill in observation.skills)
    return {
        "seq": str(record.position.seq),
        "phase": observation.phase,
        "outcome": f"{proved}/{len(observation.checks)} proved",
        "reason": ", ".join(_reasons(observation)),
        "skill": skills or "none verified",
    }


def _reasons(observation: Observation) -> tuple[str, ...]:
    return tuple(check.code for check in observation.checks if check.outcome != "proved")


def _listed(entries: Iterable[tuple[str, tuple[str, ...]]]) -> str:
    return ", ".join(" ".join((phase, *reasons)) for phase, reasons in entries) or "nothing"
