"""A field has the type, the length and the spelling that was asked for, or the error names it by its path."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import strategies
from hypothesis import given

from skillwarrant_format.errors import FormatError, UsageError
from skillwarrant_format.fields import Fields, check_text, format_time, parse_time, present
from skillwarrant_format.names import LABEL, SEMVER

Read = Callable[[Fields], Any]

READERS: dict[str, tuple[Read, Any]] = {
    "text": (lambda f: f.text("k"), "x"),
    "boolean": (lambda f: f.boolean("k"), False),
    "integer": (lambda f: f.integer("k"), 3),
    "number": (lambda f: f.number("k"), 1.5),
    "time": (lambda f: f.time("k"), "2026-11-22T10:00:00Z"),
    "digest": (lambda f: f.digest("k"), {"sha256": "0" * 64}),
    "object": (lambda f: f.object("k"), {}),
    "items": (lambda f: f.items("k"), [1]),
    "objects": (lambda f: f.objects("k"), [{}]),
    "texts": (lambda f: f.texts("k"), ["x"]),
    "choice": (lambda f: f.choice("k", ("a", "b")), "a"),
}
TYPES: dict[str, Any] = {"text": "x", "boolean": False, "integer": 3, "number": 1.5, "object": {}, "items": [1]}


@pytest.mark.parametrize(("read", "good"), READERS.values(), ids=READERS.keys())
def test_a_good_value_is_read(read: Read, good: Any) -> None:
    read(Fields({"k": good}, "top"))


@pytest.mark.parametrize(("read", "good"), READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize("document", [{}, {"k": None}, {"K": 1}], ids=["absent", "null", "other case"])
def test_a_missing_or_null_value_is_refused_with_its_path(read: Read, good: Any, document: Any) -> None:
    with pytest.raises(FormatError, match=r"top\.k is missing"):
        read(Fields(document, "top"))


@pytest.mark.parametrize("wanted", READERS)
@pytest.mark.parametrize("given_type", TYPES)
def test_a_value_of_another_type_is_refused_and_no_type_passes_for_another(wanted: str, given_type: str) -> None:
    read, good = READERS[wanted]
    value = TYPES[given_type]
    same = type(value) is type(good) or (wanted == "number" and given_type == "integer")
    if same and wanted not in {"time", "digest", "objects", "texts", "choice"}:
        read(Fields({"k": value}, "top"))
    else:
        with pytest.raises(FormatError, match=r"^top\.k"):
            read(Fields({"k": value}, "top"))


@pytest.mark.parametrize("value", [None, [], "x", 1, True])
def test_only_an_object_has_fields(value: Any) -> None:
    with pytest.raises(FormatError, match="top has the wrong type: expected an object"):
        Fields(value, "top")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "length"),
        ("x" * 513, "length"),
        ("a\nb", "control"),
        ("a\tb", "control"),
        ("a\x00b", "control"),
        ("a\x7fb", "control"),
        ("a\x9bb", "control"),
        ("a\u2028b", "control"),
        ("a\u202eb", "control"),
        ("a\u200bb", "control"),
        ("a\u00a0b", "control"),
        ("a\ufeffb", "control"),
        ("a\ud800b", "control"),
        ("a\ue000b", "control"),
        ("a\uffffb", "control"),
    ],
)
def test_text_that_a_terminal_would_act_on_or_hide_is_refused(text: str, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        check_text(text, "k", 512)


def test_newlines_and_tabs_are_for_text_of_several_lines_only_however_long_the_limit() -> None:
    assert check_text("a\n\tb", "k", 10, multiline=True) == "a\n\tb"
    with pytest.raises(FormatError, match="control"):
        check_text("a\n\tb", "k", 1_000_000)
    with pytest.raises(FormatError, match="control"):
        check_text("a\rb", "k", 10, multiline=True)


def test_a_pattern_must_match_the_whole_text_and_is_explained_in_words() -> None:
    assert check_text("eu-west-1", "k", 64, LABEL) == "eu-west-1"
    with pytest.raises(
        FormatError, match=r"k is malformed: expected a version of SemVer 2\.0\.0 like 1\.2\.0, found v1"
    ):
        check_text("v1", "k", 64, SEMVER)


def test_lists_are_bounded_at_both_ends_and_texts_name_nothing_twice() -> None:
    fields = Fields({"none": [], "two": ["a", "a"], "odd": ["a", 1]}, "top")
    assert fields.texts("none") == ()
    for read in (
        lambda: fields.items("none", least=1),
        lambda: fields.items("two", most=1),
        lambda: fields.listed("none"),
    ):
        with pytest.raises(FormatError, match="wrong length"):
            read()
    with pytest.raises(FormatError, match=r"top\.two names something twice"):
        fields.texts("two")
    with pytest.raises(FormatError, match=r"top\.odd\[1\] has the wrong type"):
        fields.texts("odd")


def test_an_optional_field_is_absent_or_well_formed() -> None:
    fields = Fields({"null": None, "empty": [], "good": ["x"]}, "top")
    assert fields.maybe("absent", fields.text) is None
    assert fields.listed("absent") == ()
    assert fields.listed("good") == ("x",)
    with pytest.raises(FormatError, match="null is missing: expected a value, found null"):
        fields.maybe("null", fields.text)
    with pytest.raises(FormatError, match="wrong length: expected 1 to"):
        fields.listed("empty")


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"sha512": "0" * 128},
        {"sha256": "0" * 64, "sha512": "0" * 128},
        {"sha256": "0" * 64, "gitCommit": "0" * 40},
        {"sha256": "0" * 64, "SHA256": "1" * 64},
        {"sha256": "0" * 63},
        {"sha256": "A" * 64},
        {"sha256": None},
        {"sha256": {"sha256": "0" * 64}},
    ],
)
def test_a_digest_set_is_exactly_one_sha256(value: Any) -> None:
    with pytest.raises(FormatError, match=r"^top\.k"):
        Fields({"k": value}, "top").digest("k")


@pytest.mark.parametrize(
    "key", ["notafter", "NotAfter", "not_after", "not-after", "NOTAFTER", "notAfter_", "noTafter"]
)
def test_an_unknown_field_that_looks_like_a_known_one_is_refused(key: str) -> None:
    fields = Fields({"a": [{"b": {key: "2026-11-22T10:00:00Z", "x": 1}}]}, "top")
    inner = fields.objects("a")[0].object("b")
    inner.maybe("notAfter", inner.time)
    with pytest.raises(FormatError, match=r"top\.a\[0\]\.b has a misspelt field: expected notAfter"):
        fields.refuse_lookalikes()


@pytest.mark.parametrize("key", ["\u017fkill", "S\u212aILL"])
def test_a_letter_that_folds_to_another_does_not_hide_a_lookalike(key: str) -> None:
    fields = Fields({"skill": "x", key: "y"}, "top")
    fields.text("skill")
    with pytest.raises(FormatError, match="misspelt"):
        fields.refuse_lookalikes()


def test_an_unknown_field_like_no_known_one_is_carried() -> None:
    fields = Fields({"name": "x", "vendor.example/extra": {"Name": 1, "name": 2}, "naming": 1}, "top")
    fields.text("name")
    fields.refuse_lookalikes()
    with pytest.raises(FormatError, match="unknown field: expected name"):
        fields.only("name")


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T10:00:00+00:00",
        "2026-11-22T10:00:00z",
        "2026-11-22t10:00:00Z",
        "2026-11-22 10:00:00Z",
        "2026-11-22T10:00:00.0Z",
        "2026-11-22T10:00Z",
        "2026-11-22T10:00:00",
        "2026-11-22T24:00:00Z",
        "2026-11-22T10:00:60Z",
        "2026-02-29T10:00:00Z",
        "2026-00-10T10:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-W47-7T10:00:00Z",
        "12026-11-22T10:00:00Z",
        "-026-11-22T10:00:00Z",
        "\uff12026-11-22T10:00:00Z",
        "2026-11-22T10:00:00Z\n",
        "",
    ],
)
def test_an_instant_has_one_spelling(text: str) -> None:
    with pytest.raises(FormatError, match="k is not a time: expected RFC 3339 in UTC"):
        parse_time(text, "k")


@given(strategies.times)
def test_every_instant_of_years_1_to_9999_reads_back(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment


def test_times_are_written_in_utc_with_the_fraction_cut() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    assert format_time(datetime(2026, 1, 1, 0, 0, 0, 999_999, tzinfo=zone)) == "2025-12-31T18:30:00Z"
    assert format_time(datetime(7, 1, 1, tzinfo=UTC)) == "0007-01-01T00:00:00Z"


def test_a_time_without_a_zone_is_nobodys_instant() -> None:
    with pytest.raises(UsageError, match="no time zone"):
        format_time(datetime(2026, 1, 1))  # noqa: DTZ001  # that is the point


def test_what_says_nothing_is_not_written() -> None:
    assert present(a=None, b=[], c={}, d=False, e=0, f="") == {"d": False, "e": 0, "f": ""}
