"""Every limit is a positive whole number, in an order that makes sense, and is enforced somewhere."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from skillwarrant_format import limits

NAMES = [name for name in vars(limits) if name.isupper()]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_is_a_positive_whole_number(name: str) -> None:
    value = getattr(limits, name)
    assert type(value) is int
    assert value > 0


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("MAX_")])
def test_a_limit_is_used_where_something_is_read(name: str) -> None:
    sources = (
        path
        for folder in ("format", "attest", "verify", "audit", "devstack", "cli")
        for path in (ROOT / folder).rglob("*.py")
    )
    assert any(name in path.read_text(encoding="utf-8") for path in sources if path.name != "limits.py")


@pytest.mark.parametrize(
    "line", [line for line in inspect.getsource(limits).splitlines() if line.startswith("MAX_")]
)
def test_every_limit_says_of_what_it_is_one(line: str) -> None:
    assert re.search(r"  # \S+", line)


def test_what_is_inside_fits_into_what_is_around_it() -> None:
    encoded = limits.MAX_STATEMENT_BYTES * 4 // 3 + 64 * limits.KIB  # base64, and the rest of the bundle
    assert encoded <= limits.MAX_BUNDLE_BYTES <= limits.MAX_JSON_BYTES
    assert limits.MAX_SKILL_NAME_CHARS <= limits.MAX_NAME_CHARS <= limits.MAX_URI_CHARS <= limits.MAX_TEXT_CHARS
    assert limits.MAX_JSON_INTEGER == 2**53 - 1
