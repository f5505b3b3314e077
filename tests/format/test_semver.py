"""Versions are ordered as SemVer 2.0.0 section 11 orders them, and ranges are by that order alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_format.errors import FormatError
from skillwarrant_format.semver import SemVer, SemVerRange

ORDER = (
    *("0.0.1", "0.9.0", "0.10.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta"),
    *("1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1-0", "1.0.1", "2.0.0", "10.0.0"),
)


def test_the_order_is_the_specifications() -> None:
    for lower, higher in pairwise(map(SemVer.parse, ORDER)):
        assert lower < higher
        assert not higher <= lower
    assert sorted(map(SemVer.parse, reversed(ORDER))) == [SemVer.parse(text) for text in ORDER]


def test_build_metadata_says_nothing_of_the_order() -> None:
    one, other = SemVer.parse("1.0.0+a"), SemVer.parse("1.0.0+b.2")
    assert one == other
    assert hash(one) == hash(other)
    assert not one < other
    assert one != "1.0.0+a"


@given(st.lists(strategies.versions, min_size=3, max_size=3))
def test_the_order_is_total_and_transitive(texts: list[str]) -> None:
    one, two, three = sorted(map(SemVer.parse, texts))
    assert one <= two <= three
    assert one <= three
    assert (one == two) == (not one < two)


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.0-01", "1.0.0-", "1.0.0+", " 1.0.0", "1.0.0\n", "x" * 99],
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        SemVer.parse(text)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("<2.0.0", ["1.9.9", "2.0.0-rc.1"], ["2.0.0", "2.0.1"]),
        (">=1.2.0,<2.0.0", ["1.2.0", "1.99.0", "2.0.0-a"], ["1.2.0-rc.1", "2.0.0"]),
        ("==1.0.0", ["1.0.0", "1.0.0+x"], ["1.0.0-rc.1", "1.0.1"]),
        ("!=1.0.0", ["1.0.1"], ["1.0.0", "1.0.0+x"]),
        ("> 1.0.0 , <= 1.1.0", ["1.1.0"], ["1.0.0"]),
    ],
)
def test_a_range_covers_by_precedence_alone(text: str, inside: list[str], outside: list[str]) -> None:
    found = SemVerRange.parse(text)
    assert all(found.covers(SemVer.parse(version)) for version in inside)
    assert not any(found.covers(SemVer.parse(version)) for version in outside)


@pytest.mark.parametrize(
    "text", ["", "1.0.0", "^1.0.0", "~1.0", ">=1", ">=1.0.0,", ",", "=1.0.0", "*", ">=1.0.0 <2.0.0", "<" * 300]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        SemVerRange.parse(text)
