"""What stands for a part of the input is known as that part: what is read below it must be there, and exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from modules import Source, checked, codes, judged
from skillwarrant_format.errors import PolicyError

REGION = {"input.context.region": False}


def required(source: Source) -> dict[str, bool]:
    """Without the part itself that something stands for, which is read too."""
    found = {".".join(item.path): item.collection for item in checked(source).required}
    return {path: collection for path, collection in found.items() if path not in {"input", "input.context"}}


THROUGH: dict[str, Source] = {
    "a local name": 'deny contains "x" if { c := input.context; c.region != "eu" }',
    "a name of a name": 'deny contains "x" if { i := input; c := i.context; r := c; r.region != "eu" }',
    "brackets": 'deny contains "x" if { c := input["context"]; c["region"] != "eu" }',
    "a name of an import": 'import input.context as d\ndeny contains "x" if { c := d; c.region != "eu" }',
    "a name in a comprehension": 'deny contains "x" if count([1 | c := input.context; c.region != "eu"]) == 1',
    "a rule": 'ctx := input.context\ndeny contains "x" if ctx.region != "eu"',
    "a rule under a condition": 'ctx := input.context if input\ndeny contains "x" if ctx.region != "eu"',
    "a rule of a rule": 'all := input\nctx := all.context\ndeny contains "x" if ctx.region != "eu"',
    "a rule of a local name": 'ctx := c if { c := input.context }\ndeny contains "x" if ctx.region != "eu"',
    "a name of a rule": 'ctx := input.context\ndeny contains "x" if { c := ctx; c.region != "eu" }',
    "a rule by its path": 'ctx := input.context\ndeny contains "x" if data.skillwarrant.ctx.region != "eu"',
    "a rule of another package": {
        "a.rego": 'import data.skillwarrant.lib\ndeny contains "x" if lib.ctx.region != "eu"',
        "b.rego": 'package skillwarrant.lib\nctx := input.context\ndeny contains "y" if false',
    },
    "an import of such a rule": {
        "a.rego": 'import data.skillwarrant.lib.ctx\ndeny contains "x" if ctx.region != "eu"',
        "b.rego": 'package skillwarrant.lib\nctx := input.context\ndeny contains "y" if false',
    },
    "a parameter": 'bad(c) if c.region != "eu"\ndeny contains "x" if bad(input.context)',
    "the second one": 'bad(a, c) if c.region != a\ndeny contains "x" if bad("eu", input.context)',
    "a parameter of a parameter": (
        'worse(d) if d.region != "eu"\nbad(c) if worse(c)\ndeny contains "x" if bad(input.context)'
    ),
    "below a parameter": 'bad(i) if i.context.region != "eu"\ndeny contains "x" if bad(input)',
    "a parameter in the value": 'place(c) := c.region\ndeny contains "x" if place(input.context) != "eu"',
    "a parameter that is a name": 'bad(c) if c.region != "eu"\ndeny contains "x" if { d := input.context; bad(d) }',
    "a parameter that is a rule": 'ctx := input.context\nbad(c) if c.region != "eu"\ndeny contains "x" if bad(ctx)',
    "one definition of two": 'bad(c) if c.region == "us"\nbad(c) if false\ndeny contains "x" if bad(input.context)',
    "a function of another package": {
        "a.rego": 'import data.skillwarrant.lib\ndeny contains "x" if lib.bad(input.context)',
        "b.rego": 'package skillwarrant.lib\nbad(c) if c.region != "eu"\ndeny contains "y" if false',
    },
    "a function below not": 'good(c) if c.region == "eu"\ndeny contains "x" if not good(input.context)',
}


@pytest.mark.parametrize("case", THROUGH)
def test_what_is_read_through_it_is_required(case: str) -> None:
    assert required(THROUGH[case]) == REGION


@pytest.mark.parametrize("case", THROUGH)
def test_without_it_the_rule_denies(case: str) -> None:
    """Each of these gave no denial of a deployment that says nothing of its region."""
    found = judged(THROUGH[case], {"context": {"environment": "production"}})
    assert "rego.missing" in codes(found)
    assert judged(THROUGH[case], {"context": {"region": "eu"}}).denials == ()


MISSPELT: dict[str, Source] = {
    "a local name": 'deny contains "x" if { i := input; i.contxt.region != "eu" }',
    "a rule": 'all := input\ndeny contains "x" if all.contxt.region != "eu"',
    "a parameter": 'bad(i) if i.contxt.region != "eu"\ndeny contains "x" if bad(input)',
    "below not": 'deny contains "x" if { i := input; not i.contxt.region == "eu" }',
    "in a test": 'deny contains "x" if input.now == "x"\ntest_it if { i := input; i.contxt }',
}


@pytest.mark.parametrize("case", MISSPELT)
def test_what_is_misspelt_through_it_is_refused(case: str) -> None:
    with pytest.raises(PolicyError, match=r"policy\.rego:\d: the input has no field contxt \(did"):
        checked(MISSPELT[case])


def test_what_it_goes_through_must_be_a_collection() -> None:
    source = 'deny contains "x" if { a := input.adapter; some f in a.files; f.size > 5 }'
    assert required(source) == {"input.adapter": False, "input.adapter.files": True}
    source = 'files := input.adapter.files\ndeny contains "x" if { some f in files; f.size > 5 }'
    assert required(source) == {"input.adapter.files": True}
    source = 'big(files) if { some f in files; f.size > 5 }\ndeny contains "x" if big(input.adapter.files)'
    assert required(source) == {"input.adapter.files": True}


def test_the_configuration_is_required_through_a_name_too() -> None:
    assert required('deny contains "x" if { c := data.config; c.acme.most < 5 }') == {
        "data.config": False,
        "data.config.acme.most": False,
    }


# What the reference says is not seen. Each would be a denial too many, or cannot be known.


NOT_FOLLOWED: dict[str, Source] = {
    "a name with two meanings": (
        'deny contains "x" if { count([1 | c := input.context; c.region]) == count([1 | c := input.base; c.y]) }'
    ),
    "a rule with a default": 'default ctx := {}\nctx := input.context\ndeny contains "x" if ctx.region != "eu"',
    "a rule with two definitions": (
        'ctx := input.context if input.now\nctx := {} if not input.now\ndeny contains "x" if ctx.region != "eu"'
    ),
    "a rule with an else": (
        'ctx := input.context if input.now else := {}\ndeny contains "x" if ctx.region != "eu"'
    ),
    "unification": 'deny contains "x" if { c = input.context; c.region != "eu" }',
    "a pattern": 'deny contains "x" if { [c] := [input.context]; c.region != "eu" }',
    "a pattern of a parameter": 'bad([c]) if c.region != "eu"\ndeny contains "x" if bad([input.context])',
    "an element": 'deny contains "x" if { some c in [input.context]; c.region != "eu" }',
    "a result": 'deny contains "x" if { c := object.get(input, "context", {}); c.region != "eu" }',
    "an object's field": 'deny contains "x" if { o := {"c": input.context}; o.c.region != "eu" }',
    "a variable in the path": 'deny contains "x" if { k := "context"; c := input[k]; c.region != "eu" }',
    "another input": 'bad(c) if c.region != "eu"\ndeny contains "x" if bad(input.context) with input as {}',
    "a call of a test": (
        'bad(c) if c.region != "eu"\ndeny contains "x" if bad({"region": "eu"})\ntest_it if bad(input.context)'
    ),
    "below not": 'deny contains "x" if { c := input.context; not c.region == "eu" }',
}


@pytest.mark.parametrize("case", NOT_FOLLOWED)
def test_what_is_said_not_to_be_followed_is_not(case: str) -> None:
    assert "input.context.region" not in required(NOT_FOLLOWED[case])


def test_names_beyond_all_measure_are_refused_and_cost_little() -> None:
    chain = "".join(f"a{number + 1} := a{number}\n" for number in reversed(range(3000)))
    fan = "".join(f"f{n}(x) if {{ f{n + 1}(x.a); f{n + 1}(x.b) }}\n" for n in range(30))
    begun = time.monotonic()
    with pytest.raises(PolicyError, match=r"policy\.rego: a\d+ stands for names that stand for names"):
        checked(f'a0 := input.context\n{chain}deny contains "x" if a3000.region != "eu"')
    with pytest.raises(PolicyError, match=r"policy\.rego: x stands for too much: expected at most 100 parts"):
        checked(f'{fan}f30(x) if x.c\ndeny contains "x" if f0(input.context)')
    assert time.monotonic() - begun < 10


_CALLS = "".join(f'deny contains "x" if f(input.versions.a{number})\n' for number in range(100))


def _filled(before: str, line: Callable[[int], str], after: str = "") -> str:
    """A module of nearly as many bytes as one may have."""
    before = f"package skillwarrant\n{before}"
    room = (128 << 10) - len(before) - len(after)
    return before + "".join(map(line, range(room // len(line(99_999))))) + after


HOSTILE: dict[str, Callable[[], dict[str, str]]] = {
    "functions that read a lot, called often": lambda: {
        "a.rego": _filled(f"{_CALLS}f(x) if g(x)\nf(x) if {{\n", lambda number: f"x.k{number}\n", "}\n"),
        "b.rego": _filled("g(x) if {\n", lambda number: f"x.l{number}\n", "}\n"),
    },
    "the same read again and again": lambda: {
        "a.rego": _filled(f"{_CALLS}f(x) if g(x)\nf(x) if {{\n", lambda _: "x.k; x.k\n", "}\n"),
        "b.rego": _filled("g(x) if {\n", lambda _: "x.l; x.l\n", "}\n"),
    },
    "long names of long names": lambda: {
        "a.rego": f"package skillwarrant\n{_CALLS}f(x) if f0(x)\nf90(x) if x.b\n",
        "b.rego": "package skillwarrant\n"
        + "".join(f"f{number}(x) if f{number + 1}(x{'.b' * 60})\n" for number in range(90)),
    },
    "names that stand for a lot, misspelt": lambda: {
        "a.rego": _filled(f"{_CALLS}f(x) if g(x)\n", lambda number: f"a{number} if input.contxt\n"),
        "b.rego": _filled("g(x) if {\n", lambda number: f"x.l{number}\n", "}\n"),
    },
    "more than anybody requires": lambda: {
        "a.rego": _filled('deny contains "x" if {\n', lambda number: f"input.now.k{number}\n", "}\n"),
        "b.rego": _filled('deny contains "y" if {\n', lambda number: f"input.now.l{number}\n", "}\n"),
    },
}
_PROGRAM = """
import json, resource, sys, time
from skillwarrant_format.errors import PolicyError
from skillwarrant_verify.document.policy_reading import rego_modules
files = {name: text.encode() for name, text in json.load(sys.stdin).items()}
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, resource.getrlimit(resource.RLIMIT_AS)[1]))
begun = time.process_time()
try:
    rego_modules(files).close()
    told = "loaded"
