"""TOML that people write: read as strictly as JSON, and at a cost that goes with its length."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError
from skillwarrant_format.toml import parse_toml

DEPTH, KEYS = limits.MAX_JSON_DEPTH, limits.MAX_TOML_KEYS


def parts(count: int, between: str = ".", part: str = "a") -> str:
    """A dotted key of so many parts."""
    return between.join([part] * count)


# What is cheap to write and dear to read


COSTLY: dict[str, Callable[[], str]] = {
    "a dotted key": lambda: f"{parts(20_000)} = 1",
    "with spaces": lambda: f"{parts(20_000, ' . ')} = 1",
    "with quotes": lambda: parts(20_000, part="'a.b'") + " = 1",
    "with double quotes": lambda: parts(20_000, part=r'"\"."') + " = 1",
    "a header": lambda: f"[{parts(20_000)}]",
    "a header of an array": lambda: f"[[{parts(20_000)}]]",
    "an inline table": lambda: f"x = {{{parts(20_000)} = 1}}",
    "behind a string with a quote": lambda: f'x = """"a""""\n{parts(20_000)} = 1',
    "behind a comment with a quote": lambda: f'x = 1 # """\n{parts(20_000)} = 1',
    "behind an apostrophe": lambda: f"x = \"it'''s\"\n{parts(20_000)} = 1",
    "many headers of many parts": lambda: "\n".join(f"[a{i}.{parts(60)}]" for i in range(8_000)),
    "lists in lists": lambda: "x = " + "[" * 500_000,
    "tables in tables": lambda: "x = " + "{a = " * 100_000,
    "very many keys": lambda: "\n".join(f"k{i}=1" for i in range(90_000)),
    "very many tables": lambda: "\n".join(f"[t{i}]" for i in range(90_000)),
}
_PROGRAM = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from skillwarrant_format.errors import FormatError
from skillwarrant_format.toml import parse_toml
told = {}
for name, text in json.load(sys.stdin).items():
    try:
        parse_toml(text.encode(), what="it")
    except FormatError as error:
        told[name] = str(error)
print(json.dumps(told))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
def test_no_document_costs_much_more_than_its_length() -> None:
    """In 512 MiB and, all together, a minute: twenty thousand dots took gigabytes."""
    texts = {name: write() for name, write in COSTLY.items()}
    assert all(len(text) < limits.MAX_POLICY_BYTES for text in texts.values())
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM], input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    told = json.loads(run.stdout)
    assert told.keys() == texts.keys()
    assert all("nested too deeply" in said or "too many keys" in said for said in told.values())


# And nothing else is refused


@pytest.mark.parametrize(
    "write",
    [
        lambda count: f"{parts(count)} = 1",
        lambda count: f"[{parts(count - 1)}]",
        lambda count: "x = " + "[" * (count - 1) + "]" * (count - 1),
        lambda count: "x = " + "{a = " * (count - 1) + "1" + "}" * (count - 1),
        lambda count: f"[{parts(count // 2)}]\n{parts(count // 2)} = 1",
    ],
)
def test_a_document_may_nest_as_deeply_as_json(write: Callable[[int], str]) -> None:
    assert parse_toml(write(DEPTH).encode(), what="it")
    with pytest.raises(FormatError, match="nested too deeply"):
        parse_toml(write(DEPTH + 2).encode(), what="it")


def test_a_document_may_have_as_many_keys_as_the_limit_says() -> None:
    text = "\n".join(f"k{i} = 1" for i in range(KEYS))
    assert len(parse_toml(text.encode(), what="it")) == KEYS
    with pytest.raises(FormatError, match="too many keys"):
        parse_toml(f"{text}\nlast = 1".encode(), what="it")


DOTS = "." * 200
OPEN = "[{" * 200


@pytest.mark.parametrize(
    "text",
    [
        f'x = "{DOTS}{OPEN}"',
        f"x = '{DOTS}{OPEN}'",
        f'x = """\n{DOTS}\n{OPEN}"" ""\\""" \' # {DOTS}"""""',
        f"x = '''\n{DOTS}''\\ \" # {OPEN}'''''",
        f'# {DOTS}{OPEN} " \'\'\' """\nx = 1',
        f'"{DOTS}{OPEN}" = 1',
        f"['{DOTS}{OPEN}'.\"{DOTS}\"]",
        f'x = "\\"{DOTS}\\\\" # it\'s {OPEN}',
        "x = [" + "1.5, " * 60_000 + "]",
        "x = [\n" + '"a.b", # c.d\n' * 1_000 + "]",
        "\n".join(f"k{i} = {i}.5" for i in range(1_000)),
        "\r\n".join(f"k{i} = 2026-11-22T10:00:00.0Z" for i in range(1_000)),
    ],
    ids=range(12),
)
def test_what_stands_in_strings_comments_and_numbers_is_no_key(text: str) -> None:
    assert parse_toml(text.encode(), what="it").keys() == tomllib.loads(text).keys()


TOKENS = (
    '"',
    '"""',
    "'",
    "'''",
    '""""',
    "\\",
    '\\"',
    "#",
    ".",
    "=",
    ",",
    "[",
    "]",
    "{",
    "}",
    "[[",
    "]]",
    "\n",
    "\r\n",
)
PIECES = (*TOKENS, " ", "a", "b.c", "1.5", '"x.y"', "'[{'", "a = 1\n", "a.b.c.d = 1\n", 'k = """', '"""\n', "é")


def depth_of(value: Any) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if below is None else 1 + max(map(depth_of, below), default=0)


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_only_what_nests_too_deeply_is_refused_for_its_depth(text: str) -> None:
    """Whatever is in strings and comments, held against Python's reader; with a limit that texts come up to."""
    with patch.object(limits, "MAX_JSON_DEPTH", 3):
        try:
            parse_toml(text.encode(), what="it")
        except FormatError as error:
            if "nested too deeply" not in str(error):
                return
        else:
            return
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert depth_of(found) > 3


SAID = st.text(alphabet=[*"\"'\\#.[]{}=, \n", "a", "é"], max_size=20)


def basic(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def long_basic(text: str) -> str:
    return '"""\n' + text.replace("\\", "\\\\").replace('"', '\\"') + '"""'


def bare_long_basic(text: str) -> str:
    """With as many quotes of its own as may stand there."""
    return '"""\n' + text.replace("\\", "\\\\").replace('""', '"\\"') + '"""'


def long_literal(text: str) -> str:
    three = "'" * 3
    return f"{three}\n{text.replace(three, '.')}{three}"


@given(
    st.lists(st.tuples(SAID, st.sampled_from([basic, long_basic, bare_long_basic, long_literal]), SAID), max_size=6)
)
def test_a_long_key_is_found_whatever_stands_before_it(values: list[tuple[str, Callable[[str], str], str]]) -> None:
    lines = [
        f"k{number} = {write(text)} # {remark.replace(chr(10), '')}\n"
        for number, (text, write, remark) in enumerate(values)
    ]
    before = "".join(lines)
    tomllib.loads(before)  # it is TOML
    parse_toml(before.encode(), what="it")
    with pytest.raises(FormatError, match="nested too deeply: expected at most 64 levels"):
        parse_toml(f"{before}{parts(DEPTH + 2)} = 1\n{'x' * 100}".encode(), what="it")
