"""Every example policy does what the cases beside it say, and has cases of both kinds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import builders
from skillwarrant_format.fields import parse_time
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.manifest import Deployment
from skillwarrant_format.toml import parse_toml
from skillwarrant_verify import Context
from skillwarrant_verify.decide import Facts, decide
from skillwarrant_verify.policy import Policy

POLICIES = Path(__file__).parents[2] / "policies"
FOLDERS = sorted(path.parent for path in POLICIES.glob("*/policy.toml"))
KEYS = {"changes_base", "hazards", "now"}


def cases(folder: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    document: Any = parse_toml((folder / "cases.toml").read_bytes(), what=str(folder))
    plain = document["input"]
    plain["vouched"] = plain["measured"]
    return [({**plain, **case.get("change", {})}, case) for case in document["case"]]


ALL = [
    pytest.param(folder, given, case, id=f"{folder.name}: {case['name']}")
    for folder in FOLDERS
    for given, case in cases(folder)
]


def facts(given: dict[str, Any]) -> Facts:
    """The good input of a case file, changed, as the rules see it."""
    plain = builders.manifest()
    base = replace(
        plain.base_models[0],
        name=given["base"],
        fingerprint=Fingerprint.from_text(given["vouched"]),
    )
    adapter = replace(
        plain.adapter, changes_base=given.get("changes_base", False), hazards=tuple(given.get("hazards", ()))
    )
    manifest = replace(
        plain,
        skill=replace(plain.skill, name=given["skill"]),
        adapter=adapter,
        base_models=(base,),
        deployment=Deployment(environments=tuple(given["sanctioned"])),
        policy_class=given["policy_class"],
    )
    now = parse_time(given["now"]) if "now" in given else builders.NOW
    options = {"init_lora_weights": "pissa"} if given.get("changes_base") else {}
    if "trigger-tokens" in given.get("hazards", ()):
        options = {"alora_invocation_tokens": [1]}
    return Facts(
        verified=builders.verified(
            manifest,
            identity=given["identity"],
            issuer=given["issuer"],
            signed_at=now - timedelta(days=given["age_days"]),
        ),
        config=builders.config(**options),
        base=Fingerprint.from_text(given["measured"]),
        companions=(),
        context=Context(environment=given["environment"]),
        now=now,
        versions={},
    )


@pytest.mark.parametrize(("folder", "given", "case"), ALL)
def test_the_policy_decides_as_its_case_says(folder: Path, given: dict[str, Any], case: dict[str, Any]) -> None:
    known = cases(folder)[0][0].keys() | KEYS
    assert given.keys() <= known, "a misspelt key would change nothing and prove nothing"
    decision = decide(Policy.load(folder / "policy.toml"), facts(given))
    assert [finding.code for finding in decision.reasons] == case["deny"]
    assert decision.outcome == ("deny" if case["deny"] else "allow")


def test_every_policy_has_cases_that_allow_and_cases_that_deny() -> None:
    assert len(FOLDERS) >= 2
    for folder in FOLDERS:
        outcomes = {bool(case["deny"]) for _, case in cases(folder)}
        assert outcomes == {True, False}, folder
    assert len(ALL) >= 27
