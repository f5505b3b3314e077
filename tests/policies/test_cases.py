"""Every example policy does what the cases beside it say, and has cases of both kinds."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import builders
import idp
from skillwarrant_format.fields import parse_time
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.manifest import Composition, Deployment
from skillwarrant_format.toml import parse_toml
from skillwarrant_verify import Context, VerifiedOperator
from skillwarrant_verify.composition import Companion
from skillwarrant_verify.decide import Facts, decide
from skillwarrant_verify.policy import Policy

POLICIES = Path(__file__).parents[2] / "policies"
FOLDERS = sorted(path.parent for path in POLICIES.glob("*/policy.toml"))
KEYS = {
    "age_days",
    "alterations",
    "base",
    "changes_base",
    "company",
    "context_class",
    "environment",
    "hazards",
    "identity",
    "issuer",
    "measured",
    "now",
    "operator",
    "policy_class",
    "sanctioned",
    "skill",
    "stackable",
    "vouched",
    "weight",
}


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
        composition=Composition(stackable=given.get("stackable", False)),
    )
    now = parse_time(given["now"]) if "now" in given else builders.NOW
    options = {"init_lora_weights": "pissa"} if given.get("changes_base") else {}
    if "trigger-tokens" in given.get("hazards", ()):
        options = {"alora_invocation_tokens": [1]}
    return Facts.of(
        verified=builders.verified(
            manifest,
            identity=given["identity"],
            issuer=given["issuer"],
            signed_at=now - timedelta(days=given["age_days"]),
        ),
        adapter=builders.adapter(builders.config(**options)),
        base=Fingerprint.from_text(given["measured"]),
        companions=company(given.get("company", [])),
        context=Context(
            environment=given["environment"],
            policy_class=given.get("context_class"),
            operator=operator(given.get("operator", {}), now),
        ),
        now=now,
        versions={},
        alterations=tuple(given.get("alterations", ())),
        weight=given.get("weight"),
    )


def company(members: list[dict[str, Any]]) -> tuple[Companion, ...]:
    """Stackable skills that are there already; one without a name did not come through the gate."""
    found = []
    for number, member in enumerate(members):
        assert member.keys() <= {"skill", "weight"}
        plain = builders.manifest(composition=Composition(stackable=True))
        named = replace(plain, skill=replace(plain.skill, name=member["skill"])) if "skill" in member else None
        found.append(Companion(adapter_name=f"a{number}", manifest=named, weight=member.get("weight")))
    return tuple(found)


def operator(said: dict[str, str], now: datetime) -> VerifiedOperator | str | None:
    """A real token, signed and verified, of the issuer that is named; or what is merely claimed."""
    if "subject" not in said:
        return said.get("claim")
    at = int(now.timestamp())
    token = idp.mint(iss=said["issuer"], aud=said["audience"], sub=said["subject"], iat=at, exp=at + 60)
    return idp.check(token, issuer=said["issuer"], audience=said["audience"], now=now)


@pytest.mark.parametrize(("folder", "given", "case"), ALL)
def test_the_policy_decides_as_its_case_says(folder: Path, given: dict[str, Any], case: dict[str, Any]) -> None:
    assert given.keys() <= KEYS, "a misspelt key would change nothing and prove nothing"
    decision = decide(Policy.load(folder / "policy.toml"), facts(given))
    assert [finding.code for finding in decision.reasons] == case["deny"]
    assert decision.outcome == ("deny" if case["deny"] else "allow")


def test_every_policy_has_cases_that_allow_and_cases_that_deny() -> None:
    assert len(FOLDERS) >= 3
    for folder in FOLDERS:
        outcomes = {bool(case["deny"]) for _, case in cases(folder)}
        assert outcomes == {True, False}, folder
    assert len(ALL) >= 53
