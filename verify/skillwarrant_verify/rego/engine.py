"""The Rego engine (regorus, as packaged in gordon-to-regorus), and nothing else of the product: the one importer.

It runs in the worker process alone: the engine has no time limit, and a function that calls itself ends the process
it is in. Before any policy, the engine answers questions with known answers; a policy's meaning stands on them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import regorus

from skillwarrant_verify.rego.frames import UNDEFINED

__all__ = ["MAX_RESULT", "EngineError", "Modules", "Tested", "functions", "wrong_answers"]

MAX_RESULT: Final = 1024 * 1024  # bytes of one rule's value

_PLACE: Final = re.compile(r"--> (\S+:\d+):\d+")
_ERROR: Final = re.compile(r"^error: (.*)", re.MULTILINE)

# An expression and its value as JSON, "undefined", or "error". Where OPA answers otherwise it says so.
_KNOWN: Final = (
    ("input.missing", "undefined"),
    ("data.config.missing", "undefined"),
    ("[x | some x in []]", "[]"),
    ("[1 | every x in [] { x == 1 }]", "[1]"),
    ("[1 | every x in [2] { x == 1 }]", "[]"),
    ("[1 | not input.missing == 1]", "[1]"),
    ("[1 | input.missing != 1]", "[]"),
    ('count("abc")', "3"),
    ("count(5)", "error"),
    ('count("\\u00e9")', "1"),
    ('count("\\ud83d\\ude00")', "2"),  # OPA: 1, it counts characters
    ('semver.compare("1.10.0", "1.9.0")', "1"),
    ('semver.compare("1.0.0-rc.1", "1.0.0")', "-1"),
    ('semver.compare("1.0", "1.0.0")', "error"),
    ("70 % 7", "0"),
    ("71 % 7", "1"),
    ("5 % 0", "error"),
    ("1 / 0", "error"),
    ("9007199254740992 + 1", "9007199254740993"),
    ("9007199254740993 == 9007199254740992", "false"),
    ("18446744073709551615", "18446744073709551615"),
    ("18446744073709551616", "1.8446744073709552e+19"),  # OPA: exact
    ("1 == 1.0", "true"),
    ('1 == "1"', "false"),
    ("null == false", "false"),
    ('"a\\u0000b" == "a"', "false"),
    ('concat("", ["a\\u0000b"])', '"a\\u0000b"'),
    ('lower("\\u00c9A")', '"\u00e9a"'),
    ('"\\u00e9" == "e\\u0301"', "false"),
    ('startswith(5, "a")', "error"),
    ('to_number("a")', "error"),
    ('object.get({"a": {"b": 1}}, ["a", "b"], 2)', "1"),
    ('object.get({"a": 1}, "b", 2)', "2"),
    ('regex.match("^a$", "a\\n")', "false"),
    ('glob.match("*.b", ["."], "x.a.b")', "false"),
    ('glob.match("*.b", [], "a.b")', "true"),
    ('time.parse_rfc3339_ns("2026-11-22T10:00:00Z")', "1795341600000000000"),
    ('time.parse_rfc3339_ns("2026-11-22")', "error"),
    ('"a" in {"a", "b"}', "true"),
    ('"c" in {"a", "b"}', "false"),
    ("{1, 2} - {2}", "[1]"),
    ("nowhere", "error"),
    ("nowhere(1)", "error"),
)


class EngineError(Exception):
    """The engine's own words, on one line: `a.rego:3: use of undefined variable …`."""


class Tested(NamedTuple):
    """One evaluation of a test: its value as JSON, what it printed, and lines: file -> (covered, not covered)."""

    value: str
    prints: list[str]
    lines: dict[str, tuple[list[int], list[int]]]


