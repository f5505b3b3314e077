"""The input document: the whole of what is decided from, there and back, and never a way to load anything."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import strategies
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

import idp
import input_strategies
from builders import NOW, changed, evidence, facts, manifest, verified
from skillwarrant_format import schemas
from skillwarrant_format.errors import FormatError, PolicyDenied, UsageError
from skillwarrant_format.manifest import PREDICATE_TYPE, Deployment
from skillwarrant_format.strict_json import canonical, loads_object
from skillwarrant_verify import Context
from skillwarrant_verify.deciding.composition import Companion
from skillwarrant_verify.deciding.decide import Facts, decide, decide_document
from skillwarrant_verify.deciding.decision import Allowed
from skillwarrant_verify.deciding.decision_input import (
    API_VERSION,
    for_record,
    from_document,
    input_digest,
    to_document,
)
from skillwarrant_verify.deciding.facts import History
from skillwarrant_verify.deciding.same_document import check_same
from skillwarrant_verify.policy import Policy
from test_decide import policy

SLOW = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def full() -> Facts:
    """Facts with a value in every field."""
    return facts(
        context=Context(
            environment="production",
            region="eu",
            operator=idp.check(idp.mint(groups=["ops"])),
            system_prompt="be kind",
            policy_class="general",
            session={"tenant": "acme"},
        ),
        companions=(
            Companion(adapter_name="b", manifest=manifest(), weight=0.5),
            Companion(adapter_name="c", manifest=None),
        ),
        versions={"peft": "0.21.2"},
        alterations=("forward-hook: model",),
        weight=0.5,
        evidence=(evidence(),),
        history=History(highest="0.9.0"),
    )


def document(found: Facts | None = None) -> dict[str, Any]:
    return json.loads(canonical(to_document(found or full())))  # type: ignore[no-any-return]


@SLOW
@given(input_strategies.facts)
def test_there_and_back_gives_the_same_document_and_the_same_digest(found: Facts) -> None:
    written = canonical(to_document(found))
    again = from_document(loads_object(written, what="input"))
    assert canonical(to_document(again)) == written
    assert input_digest(again) == input_digest(found)
    assert again.verified is None


@SLOW
@given(input_strategies.facts)
def test_a_document_is_decided_as_what_it_was_made_from(found: Facts) -> None:
    one, other = decide(policy(), found), decide_document(policy(), to_document(found))
    assert other.checked == one.checked
    assert other.outcome == one.outcome


@pytest.mark.parametrize("found", [facts(), full()])
def test_real_facts_are_decided_as_their_document(found: Facts) -> None:
    one, other = decide(policy(), found), decide_document(policy(), document(found))
    assert (one.outcome, one.checked, one.inputs) == (other.outcome, other.checked, other.inputs)


def test_no_document_is_a_way_to_load_anything() -> None:
    supposed = decide_document(policy(), document(facts()))
    assert supposed.outcome == "allow"
    with pytest.raises(UsageError, match="hypothetical"):
        supposed.require()
    with pytest.raises(UsageError, match="hypothetical"):
        Allowed(supposed)
    assert isinstance(decide(policy(), facts()).require(), Allowed)


def test_a_document_with_another_manifest_is_hypothetical_even_if_it_was_made_of_real_facts() -> None:
    again = from_document(document(facts()))
    with pytest.raises(UsageError):
        decide(policy(), again).require()


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in [(*at, key), *paths(item, (*at, key))]]


def without(value: Any, path: tuple[Any, ...]) -> Any:
    found = copy.deepcopy(value)
    place = found
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return found


REQUIRED = (
    *("apiVersion", "now", "manifest", "warrant", "adapter", "base", "context", "companions", "evidence"),
    *("warrant.signer", "warrant.files", "warrant.log", "warrant.signedAt", "warrant.bundle", "warrant.statement"),
    *("base.alterations", "adapter.hazards", "adapter.changesBase", "adapter.bytes", "manifest.policyClass"),
    *("context.environment", "context.operator.verified", "context.operator.expiresAt"),
)


@pytest.mark.parametrize("path", REQUIRED)
def test_a_required_field_that_is_missing_is_denied_and_named(path: str) -> None:
    decision = decide_document(policy(), without(document(), tuple(path.split("."))))
    (finding,) = decision.reasons
    assert (decision.outcome, finding.code) == ("deny", "input.malformed")
    assert f"input.{path} is missing" in str(finding)
    assert finding.path == path
    with pytest.raises(PolicyDenied):
        decision.require()


@pytest.mark.parametrize("path", [path for path in paths(document()) if isinstance(path[-1], str)])
def test_no_field_can_be_null_or_of_another_type(path: tuple[Any, ...]) -> None:
    free = ("claims", "predicate")
    assume_fixed = not any(key in path[:-1] for key in free)
    if not assume_fixed:
        return
    for junk in (None, [[]], {"x": {}}):
        found = document()
        place = found
        for key in path[:-1]:
            place = place[key]
        if path[-1] in free and isinstance(junk, dict):
            continue
        place[path[-1]] = junk
        assert [reason.code for reason in decide_document(policy(), found).reasons] == ["input.malformed"], path


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ((), "x"),
        ((), "Now"),
        (("manifest",), "x"),
        (("manifest", "skill"), "x"),
        (("manifest", "deployment"), "notafter"),
        (("warrant",), "verified"),
        (("warrant", "log"), "x"),
        (("warrant", "signer"), "x"),
        (("adapter",), "x"),
        (("base",), "x"),
        (("base", "fingerprint"), "x"),
        (("context",), "operators"),
        (("context", "operator"), "x"),
        (("companions", 1), "x"),
        (("evidence", 0), "x"),
        (("history",), "x"),
    ],
)
def test_a_field_that_nobody_reads_is_denied(path: tuple[Any, ...], key: str) -> None:
    found = document()
    place = found
    for step in path:
        place = place[step]
    place[key] = "x"
    decision = decide_document(policy(), found)
    assert [reason.code for reason in decision.reasons] == ["input.malformed"]
    assert key in str(decision.reasons[0])


@pytest.mark.parametrize(
    "value",
    [None, True, 0, "", "x", [], {}, [document(facts())], {"apiVersion": "skillwarrant.dev/policy-input/v2"}],
)
def test_what_is_no_document_at_all_is_denied(value: Any) -> None:
    decision = decide_document(policy(), value)
    assert [reason.code for reason in decision.reasons] == ["input.malformed"]
    assert decision.inputs is None


@SLOW
@given(strategies.mutants(st.just(document())))
def test_a_mutant_is_denied_or_is_the_one_document_of_its_facts(mutant: Any) -> None:
    try:
        found = from_document(mutant)
    except FormatError as refused:
        message = refused.message
    else:
        assert to_document(found) == mutant
        return
    assert message.startswith("input")


def deep(levels: int) -> Any:
    found: Any = "x"
    for _ in range(levels):
        found = {"x": found}
    return found


UNPARSED = [
    float("inf"),
    float("nan"),
    1e17,
    2**60,
    "\ud800",
    "a\x00b",
    {1: "x"},
    {"\ud800": "x"},
    {"x"},
    b"x",
    deep(61),
    deep(100),
    deep(100_000),
    [[float("-inf")]],
]


@pytest.mark.parametrize("value", UNPARSED, ids=range(len(UNPARSED)))
@pytest.mark.parametrize("place", ["claims", "predicate"])
def test_what_no_parser_gives_is_denied_and_raises_nothing(value: Any, place: str) -> None:
    found = document()
    holder = found["context"]["operator"] if place == "claims" else found["evidence"][0]
    holder[place] = {"x": value}
    decision = decide_document(policy(), found)
    assert [reason.code for reason in decision.reasons] == ["input.malformed"]
    assert decision.inputs is None


class Text(str):
    __slots__ = ()


class Number(int):
    __slots__ = ()


class Object(dict[str, Any]):
    """Says that it is whatever it is compared with."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (("context", "environment"), Text),
        (("context", "operator", "claims", "sub"), Text),
        (("evidence", 0, "predicateType"), Text),
        (("adapter", "rank"), Number),
        (("manifest", "adapter", "parameters"), Number),
    ],
)
def test_a_value_of_a_type_of_ones_own_is_denied(path: tuple[Any, ...], kind: Callable[[Any], Any]) -> None:
    found = document()
    place = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = kind(place[path[-1]])
    assert [reason.code for reason in decide_document(policy(), found).reasons] == ["input.malformed"]


