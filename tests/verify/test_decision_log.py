"""A gate's decisions as OPA logs them: its field names, and nothing of the input unless asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from history import POLICY, History
from skillwarrant_format.digest import Digest
from skillwarrant_format.strict_json import canonical
from skillwarrant_verify import Context
from skillwarrant_verify.review.decision_log import decision_event
from skillwarrant_verify.review.past import PastDecision, past_decisions

LABELS = {"id": "gate-1"}


@pytest.fixture
def past(tmp_path: Path) -> tuple[PastDecision, ...]:
    """One that was allowed, with a warning, and one that was denied."""
    found = History(tmp_path)
    policy = found.policy(POLICY.replace("max_age_days = 30", 'max_age_days = 1\nmode = "warn"'), "old")
    found.decided(policy)
    found.decided(found.policy(POLICY, "strict"), context=Context(environment="staging"))
    return past_decisions(found.log)


def test_the_fields_are_those_of_opas_decision_log(past: tuple[PastDecision, ...]) -> None:
    allowed, denied = (decision_event(one, labels=LABELS) for one in past)
    assert list(allowed) == [
        *("labels", "decision_id", "bundles", "path", "input", "masked", "result", "timestamp"),
    ]
    assert (allowed["labels"], allowed["path"]) == (LABELS, "skillwarrant/decision")
    assert allowed["bundles"] == {past[0].policy.name: {"revision": "1"}}
    assert allowed["timestamp"] == past[0].time.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert isinstance(allowed["result"], dict)
    assert isinstance(denied["result"], dict)
    assert (allowed["result"]["outcome"], denied["result"]["outcome"]) == ("allow", "deny")
    assert [one["code"] for one in allowed["result"]["warn"]] == ["manifest.age"]  # type: ignore[index, union-attr, call-overload]
    assert allowed["result"]["deny"] == []
    assert [one["code"] for one in denied["result"]["deny"]] == ["environment.allowed"]  # type: ignore[index, union-attr, call-overload]
    assert denied["result"]["record"] == {"seq": past[1].seq, "activation": past[1].activation}


def test_the_input_is_not_in_it_unless_asked(past: tuple[PastDecision, ...]) -> None:
    one, document = past[0], past[0].document
    assert document is not None
    event = decision_event(one, labels=LABELS)
    assert (event["input"], event["masked"]) == (
        {"digest": {"sha256": Digest.of(canonical(document)).hex}},
        ["/input"],
    )
    shown = decision_event(one, labels=LABELS, show_input=True)
    assert shown["input"] == document
    assert "masked" not in shown


@pytest.mark.parametrize("show", [True, False])
def test_an_input_that_is_not_kept_is_erased_and_not_made_up(past: tuple[PastDecision, ...], show: bool) -> None:
    event = decision_event(replace(past[0], document=None), labels=LABELS, show_input=show)
    assert "input" not in event
    assert event["erased"] == ["/input"]


def test_each_decision_has_an_id_of_its_own_and_always_the_same(past: tuple[PastDecision, ...]) -> None:
    """Those of a stack share the activation's."""
    stack = (past[0], replace(past[0], adapter="another"), past[1])
    ids = [str(decision_event(one, labels=LABELS)["decision_id"]) for one in stack]
    assert len(set(map(UUID, ids))) == 3
    assert ids == [decision_event(one, labels={}, show_input=True)["decision_id"] for one in stack]


def test_an_event_is_a_line_of_json(past: tuple[PastDecision, ...]) -> None:
    for one in past:
        event = decision_event(one, labels=LABELS)
        assert json.loads(json.dumps(event, allow_nan=False)) == event