class Modules:
    """A set of modules, compiled. Every evaluation has an engine to itself, so that no error outlives it."""

    def __init__(self, files: Mapping[str, str]) -> None:
        """Raises EngineError where a module does not parse or compile."""
        self._engine = _compiled(files)
        self._files = files
        self._config = b""
        self._configured = self._engine

    def trees(self) -> list[object]:
        """The syntax tree of each module, one at a time parsed: they are large."""
        found = []
        for name, text in self._files.items():
            engine = regorus.Engine()
            engine.add_policy(name, text)
            found += json.loads(engine.get_ast_as_json())
        return found

    def evaluate(self, rules: Sequence[str], *, document: str, config: bytes) -> list[str | EngineError]:
        """The value of each rule as JSON, or why it has none."""
        engine = self._prepared(document, config)
        found: list[str | EngineError] = []
        for rule in rules:
            try:
                found.append(_value(engine, rule))
            except EngineError as error:
                found.append(error)
                engine = self._prepared(document, config)
        return found

    def test(self, rule: str, *, config: bytes) -> Tested:
        """Evaluate a test rule. Raises EngineError."""
        engine = self._prepared("{}", config)
        engine.set_enable_coverage(True)
        value = _value(engine, rule)
        report = json.loads(engine.get_coverage_report_as_json())["files"]
        lines = {file["path"]: (file["covered"], file["not_covered"]) for file in report}
        return Tested(value, engine.take_prints(), lines)

    def _prepared(self, document: str, config: bytes) -> regorus.Engine:
        try:
            if config != self._config:
                self._configured = self._engine.clone()
                self._configured.add_data_json('{"config":' + config.decode() + "}")
                self._configured.eval_query_as_json("true")
                self._config = config
            engine = self._configured.clone()
            engine.set_gather_prints(True)
            engine.set_input_json(document)
        except BaseException as error:  # noqa: BLE001  # see _said
            raise EngineError(_said(error)) from None
        return engine


def _compiled(files: Mapping[str, str]) -> regorus.Engine:
    try:
        engine = regorus.Engine()
        for name, text in files.items():
            engine.add_policy(name, text)
        engine.eval_query_as_json("true")  # a module is compiled when something is asked
    except BaseException as error:  # noqa: BLE001  # see _said
        raise EngineError(_said(error)) from None
    return engine


def _value(engine: regorus.Engine, rule: str) -> str:
    try:
        value: str = engine.eval_rule_as_json(rule)
    except BaseException as error:  # noqa: BLE001  # see _said
        raise EngineError(_said(error)) from None
    if len(value) > MAX_RESULT:
        raise EngineError(f"{rule} has a value of more than {MAX_RESULT} bytes")
    return value


def _said(error: BaseException) -> str:
    """The engine's words. A panic in it is a BaseException and no Exception; what is Python's own goes on."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        raise error
    text = str(error).partition("Stack backtrace:")[0] or type(error).__name__
    place, what = _PLACE.search(text), _ERROR.search(text)
    said = what.group(1) if what else " ".join(text.split())
    return f"{place.group(1)}: {said}" if place else said


def functions() -> list[str]:
    """The names of the engine's built-in functions."""
    engine = regorus.Engine()
    engine.add_policy("functions.rego", "package functions\nnames := opa.runtime().builtins")
    found: list[str] = json.loads(engine.eval_rule_as_json("data.functions.names"))
    return found


def wrong_answers() -> list[str]:
    """What the engine answers otherwise than is known; empty for the engine that this was written for."""
    wrong = []
    for expression, known in _KNOWN:
        found = _asked(f"answer := {expression}")
        if found != known:
            wrong.append(f"{expression} is {found}, not {known}")
    if (found := _asked("answer { true }")) != "error":
        wrong.append(f"a rule without `if` is {found}, not an error")
    return wrong


def _asked(rule: str) -> str:
    try:
        modules = Modules({"known.rego": f"package known\n{rule}"})
        (value,) = modules.evaluate(["data.known.answer"], document="{}", config=b"{}")
    except EngineError:
        return "error"
    if isinstance(value, EngineError):
        return "error"
    return (
        "undefined"
        if value == UNDEFINED
        else json.dumps(json.loads(value), separators=(",", ":"), ensure_ascii=False)
    )
