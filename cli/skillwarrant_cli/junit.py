"""Test results as JUnit's XML, which every CI service shows. It knows nothing of policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias
from xml.etree import ElementTree as ET

from skillwarrant_format.errors import shown

__all__ = ["Test", "junit", "write_junit"]

_PATH_CHARS: Final = 4_096
Outcome: TypeAlias = Literal["pass", "fail", "error", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One test.

    Args:
        messages: why it is no pass; the first is the short one.
        place: `cases.toml:12`.
    """

    name: str
    outcome: Outcome
    place: str
    messages: tuple[str, ...] = ()


def junit(suites: Mapping[str, Sequence[Test]]) -> ET.Element:
    """The document: suites by their names."""
    every = [test for tests in suites.values() for test in tests]
    root = ET.Element("testsuites", _counts(every))
    for name, tests in suites.items():
        suite = ET.SubElement(root, "testsuite", {"name": shown(name, _PATH_CHARS), **_counts(tests)})
        for test in tests:
            _add(suite, name, test)
    return root


def write_junit(path: Path, suites: Mapping[str, Sequence[Test]]) -> None:
    """Write the document to a file. Raises OSError."""
    tree = ET.ElementTree(junit(suites))
    ET.indent(tree)
    tree.write(path, encoding="utf-8", xml_declaration=True)


def _counts(tests: Sequence[Test]) -> dict[str, str]:
    outcomes = [test.outcome for test in tests]
    counted: dict[str, Outcome] = {"failures": "fail", "errors": "error", "skipped": "skip"}
    return {"tests": str(len(tests)), **{word: str(outcomes.count(kind)) for word, kind in counted.items()}}


def _add(suite: ET.Element, classname: str, test: Test) -> None:
    file, _, line = test.place.rpartition(":")
    place = (
        {"file": shown(file, _PATH_CHARS), "line": line}
        if line.isdecimal()
        else {"file": shown(test.place, _PATH_CHARS)}
    )
    case = ET.SubElement(
        suite, "testcase", {"classname": shown(classname, _PATH_CHARS), "name": shown(test.name), **place}
    )
    if test.outcome == "pass":
        return
    word = {"fail": "failure", "error": "error", "skip": "skipped"}[test.outcome]
    messages = [shown(message, 2_000) for message in test.messages] or [test.outcome]  # XML takes no controls
    ET.SubElement(case, word, {"message": messages[0]}).text = "\n".join(messages)
