"""Which line says what: held against tomllib, which says what there is, and a writer that knows where it wrote."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skillwarrant_verify.document.policy_document import PolicyDocument
from skillwarrant_verify.document.policy_lines import KeyPath, key_lines, shown_path

EVERYTHING = '''
# a comment = with a sign
name = "x" # 1: line 3
"quoted.key" = 'a # no comment'
a.b.c = 1
a.b."d e" = { x = 1, y = [1, 2], z.w = "}" }
empty = []
list = [ # comment ] with a bracket
  "one",
  [2, 3,
   4], # more
  { k = "v" },
]
text = """
[not.a.table]
key = 1 \\""" quotes
"""
ends = """five"""""
literal = \'\'\'
[[nor]] = this \\
\'\'\'
when = 2026-11-22 12:00:00Z
[ table . "sub.table" ]
key = -inf
[table]
late = true
[[items]]
a = 1
[items.sub]
b = 2
[[items.sub.deep]]
c = 3
[[items]]
a = 4
[[items.deep]]
d = 5
[[items.deep]]
d = 6
'''


def places(value: Any, at: KeyPath = ()) -> set[KeyPath]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {found for key, item in items for found in [(*at, key), *places(item, (*at, key))]}


def test_every_form_of_toml_has_its_line() -> None:
    text = EVERYTHING.replace("[items.sub]\nb = 2\n[[items.sub.deep]]\nc = 3\n", "[items.sub]\nb = 2\n")
    found = key_lines(text)
    assert found.keys() == places(tomllib.loads(text))
    lines = text.split("\n")
    for path, wanted in {
        ("name",): 'name = "x"',
        ("quoted.key",): '"quoted.key"',
        ("a", "b", "d e", "z", "w"): 'a.b."d e"',
        ("list", 1, 2): "   4]",
        ("list", 2, "k"): '  { k = "v" }',
        ("ends",): "ends",
        ("when",): "when",
        ("table", "sub.table", "key"): "key = -inf",
        ("table", "sub.table"): '[ table . "sub.table" ]',
        ("table",): "[table]",
        ("items",): "[[items]]",
        ("items", 1, "a"): "a = 4",
        ("items", 1, "deep", 1): "[[items.deep]]",
        ("items", 1, "deep", 1, "d"): "d = 6",
    }.items():
        assert lines[found[path] - 1].startswith(wanted), path


KEYS = st.one_of(
    st.sampled_from(["a", "b", "c", "k-1", "_", "1"]),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=3),
)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def values(draw: st.DrawFn, depth: int = 0) -> str:
    """A value as it may be written, over several lines where it can be."""
    kinds = ["1", "-0.5", "true", "2026-11-22T10:00:00Z", "2026-11-22 10:00:00Z", "inf", "0x1F", '""', "''"]
    text = draw(st.text(st.sampled_from("ab#[]{}=,.'\"\\ é"), max_size=6))
    strings = [quoted(text), '"""' + text.replace("\\", "").replace('"', "") + '\n= """']
    if "'" not in text:
        strings += [f"'{text}'", f"'''\n{text}\n'''"]
    simple = st.sampled_from([*kinds, *strings])
    if depth > 2:
        return draw(simple)
    kind = draw(st.sampled_from(["simple", "simple", "array", "inline"]))
    if kind == "simple":
        return draw(simple)
    if kind == "array":
        breaks = draw(st.sampled_from(["", "\n", " # ]\n", "\n\n  "]))
        inner = draw(st.lists(values(depth + 1), max_size=3))
        comma = draw(st.sampled_from(["", ","])) if inner else ""
        return "[" + breaks + f",{breaks}".join(inner) + comma + breaks + "]"
    keys = draw(st.lists(KEYS, max_size=3, unique=True))
    return "{" + ", ".join(f"{quoted(key)} = {draw(values(depth + 1))}" for key in keys) + "}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 5))):
        header = draw(st.sampled_from(["", "[{}]", "[[{}]]", "[ {} ]"]))
        path = draw(st.lists(KEYS, min_size=1, max_size=3))
        dotted = draw(st.sampled_from([".", " . "])).join(map(quoted, path))
        lines.append(header.format(dotted) + draw(st.sampled_from(["", " # [x]"])))
        for key in draw(st.lists(KEYS, max_size=3, unique=True)):
            lines.append(f"{quoted(key)}{draw(st.sampled_from([' = ', '=']))}{draw(values())}")
    return "\n".join(lines) + draw(st.sampled_from(["", "\n"]))


@settings(max_examples=100)
@given(documents(), st.booleans())
def test_every_key_that_tomllib_finds_has_a_line_and_no_other_has(text: str, windows: bool) -> None:
    text = text.replace("\n", "\r\n") if windows else text
    try:
        wanted = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # two tables of one name, or a newline in an inline table: never read
    assert key_lines(text).keys() == places(wanted)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), values()), min_size=1, max_size=8))
def test_the_line_of_a_key_is_where_it_was_written(given: list[tuple[bool, str]]) -> None:
    text = ""
    inside: KeyPath = ()
    where: dict[KeyPath, int] = {}
    for number, (table, value) in enumerate(given):
        if table:
            inside = ("t", f"t{number}")
            where[inside] = text.count("\n") + 1
            text += f"[t.t{number}] # {number}\n"
        path: KeyPath = (*inside, f"k{number}")
        where[path] = text.count("\n") + 1
        text += f"k{number} = {value}\n"
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = key_lines(text)
    assert {path: found[path] for path in where} == where


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("publishers", 1, "skills"), "publishers[1].skills"),
        (("requirements", "manifest.age", "mode"), 'requirements."manifest.age".mode'),
        (("a", 0, 1), "a[0][1]"),
    ],
)
def test_a_path_is_shown_as_people_write_it(path: KeyPath, text: str) -> None:
    assert shown_path(path) == text


def test_json_has_no_lines_and_is_the_same_document() -> None:
    found = PolicyDocument.parse(b'{"name": "x"}', name="dir/policy.json")
    assert found.place(("name",)) == "policy.json name"
    assert found.place(("revision",)) is None
