"""What is known of one activation so far, and the observation that it makes at any moment of it.

`Attempt` is filled step by step while the gate works, so that a refusal at the first step and a failure at the
last are both told with all that was known by then.
"""

from __future__ import annotations

import os
import platform
import secrets
import socket
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import SkillwarrantError, shown
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.observation import Check, Observation, Phase, PolicyUsed, SkillSeen, TrustUsed
from skillwarrant_format.statement import Subject
from skillwarrant_format.strict_json import JsonObject
from skillwarrant_verify.context import Context
from skillwarrant_verify.decision import Decision
from skillwarrant_verify.requires import RUNTIME, installed_versions
from skillwarrant_verify.signature import Verified

__all__ = ["Attempt"]

_MOST_ALTERATIONS: Final = 10


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One activation in progress. The only mutable record of this package, and private to the gate."""

    request: str
    adapter_name: str
    context: Context
    policy: PolicyUsed
    trust: TrustUsed
    activation: str = field(default_factory=lambda: secrets.token_hex(16))
    bundle: Digest | None = None
    verified: Verified | None = None
    base: Fingerprint | None = None
    alterations: tuple[str, ...] = ()
    decision: Decision | None = None

    def subjects(self) -> tuple[Subject, ...]:
        """The manifest's digest; where there is none, the digest of what was asked for."""
        if self.verified is not None:
            return (Subject(name=self.verified.manifest.skill.name, digest=self.verified.bundle),)
        if self.bundle is not None:
            return (Subject(name="bundle", digest=self.bundle),)
        return (Subject(name="request", digest=Digest.of(self.request.encode("utf-8", "surrogatepass"))),)

    def observation(
        self, phase: Phase, message: str, now: datetime, error: BaseException | None = None
    ) -> Observation:
        """The observation of this moment.

        Args:
            phase: what happened.
            message: one sentence; for a refusal or failure, why.
            now: the host's time.
            error: what stopped it, which becomes a check of its own where no decision was reached.
        """
        decision = self.decision
        return Observation(
            phase=phase,
            activation=self.activation,
            time=now,
            message=shown(message, 4000),
            adapters=(shown(self.adapter_name, 200) or "unnamed",),
            checks=self._checks(error),
            skills=() if self.verified is None else (_seen(self.verified, self.adapter_name),),
            policy=self.policy,
            inputs=None if decision is None else decision.inputs,
            base=self.base,
            trust=self.trust,
            context=self.context.record(self.activation),
            runtime={**runtime(), **self._altered()},
        )

    def _altered(self) -> JsonObject:
        """Hooks and patched methods of the base, which measured tensors do not show: for who reads the log."""
        if not self.alterations:
            return {}
        first = [shown(one, 200) for one in self.alterations[:_MOST_ALTERATIONS]]
        return {"baseAlterations": {"count": len(self.alterations), "first": first}}

    def _checks(self, error: BaseException | None) -> tuple[Check, ...]:
        found = () if self.decision is None else tuple(finding.check() for finding in self.decision.checked)
        if error is None or (self.decision is not None and self.decision.reasons):
            return found
        code = error.code if isinstance(error, SkillwarrantError) else "internal"
        text = shown(str(error) or type(error).__name__, 1000)
        return (*found, Check(code=code, outcome="not-proved", message=text))


def _seen(verified: Verified, adapter_name: str) -> SkillSeen:
    return SkillSeen(
        adapter=shown(adapter_name, 200) or "unnamed",
        name=verified.manifest.skill.name,
        version=verified.manifest.skill.version,
        manifest=verified.bundle,
        identity=verified.signer.identity,
        issuer=verified.signer.issuer,
        log=verified.log,
    )


@cache
def _machine() -> tuple[str, str]:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = "unknown"
    return shown(socket.gethostname(), 200) or "unknown", boot


def runtime() -> JsonObject:
    """Which software on which host: package versions, host name, boot id, process id."""
    host, boot = _machine()
    versions = {"python": platform.python_version(), **_versions()}
    return {"versions": versions, "host": host, "bootId": boot, "pid": os.getpid()}


@cache
def _versions() -> dict[str, str]:
    return installed_versions((*RUNTIME, "skillwarrant"))
