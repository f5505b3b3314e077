"""What Rego rules give is a denial, a warning or nothing; whatever else they give denies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules import codes, files, judged
from skillwarrant_format.errors import FormatError, UsageError
from skillwarrant_format.strict_json import JsonValue
from skillwarrant_verify.rego.answer import MAX_FINDINGS, answer
from skillwarrant_verify.rego.document import encode
from skillwarrant_verify.rego.lint import RegoRule
from skillwarrant_verify.rego.modules import RegoAnswer, RegoFinding, RegoModules

RULE = RegoRule(path="data.skillwarrant.deny", where=("a.rego:2",))


def test_a_message_is_a_denial_with_its_rule_and_place() -> None:
    found = judged(
        'deny contains "the region is not ours" if input.context.region != "eu"', {"context": {"region": "us"}}
    )
    assert found.denials == (
        RegoFinding(
            code="rego.deny",
            message="the region is not ours",
            rule="data.skillwarrant.deny",
            where=("policy.rego:2",),
        ),
    )
    assert found.warnings == ()
    assert found.evaluated == ("data.skillwarrant.deny",)


def test_nothing_said_is_no_denial() -> None:
    found = judged('deny contains "no" if input.context.region != "eu"', {"context": {"region": "eu"}})
    assert (found.denials, found.warnings) == ((), ())


def test_a_message_may_bring_its_own_code_and_details() -> None:
    found = judged('violation contains {"code": "acme.region-7", "msg": "no", "details": {"a": [1, null]}}')
    (finding,) = found.denials
    assert (finding.code, finding.message, finding.details) == ("acme.region-7", "no", {"a": [1, None]})


def test_each_form_of_rule_is_evaluated_by_itself() -> None:
    source = {
        "a.rego": 'deny contains "1"\ndeny_a contains "2"\nviolation contains "3"',
        "aa.rego": 'warn contains "4"\nwarn_b contains "5"',
        "b.rego": 'package skillwarrant.b.c\ndeny contains "6"\nviolation_x contains {"msg": "7"}',
    }
    found = judged(source)
    assert sorted(finding.message for finding in found.denials) == ["1", "2", "3", "6", "7"]
    assert sorted(finding.message for finding in found.warnings) == ["4", "5"]
    assert [finding.code for finding in found.warnings] == ["rego.warn", "rego.warn_b"]
    assert len(found.evaluated) == 7


def test_the_configuration_is_data_config() -> None:
    source = 'deny contains "large" if input.adapter.size > data.config.limits.size'
    document = {"adapter": {"size": 11}}
    assert codes(judged(source, document, {"limits": {"size": 10}})) == ["rego.deny"]
    assert codes(judged(source, document, {"limits": {"size": 11}})) == []


def test_the_configuration_may_change_between_evaluations() -> None:
    with RegoModules.load(files('deny contains "large" if input.now > data.config.most')) as modules:
        found = [codes(modules.evaluate({"now": 5}, {"most": most})) for most in (4, 5, 4, 9)]
    assert found == [["rego.deny"], [], ["rego.deny"], []]


def test_an_input_leaves_nothing_behind() -> None:
    with RegoModules.load(files('deny contains "a" if object.get(input.context, "a", false)')) as modules:
        found = [
            codes(modules.evaluate({"context": context}, {})) for context in ({"a": True}, {}, {"a": True}, {})
        ]
    assert found == [["rego.deny"], [], ["rego.deny"], []]


@pytest.mark.parametrize(
    ("allow", "denied"),
    [
        ("allow := true", []),
        ("default allow := false\nallow if input.now == 1", []),
        ("default allow := false\nallow if input.now == 2", ["rego.allow"]),
        ("allow if input.now == 2", ["rego.undefined"]),
        ('allow := "true"', ["rego.malformed"]),
        ("allow := 1", ["rego.malformed"]),
        ("allow := {true}", ["rego.malformed"]),
        ("allow := null", ["rego.malformed"]),
        ('allow := "<undefined>"', ["rego.undefined"]),
    ],
)
def test_allow_must_be_true_and_nothing_else(allow: str, denied: list[str]) -> None:
    assert codes(judged(allow, {"now": 1})) == denied


def test_allow_takes_no_denial_away() -> None:
    assert codes(judged('allow := true\ndeny contains "no"')) == ["rego.deny"]


def test_a_package_without_denials_erases_none_of_another() -> None:
    source = {"a.rego": 'deny contains "no"', "b.rego": 'package skillwarrant.b\nwarn contains "hm"'}
    assert codes(judged(source)) == ["rego.deny"]


def test_an_allow_below_does_not_decide_for_the_package_above() -> None:
    source = {"a.rego": "default allow := false", "b.rego": "package skillwarrant.b\nallow := true"}
    assert codes(judged(source)) == ["rego.allow"]


# what a rule gives and what is made of it


@pytest.mark.parametrize(
    "message",
    [
        "1",
        "0",
        "true",
        "false",
        "null",
        '""',
        '" \\n"',
        "[]",
        '["no"]',
        '{"no"}',
        "{}",
        '{"message": "no"}',
        '{"msg": ""}',
        '{"msg": 5}',
        '{"msg": null}',
        '{"msg": ["no"]}',
        '{"msg": "no", "code": 5}',
        '{"msg": "no", "code": ""}',
        '{"msg": "no", "code": "a b"}',
        '{"msg": "no", "code": null}',
        '{"msg": "no", "severity": "low"}',
        '{"code": "a", "details": 1}',
        "18446744073709551616",
        "9007199254740993",
        '"a\\u0000b"',
        '{"a\\u0000": 1}',
        'concat("", [x | some i in numbers.range(1, 5000); x := "a"])',
    ],
)
@pytest.mark.parametrize("rule", ["deny", "warn"])
def test_a_message_that_cannot_be_read_denies(rule: str, message: str) -> None:
    """Of a warning too: whoever wrote it meant something."""
    source = f"{rule} contains {message}" + ("" if rule == "deny" else '\ndeny contains "x" if false')
    assert codes(judged(source)) == ["rego.malformed"]


def test_what_cannot_be_read_hides_nothing_else() -> None:
    found = judged('deny contains 5\ndeny contains "no"\nwarn contains "hm"\nwarn contains null')
    assert sorted(codes(found)) == ["rego.deny", "rego.malformed", "rego.malformed"]
    assert [finding.message for finding in found.warnings] == ["hm"]


@pytest.mark.parametrize("value", [None, True, False, 0, 1.5, "no", "", {}, {"no": True}])
@pytest.mark.parametrize("name", ["deny", "warn_x", "violation"])
def test_a_result_that_is_no_list_denies(name: str, value: JsonValue) -> None:
    rule = RegoRule(path=f"data.skillwarrant.{name}", where=())
    assert codes(answer([rule], [(rule, value)])) == ["rego.malformed"]


def test_too_many_messages_are_one_denial() -> None:
    found = judged(f'deny contains sprintf("%d", [x]) if some x in numbers.range(1, {MAX_FINDINGS + 1})')
    assert codes(found) == ["rego.malformed"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_whatever_a_deny_rule_gives_is_a_denial_unless_it_is_an_empty_list(value: Any) -> None:
    assert bool(answer([RULE], [(RULE, value)]).denials) == (value != [])


def test_an_answer_is_no_truth_value_and_never_of_nothing() -> None:
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(answer([RULE], [(RULE, [])]))
    with pytest.raises(ValueError, match="no rule"):
        RegoAnswer(denials=(), warnings=(), evaluated=())


# what fails open in Rego, and must not here


@pytest.mark.parametrize(
    ("body", "document"),
    [
        ('input.context.region != "eu"', {"context": {}}),
        ('input.context.region != "eu"', {"context": None}),
        ('input.context.region != "eu"', {}),
        ('input.context.region != "eu"', {"context": [{"region": "us"}]}),
        ("input.adapter.size > 5", {"adapter": {}}),
        ("input.now > data.config.most", {"now": 1}),
        ("some f in input.adapter.files; f.size > 5", {"adapter": {"files": "many"}}),
        ("some f in input.adapter.files; f.size > 5", {"adapter": {"files": None}}),
        ("input.adapter.files[_].size > 5", {"adapter": {"files": "many"}}),
        ("input.adapter.files[_].size > 5", {"adapter": {"files": 3}}),
        ('"x" in input.adapter.files', {"adapter": {"files": "x"}}),
        ("every f in input.adapter.files { f.size > 5 }", {"adapter": {"files": 5}}),
        ('startswith(input.now, "x")', {}),
        ("helper", {}),
        ("lookup(input.manifest)", {}),
    ],
)
def test_what_is_not_there_denies_by_its_path(body: str, document: Mapping[str, Any]) -> None:
    helpers = 'helper if input.now == "x"\nlookup(x) if x.a == 1\nwarn contains "y" if { helper; lookup({}) }\n'
    found = judged(f'{helpers}deny contains "no" if {{ {body} }}', document)
    missing = [finding for finding in found.denials if finding.code == "rego.missing"]
    assert missing
    assert missing[0].where[0].startswith("policy.rego:")
    assert missing[0].rule.startswith("data.skillwarrant.")
    assert found.evaluated == ("data.skillwarrant.deny", "data.skillwarrant.warn")
    assert "object.get" in missing[0].message


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, "NoneType"),
        ("package skillwarrant", "str"),
        ([b"package skillwarrant"], "list"),
        ({"a.rego": "package skillwarrant"}, "str"),
        ({"a.rego": None}, "NoneType"),
        ({"a.rego": 5}, "int"),
        ({5: b"package skillwarrant"}, "int"),
        ({b"a.rego": b"package skillwarrant"}, "bytes"),
    ],
)
def test_files_of_another_type_are_misuse(given: Any, found: str) -> None:
    with pytest.raises(UsageError, match=rf"has the wrong type: expected .*, found {found}\. Pass "):
        RegoModules.load(given)


@pytest.mark.parametrize("processes", [0, -1, "1", 1.0, True, None])
def test_a_number_of_processes_that_is_none_is_misuse(processes: Any) -> None:
    with pytest.raises(UsageError, match="process"):
        RegoModules.load(files('deny contains "x"'), processes=processes)


def test_every_of_nothing_is_true_so_allow_needs_a_count() -> None:
    """Rego's own meaning, and documented; what is not a list at all is refused."""
    source = "allow if every f in input.adapter.files { f.signed }"
    assert codes(judged(source, {"adapter": {"files": []}})) == []
    assert codes(judged(source, {"adapter": {"files": "none"}})) == ["rego.missing", "rego.undefined"]
    assert codes(
        judged(f'{source}\ndeny contains "none" if count(input.adapter.files) == 0', {"adapter": {"files": []}})
    )


