"""Past decisions under another policy: what changes is told, what cannot be told is said, nothing is guessed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import builders
import idp
from history import POLICY, History
from skillwarrant_audit.inputs import InputStore
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import AuditError, UsageError
from skillwarrant_format.manifest import Deployment, Skill
from skillwarrant_format.strict_json import canonical
from skillwarrant_verify import Context
from skillwarrant_verify.review.past import past_decisions
from skillwarrant_verify.review.policy_diff import Remade, compare

OPERATORS = f"""
[operators]
require = "verified"
[[operators.issuers]]
issuer = "{idp.ISSUER}"
audience = "{idp.AUDIENCE}"
subjects = ["spiffe://acme.example/serving"]
"""


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def diff(history: History, new: str, old: str = POLICY) -> tuple[Remade, ...]:
    return compare(history.policy(old, "old"), history.policy(new, "new"), past_decisions(history.log))


def told(history: History, new: str, old: str = POLICY) -> list[tuple[str, list[str]]]:
    return [(one.change, [finding.code for finding in one.reasons]) for one in diff(history, new, old)]


class TestChanges:
    def test_the_same_policy_changes_nothing(self, history: History) -> None:
        policy = history.policy()
        history.decided(policy)
        history.decided(policy, context=Context(environment="staging"))
        found = diff(history, POLICY)
        assert [(one.change, one.old, one.new) for one in found] == [
            ("same", "allow", "allow"),
            ("same", "deny", "deny"),
        ]

    def test_a_stricter_policy_would_have_denied(self, history: History) -> None:
        policy = history.policy()
        history.decided(policy)
        history.decided(policy, verified=builders.verified(signed_at=builders.NOW - timedelta(days=2)))
        strict = POLICY.replace("max_age_days = 30", "max_age_days = 5")
        assert told(history, strict) == [("now-denied", ["manifest.age"]), ("same", [])]

    def test_a_wider_policy_would_have_allowed(self, history: History) -> None:
        history.decided(history.policy(), context=Context(environment="staging"))
        manifest = builders.manifest(deployment=Deployment(environments=("staging",)))
        history.decided(history.policy(), found=manifest, context=Context(environment="staging"))
        wide = POLICY.replace('["production"]', '["production", "staging"]')
        same, allowed = diff(history, wide)
        assert same.change == "same"  # the publisher sanctions production only
        assert (allowed.change, allowed.old, allowed.new) == ("now-allowed", "deny", "allow")
        assert [finding.code for finding in allowed.reasons] == ["environment.allowed"]

    def test_a_warning_is_no_denial(self, history: History) -> None:
        history.decided(history.policy())
        strict = POLICY.replace("max_age_days = 30", "max_age_days = 5")
        assert told(history, strict.replace("[[publishers]]", 'mode = "warn"\n[[publishers]]')) == [("same", [])]

    def test_a_decision_is_made_again_at_its_own_time(self, history: History) -> None:
        """Whatever is fresh then is fresh here: years later, the same policy still changes nothing."""
        history.decided(history.policy())
        ended = f"{POLICY.partition('[[')[0]}not_after = 2026-11-22T12:00:30Z\n[[{POLICY.partition('[[')[2]}"
        assert told(history, ended) == [("now-denied", ["policy.in-force"])]
        assert told(history, ended.replace("12:00:30", "12:01:30")) == [("same", [])]

    def test_a_stack_is_as_many_decisions(self, history: History) -> None:
        plain = builders.manifest()
        other = builders.manifest(skill=Skill(name="acme/mail", version="2.0.0", description="Mail."))
        history.decided_together(history.policy(), [{"found": plain}, {"found": other}])
        narrow = POLICY.replace('["acme/*"]', '["acme/support-*"]')
        found = diff(history, narrow)
        assert [(one.past.adapter, one.past.skill, one.change) for one in found] == [
            ("a0", "acme/support-lora", "same"),
            ("a1", "acme/mail", "now-denied"),
        ]

    def test_decisions_of_another_policy_are_made_under_both(self, history: History) -> None:
        another = POLICY.replace('["production"]', '["staging"]')
        history.decided(history.policy(another, "another"))
        (found,) = diff(history, POLICY.replace("30", "5"))
        assert (found.past.outcome, found.old, found.new) == ("deny", "allow", "deny")


class TestWhatCannotBeTold:
    def test_an_input_that_is_gone(self, history: History) -> None:
        history.decided(history.policy())
        for path in history.inputs():
            path.unlink()
        (found,) = diff(history, POLICY)
        assert found.change == "unknown"
        assert "not kept" in (found.unknown or "")

    def test_an_input_that_was_altered_into_a_better_one(self, history: History) -> None:
        history.decided(history.policy(), context=Context(environment="staging"))
        (path,) = history.inputs()
        path.write_bytes(path.read_bytes().replace(b"staging", b"production"))
        (found,) = diff(history, POLICY)
        assert found.change == "unknown"
        assert "altered" in (found.unknown or "")

    def test_one_member_of_a_stack_that_is_gone_leaves_none_to_guess_from(self, history: History) -> None:
        history.decided_together(history.policy(), [{}, {"weight": 0.5}])
        history.inputs()[0].unlink()
        assert {one.change for one in diff(history, POLICY)} == {"unknown"}

    def test_an_input_that_no_gate_of_this_version_wrote(self, history: History) -> None:
        """Signed for, and so of the gate; but not to be read by this release."""
        policy = history.policy()
        history.decided(policy)
        (past,) = past_decisions(history.log)
        assert past.document is not None
        other = canonical({**past.document, "apiVersion": "skillwarrant.dev/policy-input/v9"})
        store = InputStore(history.log / "inputs")
        store.keep([other])
        (odd,) = store.read(Digest.of(other))
        changed = replace(past, document=odd, policy=history.policy(POLICY + "\n# other\n", "x").used())
        (found,) = compare(policy, policy, [changed])
        assert found.change == "unknown"
        assert "apiVersion" in (found.unknown or "")

    def test_a_record_that_cannot_be_made_again_is_told(self, history: History) -> None:
        """A gate whose rules were others, or which did not tell what it decided from."""
        policy = history.policy()
        history.decided(policy)
        (past,) = past_decisions(history.log)
        checks = tuple(
            replace(check, outcome="not-proved") if check.code == "manifest.age" else check for check in past.checks
        )
        (found,) = compare(policy, policy, [replace(past, checks=checks)])
        assert found.change == "unknown"
        assert found.unknown == (
            "making it again does not give what is on record: manifest.age not-proved is on record, and not now"
        )

    def test_a_package_that_nobody_looked_up_is_not_a_missing_one(self, history: History) -> None:
        history.decided(history.policy())
        asks = POLICY + '\n[dependencies]\ntorch = ">=1"\n'
        (found,) = diff(history, asks)
        assert found.change == "unknown"
        assert "torch" in (found.unknown or "")

    def test_a_package_that_was_looked_up_counts(self, history: History) -> None:
        asks = POLICY + '\n[dependencies]\ntorch = ">=2"\n'
        history.decided(history.policy(asks), versions={"torch": "2.6"})
        assert told(history, asks.replace(">=2", ">=3"), asks) == [("now-denied", ["dependencies.met"])]
        assert told(history, asks.replace("torch", "peft"), asks)[0][0] == "unknown"

    def test_what_is_denied_anyway_is_denied(self, history: History) -> None:
        history.decided(history.policy())
        asks = POLICY.replace("30", "5") + '\n[dependencies]\ntorch = ">=1"\n'
        assert told(history, asks) == [("now-denied", ["manifest.age"])]

    def test_a_history_that_nobody_looked_at(self, history: History) -> None:
        history.decided(history.policy())
        (found,) = diff(history, POLICY + "\n[versions]\nno_rollback = true\n")
        assert found.change == "unknown"
        assert "version.no-rollback" in (found.unknown or "")


class TestNames:
    """An operator's name is not kept: what depends on it can be told only where the record tells it."""

    @pytest.fixture
    def context(self) -> Context:
        return Context(environment="production", operator=idp.check(idp.mint()), session={"ticket": "T-1"})

    def test_no_name_is_beside_the_log(self, history: History, context: Context) -> None:
        history.decided(history.policy(POLICY + OPERATORS), context=context)
        kept = b"".join(path.read_bytes() for path in history.inputs())
        assert b"spiffe" not in kept
        assert b"T-1" not in kept
        assert b'"redacted":true' in kept

    def test_the_record_stands_for_the_name_where_both_ask_the_same(
        self, history: History, context: Context
    ) -> None:
        old = POLICY + OPERATORS
        history.decided(history.policy(old), context=context)
        assert told(history, old, old) == [("same", [])]
        assert told(history, old.replace("30", "5"), old) == [("now-denied", ["manifest.age"])]

    def test_it_does_not_where_the_new_one_asks_otherwise(self, history: History, context: Context) -> None:
        old = POLICY + OPERATORS
        history.decided(history.policy(old), context=context)
        (found,) = diff(history, old.replace("acme.example/serving", "acme.example/other"), old)
        assert found.change == "unknown"
        assert found.unknown == "operator.verified: the operator's name is withheld from this document"

    def test_nor_where_another_policy_decided(self, history: History, context: Context) -> None:
        history.decided(history.policy(), context=context)
        (found,) = diff(history, POLICY + OPERATORS, POLICY + OPERATORS + "\n# not the one on record\n")
        assert found.change == "unknown"

    def test_a_denial_for_the_name_stays_one(self, history: History) -> None:
        context = Context(environment="production", operator=idp.check(idp.mint(sub="spiffe://acme.example/batch")))
        old = POLICY + OPERATORS
        history.decided(history.policy(old), context=context)
        wider = old.replace("max_age_days = 30\n", "")
        assert told(history, wider, old) == [("same", ["operator.verified"])]

    def test_the_publishers_word_on_operators_is_the_same_under_any_policy(self, history: History) -> None:
        manifest = builders.manifest(deployment=Deployment(environments=("production",), operators=("alice",)))
        context = Context(environment="production", operator="alice")
        history.decided(history.policy(), found=manifest, context=context)
        assert told(history, POLICY.replace("30", "5")) == [("now-denied", ["manifest.age"])]
        assert told(history, POLICY.replace("30", "50")) == [("same", [])]


