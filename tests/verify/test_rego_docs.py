"""The page on Rego is true: its modules load, its tests pass, what it refuses is refused, its numbers hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from modules import checked, codes, judged
from skillwarrant_format.errors import PolicyError
from skillwarrant_verify.rego import answer as rego_answer
from skillwarrant_verify.rego import engine as rego_engine
from skillwarrant_verify.rego import modules as rego
from skillwarrant_verify.rego import source as rego_source
from skillwarrant_verify.rego import tests as rego_tests
from skillwarrant_verify.rego import worker as rego_worker
from skillwarrant_verify.rego.lint_names import OUTSIDE as REFUSED
from skillwarrant_verify.rego.modules import INPUT_FIELDS, RegoModules

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "rego.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```rego ([^\n]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILES = {name: code for name, code in BLOCKS if name != "fragment"}
FRAGMENTS = [code for name, code in BLOCKS if name == "fragment"]


def limits() -> list[str]:
    section = PAGE.partition("| limit | |")[2].partition("\n## ")[0]
    return [row.split("|")[2].strip() for row in section.splitlines() if row.startswith("| ")]


def test_every_block_of_rego_is_named() -> None:
    assert len(BLOCKS) == PAGE.count("```rego")
    assert set(FILES) == {"region.rego", "region_test.rego", "decision.rego"}


def test_the_first_example_does_what_it_says_and_the_python_runs() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {
        "region": FILES["region.rego"].encode(),
        "region_test": FILES["region_test.rego"].encode(),
        "document": {"context": {"region": "us"}, "manifest": {"policyClass": "general"}},
        "config": {"regions": ["eu"]},
    }
    exec(code, names)  # noqa: S102  # the page's own
    (denial,) = names["answer"].denials
    assert (denial.code, denial.message) == ("acme.region", "we do not serve from us")
    assert denial.details == {"allowed": ["eu"]}
    assert [finding.code for finding in names["answer"].warnings] == ["rego.warn"]
    assert [test.outcome for test in names["tests"].tests] == ["pass", "pass"]
    assert names["tests"].coverage["region.rego"].covered


def test_the_example_denies_where_there_is_no_region() -> None:
    source = {"region.rego": FILES["region.rego"]}
    found = judged(source, {"context": {}, "manifest": {"policyClass": "a"}}, {"regions": ["eu"]})
    assert codes(found) == ["acme.region"]
    assert found.denials[0].message == "we do not serve from an unknown region"


def test_the_fragments_deny_what_is_missing() -> None:
    wrong, right, fallen_back, counted, otherwise_in_opa = FRAGMENTS
    assert codes(judged(fallen_back, {"context": {}})) == ["rego.missing", "rego.deny"]
    assert codes(judged(counted, {"context": {}})) == ["rego.missing"]
    assert codes(judged(counted, {"context": {"region": ["eu"]}})) == []
    assert codes(judged(counted, {"context": {"region": []}})) == ["rego.deny"]
    assert codes(judged(otherwise_in_opa, {"context": {}})) == ["rego.deny"]
    assert codes(judged(wrong, {"context": {}})) == ["rego.missing"]
    assert codes(judged(right, {"context": {}})) == ["rego.deny", "rego.deny"]
    for fragment in FRAGMENTS:
        assert codes(judged(fragment, {"context": {"region": "eu"}})) == []


def test_the_decision_for_an_opa_is_accepted_here_too() -> None:
    source = {"decision.rego": FILES["decision.rego"]}
    assert codes(judged(source, {"context": {"environment": "trial"}})) == ["rego.deny"]


def test_every_field_of_the_input_is_in_the_table() -> None:
    section = PAGE.partition("## The input document")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `input\.(\w+)`", section, re.MULTILINE)) == INPUT_FIELDS


def test_every_code_of_ours_is_in_the_table() -> None:
    sources = Path(rego.__file__).parents[1].rglob("*.py")
    used = {code for path in sources for code in re.findall(r'"(rego\.[a-z]+)"', path.read_text())}
    assert used == set(re.findall(r"^\| `(rego\.[a-z]+)` \|", PAGE, re.MULTILINE))


def test_the_limits_are_the_codes() -> None:
    kib = 1024
    each, together = rego_source.MAX_FILE_BYTES // kib, rego_source.MAX_TOTAL_BYTES // kib
    assert limits() == [
        f"{rego_source.MAX_FILES}, of {each} KiB each, {together} KiB together, 1,024 columns a line",
        f"{rego_source.MAX_DEPTH}",
        f"{rego._LOAD_SECONDS:g} s",
        f"{rego.EVALUATION_SECONDS:g} s, {rego_tests._SECONDS:g} s",
        f"{rego_worker._MEMORY // kib // kib} MiB",
        f"{rego_answer.MAX_FINDINGS:,}, {rego_engine.MAX_RESULT // kib // kib} MiB",
    ]


def test_a_line_of_more_columns_is_refused() -> None:
    with pytest.raises(PolicyError, match="column"):
        RegoModules.load({"a.rego": f'package skillwarrant\ndeny contains "{"x" * 1100}"'.encode()})


LACKING = ["crypto.sha256", "io.jwt.decode", "net.lookup_ip_addr", "graphql.parse", "rego.parse_module"]
OUTSIDE = sorted(set(re.findall(r"`(time\.now_ns|http\.send|opa\.runtime|rand\.intn|uuid\.rfc4122|trace)`", PAGE)))


@pytest.mark.parametrize("name", LACKING)
def test_functions_that_the_engine_lacks_are_refused(name: str) -> None:
    with pytest.raises(PolicyError, match=f"no function {name}"):
        checked(f'deny contains {name}("a")')


@pytest.mark.parametrize("name", OUTSIDE)
def test_functions_that_look_outside_are_refused(name: str) -> None:
    with pytest.raises(PolicyError, match=f"{name} looks outside"):
        checked(f'deny contains {name}("a")')


def test_every_function_that_looks_outside_is_named() -> None:
    assert set(OUTSIDE) == set(REFUSED)