@pytest.mark.parametrize("place", ["context", "manifest", "warrant"])
def test_what_says_that_it_is_as_it_must_be_is_not_believed(place: str) -> None:
    found = document()
    found[place] = Object({**found[place], "more": "x"})
    assert [reason.code for reason in decide_document(policy(), found).reasons] == ["input.malformed"]


NUMBERS = [("adapter", "scaling"), ("adapter", "bytes"), ("warrant", "log", "index"), ("weight",)]


@pytest.mark.parametrize("path", NUMBERS)
@pytest.mark.parametrize("value", [float("inf"), float("nan"), 2**60])
def test_a_number_that_json_cannot_hold_is_denied(path: tuple[str, ...], value: Any) -> None:
    found = document()
    place = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert [reason.code for reason in decide_document(policy(), found).reasons] == ["input.malformed"]


@pytest.mark.parametrize(
    "wrap", [lambda one: one, lambda one: {"k": one}, lambda one: {"z": "t", "k": [{}, [one]]}]
)
@pytest.mark.parametrize(("truth", "number"), [(True, 1), (True, 1.0), (False, 0), (False, 0.0), (False, -0.0)])
def test_true_is_not_one_and_false_is_not_zero_though_python_finds_them_equal(
    truth: bool, number: float, wrap: Callable[[Any], Any]
) -> None:
    for one, other in ((truth, number), (number, truth)):
        with pytest.raises(FormatError, match="is not written as it must be"):
            check_same(wrap(one), wrap(other), "input")
    check_same(wrap(truth), wrap(truth), "input")
    check_same(wrap(number), wrap(number), "input")


