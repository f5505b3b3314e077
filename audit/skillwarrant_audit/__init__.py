"""The record: what gates decided and did, in an append-only log that anybody with the operator's key can check.

    recorder = Recorder.open(directory)
    recorded = recorder.record(observation, subjects)          # signed, chained, on disk
    report = verify_log(directory / "observations.log", directory / "operator.pub")

It knows nothing of adapters, policies or Sigstore.
"""

from __future__ import annotations

from skillwarrant_audit.log import GENESIS, FileLog, Log, MakeLeaf, Position, Record, TornTail, read_records
from skillwarrant_audit.observer import DELEGATION_TYPE, Delegation, ObserverKey
from skillwarrant_audit.operator_key import OperatorKey
from skillwarrant_audit.recorder import Recorded, Recorder
from skillwarrant_audit.verify import Finding, LogReport, VerifiedObservation, verify_log

__all__ = [
    "DELEGATION_TYPE",
    "GENESIS",
    "Delegation",
    "FileLog",
    "Finding",
    "Log",
    "LogReport",
    "MakeLeaf",
    "ObserverKey",
    "OperatorKey",
    "Position",
    "Record",
    "Recorded",
    "Recorder",
    "TornTail",
    "VerifiedObservation",
    "read_records",
    "verify_log",
]