except PolicyError as error:
    told = str(error)
json.dump([told, time.process_time() - begun], sys.stdout)
"""


@pytest.mark.parametrize("case", HOSTILE)
def test_the_worst_policy_of_256_kib_costs_the_process_that_loads_it_little(case: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps(HOSTILE[case]()),
        capture_output=True,
        text=True,
        check=True,
    )
    told, took = json.loads(done.stdout)
    assert re.search(r"stands? for too much|need too much|no field contxt", told), told
    assert took < 2


def test_a_function_may_be_called_for_a_hundred_parts_and_read_a_hundred_of_each() -> None:
    reads = "".join(f"  x.k{number}\n" for number in range(97))
    found = checked(f"{_CALLS}f(x) if {{\n{reads}}}")
    assert len(found.required) == 97 * 100 + 100
    with pytest.raises(PolicyError, match="the names of all rules stand for too much"):
        checked(f"{_CALLS}f(x) if {{\n{reads}x.l\nx.m\nx.n\nx.o\n}}")
    with pytest.raises(PolicyError, match="x stands for too much: expected at most 100 parts"):
        checked(f'{_CALLS}deny contains "y" if f(input.versions.b)\nf(x) if {{\n{reads}}}')


# A test module adds to no rule that decides


EXTENDING: dict[str, str] = {
    "an element of a set": 'banned contains "acme/x"',
    "another value": "most := 5",
    "another body": "trusted if input.now",
    "a default": "default trusted := true",
    "a function": "near(x) if x == 3",
    "a key": "of.a := 1",
}
DECIDING = """
banned contains "acme/old"
most := 4
trusted if input.context
near(x) if x == 2
of.b := 2
deny contains "x" if { input.manifest.name in banned; not trusted; near(most); of.b }
"""


@pytest.mark.parametrize("case", EXTENDING)
def test_a_test_module_cannot_add_to_a_rule_that_decides(case: str) -> None:
    """`policy test` would be of rules that no gate has."""
    rule = EXTENDING[case].removeprefix("default ").partition(" ")[0].partition("(")[0].partition(".")[0]
    with pytest.raises(PolicyError, match=rf"a_test\.rego:3: {rule} adds to the rule of policy\.rego:\d"):
        checked({"policy.rego": DECIDING, "a_test.rego": f"\n{EXTENDING[case]}\ntest_it if true"})


def test_nor_through_a_package_of_the_rules_name() -> None:
    for package in ("skillwarrant.of", "skillwarrant.of.more"):
        with pytest.raises(PolicyError, match="the rule of has the name of a package"):
            checked({"policy.rego": DECIDING, "a_test.rego": f"package {package}\na := 1\ntest_it if a"})


def test_what_only_tests_need_is_theirs() -> None:
    own = 'mine := {"context": {}}\ntest_it if count(deny) == 0 with input as mine'
    assert checked({"policy.rego": DECIDING, "a_test.rego": own}).tests
    elsewhere = "package skillwarrant.x_test\nmost := 5\ntest_it if most == 5"
    assert checked({"policy.rego": DECIDING, "a_test.rego": elsewhere}).tests
