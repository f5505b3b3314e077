"""What the audit tests share: observations, real logs, and an attacker who can write to the file."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from skillwarrant_audit import (
    GENESIS,
    Delegation,
    FileLog,
    LogReport,
    OperatorKey,
    Recorder,
    read_records,
    signing,
    verify_log,
)
from skillwarrant_audit.framing import MAGIC, frame
from skillwarrant_format.digest import Digest
from skillwarrant_format.dsse import Envelope
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.observation import (
    Check,
    LogPlace,
    Observation,
    Phase,
    Place,
    PolicyUsed,
    SkillSeen,
    TrustUsed,
)
from skillwarrant_format.statement import Subject

NOW = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
DIGEST = Digest.of(b"something")
SUBJECTS = (Subject(name="acme/support", digest=DIGEST),)
SKILL = SkillSeen(
    adapter="default",
    name="acme/support",
    version="1.0.0",
    manifest=DIGEST,
    statement=DIGEST,
    identity="https://github.com/acme/skills/.github/workflows/release.yml@refs/tags/v1",
    issuer="https://token.actions.githubusercontent.com",
    log=LogPlace(origin="rekor", log_id=DIGEST.hex, index=7),
)


def observation(
    phase: Phase = "refused", activation: int | str = 0, *, after: float = 0, **changes: Any
) -> Observation:
    """One as the gate makes it; `after` is in seconds."""
    given: dict[str, Any] = {
        "phase": phase,
        "activation": hashlib.sha256(str(activation).encode()).hexdigest()[:32],
        "time": NOW + timedelta(seconds=after),
        "message": "a test",
        "adapters": ("default",),
        "checks": (Check(code="base.matches", outcome="proved", message="the base is authorised"),),
        "skills": (SKILL,),
        "policy": PolicyUsed(name="test", revision=1, digest=DIGEST, engine="native"),
        "inputs": DIGEST,
        "base": Fingerprint(digest=DIGEST),
        "trust": TrustUsed(source="devstack", digest=DIGEST, retrieved_at=NOW),
        "context": {"environment": "production"},
        "runtime": {"host": "here", "pid": 1},
    }
    return Observation(**{**given, **changes})


class Book:
    """A directory with a log in it, written by real recorders."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "observations.log"
        self.key = directory / "operator.pem"
        self.public = directory / "operator.pub"

    def process(self) -> Recorder:
        """A recorder with a key of its own, as another process has one."""
        Recorder.open(self.directory)
        return Recorder(FileLog.open(self.path), OperatorKey.load(self.key))

    def activate(self, activation: int | str, recorder: Recorder | None = None, after: float = 0) -> None:
        recorder = recorder or Recorder.open(self.directory)
        for phase in ("intent", "activated"):
            recorder.record(observation(phase, activation, after=after), SUBJECTS)

    def verify(self, **options: Any) -> LogReport:
        return verify_log(self.path, self.public, **options)

    def leaves(self) -> list[bytes]:
        return [record.leaf for record in read_records(self.path)]


def framed(leaves: Iterable[bytes]) -> bytes:
    """A file around leaves, as an attacker makes it too: the checksums stop nobody."""
    return MAGIC + b"".join(frame(seq, leaf) for seq, leaf in enumerate(leaves))


class Scribe:
    """Writes logs by hand: what the operator or an attacker signs, leaf by leaf, each in its place."""

    def __init__(self, operator: signing.PrivateKey | None = None) -> None:
        self.operator = operator or signing.generate()
        self.leaves: list[bytes] = []

    @property
    def place(self) -> Place:
        return Place(seq=len(self.leaves), previous=Digest.of(self.leaves[-1]) if self.leaves else GENESIS)

    def delegate(
        self, key: signing.PrivateKey, *, signer: signing.PrivateKey | None = None, **changes: Any
    ) -> Self:
        """The operator's word for a process key, or somebody else's."""
        given = {
            "public_key": key.public_key(),
            "operator": signing.key_id(self.operator.public_key()),
            "host": "here",
            "boot_id": "unknown",
            "pid": 1,
            "not_before": NOW,
            "not_after": NOW + timedelta(hours=1),
        }
        statement = Delegation(**{**given, **changes}).to_statement(self.place)
        return self.add(signing.sign(signer or self.operator, statement.raw))

    def observe(self, key: signing.PrivateKey, *args: Any, place: Place | None = None, **changes: Any) -> Self:
        """An observation, in its place unless told otherwise."""
        place = place or self.place
        made = observation(*args, **changes).to_statement(SUBJECTS, seq=place.seq, previous=place.previous)
        return self.add(signing.sign(key, made.raw))

    def add(self, envelope: Envelope) -> Self:
        self.leaves.append(envelope.to_bytes())
        return self

    def verify(self, path: Path, **options: Any) -> LogReport:
        """What an auditor finds who holds this operator's public key."""
        path.write_bytes(framed(self.leaves))
        return verify_log(path, signing.spki(self.operator.public_key()), **options)


def worker(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Another process; see worker.py."""
    command = [sys.executable, str(Path(__file__).with_name("worker.py")), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finished(process: subprocess.Popen[str]) -> str:
    """What a worker printed, when it has ended without an error."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()
