"""A digest is 64 lower-case hexadecimal digits of SHA-256, or it does not exist."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError

ZERO = "0" * 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0" * 63,
        "0" * 65,
        "A" * 64,
        "g" * 64,
        f"{ZERO}\n",
        f" {ZERO}",
        "0x" + "0" * 62,
        "\uff10" * 64,
        f"sha256:{ZERO}",
        None,
        0,
        bytes(64),
        bytes(32),
    ],
)
def test_anything_else_is_no_digest(text: Any) -> None:
    with pytest.raises(FormatError, match="64 lower-case hexadecimal digits"):
        Digest(text)


@pytest.mark.parametrize(
    "text", ["", ZERO, f"sha512:{ZERO}", f"SHA256:{ZERO}", f"sha256 :{ZERO}", f"sha256:{ZERO}:", "sha256:"]
)
def test_another_algorithm_or_spelling_is_not_parsed(text: str) -> None:
    with pytest.raises(FormatError, match="not a SHA-256 digest"):
        Digest.parse(text)


def test_the_message_for_a_hostile_digest_is_one_printable_line() -> None:
    with pytest.raises(FormatError) as caught:
        Digest("\x1b[2J\n" * 1000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@given(st.binary())
def test_a_digest_is_what_hashlib_says_and_reads_back(data: bytes) -> None:
    digest = Digest.of(data)
    assert digest.hex == hashlib.sha256(data).hexdigest()
    assert Digest.parse(str(digest)) == digest == Digest.of(memoryview(data))
    assert digest.hex.startswith(digest.short)


def test_digests_are_values_that_sort_hash_and_do_not_change() -> None:
    one, two = Digest("0" * 64), Digest("1" * 64)
    assert sorted([two, one]) == [one, two]
    assert len({one, Digest("0" * 64)}) == 1
    with pytest.raises(FrozenInstanceError):
        one.hex = two.hex  # type: ignore[misc]
