"""docs/reference/observation.md is true: its examples parse, and its own reader reads what we write."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from logbook import SUBJECTS, observation

from skillwarrant_audit import DELEGATION_TYPE, Delegation, Recorder, verify_log
from skillwarrant_audit.framing import MAGIC
from skillwarrant_audit.recorder import LOG_NAME, OPERATOR_KEY_NAME, OPERATOR_PUBLIC_NAME
from skillwarrant_audit.signing import read_public, spki
from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.dsse import decode_base64
from skillwarrant_format.fields import Fields
from skillwarrant_format.observation import PREDICATE_TYPE, Observation, Place
from skillwarrant_format.statement import Statement, Subject

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "observation.md").read_text(encoding="utf-8")


def block(kind: str, number: int = 0) -> str:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[number]


def fields(title: str) -> list[str]:
    """The names in the first column of a section's own table, not of those in the sections below it."""
    section = re.split(r"\n##+ ", PAGE.split(f"\n## {title}\n")[1])[0]
    return [
        name for row in re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE) for name in re.findall(r"\w+", row)
    ]


def test_the_example_of_an_observation_has_every_field_and_is_read_back_as_it_stands() -> None:
    example = json.loads(block("json"))
    statement = Statement.build(subjects=SUBJECTS, predicate_type=PREDICATE_TYPE, predicate=example)
    found = Observation.parse(statement)
    place = Place.parse(Fields(example, "predicate"))
    assert found.to_statement(SUBJECTS, seq=place.seq, previous=place.previous).raw == statement.raw
    assert fields("The observation") == list(example)


def test_the_example_of_a_delegation_has_every_field_and_is_read_back_as_it_stands() -> None:
    example = json.loads(block("json", 1))
    key = read_public(decode_base64(example["publicKey"], "publicKey"), what="publicKey")
    subject = Subject(name="observer", digest=Digest.of(spki(key)))
    statement = Statement.build(subjects=(subject,), predicate_type=DELEGATION_TYPE, predicate=example)
    place = Place.parse(Fields(example, "predicate"))
    assert Delegation.parse(statement).to_statement(place).raw == statement.raw
    assert fields("The delegation") == list(example)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    recorder = Recorder.open(tmp_path)
    for phase, activation in (("intent", 1), ("activated", 1), ("refused", 2)):
        recorder.record(observation(phase, activation), SUBJECTS)
    return tmp_path / LOG_NAME


def test_the_page_s_own_reader_reads_our_log(log: Path) -> None:
    namespace: dict[str, Any] = {}
    exec(block("python"), namespace)  # noqa: S102  # the page's code, as a reader would run it
    found = namespace["read"](log)
    assert [statement["predicateType"] for statement in found] == [DELEGATION_TYPE, *[PREDICATE_TYPE] * 3]
    report = verify_log(log, log.with_name(OPERATOR_PUBLIC_NAME))
    assert [json.loads(seen.statement.raw) for seen in report.observations] == found[1:]
    data = log.read_bytes()
    log.write_bytes(data.replace(b" 0", b" 1", 1))
    with pytest.raises(AssertionError):
        namespace["read"](log)


def test_names_and_limits_are_those_of_the_code(log: Path) -> None:
    assert PAGE.count(PREDICATE_TYPE) >= 2
    assert DELEGATION_TYPE in PAGE
    assert block("text").startswith(MAGIC.decode())
    assert f"{limits.MAX_LEAF_BYTES:,} bytes" in PAGE
    for name in (LOG_NAME, OPERATOR_KEY_NAME, OPERATOR_PUBLIC_NAME):
        assert f"\n{name} " in PAGE
    assert set(re.findall(r"`((?:tail|intent|clock)\.\w+)`", PAGE)) == {
        "tail.torn",
        "intent.dangling",
        "clock.back",
    }
