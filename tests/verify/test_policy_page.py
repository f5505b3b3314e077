"""docs/reference/policy.md says what the engine does: every key and requirement, and what never only warns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from builders import facts
from skillwarrant_verify.deciding.catalogue import CATALOGUE
from skillwarrant_verify.deciding.decide import decide
from skillwarrant_verify.deciding.rego_findings import BROKEN
from skillwarrant_verify.document.policy_evidence import EvidenceRule
from skillwarrant_verify.document.policy_reading import KEYS
from skillwarrant_verify.document.policy_terms import AdapterLimits
from skillwarrant_verify.policy import Policy
from test_policy import GOOD

PAGE = (Path(__file__).parents[2] / "docs/reference/policy.md").read_text()


def section(title: str) -> str:
    return re.split(r"^##+ ", PAGE.partition(f"# {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def test_the_table_of_requirements_is_the_catalogue_in_its_order() -> None:
    assert re.findall(r"^\| `([a-z.-]+)` \|", section("Requirements"), re.MULTILINE) == list(CATALOGUE)


def test_every_key_of_the_document_is_in_the_first_table() -> None:
    head = PAGE.partition("A publisher:")[0]
    rows = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", head, re.MULTILINE)
    found = {key.strip("[]") for row in rows for key in re.findall(r"`([^`]+)`", row)}
    assert found == set(KEYS)


def test_what_is_never_a_warning_is_in_its_table() -> None:
    found = set(re.findall(r"`([a-z]+\.[a-z-]+)`", section("Staged roll-out").partition("naming one so")[2]))
    always = {known.code for known in CATALOGUE.values() if known.always}
    assert {code for code in found if not code.startswith("rego.")} == {*always, "rule.failed"}
    assert {code for code in found if code.startswith("rego.")} == {"rego.evaluated", *BROKEN}


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("Limits", AdapterLimits.__dataclass_fields__),
        ("Evidence", EvidenceRule.__dataclass_fields__),
    ],
)
def test_every_key_of_a_section_is_in_its_table(title: str, names: dict[str, object]) -> None:
    assert set(re.findall(r"^\| `([a-z_]+)` \|", section(title), re.MULTILINE)) == set(names)


TABLES = [
    block
    for block in re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    if "api_version" not in block and "sha256" not in block
]


@pytest.mark.parametrize("block", TABLES)
def test_every_example_is_a_policy(block: str) -> None:
    plain, tables = re.split(r"^(?=\[)", block + "\n[x]", maxsplit=1, flags=re.MULTILINE)
    text = GOOD.replace("revision = 3", f"revision = 3\n{plain}") + tables.replace("[x]", "")
    policy = Policy.parse(text.encode())
    assert decide(policy, facts()).checked


def test_the_rule_of_the_page_is_one() -> None:
    from skillwarrant_format.digest import Digest

    (source,) = re.findall(r"^```python\n(from skillwarrant_verify.rules.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    table = f'[[rules]]\nmodule = "acme_rules.py"\nsha256 = "{Digest.of(source.encode()).hex}"\n'
    policy = Policy.parse((GOOD + table).encode(), files=lambda _: source.encode())
    assert [reason.code for reason in decide(policy, facts()).reasons] == ["acme.ticket"]