@pytest.mark.parametrize(
    "body",
    [
        'startswith(input.now, "x")',
        "lower(input.now)",
        "input.now % 0 == 1",
        "1 / 0",
        'to_number("a") > 1',
        'semver.compare("1.0", "1.0.0") > 0',
        'json.unmarshal("nope")',
        "count(input.now) > 1",
        'sprintf("%d", ["a", "b"])',
        'regex.match("(", "a")',
    ],
)
def test_an_error_in_a_rule_denies_and_says_where(body: str) -> None:
    found = judged(f'deny contains "no" if {{ {body} }}\ndeny_other contains "other"', {"now": 5})
    assert sorted(codes(found)) == ["rego.deny_other", "rego.error"]
    (error,) = (finding for finding in found.denials if finding.code == "rego.error")
    assert "policy.rego:2" in error.message


def test_an_error_in_a_warning_denies() -> None:
    assert codes(judged('deny contains "x" if false\nwarn contains "x" if 1 / 0')) == ["rego.error"]


def test_an_error_with_another_input_in_place_leaves_no_trace() -> None:
    source = (
        'deny_a contains "x" if helper with input as {"now": 0} with data.config as {"most": 0}\n'
        'helper if 1 / input.now > data.config.most\ndeny_b contains "y" if input.now > data.config.most'
    )
    with RegoModules.load(files(source)) as modules:
        for most, denied in ((5, ["rego.error"]), (3, ["rego.error", "rego.deny_b"]), (5, ["rego.error"])):
            assert set(codes(modules.evaluate({"now": 4}, {"most": most}))) == set(denied)


