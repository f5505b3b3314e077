"""The decisions of a log, and what each was made from: verified, read back, and ready to be made again.

The log is verified as a whole first. What a decision was made from is in the input store beside it, under the
digest that the log has signed for; where it is missing or was altered, that is said, and nothing is guessed.
Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from skillwarrant_audit.inputs import INPUTS_NAME, InputStore
from skillwarrant_audit.recorder import LOG_NAME, OPERATOR_PUBLIC_NAME
from skillwarrant_audit.verify import VerifiedObservation, verify_log
from skillwarrant_format.errors import AuditError, UsageError
from skillwarrant_format.observation import Check, Observation, PolicyUsed, SkillSeen
from skillwarrant_format.strict_json import JsonObject
from skillwarrant_verify.deciding.codes import STOPS
from skillwarrant_verify.review.policy_cases import Outcome

__all__ = ["PastDecision", "past_decisions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PastDecision:
    """One decision of a gate.

    Args:
        seq: number of its record in the log.
        activation: the operation's id; the decisions of a stack share it.
        adapter: the name on the model.
        skill, version: of the manifest.
        policy: which policy decided.
        checks: every requirement, and what became of it.
        document: what it was made from; None where that cannot be read.
        missing: why it cannot.
    """

    seq: int
    activation: str
    time: datetime
    adapter: str
    skill: str
    version: str
    environment: str
    policy: PolicyUsed
    checks: tuple[Check, ...]
    document: JsonObject | None
    missing: str | None = None

    @property
    def reasons(self) -> frozenset[str]:
        """The codes that were not proved, and not tolerated."""
        return frozenset(check.code for check in self.checks if check.outcome != "proved" and not check.tolerated)

    @property
    def outcome(self) -> Outcome:
        """What was decided, whatever became of the operation after that."""
        found = {check.outcome for check in self.checks if check.code in self.reasons}
        return "deny" if "not-proved" in found else "undecided" if found else "allow"


def past_decisions(log: Path, operator_key: Path | None = None) -> tuple[PastDecision, ...]:
    """The decisions of a log, oldest first.

    Args:
        log: a gate's directory, or the log file in it.
        operator_key: the operator's public key; the one beside the log by default, which proves only that the log
            is of one piece.

    Raises:
        AuditError: the log does not verify, or cannot be read.
        UsageError: there is no log, or the key cannot be used.
    """
    directory = log if log.is_dir() else log.parent
    file = directory / LOG_NAME if log.is_dir() else log
    if not file.is_file():
        raise UsageError(f"there is no log at {log}", expected=f"a directory with {LOG_NAME}, or that file")
    report = verify_log(file, operator_key or directory / OPERATOR_PUBLIC_NAME)
    store = InputStore(directory / INPUTS_NAME)
    return tuple(one for entry in report.observations for one in _decisions(entry, store))


def _decisions(entry: VerifiedObservation, store: InputStore) -> Iterator[PastDecision]:
    """Of an intent, or of a refusal that came after a decision; what follows an intent repeats it."""
    seen = entry.observation
    if seen.phase not in ("intent", "refused") or seen.inputs is None:
        return
    documents: tuple[JsonObject | None, ...]
    try:
        documents, missing = store.read(seen.inputs), None
    except AuditError as error:
        documents, missing = (None,) * len(seen.skills), str(error)
    if len(documents) != len(seen.skills):
        documents, missing = (None,) * len(seen.skills), "its inputs are not those of its skills"
    for skill, document in zip(seen.skills, documents, strict=True):
        yield _decision(entry, skill, document, missing)


def _decision(
    entry: VerifiedObservation, skill: SkillSeen, document: JsonObject | None, missing: str | None
) -> PastDecision:
    seen = entry.observation
    return PastDecision(
        seq=entry.position.seq,
        activation=seen.activation,
        time=seen.time,
        adapter=skill.adapter,
        skill=skill.name,
        version=skill.version,
        environment=str(seen.context.get("environment", "")),
        policy=seen.policy,
        checks=_checks(seen, skill),
        document=document,
        missing=missing,
    )


def _checks(seen: Observation, skill: SkillSeen) -> tuple[Check, ...]:
    """This skill's, without what stopped the operation for another reason. No policy gives a code of those: see
    `codes`."""
    own = (check for check in seen.checks if check.adapter in (None, skill.adapter))
    return tuple(check for check in own if check.code not in STOPS)
