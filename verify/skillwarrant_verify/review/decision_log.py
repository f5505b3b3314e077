"""A past decision as an event of OPA's decision log, for tools that read those (OPA, Management, Decision Logs).

Field names and their meaning are OPA's. The input may not leave the host, and is masked as OPA does it: its digest
stands there, and its JSON Pointer is listed. An input that is not kept is listed as erased. It decides nothing and
sends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Final
from uuid import UUID, uuid5

from skillwarrant_format.digest import Digest
from skillwarrant_format.observation import Check
from skillwarrant_format.strict_json import JsonObject, canonical
from skillwarrant_verify.review.past import PastDecision

__all__ = ["PATH", "decision_event"]

PATH: Final = "skillwarrant/decision"
_INPUT: Final = "/input"


def decision_event(past: PastDecision, *, labels: Mapping[str, str], show_input: bool = False) -> JsonObject:
    """One event. The same decision gives the same event, however often it is asked for.

    Args:
        labels: what identifies the gate to who reads the events.
        show_input: whether the input itself is in the event, as it is kept; else its SHA-256 over RFC 8785 JSON.
    """
    return {
        "labels": dict(labels),
        "decision_id": str(uuid5(UUID(past.activation), f"{past.seq} {past.adapter}")),
        "bundles": {past.policy.name: {"revision": str(past.policy.revision)}},
        "path": PATH,
        **_input(past, show=show_input),
        "result": _result(past),
        "timestamp": past.time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _input(past: PastDecision, *, show: bool) -> JsonObject:
    if past.document is None:
        return {"erased": [_INPUT]}
    if show:
        return {"input": past.document}
    return {"input": {"digest": {"sha256": Digest.of(canonical(past.document)).hex}}, "masked": [_INPUT]}


def _result(past: PastDecision) -> JsonObject:
    """What a rule `decision` for an OPA server says, and what the record says beside it."""
    unproved = [check for check in past.checks if check.outcome != "proved"]
    return {
        "outcome": past.outcome,
        "deny": [_message(check) for check in unproved if not check.tolerated],
        "warn": [_message(check) for check in unproved if check.tolerated],
        "policy": past.policy.to_json(),
        "adapter": past.adapter,
        "skill": {"name": past.skill, "version": past.version},
        "environment": past.environment,
        "record": {"seq": past.seq, "activation": past.activation},
    }


def _message(check: Check) -> JsonObject:
    return {"code": check.code, "msg": check.message}