def test_a_truth_and_a_number_that_changed_places_are_found() -> None:
    with pytest.raises(FormatError, match=r"input\.[ab] is not written as it must be"):
        check_same({"a": True, "b": 1}, {"a": 1, "b": True}, "input")
    check_same({"a": True, "b": 1}, {"b": 1, "a": True}, "input")


@pytest.mark.parametrize("wanted", [{}, [], {"k": {}}, {"k": None}, None, 1, {"k": [[]]}])
def test_a_document_of_another_shape_is_refused_as_that(wanted: Any) -> None:
    with pytest.raises(FormatError):
        check_same({"k": [1, [True]]}, wanted, "input")


def test_a_document_with_the_same_digest_says_the_same() -> None:
    one = facts()
    for other in (changed(one, weight=1.0), changed(one, versions=None), changed(one, history=History())):
        assert input_digest(other) != input_digest(one)
        assert input_digest(from_document(to_document(other))) == input_digest(other)


def test_fractions_of_a_second_decide_nothing() -> None:
    fine = facts(now=NOW.replace(microsecond=999_999), verified=verified(signed_at=NOW.replace(microsecond=7)))
    assert fine.now == fine.signed_at == NOW
    assert decide(policy(), fine).checked == decide_document(policy(), to_document(fine)).checked


def test_what_is_kept_beside_a_log_names_nobody() -> None:
    kept = canonical(for_record(document())).decode()
    for secret in ("spiffe://acme.example/serving", "tenant", "acme-secret", "be kind", "groups"):
        assert secret not in kept
    again = from_document(loads_object(kept.encode(), what="input"))
    assert again.context.redacted
    assert canonical(for_record(to_document(again))).decode() == kept


def test_a_document_that_names_nobody_is_kept_as_it_is() -> None:
    found = to_document(facts())
    assert for_record(found) is found


