"""A gate's log, written as a gate writes it: real decisions of builders' facts, recorded and signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import builders
from skillwarrant_audit import Recorder
from skillwarrant_verify import Context
from skillwarrant_verify.deciding.decide import decide
from skillwarrant_verify.gate.observe import Attempt, Candidate
from skillwarrant_verify.policy import Policy

POLICY = f"""\
api_version = "skillwarrant.dev/policy/v1"
name = "acme"
revision = 1
environments = ["production"]
policy_classes = ["general"]
max_age_days = 30

[[publishers]]
issuer = "{builders.ISSUER}"
identity = "{builders.IDENTITY}"
skills = ["acme/*"]
"""


@dataclass
class History:
    """A directory with a log, and its policies beside it."""

    directory: Path
    count: int = field(default=0)

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def policy(self, text: str = POLICY, name: str = "policy") -> Policy:
        return Policy.load(self.write(text, name))

    def write(self, text: str, name: str = "policy") -> Path:
        path = self.directory / f"{name}.toml"
        path.write_text(text)
        return path

    def decided(self, policy: Policy, *, context: Context | None = None, **changes: Any) -> str:
        """One activation; its id."""
        return self.decided_together(policy, [changes], context=context)

    def decided_together(
        self, policy: Policy, skills: Sequence[dict[str, Any]], *, context: Context | None = None
    ) -> str:
        """A stack of skills, decided each by itself; an intent, or a refusal."""
        self.count += 1
        context = context or Context(environment="production")
        now = builders.NOW + timedelta(minutes=self.count)
        candidates = []
        for number, changes in enumerate(skills):
            found = replace(builders.facts(context=context, **changes), now=now)
            candidates.append(
                Candidate(
                    adapter_name=f"a{number}",
                    request="request",
                    verified=found.verified,
                    adapter=found.adapter,
                    decision=decide(policy, found),
                )
            )
        attempt = Attempt(
            activation=f"{self.count:032x}",
            adapters=tuple(one.adapter_name for one in candidates),
            candidates=tuple(candidates),
            context=context,
            policy=policy.used(),
            trust=builders.verified().trust,
        )
        allowed = all(one.decision is not None and one.decision.outcome == "allow" for one in candidates)
        observation = attempt.observation("intent" if allowed else "refused", "decided", now)
        Recorder.open(self.log).record(observation, attempt.subjects(), attempt.inputs())
        return attempt.activation

    def refused_before_a_decision(self, policy: Policy) -> None:
        """An activation that never got as far as a decision."""
        attempt = Attempt(
            activation=f"{0xF:032x}",
            adapters=("a0",),
            candidates=(Candidate(adapter_name="a0", request="request"),),
            context=Context(environment="production"),
            policy=policy.used(),
            trust=builders.verified().trust,
        )
        observation = attempt.observation("refused", "error", builders.NOW)
        Recorder.open(self.log).record(observation, attempt.subjects(), attempt.inputs())

    def inputs(self) -> list[Path]:
        return sorted(path for path in (self.log / "inputs").rglob("*.json"))
