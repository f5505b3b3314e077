"""What strict JSON refuses, by name; what it takes is what everybody takes; canonical bytes are RFC 8785's."""

from __future__ import annotations

import enum
import json
import subprocess
import sys
import time
from types import MappingProxyType
from typing import Any

import pytest
import rfc8785
import strategies
from hypothesis import example, given
from hypothesis import strategies as st

from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError
from skillwarrant_format.strict_json import canonical, kind_of, loads, loads_canonical, loads_object

DEPTH = limits.MAX_JSON_DEPTH

HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "only spaces": b"  \n",
    "a duplicate key": b'{"a":1,"a":1}',
    "a duplicate key, nested": b'{"x":[{"a":1,"b":2,"a":3}]}',
    "a duplicate key, once escaped": b'{"a":1,"\\u0061":2}',
    "a duplicate key, the empty one": b'{"":1,"":2}',
    "NaN": b'{"a":NaN}',
    "Infinity": b"[Infinity]",
    "minus Infinity": b"-Infinity",
    "a float beyond a double": b"1e999",
    "a negative float beyond a double": b"[-1e999]",
    "2 to the 53": b"9007199254740992",
    "minus 2 to the 53": b"[-9007199254740992]",
    "a leading zero": b"01",
    "a plus sign": b"+1",
    "a bare point": b".5",
    "a trailing point": b"5.",
    "a hexadecimal number": b"0x10",
    "a full-width digit": "\uff11".encode(),
    "a byte-order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a":1}'.encode("utf-16-le"),
    "UTF-32": '{"a":1}'.encode("utf-32"),
    "overlong UTF-8": b'"\xc0\xaf"',
    "an overlong NUL": b'"\xc0\x80"',
    "a surrogate as UTF-8": b'"\xed\xa0\x80"',
    "a surrogate pair as UTF-8 (CESU-8)": b'"\xed\xa0\xbd\xed\xb8\x80"',
    "UTF-8 beyond Unicode": b'"\xf4\x90\x80\x80"',
    "truncated UTF-8": b'"\xe2\x82',
    "a lone high surrogate": b'"\\ud800"',
    "a lone low surrogate": b'"\\uDFFF"',
    "surrogates in the wrong order": b'"\\udc00\\ud800"',
    "a lone surrogate in a key": b'{"\\ud800":1}',
    "a lone surrogate, nested": b'{"a":[1,{"b":"x\\ud83dx"}]}',
    "a NUL": b'"a\x00b"',
    "an escaped NUL": b'"a\\u0000b"',
    "an escaped NUL in a key": b'{"a\\u0000":1}',
    "an escaped NUL after a backslash": b'"\\\\\\u0000"',
    "a NUL after the document": b"{}\x00",
    "a control character": b'"a\x1fb"',
    "a raw newline in a string": b'"a\nb"',
    "an unknown escape": b'"\\x41"',
    "a short escape": b'"\\u12"',
    "a non-ASCII escape digit": '"\\u\uff10\uff1041"'.encode(),
    "trailing text": b"{} x",
    "two documents": b"{}{}",
    "a trailing comma": b"[1,]",
    "a trailing comma in an object": b'{"a":1,}',
    "a comment": b"// x\n{}",
    "a block comment": b"/**/{}",
    "single quotes": b"{'a':1}",
    "a bare key": b"{a:1}",
    "a missing value": b'{"a":}',
    "an unterminated string": b'"abc',
    "an unterminated object": b'{"a":1',
    "Python's True": b"True",
    "a form feed as a space": b"\x0c{}",
    "a no-break space": "\u00a0{}".encode(),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_document_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(FormatError, match="parcel") as caught:
        loads(data, what="parcel")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"9007199254740991", 2**53 - 1),
        (b"-9007199254740991", 1 - 2**53),
        (b"-0", 0),
        (b"1e308", 1e308),
        (b"1e-999", 0.0),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\\\u0000"', "\\u0000"),
        (b'"\\\\ud800"', "\\ud800"),
        ('"\x7f\uffff"'.encode(), "\x7f\uffff"),
        (b' \t\r\n{"a" : [ ] }\n', {"a": []}),
        (b'{"a":1,"A":2}', {"a": 1, "A": 2}),
        (b"null", None),
    ],
)
def test_the_last_acceptable_case_before_each_refusal_is_taken(data: bytes, value: Any) -> None:
    assert loads(data, what="parcel") == value


