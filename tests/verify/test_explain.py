"""A denial can be fixed from its own words; what was proved is told to who asks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from builders import BASE, IDENTITY, facts, manifest, verified
from skillwarrant_format.strict_json import canonical
from skillwarrant_verify import Context
from skillwarrant_verify.deciding.catalogue import CATALOGUE
from skillwarrant_verify.deciding.decide import decide, decide_document
from skillwarrant_verify.deciding.decision_input import input_digest, to_document
from skillwarrant_verify.deciding.explain import explain
from skillwarrant_verify.policy import Policy
from test_decide import policy

TEXT = """denied by policy test revision 1: 38 of 40 requirements proved

not proved
  manifest.age
    the manifest is too old for this policy
      input     warrant.signedAt
      expected  signed within 9 days
      found     10 days
      asked by  policy:7 max_age_days
      fix       Ask the publisher for a fresh release.
  environment.allowed
    this policy does not govern here
      input     context.environment
      expected  production or staging
      found     development
      asked by  policy:5 environments
      fix       Use the policy that governs here, or name this place in the policy's environments."""


def test_a_denial_says_what_which_input_who_asks_and_what_to_do() -> None:
    decision = decide(policy("max_age_days = 9"), facts(context=Context(environment="development")))
    assert explain(decision).text() == TEXT


def test_what_was_proved_is_told_to_who_asks() -> None:
    text = explain(decide(policy(), facts())).text(why_allowed=True)
    assert text.startswith("allowed by policy test revision 1: 40 of 40 requirements proved\n\nproved\n")
    assert f"    signature.valid        signed by {IDENTITY} at 2026-11-12T12:00:00Z (every policy)" in text
    assert "(policy:5 environments)" in text
    assert all(code in text for code in CATALOGUE)
    assert "the policy's own rules" not in text


def test_warnings_are_told_apart_from_denials() -> None:
    decision = decide(policy('max_age_days = 9\nmode = "warn"'), facts())
    text = explain(decision).text()
    assert text.startswith("allowed by policy test revision 1: 39 of 40 requirements proved")
    assert "warnings: not proved, and tolerated by the policy\n  manifest.age\n" in text
    assert "\nnot proved" not in text


def test_what_could_not_be_checked_is_no_denial() -> None:
    text = explain(decide(policy(), facts(base=None))).text()
    assert text.startswith("could not be decided by policy")
    assert "base.matches (could not be checked)" in text
    assert "fix       Give the base model, its directory or its fingerprint." in text


def test_json_says_the_same() -> None:
    decision = decide(policy("max_age_days = 9"), facts())
    found = explain(decision).to_json()
    assert json.loads(canonical(found)) == json.loads(json.dumps(found))
    assert (found["outcome"], found["hypothetical"]) == ("deny", False)
    assert found["inputs"] == {"sha256": input_digest(facts()).hex}
    (age,) = [item for item in found["requirements"] if item["code"] == "manifest.age"]
    assert age == {
        "code": "manifest.age",
        "outcome": "not-proved",
        "severity": "deny",
        "message": "the manifest is too old for this policy",
        "input": "warrant.signedAt",
        "expected": "signed within 9 days",
        "found": "10 days",
        "fix": "Ask the publisher for a fresh release.",
        "askedBy": "policy:7 max_age_days",
    }


def test_a_documents_explanation_says_that_it_is_hypothetical() -> None:
    assert explain(decide_document(policy(), to_document(facts()))).to_json()["hypothetical"] is True
    malformed = explain(decide_document(policy(), {"apiVersion": "x"}))
    assert malformed.to_json()["hypothetical"] is True
    assert "inputs" not in malformed.to_json()
    assert "input.malformed" in malformed.text()
    assert "input     apiVersion" in malformed.text()


def test_nothing_untrusted_reaches_a_terminal() -> None:
    hostile = "https://github.com/mallory/\x1b[2J\n  allowed"
    text = explain(decide(policy(), facts(verified=verified(identity=hostile)))).text(why_allowed=True)
    assert "\x1b" not in text
    assert "\\x1b[2J\\n  allowed" in text


@pytest.mark.parametrize("name", ["prod.toml", "dir/prod.toml"])
def test_the_line_is_that_of_the_file(name: str) -> None:
    source = policy().name
    data = f"""# a comment
api_version = "skillwarrant.dev/policy/v1"
name = "{source}"
revision = 1
environments = [
  "staging",
]
policy_classes = ["general"]
[[publishers]]
issuer = "https://token.actions.githubusercontent.com"
identity = "{IDENTITY}"
skills = ["globex/*"]
"""
    loaded = Policy.parse(data.encode(), name=name)
    decision = decide(loaded, replace(facts(manifest()), base=BASE))
    assert {reason.code: reason.asked_by for reason in decision.reasons} == {
        "publisher.trusted": "prod.toml:9 publishers",
        "environment.allowed": "prod.toml:5 environments",
    }
