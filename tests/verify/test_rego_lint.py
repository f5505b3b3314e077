"""What reads like a rule and is none is refused when it is loaded, with its line and what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules import FUNCTIONS, Source, checked, files
from skillwarrant_format.errors import PolicyError
from skillwarrant_verify.rego.lint import RegoRule
from skillwarrant_verify.rego.modules import RegoModules
from skillwarrant_verify.rego.source import MAX_DEPTH, MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES, read_sources

DENY = 'deny contains "no"\n'

REFUSED: dict[str, tuple[Source, str]] = {
    # names of rules
    "denny": (
        'denny contains "x"\n' + DENY,
        r"policy.rego:2: nothing reads the rule denny \(did you mean deny\?\)",
    ),
    "deni": (DENY + 'deni contains "x"', r"deni \(did you mean deny\?\)"),
    "violations": ('violations contains "x"\n' + DENY, r"did you mean violation\?"),
    "violatoin": ('violatoin contains "x"\n' + DENY, r"did you mean violation\?"),
    "warning": ('warning contains "x"\n' + DENY, r"did you mean warn\?"),
    "Deny": ('Deny contains "x"\n' + DENY, r"nothing reads the rule Deny"),
    "denny_region": ('denny_region contains "x"\n' + DENY, r"did you mean deny\?"),
    "alow": ("default alow := false\n" + DENY, r"did you mean allow\?"),
    "conftest's exceptions": ('exception contains rules if { rules := ["deny"] }\n' + DENY, "nothing reads"),
    "a helper that only itself reads": (
        "f(x) := 1 if x == 2\nhelper := f(2)\n" + DENY,
        "nothing reads the rule help",
    ),
    "a helper that only a test reads": (
        "helper := 1\ntest_it if helper == 1\n" + DENY,
        "nothing reads the rule hel",
    ),
    "a function near deny": ('denny(x) := "x" if x\n' + DENY, r"did you mean deny\?"),
    # shapes
    "nothing that denies": ("helper := 1", "nothing reads the rule helper"),
    "no rule": ("", "no rule can deny"),
    "only warnings": ('warn contains "x"', "no rule can deny: write `deny contains"),
    "only tests": ("test_it if true", "no rule can deny"),
    "deny is a value": ('deny := "x"', "deny is no set of messages, write `deny contains message if"),
    "deny is a set value": ('deny := {"x"} if input.now', "no set of messages"),
    "deny is a condition": ('deny if input.now == "x"', "no set of messages"),
    "deny is an old-style set": ('deny["x"] if true', "no set of messages"),
    "deny is an object": ('deny["x"] := 1', "no set of messages"),
    "deny is a function": ('deny(x) := "y" if x', "no set of messages"),
    "deny has a default": (DENY + "default deny := false", "policy.rego:3: deny is no set of messages"),
    "deny has a default of true": (DENY + "default deny := true", "no set of messages"),
    "deny_list is a list": ('deny_list := ["a"]\n' + DENY, "deny_list is no set of messages"),
    "warn is a value": (DENY + 'warn := "x"', "warn is no set of messages"),
    "a part of deny": ('deny.region contains "x"\n' + DENY, "policy.rego:2: deny.region is no set of messages"),
    "deny within another rule": ('region.deny contains "x"\n' + DENY, "would not be evaluated"),
    "a variable part of deny": (
        'region[x].deny contains "x" if some x in ["a"]\n' + DENY,
        "would not be evaluated",
    ),
    "allow by default": ("default allow := true\nallow := false if input.now", "is not false until proved"),
    "allow is a function": ("allow(x) if x", "is not false until proved"),
    "allow is a set": ('allow contains "x"', "is not false until proved"),
    "a test that is a set": (DENY + 'test_it contains "x"', "test_it is no test"),
    "a test with a default": (DENY + "default test_it := true", "test_it is no test"),
    # packages
    "another package": ("package main\n" + DENY, r"policy.rego:1: package main is not evaluated, use skillwarrant"),
    "a package that begins like ours": ("package skillwarrants\n" + DENY, "is not evaluated"),
    "the configuration's package": ("package config\n" + DENY, "package config is not evaluated"),
    "the package of OPA itself": ("package system.log\n" + DENY, "is not evaluated"),
    "a package with a space": ('package skillwarrant["a b"]\n' + DENY, "is not evaluated"),
    "denials in a test module": ({"a.rego": DENY, "a_test.rego": DENY}, "a_test.rego:2: deny is in a test module"),
    "denials in a test package": (
        {"a.rego": DENY, "b.rego": "package skillwarrant_test\n" + DENY},
        "in a test module",
    ),
    "a rule and a package of one name": (
        {"a.rego": "a := 1\ndeny contains a", "b.rego": "package skillwarrant.a\n" + DENY},
        "the rule a has the name of a package",
    ),
    # names that do not exist
    "a misspelt input": ('deny contains "x" if inptu.now == 1', "undefined variable `inptu` is unsafe"),
    "a misspelt field of the input": (
        'deny contains "x" if input.contxt.region == "eu"',
        r"policy.rego:2: the input has no field contxt \(did you mean context\?\)",
    ),
    "a misspelt field in brackets": ('deny contains "x" if not input["manifst"].name', r"did you mean manifest\?"),
    "a misspelt field that is imported": ("import input.contxt\ndeny contains contxt.x", r"did you mean context\?"),
    "a field that only a test reads": ("test_it if input.contxt\n" + DENY, "no field contxt"),
    "data that nothing defines": (
        'deny contains "x" if data.skillwarrant.helpr == 1\nhelper := 1\ndeny contains "y" if helper == 2',
        r"nothing defines data.skillwarrant.helpr \(did you mean data.skillwarrant.helper\?\)",
    ),
    "data beside the configuration": ('deny contains "x" if data.confg.max == 1', "nothing defines data.confg.max"),
    "an import of nothing": ("import data.lib\n" + DENY, "nothing defines data.lib"),
    "a rule of an import": (
        {
            "a.rego": "import data.skillwarrant.lib\ndeny contains lib.nope",
            "lib.rego": "package skillwarrant.lib\n" + DENY,
        },
        "nothing defines data.skillwarrant.lib.nope",
    ),
    "all of data": ('deny contains "x" if { some k; data[k] }', "data is read as a whole"),
    "all of a package": ('deny contains "x" if data.skillwarrant[_]', "data.skillwarrant is read as a whole"),
    "an unknown function": (
        'deny contains "x" if { input.now == 1; countt([]) }',
        r"no function countt \(did you mean",
    ),
    "a value that is called": ('helper := 1\ndeny contains "x" if helper(1)', "function"),
    "a function of OPA alone": ('deny contains "x" if crypto.sha256("a") == "b"', "no function crypto.sha256"),
    # functions that look outside
    "the clock": ('deny contains "x" if time.now_ns() > 5', r"use time.parse_rfc3339_ns\(input.now\)"),
    "a request": ('deny contains "x" if http.send({"url": "http://a", "method": "get"})', "looks outside"),
    "the environment": ('deny contains "x" if opa.runtime().env.A', "looks outside"),
    "dice": ('deny contains "x" if rand.intn("a", 5) == 1', "looks outside"),
    "a new identifier": ('deny contains uuid.rfc4122("a")', "looks outside"),
    # names that hide others
    "an import called input": ("import data.config as input\ndeny contains input.x", "another input hides"),
    "an import called data": ("import input.manifest as data\ndeny contains data.x", "another data hides"),
    "a parameter called input": (
        'f(input) if input.now\ndeny contains "x" if f({"now": 1})',
        "another input hides",
    ),
    "a loop variable called input": ("deny contains input if { some input in [1] }", "another input hides"),
    "a key called data": ("deny contains data if { some data, x in [1] }", "another data hides"),
    "an every variable called input": (
        'deny contains "x" if every input in [1] { input.now }',
        "another input hides",
    ),
    "a declared variable called data": ("deny contains data if { some data; data = 1 }", "another data hides"),
    "a pattern with input": ("deny contains x if { [input, x] := [1, 2] }", "another input hides"),
    "a rule called count": ("count(x) := 0\ndeny contains count([1])", "the rule count hides a built-in function"),
    "a rule called time": ("time := 0\ndeny contains time", "the rule time hides"),
    "an import that hides a rule": (
        "import input.manifest as helper\nhelper := 1\ndeny contains helper",
        "the import helper hides the rule",
    ),
    # what does not compile
    "no package": ("# nothing\n", "package"),
    "the old syntax": ("deny { true }", "`if` keyword is required"),
    # what does not end
    "a cycle": ("a := b\nb := a\ndeny contains a", "in a circle: skillwarrant"),
    "a function that calls itself": (
        'f(x) := f(x)\ndeny contains "x" if f(1)',
        "circle: skillwarrant.f, skillwarrant.f",
    ),
    "a rule through its package": ('ok if data.skillwarrant.deny\ndeny contains "x" if not ok', "in a circle"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_deny_nothing_is_refused(case: str) -> None:
    source, why = REFUSED[case]
    with pytest.raises(Exception, match=why) as caught:
        checked(source)
    assert type(caught.value).__name__ in {"PolicyError", "EngineError"}


@pytest.mark.parametrize(
    ("case", "found"),
    [
        ("denny", "policy.rego:2: nothing reads the rule denny (did you mean deny?)"),
        ("a misspelt input", "policy.rego:2: use of undefined variable `inptu` is unsafe"),
        ("the old syntax", "policy.rego:2: `if` keyword is required before rule body"),
        ("a cycle", "rules read each other in a circle"),
    ],
)
def test_loading_says_where_and_what(case: str, found: str) -> None:
    with pytest.raises(PolicyError) as caught:
        RegoModules.load(files(REFUSED[case][0]))
    assert found in str(caught.value)


def test_an_expression_too_long_to_walk_is_refused() -> None:
    with pytest.raises(PolicyError, match="do not compile"):
        RegoModules.load(files(f"deny contains {'+'.join(['1'] * 9000)}"))


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(PolicyError) as caught:
        checked('denny contains "x"\ndeny := 1\nx := input.nwo')
    for part in ("nothing reads the rule denny", "deny is no set", "no field nwo", "nothing reads the rule x"):
        assert part in str(caught.value)


ACCEPTED: dict[str, Source] = {
    "every form": 'deny contains "a"\nviolation contains {"msg": "b"}\nwarn contains "c"\ndeny_a_1 contains "d"\n',
    "allow alone": "default allow := false\nallow if input.now",
    "helpers": 'ok if input.now\nby_name[x] := 1 if some x in ["a"]\ndeny contains "x" if { not ok; by_name.a }',
    "functions": 'f(x) := x + 1\nunused(x) := x\ndeny contains "x" if f(1) == 3',
    "a library": {
        "a.rego": 'import data.skillwarrant.lib\ndeny contains "x" if lib.bad("a")',
        "lib.rego": "package skillwarrant.lib\nbad(x) if x == data.skillwarrant.lib.worst\nworst := 1",
    },
    "a library under another name": {
        "a.rego": 'import data.skillwarrant.lib.names as n\ndeny contains "x" if n.bad["a"]',
        "lib.rego": "package skillwarrant.lib.names\nbad contains x if some x in data.config.bad",
    },
    "tests of a package": {
        "a.rego": 'deny contains "x" if input.now == "x"',
        "a_test.rego": (
            "package skillwarrant_test\nimport data.skillwarrant\nnow := 1\n"
            'test_it if count(skillwarrant.deny) == 0 with input as {"now": now}'
        ),
    },
    "a decision for OPA": 'deny contains "x"\ndecision := {"deny": deny}',
    "imports of Rego": 'import rego.v1\ndeny contains "x" if true',
    "a local name like a rule's": "x := 1\nf(y) := x if y\ng(f) := f\ndeny contains x if { x := g(f(1)) }",
    "a print": 'deny contains "x" if { print("here"); true }',
    "comments": '# METADATA\n# title: deny nothing {{{\npackage skillwarrant\n\ndeny contains "x" # [[[\n',
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_documented_is_accepted(case: str) -> None:
    assert checked(ACCEPTED[case]).rules


def test_rules_are_known_by_path_and_place() -> None:
    found = checked({"a.rego": 'deny contains "x"\ndeny contains "y"', "b.rego": "package skillwarrant.b\n" + DENY})
    assert found.rules == (
        RegoRule(path="data.skillwarrant.deny", where=("a.rego:2", "a.rego:3")),
        RegoRule(path="data.skillwarrant.b.deny", where=("b.rego:2",)),
    )
    assert found.packages == ("skillwarrant", "skillwarrant.b")


def required(source: str) -> dict[str, bool]:
    return {".".join(item.path): item.collection for item in checked(source).required}


def test_what_a_rule_reads_is_required() -> None:
    assert required('deny contains "x" if input.context.region != "eu"') == {"input.context.region": False}
    assert required('deny contains "x" if input["context"]["region"] != data.config.region') == {
        "data.config.region": False,
        "input.context.region": False,
    }


@pytest.mark.parametrize(
    "body",
    [
        "some x in input.adapter.files",
        "input.adapter.files[_].size > 5",
        "some i; input.adapter.files[i] == 5",
        "every x in input.adapter.files { x == 1 }",
        '"x" in input.adapter.files',
        "count([x | some x in input.adapter.files]) > 1",
    ],
)
def test_what_a_rule_goes_through_must_be_a_collection(body: str) -> None:
    assert required(f'deny contains "x" if {{ {body} }}') == {"input.adapter.files": True}


@pytest.mark.parametrize(
    "body", ["not input.context.region", 'helper with input as {"now": 1}', 'not input.context.region == "eu"']
)
def test_what_may_be_undefined_is_not_required(body: str) -> None:
    assert required(f'helper if true\ndeny contains "x" if {{ helper; {body} }}') == {}


def test_an_import_of_the_input_is_followed() -> None:
    source = 'import input.manifest as m\ndeny contains "x" if m.name == "a"'
    assert required(source) == {"input.manifest.name": False}


def test_what_tests_read_is_not_required() -> None:
    assert required('deny contains "x" if input.now\ntest_it if input.context.a') == {"input.now": False}


# before the engine sees a byte


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.rego", b"package skillwarrant\xff", "not UTF-8"),
        ("a.rego", b"\xef\xbb\xbfpackage skillwarrant", "cannot be seen"),
        ("a.rego", b'package skillwarrant\ndeny contains "a"\x00\ndeny contains "b"', r"a.rego:2 holds .*U\+0000"),
        ("a.rego", 'package skillwarrant\ndeny contains "\u202e"'.encode(), r"U\+202E"),
        ("a.rego", "package skillwarrant\nde\u200bny contains 1".encode(), r"U\+200B"),
        ("a.rego", b"package skillwarrant\n\x1b[2J", r"U\+001B"),
        ("a.rego", b" " * (MAX_FILE_BYTES + 1), "too large"),
        ("a.txt", b"package skillwarrant", "name cannot be used"),
        ("../a.rego", b"package skillwarrant", "name cannot be used"),
        ("/a.rego", b"package skillwarrant", "name cannot be used"),
        ("a\n.rego", b"package skillwarrant", "name cannot be used"),
        ("a" * 300 + ".rego", b"package skillwarrant", "name cannot be used"),
    ],
)
def test_a_file_that_is_no_plain_text_is_refused(name: str, data: bytes, why: str) -> None:
    with pytest.raises(PolicyError, match=why):
        read_sources({name: data})


def test_too_many_files_and_bytes_are_refused() -> None:
    half = b"#" * (MAX_FILE_BYTES - 1)
    for found in ({}, {f"{n}.rego": b"" for n in range(MAX_FILES + 1)}, {f"{n}.rego": half for n in range(3)}):
        with pytest.raises(PolicyError, match="files"):
            read_sources(found)
    assert MAX_TOTAL_BYTES == 2 * MAX_FILE_BYTES


@pytest.mark.parametrize("pair", ["[]", "{}", "()"])
def test_brackets_are_counted_before_the_parser_sees_them(pair: str) -> None:
    deep = "package skillwarrant\ndeny contains " + pair[0] * (MAX_DEPTH + 1) + "1" + pair[1] * (MAX_DEPTH + 1)
    with pytest.raises(PolicyError, match=r"a\.rego:2 is nested too deeply"):
        read_sources({"a.rego": deep.encode()})
    read_sources({"a.rego": deep.replace(pair[0], "", 1).encode()})


@pytest.mark.parametrize("text", ['"{0}"', "`{0}`", "# {0}", '"\\"{0}"', "`\n{0}`"])
def test_brackets_in_strings_and_comments_do_not_count(text: str) -> None:
    read_sources({"a.rego": text.format("[" * 50).encode()})


def test_no_function_that_looks_outside_is_left_over() -> None:
    named = {
        name for name in FUNCTIONS if name.partition(".")[0] in {"http", "net", "opa", "rand", "trace", "uuid"}
    }
    assert named == {
        "http.send",
        "net.cidr_contains",
        "net.cidr_expand",
        "net.cidr_is_valid",
        "opa.runtime",
        "rand.intn",
        "trace",
        "uuid.parse",
        "uuid.rfc4122",
    }


def test_no_module_but_the_worker_imports_the_engine() -> None:
    root = Path(__file__).parents[2] / "verify" / "skillwarrant_verify"
    holders = {path.name for path in root.rglob("*.py") if "import regorus" in path.read_text()}
    assert holders == {"engine.py"}