def test_two_values_for_one_rule_deny() -> None:
    source = 'region := "a" if input.now\nregion := "b" if input.now\ndeny contains "x" if region == "c"'
    assert codes(judged(source, {"now": 1})) == ["rego.error"]


def test_the_configuration_cannot_stand_in_for_a_rule() -> None:
    config = {"deny": [], "skillwarrant": {"deny": []}, "config": {}}
    assert codes(judged('deny contains "no"', {"deny": []}, config)) == ["rego.deny"]


@pytest.mark.parametrize(
    ("rule", "same"),
    [
        ('input.now == "a"', "a\x00b"),
        ('input.now == "\\u00e9"', "e\u0301"),
        ("input.now == 1", True),
        ("input.now == 1", "1"),
        ("input.now == null", False),
        ("input.now == 9007199254740990", 9007199254740991),
    ],
)
def test_values_that_look_alike_are_not_the_same(rule: str, same: JsonValue) -> None:
    try:
        found = judged(f'deny contains "differs" if not {rule}', {"now": same})
    except FormatError:
        assert "\x00" in str(same)
    else:
        assert codes(found) == ["rego.deny"]


# what goes in


@pytest.mark.parametrize(
    "value",
    [
        "\ud800",
        {"\udfff": 1},
        float("nan"),
        float("inf"),
        2**53,
        -(2**64),
        10**400,
        "a\x00",
        b"bytes",
        {1: 2},
        {None: 1},
        object(),
        {1, 2},
    ],
    ids=lambda value: "object" if type(value) is object else repr(value)[:40],
)
@pytest.mark.parametrize("place", ["document", "config"])
def test_what_json_cannot_say_is_refused_before_the_engine(place: str, value: Any) -> None:
    with RegoModules.load(files('deny contains "x" if false')) as modules, pytest.raises(FormatError):
        modules.evaluate(*({"now": value}, {}) if place == "document" else ({}, {"now": value}))


def test_depth_is_refused_before_the_engine() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(FormatError):
        encode({"now": deep}, "input")


@settings(max_examples=150)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53) + 1, 2**53 - 1)
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_what_is_encoded_reads_back_as_itself(value: Any) -> None:
    try:
        data = encode({"value": value}, "input")
    except FormatError:
        assert "\\u0000" in json.dumps(value) or "\\ud" in json.dumps(value)
    else:
        assert json.loads(data) == {"value": value}


def test_tuples_are_lists() -> None:
    assert codes(judged('deny contains "x" if input.now == [1, 2]', {"now": (1, 2)})) == ["rego.deny"]


def test_the_digest_is_of_names_and_bytes() -> None:
    texts = ['deny contains "x"', 'deny contains "x" ', 'deny contains "x"']
    names = ["a.rego", "a.rego", "b.rego"]
    found = set()
    for name, text in zip(names, texts, strict=True):
        with RegoModules.load(files({name: text})) as modules:
            found.add(modules.digest)
    assert len(found) == 3
