"""Whatever a document is, it is decided: what no JSON holds, or is too large or deep, is denied as malformed."""

from __future__ import annotations

from copy import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from both_engines import HERE, document
from builders import changed, facts, manifest
from mutants import Path as Place
from mutants import paths
from skillwarrant_format.manifest import Composition
from skillwarrant_verify.deciding.composition import Companion
from skillwarrant_verify.deciding.decide import decide, decide_document
from skillwarrant_verify.deciding.decision_input import from_document, to_document
from skillwarrant_verify.deciding.explain import explain
from skillwarrant_verify.policy import Policy
from test_decide import policy

POLICY = Policy.load(HERE / "policy.toml")
PLAIN: Any = document()


def nested(depth: int, kind: type) -> Any:
    found: Any = kind()
    for _ in range(depth):
        found = [found] if kind is list else {"a": found}
    return found


def circle() -> Any:
    found: list[Any] = []
    found.append(found)
    return found


class Text(str):
    __slots__ = ()


class Number(int):
    pass


NONSENSE: dict[str, Any] = {
    "a number of 401 digits": 10**400,
    "its negative": -(10**400),
    "a number that Python writes no more": 10**5000,
    "just too large": 2**53,
    "just too small": -(2**53),
    "nan": float("nan"),
    "inf": float("inf"),
    "a whole number that no text tells": 1e16,
    "a list without an end": circle(),
    "a deep list": nested(50_000, list),
    "a deep object": nested(500, dict),
    "half a character": "\ud800",
    "NUL": "a\x00",
    "bytes": b"x",
    "a set": {1},
    "an object with a number for a name": {1: 2},
    "an object with None for a name": {None: 1},
    "an object of Python's": object(),
    "a complex number": 1j,
    "another kind of text": Text("production"),
    "another kind of number": Number(3),
}


def put(given: Any, path: Place, value: Any) -> Any:
    if not path:
        return value
    found = copy(given)
    found[path[0]] = put(given[path[0]], path[1:], value)
    return found


@pytest.mark.parametrize("value", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_anywhere_is_denied_as_malformed(value: Any) -> None:
    for path in paths(PLAIN):
        decision = decide_document(POLICY, put(PLAIN, path, value))
        assert [reason.code for reason in decision.reasons] == ["input.malformed"], path
        (finding,) = decision.checked
        assert finding.fix
        assert len(str(finding)) < 3_000, path
        assert explain(decision).to_json()


def test_nonsense_in_place_of_the_document_is_too() -> None:
    for value in (*NONSENSE.values(), None, [], {}, "", 0, True):
        assert [reason.code for reason in decide_document(POLICY, value).reasons] == ["input.malformed"]


def test_long_texts_and_long_lists_are_bounded() -> None:
    for path in paths(PLAIN):
        for value in ("x" * 1_000_000, ["x"] * 100_001, {f"k{number}": 1 for number in range(70)}):
            decision = decide_document(POLICY, put(PLAIN, path, value))
            theirs = "claims" in path or path[:1] == ("evidence",)  # what others write, as they write it
            assert decision.outcome == "deny" or theirs, path
            assert all(len(str(finding)) < 3_000 for finding in decision.checked), path


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ANY = st.recursive(
    SCALARS | st.integers(-(10**6000), 10**6000) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=8,
)
PLACES = list(paths(PLAIN))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), ANY), min_size=1, max_size=3))
def test_no_document_raises(changes: list[tuple[Place, Any]]) -> None:
    found = PLAIN
    for path, value in changes:
        try:
            found = put(found, path, value)
        except (KeyError, IndexError, TypeError):  # a change before took the place away
            continue
    decision = decide_document(POLICY, found)
    assert decision.outcome in ("allow", "deny", "undecided")
    assert explain(decision).text()
    assert [finding.check() for finding in decision.checked]


@pytest.mark.parametrize(
    "weight", [10**400, -(10**400), 10**5000, float("nan"), float("inf")], ids=lambda weight: type(weight).__name__
)
def test_a_weight_beyond_every_number_is_denied_where_no_document_comes_between(weight: float) -> None:
    own = changed(facts(), weight=weight)
    assert [reason.code for reason in decide(policy(), own).reasons] == ["composition.weights"]
    assert [reason.code for reason in decide_document(policy(), to_document(own)).reasons] == [
        "composition.weights"
    ]
    company = Companion(adapter_name="a", manifest=manifest(composition=Composition(stackable=True)), weight=weight)
    alone = changed(facts(manifest(composition=Composition(stackable=True))), companions=(company,))
    assert [reason.code for reason in decide(policy(), alone).reasons] == ["composition.weights"]
    assert from_document(to_document(alone)).companions
