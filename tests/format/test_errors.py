"""The tree of errors: whose fault, which exit code, which code; and no text that a terminal would act on."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_format import errors
from skillwarrant_format.errors import FormatError, PolicyDenied, SkillwarrantError, WrongBase, shown

HOSTILE = "a\x1b[2J\r\nfake: allowed\u2028\u202egnp\x9b\x00\ud800"


def below(cls: type[SkillwarrantError]) -> list[type[SkillwarrantError]]:
    return [
        cls,
        *(
            deeper
            for child in cls.__subclasses__()
            for deeper in below(child)
            if deeper.__module__ == cls.__module__
        ),
    ]


TREE = below(SkillwarrantError)


def build(cls: type[SkillwarrantError], text: str) -> SkillwarrantError:
    if cls is PolicyDenied:
        return PolicyDenied(text, reasons=(text, text), fix=text)
    return cls(text, expected=text, found=text, fix=text)


def test_every_error_is_exported_and_nothing_else_but_shown_is() -> None:
    assert errors.__all__ == sorted(errors.__all__)
    assert {cls.__name__ for cls in TREE} | {"shown"} == set(errors.__all__)


def test_every_error_that_is_raised_has_a_code_of_its_own_that_looks_like_one() -> None:
    codes = [cls.code for cls in TREE]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(?:\.[a-z]+)?", code) for code in codes)


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_the_exit_code_says_no_misuse_or_could_not_check_and_never_yes(cls: type[SkillwarrantError]) -> None:
    assert cls.exit_code in (1, 2, 3)


def test_every_kind_of_no_exits_with_one_and_every_kind_of_unknown_with_three() -> None:
    by_code = {code: {cls.__name__ for cls in TREE if cls.exit_code == code} for code in (1, 2, 3)}
    verification = {cls.__name__ for cls in below(errors.VerificationError)}
    assert by_code[1] == {"FormatError", "NotWarranted", "PolicyDenied", "SigningRefused", *verification}
    assert by_code[2] == {"UsageError", "PolicyError"}
    assert by_code[3] == {"SkillwarrantError", "TrustError", "Unavailable", "AuditError"}


def test_the_drawing_in_the_docstring_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    stack: list[tuple[int, str]] = [(-1, "SkillwarrantError")]
    for line in (errors.__doc__ or "").splitlines():
        if not (found := re.match(r"\s+([│ ]*)[├└]── (\w+)", line)):
            continue
        depth = len(found[1])
        while stack[-1][0] >= depth:
            stack.pop()
        drawn[found[2]] = stack[-1][1]
        stack.append((depth, found[2]))
    assert drawn == {cls.__name__: cls.__bases__[0].__name__ for cls in TREE[1:]}


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_hostile_text_is_one_line_without_control_characters(cls: type[SkillwarrantError]) -> None:
    error = build(cls, HOSTILE)
    for text in (str(error), error.message, error.found, *error.args):
        assert isinstance(text, str)
        assert text.isprintable()
        assert len(text.splitlines()) == 1
        text.encode()


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_an_error_survives_the_way_out_of_a_worker_process(cls: type[SkillwarrantError]) -> None:
    error = build(cls, "why")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301  # our own bytes
        assert type(again) is cls
        assert str(again) == str(error)
        assert again.__dict__ == error.__dict__


def test_the_line_says_what_was_expected_what_was_found_and_what_to_do() -> None:
    assert str(FormatError("it is odd")) == "it is odd"
    assert str(FormatError("it is odd", found="3")) == "it is odd: found 3"
    assert (
        str(WrongBase("it is odd", expected="2", found="3", fix="Try 2."))
        == "it is odd: expected 2, found 3. Try 2."
    )
    assert str(PolicyDenied("no", reasons=("a", "b"), fix="Ask.")) == "no: a; b. Ask."


def test_a_denial_without_a_reason_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="at least one reason"):
        PolicyDenied("no", reasons=())


def test_a_denial_keeps_its_reasons_apart() -> None:
    assert PolicyDenied("no", reasons=("a; b", "c\nd")).reasons == ("a; b", "c\\nd")


@given(st.text(st.characters()), st.integers(1, 400))
def test_shown_text_is_printable_bounded_and_stays_as_it_is(text: str, limit: int) -> None:
    safe = shown(text, limit)
    assert safe.isprintable()
    assert len(safe) <= limit + 1
    assert shown(safe, limit) == safe
    if text.isprintable() and len(text) <= limit:
        assert safe == text


def test_text_of_exactly_the_limit_is_shown_whole() -> None:
    assert shown("x" * 10, 10) == "x" * 10
    assert shown("x" * 11, 10) == "x" * 10 + "…"


def test_a_megabyte_of_someone_elses_text_is_cut() -> None:
    error = FormatError("it is odd", found="x" * 1_000_000)
    assert len(str(error)) < 400
    assert str(error).endswith("…")


def test_the_page_of_the_reference_lists_every_error_with_its_code_and_exit_code() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
    rows = re.findall(r"^\| `(\w+)` \| `([a-z.]+)` \| (\d) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted((cls.__name__, cls.code, str(cls.exit_code)) for cls in TREE[1:])


def test_no_error_of_another_kind_is_raised_by_the_format_but_for_a_bug_of_ours() -> None:
    package = Path(inspect.getfile(errors)).parent
    allowed = {cls.__name__ for cls in TREE} | {"AttributeError", "ValueError", "_RefusedError"}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Raise)
                and isinstance(node.exc, ast.Call)
                and isinstance(node.exc.func, ast.Name)
            ):
                name = node.exc.func.id
                assert name in allowed or name.startswith("_"), f"{path.name}:{node.lineno} raises {name}"
