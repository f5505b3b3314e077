"""Names have one spelling, and a pattern covers what it says in bounded time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_format import names
from skillwarrant_format.names import (
    ACTIVATION,
    LABEL,
    PACKAGE,
    SEMVER,
    SKILL_NAME,
    SKILL_PATTERN,
    VERSION_RANGE,
    like,
    matches,
)

SPELLINGS: dict[str, tuple[re.Pattern[str], list[str], list[str]]] = {
    "SKILL_NAME": (
        SKILL_NAME,
        ["a", "support", "acme/support-lora", "a.b_c-d/e", "0/0", f"{'a' * 64}/{'b' * 64}"],
        [
            "",
            "/",
            "a/",
            "/a",
            "a/b/c",
            "A",
            "a b",
            "-a",
            "a-",
            "..",
            "../a",
            "a/..",
            "a//b",
            "a\n",
            "é",
            "a*",
            "a" * 65,
        ],
    ),
    "SKILL_PATTERN": (
        SKILL_PATTERN,
        ["*", "acme/*", "*/*", "a*b", "acme/support"],
        ["", "Acme/*", "a/b/*", "**/", "[a]", "a?", "a\n"],
    ),
    "LABEL": (
        LABEL,
        ["production", "eu-west-1", "A", "BF16", "torch.bfloat16", "a" * 64],
        ["", "-a", "a-", ".", "a b", "a/b", "a\n", "\u0430", "a" * 65],
    ),
    "SEMVER": (
        SEMVER,
        ["0.0.0", "1.2.3", "1.0.0-alpha.1", "1.0.0-0a", "1.0.0+build.001", "1.0.0-rc.1+exp.sha-5114f85", "1.0.0--"],
        [
            "1",
            "1.2",
            "v1.2.3",
            "01.2.3",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3+",
            "1.2.3-a..b",
            "1.2.3 ",
            "1.2.3\n",
            "\u0661.2.3",
            "1.2.3.4",
        ],
    ),
    "PACKAGE": (PACKAGE, ["peft", "rfc3161-client", "0"], ["", "Peft", "a_b", "a.b", "a--b", "-a", "a-", "a b"]),
    "VERSION_RANGE": (
        VERSION_RANGE,
        [">=0.21", ">=0.21,<0.22", ">= 0.21, < 0.22", "~=1.4.2", "==1.*", "!=2.0rc1", "==1!2.0+local.1"],
        [
            "",
            "0.21",
            "=1",
            "=== 1",
            ">=",
            ">=1,",
            ",>=1",
            ">=1 <2",
            ">=1;python_version<'3'",
            ">=1\n",
            "@ https://x",
        ],
    ),
    "ACTIVATION": (ACTIVATION, ["0" * 32, "9f" * 16], ["", "0" * 31, "0" * 33, "F" * 32, "0" * 32 + "\n"]),
}


def test_the_names_are_sorted_and_every_pattern_is_in_this_test() -> None:
    assert set(SPELLINGS) == {name for name in names.__all__ if name.isupper()}


@pytest.mark.parametrize(
    ("pattern", "text"), [(found[0], text) for found in SPELLINGS.values() for text in found[1]]
)
def test_a_good_name_is_accepted(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.fullmatch(text)


@pytest.mark.parametrize(
    ("pattern", "text"), [(found[0], text) for found in SPELLINGS.values() for text in found[2]]
)
def test_another_spelling_is_not(pattern: re.Pattern[str], text: str) -> None:
    assert not pattern.fullmatch(text)


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_pattern_is_explained_in_words_with_an_example_that_it_accepts(name: str) -> None:
    pattern, good, _ = SPELLINGS[name]
    words = like(pattern)
    assert words != pattern.pattern
    example = words.rpartition("like ")[2].split(" or ")[0] if "like " in words else good[0]
    assert pattern.fullmatch(example)


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("acme/support", "acme/support", True),
        ("acme/support", "acme/support2", False),
        ("acme/*", "acme/support", True),
        ("acme/*", "acme/", True),
        ("acme/*", "acme", False),
        ("acme/*", "evil-acme/support", False),
        ("acme/*", "acme/support/x", False),
        ("*", "support", True),
        ("*", "acme/support", False),
        ("*/*", "acme/support", True),
        ("acme*/x", "acme-evil/x", True),
        ("a*b*a", "aba", True),
        ("a*b*a", "abca", True),
        ("a*a", "a", False),
        ("*ab", "aab", True),
        ("*ab*ab", "abab", True),
        ("*ab*ab", "ab", False),
        ("a.c", "abc", False),
        ("[a]", "a", False),
        ("a?", "ab", False),
        ("ACME/*", "acme/x", False),
        ("acme/*", "acme/x\n", True),
        ("", "", True),
    ],
)
def test_a_star_is_any_characters_but_a_slash_and_all_else_is_itself(
    pattern: str, name: str, covered: bool
) -> None:
    assert matches(pattern, name) is covered


@given(st.text("ab*/", max_size=8), st.text("ab/", max_size=8))
def test_a_pattern_means_what_the_regular_expression_for_it_means(pattern: str, name: str) -> None:
    expression = "[^/]*".join(re.escape(part) for part in pattern.split("*"))
    assert matches(pattern, name) == (re.fullmatch(expression, name) is not None)


def test_a_pattern_made_to_be_slow_is_not() -> None:
    start = time.process_time()
    assert not matches("*a" * 250 + "b", "a" * 512)
    assert time.process_time() - start < 0.5