def test_a_duplicate_key_is_named_and_cannot_forge_output() -> None:
    with pytest.raises(FormatError, match="'good' twice"):
        loads(b'{"other":1,"good":1,"good":2}', what="parcel")
    with pytest.raises(FormatError) as caught:
        loads(b'{"\\u001b[2J\\n":1,"\\u001b[2J\\n":2}', what="parcel")
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b"[1,", b'{"a":"[","b":'])
def test_the_deepest_acceptable_document_is_taken_and_one_level_more_is_not(opening: bytes) -> None:
    closing = b"]" if opening.startswith(b"[") else b"}"
    loads(opening * DEPTH + b"1" + closing * DEPTH, what="parcel")
    with pytest.raises(FormatError, match="at most 64 levels"):
        loads(opening * (DEPTH + 1) + b"1" + closing * (DEPTH + 1), what="parcel")


def test_brackets_in_strings_are_no_nesting() -> None:
    for text in ('[{"' * 500 + "\\", "[{" * 500, "]}" * 500):
        assert loads(json.dumps([text] * 3).encode(), what="parcel") == [text] * 3


@pytest.mark.parametrize("text", ["]" * 100, "}]" * 100, "\\" + "]" * 100, '"]' * 100])
def test_brackets_in_strings_hide_no_nesting(text: str) -> None:
    closed = json.dumps(text).encode()
    document = (b"[" + closed + b",") * (DEPTH + 1) + b"1" + b"]" * (DEPTH + 1)
    with pytest.raises(FormatError, match="at most 64 levels"):
        loads(document, what="parcel")


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 10_000_000,
        b'{"a":' * 2_000_000,
        b'["' * 5_000_000,
        b'\\"[' * 3_000_000,
        b'["' + b"\\" * 10_000_000,
        b'"' + b'\\"' * 5_000_000,
        b"9" * 10_000_000,
        b"1e" + b"9" * 10_000_000,
        b"[" + b"1" * 10_000_000 + b"e-9999990" + b"]" * 2,
    ],
    ids=["brackets", "objects", "strings", "quotes", "backslashes", "escapes", "digits", "exponent", "mantissa"],
)
def test_ten_megabytes_made_to_be_slow_are_refused_within_a_second_of_cpu(data: bytes) -> None:
    start = time.process_time()
    with pytest.raises(FormatError):
        loads(data, what="parcel")
    assert time.process_time() - start < 1