def test_what_was_withheld_is_not_checked_where_it_matters_and_decided_where_it_does_not() -> None:
    kept = for_record(document())
    asking = policy(
        publisher=f"""
[operators]
require = "verified"
[[operators.issuers]]
issuer = "{idp.ISSUER}"
audience = "{idp.AUDIENCE}"
subjects = ["{idp.CLAIMS["sub"]}"]
"""
    )
    open_to_all = {finding.code: finding.outcome for finding in decide_document(policy(), kept).checked}
    assert open_to_all["operator.verified"] == open_to_all["operator.allowed"] == "proved"
    named = {finding.code: finding.outcome for finding in decide_document(asking, kept).checked}
    assert named["operator.verified"] == "not-checked"
    bound = manifest(deployment=Deployment(environments=("production",), operators=("x",)))
    listed = for_record(document(facts(bound, context=Context(environment="production", operator="x"))))
    assert {finding.code: finding.outcome for finding in decide_document(policy(), listed).checked}[
        "operator.allowed"
    ] == "not-checked"


def test_a_withheld_name_cannot_be_claimed_by_who_withholds_nothing() -> None:
    found = document()
    del found["context"]["operator"]["name"]
    assert [reason.code for reason in decide_document(policy(), found).reasons] == ["input.malformed"]


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), float("-inf"), 1e300])
def test_a_weight_that_json_cannot_hold_is_an_input_too(weight: float) -> None:
    found = facts(weight=weight)
    written = document(found)
    assert written["weight"] == repr(weight)
    assert decide_document(policy(), written).outcome == decide(policy(), found).outcome


@pytest.mark.parametrize("weight", ["0.5", "NaN", "Infinity", "1_0", " nan", "1e3", True, None, [], ""])
def test_another_spelling_of_a_weight_is_denied(weight: Any) -> None:
    found = document() | {"weight": weight}
    assert [reason.code for reason in decide_document(policy(), found).reasons] == ["input.malformed"]


@given(st.sampled_from(paths(document())))
def test_whatever_is_left_out_no_bad_document_raises(path: tuple[Any, ...]) -> None:
    assume(path)
    assert decide_document(policy(), without(document(), path)).outcome in {"allow", "deny", "undecided"}


def schema() -> Draft202012Validator:
    known = [
        (found["$id"], Resource.from_contents(found)) for found in map(schemas.load, (PREDICATE_TYPE, API_VERSION))
    ]
    return Draft202012Validator(schemas.load(API_VERSION), registry=Registry().with_resources(known))


SCHEMA = schema()


@SLOW
@given(input_strategies.facts)
def test_every_document_is_valid_under_the_schema(found: Facts) -> None:
    SCHEMA.validate(document(found))
    SCHEMA.validate(json.loads(canonical(for_record(document(found)))))


@SLOW
@given(strategies.mutants(st.just(document())))
def test_what_the_parser_takes_the_schema_takes(mutant: Any) -> None:
    try:
        from_document(mutant)
    except FormatError:
        return
    SCHEMA.validate(mutant)


@pytest.mark.parametrize("path", [path for path in paths(document()) if isinstance(path[-1], str)])
def test_what_the_parser_misses_the_schema_misses(path: tuple[Any, ...]) -> None:
    found = without(document(), path)
    if not SCHEMA.is_valid(found):
        with pytest.raises(FormatError):
            from_document(found)


def test_the_page_has_every_field() -> None:
    page = (
        (Path(__file__).parents[2] / "docs/reference/policy-input.md").read_text().partition("## What is kept")[0]
    )
    rows = re.findall(r"^\| ((?:`[A-Za-z.\[\]]+`(?:, )?)+) \|", page, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    digests = ("bundle", "statement", "digest", "systemPrompt")
    free = ("manifest", "claims", "session", "predicate", "versions", *digests)
    wanted = set()
    for path in paths(document() | {"context": {**document()["context"], "redacted": True}}):
        if any(step in free for step in path[:-1]) or isinstance(path[-1], int):
            continue
        wanted.add("".join("[]" if isinstance(step, int) else f".{step}" for step in path).removeprefix("."))
    assert wanted - named == set()
    optional = {"adapter.rank", "adapter.scaling", "adapter.taskType", "warrant.log.integratedTime"}
    assert named - wanted - optional == {"warrant.signer.claims"}


def test_the_engine_needs_no_policy_file_to_refuse() -> None:
    with pytest.raises(FormatError, match=r"input\.manifest is missing"):
        from_document({"apiVersion": "skillwarrant.dev/policy-input/v1"})
    assert isinstance(policy(), Policy)
