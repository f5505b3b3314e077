"""The observation: what a gate decided and did. Predicate `https://skillwarrant.dev/skill-activation/v1`.

The normative text is docs/reference/observation.md, the JSON Schema is schemas/skill-activation-v1.json.
An observation never holds a prompt, a credential or a person's name: identities are salted digests.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Self, TypeAlias, cast, get_args

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import WrongPredicate
from skillwarrant_format.fields import Fields, format_time, present
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.names import ACTIVATION
from skillwarrant_format.observation_change import Change, Ended, Source
from skillwarrant_format.observation_parts import (
    BaseSeen,
    Check,
    LogPlace,
    Outcome,
    Place,
    PolicyOrigin,
    PolicyUsed,
    SkillSeen,
    TrustUsed,
)
from skillwarrant_format.statement import Statement, Subject
from skillwarrant_format.strict_json import JsonObject

__all__ = [
    "PREDICATE_TYPE",
    "BaseSeen",
    "Change",
    "Check",
    "Ended",
    "LogPlace",
    "Observation",
    "Outcome",
    "Phase",
    "Place",
    "PolicyOrigin",
    "PolicyUsed",
    "SkillSeen",
    "Source",
    "TrustUsed",
]

PREDICATE_TYPE: Final = "https://skillwarrant.dev/skill-activation/v1"

Phase: TypeAlias = Literal["intent", "activated", "merged", "refused", "failed", "deactivated", "checked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One phase of one activation.

    Args:
        phase: `intent` is durable before anything loads; `activated`, `merged` or `failed` follows it. A refusal
            has no intent: nothing was going to happen. A check stands by itself.
        activation: random id that an intent and what follows share, 32 hexadecimal digits.
        message: one sentence; for a refusal or failure, the reason.
        adapters: names on the model: what comes, or goes, or was looked at. At least one, but for a check.
        inputs: digest of the canonical JSON of everything the policy was given.
        base: what the base model measured, None where nothing was measured.
        base_after: what it measured afterwards, None where that is the same.
        change: what was made of adapters that were there already.
        context: environment, region and the like; digests and salted identities only.
        runtime: package name -> version, and host, boot id, process id.
    """

    phase: Phase
    activation: str
    time: datetime
    message: str
    adapters: tuple[str, ...]
    checks: tuple[Check, ...]
    skills: tuple[SkillSeen, ...]
    policy: PolicyUsed
    inputs: Digest | None
    base: Fingerprint | None
    trust: TrustUsed | None
    context: JsonObject
    runtime: JsonObject
    base_after: Fingerprint | None = None
    change: Change | None = None

    @classmethod
    def parse(cls, statement: Statement) -> Self:
        """Read an observation from its statement.

        Raises:
            WrongPredicate: another predicate type or version.
            FormatError: a field that is missing, mistyped, misspelt or malformed.
        """
        if statement.predicate_type != PREDICATE_TYPE:
            raise WrongPredicate("not an observation", expected=PREDICATE_TYPE, found=statement.predicate_type)
        fields = Fields(statement.predicate, "predicate")
        fields.object("context")
        fields.object("runtime")
        Place.parse(fields)
        observation = cls(
            phase=cast("Phase", fields.choice("phase", get_args(Phase))),
            activation=fields.text("activation", pattern=ACTIVATION),
            time=fields.time("time"),
            message=fields.text("message", limit=limits.MAX_MESSAGE_CHARS),
            adapters=fields.texts("adapters"),
            checks=tuple(Check.parse(item) for item in fields.objects("checks")),
            skills=tuple(SkillSeen.parse(item) for item in fields.objects("skills")),
            policy=PolicyUsed.parse(fields.object("policy")),
            inputs=fields.maybe("inputs", fields.digest),
            base=fields.maybe("base", lambda key: Fingerprint.parse(fields.object(key))),
            trust=fields.maybe("trust", lambda key: TrustUsed.parse(fields.object(key))),
            context=cast("JsonObject", fields.value("context")),
            runtime=cast("JsonObject", fields.value("runtime")),
            base_after=fields.maybe("baseAfter", lambda key: Fingerprint.parse(fields.object(key))),
            change=fields.maybe("change", lambda key: Change.parse(fields.object(key))),
        )
        fields.refuse_lookalikes()
        return observation

    def to_json(self) -> JsonObject:
        optional = present(
            inputs=None if self.inputs is None else {"sha256": self.inputs.hex},
            base=None if self.base is None else self.base.to_json(),
            baseAfter=None if self.base_after is None else self.base_after.to_json(),
            trust=None if self.trust is None else self.trust.to_json(),
            change=None if self.change is None else self.change.to_json(),
        )
        return {
            "phase": self.phase,
            "activation": self.activation,
            "time": format_time(self.time),
            "message": self.message,
            "adapters": list(self.adapters),
            "checks": [check.to_json() for check in self.checks],
            "skills": [skill.to_json() for skill in self.skills],
            "policy": self.policy.to_json(),
            "context": self.context,
            "runtime": self.runtime,
            **optional,
        }

    def to_statement(self, subjects: tuple[Subject, ...], *, seq: int, previous: Digest) -> Statement:
        """The statement for place `seq` of a log whose last leaf hashes to `previous`.

        Args:
            subjects: the manifests' digests, all of a stack; where there is no manifest, the digest of what was
                asked for.
            seq: 0-based index in the log.
            previous: SHA-256 of the leaf before; 64 zeros for the first.

        Raises:
            FormatError: when the observation would not be accepted by `parse`.
        """
        predicate = {**self.to_json(), **Place(seq=seq, previous=previous).to_json()}
        statement = Statement.build(subjects=subjects, predicate_type=PREDICATE_TYPE, predicate=predicate)
        type(self).parse(statement)
        return statement