def test_deep_nesting_is_no_crash_where_the_host_has_raised_the_recursion_limit() -> None:
    script = """
import sys
from skillwarrant_format import FormatError
from skillwarrant_format.strict_json import loads
sys.setrecursionlimit(10**8)
for opening in (b"[", b'{"a":'):
    try:
        loads(opening * 1_000_000, what="parcel")
    except FormatError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("too deeply")) == (0, 2), done.stderr


def test_a_reader_that_is_itself_deep_in_the_stack_gets_a_format_error() -> None:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        else:
            loads(b"[" * 60 + b"]" * 60, what="parcel")

    outcomes = set()
    for levels in range(sys.getrecursionlimit() - 120, sys.getrecursionlimit()):
        try:
            deep(levels)
        except (FormatError, RecursionError) as error:
            outcomes.add(type(error))
    assert FormatError in outcomes


def test_a_document_over_its_limit_is_refused_before_it_is_read() -> None:
    loads(b"[1]", what="parcel", limit=3)
    with pytest.raises(FormatError, match="at most 3 bytes, found 4 bytes"):
        loads(b"[1] ", what="parcel", limit=3)
    with pytest.raises(FormatError, match="too large"):
        loads(b" " * (limits.MAX_JSON_BYTES + 1), what="parcel")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer_is_read(kind: type) -> None:
    assert loads(kind(b'{"a":[]}'), what="parcel") == {"a": []}


@pytest.mark.parametrize("data", [b"[]", b"1", b"null", b'"x"', b"true"])
def test_an_object_is_asked_for_and_nothing_else_is_one(data: bytes) -> None:
    with pytest.raises(FormatError, match="not a JSON object: expected an object"):
        loads_object(data, what="parcel")


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1}\n',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":-0}',
        b'{"a":"\\u0061"}',
        b'{"a":"\\/"}',
        b'{"a":"\\u000A"}',
        b'{"a":100000000000000000.0}',
        '{"\U0001f600":1,"\uffff":2,"z":3}'.encode(),  # UTF-8 order; RFC 8785 sorts by UTF-16 units
    ],
)
def test_another_encoding_of_the_same_facts_is_not_canonical(data: bytes) -> None:
    with pytest.raises(FormatError):
        loads_canonical(data, what="parcel")


def test_keys_are_sorted_by_utf_16_units() -> None:
    data = '{"z":3,"\U0001f600":1,"\uffff":2}'.encode()
    assert loads_canonical(data, what="parcel") == {"z": 3, "\U0001f600": 1, "\uffff": 2}


@given(strategies.json_values)
@example(-0.0)
@example([1e21, 1e-7, 5e-324, 1.7976931348623157e308, 0.1])
def test_canonical_bytes_are_read_back_and_written_again_the_same(value: Any) -> None:
    data = canonical(value)
    assert data == rfc8785.dumps(value)
    again = loads(data, what="parcel")
    assert again == value
    assert canonical(again) == data


@given(strategies.json_values, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_on_valid_documents_the_standard_library_reads_the_same(value: Any, escape: bool, indent: Any) -> None:
    data = json.dumps(value, ensure_ascii=escape, indent=indent).encode()
    ours = loads(data, what="parcel")
    assert ours == json.loads(data)
    assert json.dumps(ours) == json.dumps(json.loads(data))  # types too: True is not 1, and 1 is not 1.0


@given(st.binary(max_size=30) | st.text(alphabet='[]{}",:\\u0123dn9eE.-+ \0', max_size=30).map(str.encode))
def test_what_is_taken_is_json_to_the_standard_library_and_keeps_its_canonical_form(data: bytes) -> None:
    try:
        value = loads(data, what="parcel")
    except FormatError:
        return
    assert value == json.loads(data)
    assert rfc8785.dumps(value) == canonical(value)


@given(strategies.json_objects)
def test_what_is_accepted_as_canonical_is_its_own_canonical_form(value: dict[str, Any]) -> None:
    data = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    try:
        found = loads_canonical(data, what="parcel")
    except FormatError:
        assert canonical(value) != data
    else:
        assert canonical(found) == data


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        2**53,
        -(2**53),
        "\ud800",
        {"\udfff": 1},
        "a\0b",
        {"a": {"\0": 1}},
        {1: 2},
        {None: 1},
        {True: 1},
        b"bytes",
        {"a": {1, 2}},
        pytest.param(object(), id="object"),
        Colour.RED,
        MappingProxyType({"a": 1}),
    ],
    ids=repr,
)
def test_what_json_cannot_say_has_no_canonical_form(value: Any) -> None:
    with pytest.raises(FormatError):
        canonical(value)


def test_a_value_that_holds_itself_or_is_too_deep_has_no_canonical_form() -> None:
    ring: list[Any] = []
    ring.append(ring)
    deep: Any = 1
    for _ in range(DEPTH):
        deep = {"a": deep}
    assert loads(canonical(deep), what="parcel") == deep
    for value in (ring, [deep], ({"b": [deep]},)):
        with pytest.raises(FormatError, match="nested too deeply"):
            canonical(value)


def test_every_type_has_a_name_in_messages() -> None:
    values = [None, True, 1, 1.5, "x", {}, []]
    assert [kind_of(value) for value in values] == [
        "null",
        "a boolean",
        "a number",
        "a number",
        "a string",
        "an object",
        "a list",
    ]