class TestLog:
    def test_a_log_that_does_not_verify_is_no_basis(self, history: History) -> None:
        history.decided(history.policy())
        path = history.log / "observations.log"
        data = path.read_bytes()
        path.write_bytes(data.replace(b"payload", b"payloax", 1))
        with pytest.raises(AuditError):
            past_decisions(history.log)

    def test_another_operators_key_does_not_verify_it(self, history: History, tmp_path: Path) -> None:
        history.decided(history.policy())
        other = History(tmp_path / "other")
        other.directory.mkdir()
        other.decided(other.policy())
        with pytest.raises(AuditError):
            past_decisions(history.log, other.log / "operator.pub")

    def test_the_file_or_its_directory_names_a_log(self, history: History) -> None:
        history.decided(history.policy())
        assert past_decisions(history.log) == past_decisions(history.log / "observations.log")
        with pytest.raises(UsageError, match="no log"):
            past_decisions(history.directory)

    def test_the_phases_of_one_activation_are_one_decision(self, history: History) -> None:
        policy = history.policy()
        history.decided(policy)
        assert len(past_decisions(history.log)) == 1
        (past,) = past_decisions(history.log)
        assert (past.skill, past.version, past.environment) == ("acme/support-lora", "1.0.0", "production")
        assert (past.outcome, past.policy.digest) == ("allow", policy.digest)


def test_rego_cannot_be_asked_about_names_that_were_taken_out(history: History) -> None:
    rego = (
        b"package skillwarrant\n\nimport rego.v1\n\n"
        b'deny contains "too new" if input.manifest.skill.version == "9.0.0"\n'
    )
    (history.directory / "more.rego").write_bytes(rego)
    asks = POLICY + f'\n[[rego]]\nfile = "more.rego"\nsha256 = "{Digest.of(rego).hex}"\n'
    policy = history.policy(asks)
    history.decided(policy)
    history.decided(policy, context=Context(environment="production", operator="somebody"))
    assert told(history, asks, asks) == [("same", []), ("same", [])]
    changed = asks.replace("revision = 1", "revision = 2")
    assert [one.change for one in diff(history, changed, asks)] == ["same", "unknown"]
