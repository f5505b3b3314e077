"""A decision as OPA logs one: its field names, and nothing of the input unless asked."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, UsageError
from skillwarrant_format.strict_json import JsonObject, canonical
from skillwarrant_verify.rego.decision_log import decision_event

MOMENT = datetime(2026, 11, 22, 10, 0, 0, 1500, tzinfo=UTC)
INPUT: JsonObject = {"context": {"operator": "alice@acme.example"}, "now": "2026-11-22T10:00:00Z"}


def event(**changed: Any) -> JsonObject:
    given: dict[str, Any] = {
        "decision_id": UUID(int=7),
        "path": "skillwarrant/decision",
        "document": INPUT,
        "result": {"deny": ["no"]},
        "moment": MOMENT,
        "labels": {"id": "gate-1", "version": "0.1.0"},
        "revisions": {"acme-production": "7"},
        "timers": {"timer_rego_query_eval_ns": 240_000},
    }
    return decision_event(**{**given, **changed})


def test_the_fields_are_those_of_opas_decision_log() -> None:
    assert event() == {
        "labels": {"id": "gate-1", "version": "0.1.0"},
        "decision_id": "00000000-0000-0000-0000-000000000007",
        "bundles": {"acme-production": {"revision": "7"}},
        "path": "skillwarrant/decision",
        "input": {"digest": {"sha256": Digest.of(canonical(INPUT)).hex}},
        "result": {"deny": ["no"]},
        "timestamp": "2026-11-22T10:00:00.001500Z",
        "metrics": {"timer_rego_query_eval_ns": 240_000},
        "masked": ["/input"],
    }


def test_the_input_is_not_in_it_unless_asked() -> None:
    assert "alice" not in json.dumps(event())
    shown = event(show_input=True)
    assert shown["input"] == INPUT
    assert "masked" not in shown


def test_no_policy_has_a_revision_where_there_is_none() -> None:
    assert "bundles" not in event(revisions={})


def test_the_time_is_in_utc() -> None:
    east = MOMENT.astimezone(timezone(timedelta(hours=5)))
    assert event(moment=east)["timestamp"] == event()["timestamp"]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"moment": MOMENT.replace(tzinfo=None)}, UsageError),
        ({"timers": {"a": -1}}, UsageError),
        ({"document": {"a": float("nan")}}, FormatError),
        ({"document": {"a": "\ud800"}}, FormatError),
    ],
)
def test_what_cannot_be_logged_is_refused(changed: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        event(**changed)
