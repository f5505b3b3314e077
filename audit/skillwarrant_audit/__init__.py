"""The record: signed observations in an append-only log that an auditor checks without trusting us."""

from __future__ import annotations

from skillwarrant_audit.keys import PublicKey
from skillwarrant_audit.log import Position
from skillwarrant_audit.recorder import Recorded, Recorder
from skillwarrant_audit.verify import LogReport, VerifiedRecord, verify_log

__all__ = ["LogReport", "Position", "PublicKey", "Recorded", "Recorder", "VerifiedRecord", "verify_log"]
