"""Test cases of a policy: what a case may say, that nothing misspelt is read over, and what a failed one tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import builders
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, UsageError
from skillwarrant_verify.deciding.catalogue import CATALOGUE
from skillwarrant_verify.deciding.decision_input import from_document, to_document
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.review.policy_cases import find_policies, read_cases
from skillwarrant_verify.review.policy_coverage import Covered, coverage
from skillwarrant_verify.review.policy_test import CaseResult, run_cases, run_rego_tests

POLICY = """\
api_version = "skillwarrant.dev/policy/v1"
name = "test"
revision = 1
environments = ["production"]
policy_classes = ["general"]

[[publishers]]
issuer = "https://issuer.example"
identity = "https://ci.example/acme/skills/release@refs/tags/v*"
skills = ["acme/*"]
"""
INPUT = """\
[input]
now = 2026-11-22T12:00:00Z
issuer = "https://issuer.example"
identity = "https://ci.example/acme/skills/release@refs/tags/v1"
skill = "acme/support"
policy_class = "general"
sanctioned = ["production"]
environment = "production"
base = "acme/base"
measured = "skillwarrant-tensors-v1:b6a98a1a1b9f4d1f0f0c5c6f6c0f1b4f9b0f6fc2f1b8bd6d8d1e9a1f7f3a2c41"
age_days = 10
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return path


def run(policy: Path, cases: str, *, extra: str = "") -> tuple[CaseResult, ...]:
    policy.with_name("cases.toml").write_text(f"{INPUT}\n{cases}")
    policy.write_text(POLICY.replace("\n[[publishers]]", f"{extra}\n[[publishers]]", 1))
    return run_cases(Policy.load(policy), read_cases(policy))


def case(deny: str = "[]", change: str = "", more: str = "", name: str = "one") -> str:
    return f'[[case]]\nname = "{name}"\n{change}\ndeny = {deny}\n{more}\n'


class TestWords:
    @pytest.mark.parametrize(
        ("change", "deny"),
        [
            ("", []),
            ("change.age_days = 0.5", []),
            ('change.environment = "staging"', ["environment.allowed"]),
            ('change.sanctioned = ["staging"]', ["environment.allowed"]),
            ('change.issuer = "https://other.example"', ["publisher.trusted"]),
            ('change.identity = "mallory@example.com"', ["publisher.trusted"]),
            ('change.skill = "globex/support"', ["publisher.trusted"]),
            ('change.policy_class = "medical"', ["class.allowed"]),
            ('change.context_class = "medical"', ["class.allowed"]),
            ('change.vouched = "skillwarrant-tensors-v1:' + "0" * 64 + '"', ["base.matches"]),
            ('change.measured = "skillwarrant-tensors-v1:' + "0" * 64 + '"', ["base.matches"]),
            ("change.age_days = -1", ["manifest.age"]),
            ("change.changes_base = true", ["hazards.allowed"]),
            ('change.hazards = ["trigger-tokens"]', ["hazards.allowed"]),
            ('change.alterations = ["forward-hook: a"]', ["runtime.unaltered"]),
            ('change.company = [{ skill = "acme/other" }]', ["composition.allowed"]),
            ("change.stackable = true\nchange.company = [{}]", ["composition.allowed"]),
            ('change.stackable = true\nchange.company = [{ skill = "acme/other", weight = 0.5 }]', []),
            ('change.region = "eu"', []),
            ('change.operator = { claim = "somebody" }', []),
            ("change.operator = {}", []),
            ('change.version = "2.0.0"', []),
            ('change.document.manifest.requires = { peft = ">=1" }\nchange.versions = { peft = "1.0" }', []),
            ('change.document.manifest.requires = { peft = ">=1" }', ["requires.met"]),
            ('change.document.manifest.deployment.regions = ["eu"]\nchange.region = "eu"', []),
            ('change.document.manifest.deployment.regions = ["eu"]', ["region.allowed"]),
            ('change.without = ["context.environment"]', ["input.malformed"]),
            ("change.document.context.environment = 7", ["input.malformed"]),
            ("change.document.unknown = 7", ["input.malformed"]),
        ],
    )
    def test_a_word_changes_what_it_says(self, policy: Path, change: str, deny: list[str]) -> None:
        (result,) = run(policy, case(json.dumps(deny), change))
        assert not result.complaints, result.reasons

    def test_evidence_of_our_own_kinds_is_for_this_release(self, policy: Path) -> None:
        asked = """
[[evidence]]
predicate_type = "approval"
signers = [{ issuer = "https://issuer.example", identity = "reviewer@example.com" }]

[[evidence]]
predicate_type = "certification"
signers = [{ issuer = "https://issuer.example", identity = "lab@example.com" }]
"""
        given = """change.evidence = [
    { type = "approval", issuer = "https://issuer.example", identity = "reviewer@example.com", age_days = 1 },
    { type = "certification", issuer = "https://issuer.example", identity = "lab@example.com", age_days = 1%s },
]"""
        failed = ', predicate.result = "failed"'
        cases = [
            case('["release.approved", "behaviour.certified"]'),
            case("[]", given % "", name="two"),
            case('["behaviour.certified"]', given % failed, name="three"),
        ]
        results = run(policy, "\n".join(cases), extra=asked)
        assert [result.complaints for result in results] == [(), (), ()]

    def test_training_data_and_its_licence(self, policy: Path) -> None:
        asked = '\n[training_data]\nlicences = ["CC-BY-4.0"]\n'
        data = 'change.data = [{ licence = "%s", rights = "granted" }]'
        cases = [
            case('["data.declared", "data.licences"]'),
            case("[]", data % "CC-BY-4.0", name="two"),
            case('["data.licences"]', data % "unknown", name="three"),
        ]
        assert [result.complaints for result in run(policy, "\n".join(cases), extra=asked)] == [(), (), ()]

    def test_a_verified_operator(self, policy: Path) -> None:
        asked = """
[operators]
require = "verified"
[[operators.issuers]]
issuer = "https://idp.example"
audience = "skillwarrant"
subjects = ["spiffe://acme/serving"]
"""
        token = '{ issuer = "https://idp.example", audience = "%s", subject = "spiffe://acme/serving" }'
        operator = f"change.operator = {token}"
        cases = [
            case('["operator.verified"]'),
            case("[]", operator % "skillwarrant", name="two"),
            case('["operator.verified"]', operator % "billing", name="three"),
        ]
        assert [result.complaints for result in run(policy, "\n".join(cases), extra=asked)] == [(), (), ()]

    def test_a_document_is_added_to_the_good_inputs_own(self, policy: Path) -> None:
        plain = INPUT + "document.adapter.rank = 4\ndocument.adapter.size = 1\n"
        policy.with_name("cases.toml").write_text(plain + case("[]", "change.document.adapter.rank = 64"))
        (found,) = read_cases(policy)
        document: Any = found.document
        assert (document["adapter"]["rank"], document["adapter"]["size"]) == (64, 1)


class TestStrictness:
    @pytest.mark.parametrize(
        ("cases", "message"),
        [
            (case(more="wran = []"), "wran"),
            (case(change='change.enviroment = "x"'), "environment"),
            (case(change="change.now = 7"), "now"),
            (case(change='change.operator = { subject = "x" }'), "issuer"),
            (case(change='change.operator = { claim = "x", subject = "y" }'), "subject"),
            (case(change='change.company = [{ skil = "x" }]'), "skil"),
            (case(change='change.data = [{ license = "x", rights = "y" }]'), "license"),
            (case(change="change.age_days = 1e300"), "age_days"),
            (
                case(
                    change="change.now = 9999-12-31T23:59:59Z\n"
                    'change.operator = { issuer = "https://a.b", audience = "c", subject = "d" }'
                ),
                "calendar",
            ),
            (case(change='change.without = ["context.nothing"]'), "nothing"),
            (case(change="change.document = 7"), "document"),
            ('[[case]]\nname = "no expectation"\n', "deny"),
            ("[[case]]\ndeny = []\n", "name"),
            (case() + case(), "one name"),
            (case('["a.b", "a.b"]'), "twice"),
            (case('["a.b"]', more='outcome = "allow"'), "contradicts"),
            (case("[]", more='outcome = "deny"'), "contradicts"),
            (case("[]", more='outcome = "maybe"'), "unknown"),
            ("[[cases]]\n", "cases"),
            ("", "case"),
        ],
    )
    def test_a_case_that_could_be_misread_is_refused(self, policy: Path, cases: str, message: str) -> None:
        with pytest.raises(FormatError, match=message):
            run(policy, cases)

    def test_what_the_good_input_lacks_is_named(self, policy: Path) -> None:
        policy.with_name("cases.toml").write_text(INPUT.replace("age_days = 10\n", "") + case())
        with pytest.raises(FormatError, match="age_days"):
            read_cases(policy)

    def test_a_policy_without_cases_is_no_tested_policy(self, policy: Path) -> None:
        with pytest.raises(UsageError, match="has no cases"):
            read_cases(policy)

    def test_an_empty_directory_of_cases_is_none(self, policy: Path) -> None:
        policy.with_name("cases").mkdir()
        with pytest.raises(UsageError, match="has no cases"):
            read_cases(policy)

    UNREAD = (
        *(
            "cases/x.JSON",
            "cases/sub/x.json",
            "cases/more.toml",
            "cases/x",
            "case.toml",
            "cases.json",
            "Cases.toml",
        ),
        *("CASES/x.json", "my-cases.toml", "policy.cases.toml", "staging.cases.toml", "case/x.json", "cases.yaml"),
        *("a_test.rego", "tests/a_test.rego", "tests/unit/a_test.rego"),
    )

    @pytest.mark.parametrize("name", UNREAD)
    def test_what_looks_like_a_test_and_would_not_be_run_is_misuse(self, policy: Path, name: str) -> None:
        policy.with_name("cases.toml").write_text(INPUT + case())
        policy.with_name("README.md").write_text("Read me.")
        policy.with_name("showcase.toml").write_text("")
        assert run_rego_tests(Policy.load(policy), policy) is None
        assert len(read_cases(policy)) == 1
        file = policy.parent / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
        with pytest.raises(UsageError, match="would not be run"):
            run_rego_tests(Policy.load(policy), policy) or read_cases(policy)

    def test_hidden_files_and_the_cases_of_another_policy_are_nobodys_concern(self, policy: Path) -> None:
        policy.with_name("cases.toml").write_text(INPUT + case())
        policy.with_name("staging.toml").write_text(POLICY)
        policy.with_name("staging.cases.toml").write_text("of somebody else")
        policy.with_name("cases").mkdir()
        (policy.with_name("cases") / ".gitkeep").write_text("")
        assert len(read_cases(policy)) == 1


class TestJson:
    def write(self, policy: Path, name: str, content: Any) -> None:
        folder = policy.with_name("cases")
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))

    def test_a_case_is_an_input_document_and_what_becomes_of_it(self, policy: Path) -> None:
        document = to_document(builders.facts())
        self.write(policy, "stranger.json", {"input": document, "deny": ["publisher.trusted"]})
        (result,) = run_cases(Policy.load(policy), read_cases(policy))
        assert (result.case.name, result.complaints) == ("stranger", ())

    @pytest.mark.parametrize("document", [{}, [], "text", 7, {"apiVersion": "v0"}])
    def test_what_is_no_document_is_denied(self, policy: Path, document: Any) -> None:
        self.write(policy, "bad.json", {"input": document, "deny": ["input.malformed"]})
        (result,) = run_cases(Policy.load(policy), read_cases(policy))
        assert not result.complaints

    def test_an_input_that_is_missing_is_undecided(self, policy: Path) -> None:
        policy.with_name("cases.toml").write_text(
            INPUT + case('["base.matches"]', 'change.without = ["base.fingerprint"]', 'outcome = "undecided"')
        )
        (result,) = run_cases(Policy.load(policy), read_cases(policy))
        assert not result.complaints

    @pytest.mark.parametrize("content", [{"deny": []}, {"input": {}, "deny": [], "expect": 1}, []])
    def test_an_unknown_or_missing_key_is_refused(self, policy: Path, content: Any) -> None:
        self.write(policy, "bad.json", content)
        with pytest.raises(FormatError):
            read_cases(policy)

    def test_toml_and_json_are_run_together(self, policy: Path) -> None:
        policy.with_name("cases.toml").write_text(INPUT + case())
        self.write(policy, "two.json", {"input": {}, "deny": ["input.malformed"]})
        assert [found.name for found in read_cases(policy)] == ["one", "two"]


class TestFailures:
    def test_a_case_tells_how_it_came_out_otherwise(self, policy: Path) -> None:
        (result,) = run(policy, case('["manifest.age"]', 'change.environment = "staging"'))
        assert result.complaints == (
            "expected to be denied by manifest.age, and it is not",
            "denied by environment.allowed, which was not expected",
        )
        (reason,) = result.reasons
        assert reason.startswith("[environment.allowed] this policy does not govern here")
        assert "policy.toml:4 environments" in reason

    def test_a_warning_that_no_case_expects_fails_it(self, policy: Path) -> None:
        warns = '[requirements."environment.allowed"]\nmode = "warn"\n'
        change = 'change.environment = "staging"'
        one, two = run(
            policy,
            case("[]", change) + case("[]", change, 'warn = ["environment.allowed"]', name="two"),
            extra=warns,
        )
        assert one.complaints == ("warned of by environment.allowed, which was not expected",)
        assert not two.complaints

    def test_a_warning_that_does_not_come_fails_it(self, policy: Path) -> None:
        (result,) = run(policy, case("[]", more='warn = ["manifest.age"]'))
        assert result.complaints == ("expected to be warned of by manifest.age, and it is not",)


class TestCoverage:
    def test_it_counts_both_ways_and_names_the_line(self, policy: Path) -> None:
        results = run(
            policy, case() + case('["environment.allowed"]', 'change.environment = "staging"', name="two")
        )
        found = {one.code: one for one in coverage(Policy.load(policy), results)}
        assert found["environment.allowed"] == Covered(
            code="environment.allowed", asked_by="policy.toml:4 environments", proved=1, denied=1
        )
        assert found["environment.allowed"].fully
        assert not found["class.allowed"].fully
        assert found["time.window"].asked_by is None

    def test_each_kind_of_evidence_is_asked_for_in_its_own_line(self, policy: Path) -> None:
        asked = """
[[evidence]]
predicate_type = "approval"
signers = [{ issuer = "https://issuer.example", identity = "reviewer@example.com" }]
"""
        results = run(policy, case('["release.approved"]'), extra=asked)
        found = {one.code: one.asked_by for one in coverage(Policy.load(policy), results)}
        assert found["release.approved"] == "policy.toml:7 evidence[0]"
        assert (found["behaviour.certified"], found["evidence.present"]) == (None, None)

    def test_a_document_that_is_none_covers_no_requirement(self, policy: Path) -> None:
        results = run(policy, case('["input.malformed"]', "change.document.now = 7"))
        found = coverage(Policy.load(policy), results)
        assert [one.code for one in found if one.proved or one.denied] == ["input.malformed"]
        assert {one.code for one in found} == {*CATALOGUE, "input.malformed"}
        assert not any(one.fully for one in found)

    def test_two_demands_of_one_kind_are_each_looked_at(self, policy: Path) -> None:
        asked = "".join(
            f"""
[[evidence]]
predicate_type = "https://example.com/{kind}/v1"
signers = [{{ issuer = "https://issuer.example", identity = "ci@example.com" }}]
"""
            for kind in ("tested", "scanned")
        )
        given = """
change.evidence = [%s]
"""
        who = 'issuer = "https://issuer.example", identity = "ci@example.com", age_days = 1'
        item = f'{{{{ type = "https://example.com/{{}}/v1", {who} }}}}'
        tested, scanned = item.format("tested"), item.format("scanned")
        results = run(
            policy,
            case("[]", given % f"{tested}, {scanned}") + case('["evidence.present"]', given % scanned, name="two"),
            extra=asked,
        )
        assert not any(result.complaints for result in results)
        found = [one for one in coverage(Policy.load(policy), results) if one.code == "evidence.present"]
        assert [(one.asked_by, one.proved, one.denied) for one in found] == [
            ("policy.toml:7 evidence[0]", 1, 1),
            ("policy.toml:11 evidence[1]", 2, 0),
        ]
        assert [one.fully for one in found] == [True, False]

    def test_what_could_not_be_checked_shows_nothing(self, policy: Path) -> None:
        results = run(
            policy,
            case("[]", "change.document.history.highest = '1.0.0'")
            + case('["version.no-rollback"]', "outcome = 'undecided'", name="two"),
            extra="[versions]\nno_rollback = true\n",
        )
        assert not any(result.complaints for result in results)
        found = {one.code: one for one in coverage(Policy.load(policy), results)}["version.no-rollback"]
        assert (found.proved, found.denied, found.fully) == (1, 0, False)

    @pytest.mark.parametrize(
        ("extra", "not_asked"),
        [
            ("[composition]\nmax_weight = 1\n", "composition.limits"),
            ("[composition]\nmax_active = 2\n", "composition.weights"),
            ("[revocations]\nvalid_until = 2030-01-01T00:00:00Z\n", "manifest.not-revoked"),
        ],
    )
    def test_a_line_asks_only_for_what_it_can_deny(self, policy: Path, extra: str, not_asked: str) -> None:
        results = run(policy, case("[]"), extra=extra)
        found = {one.code: one.asked_by for one in coverage(Policy.load(policy), results)}
        assert found[not_asked] is None

    def test_a_rule_of_its_own_that_gives_no_answer_is_not_covered(self, policy: Path) -> None:
        module = (
            "from skillwarrant_verify.rules import proves\n@proves('acme.x')\ndef x(policy, facts): return 1 / 0\n"
        )
        policy.with_name("own.py").write_text(module)
        digest = Digest.of(module.encode()).hex
        results = run(
            policy,
            case('["rule.failed"]'),
            extra=f'[[rules]]\nmodule = "own.py"\nsha256 = "{digest}"\n',
        )
        found = {one.code: one for one in coverage(Policy.load(policy), results)}["acme.x"]
        assert found.asked_by == "policy.toml:6 rules"
        assert (found.proved, found.denied) == (0, 0)


class TestFinding:
    def test_a_directory_of_policies_is_all_of_them(self, tmp_path: Path) -> None:
        for name in ("b", "a"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "policy.toml").write_text(POLICY)
        (tmp_path / "c").mkdir()
        assert find_policies(tmp_path) == (tmp_path / "a/policy.toml", tmp_path / "b/policy.toml")

    def test_its_own_policy_comes_first(self, policy: Path) -> None:
        assert find_policies(policy.parent) == (policy,)
        assert find_policies(policy) == (policy,)

    def test_two_policies_in_one_directory_are_refused(self, policy: Path) -> None:
        policy.with_suffix(".json").write_text("{}")
        with pytest.raises(UsageError, match="two policies"):
            find_policies(policy.parent)

    def test_nothing_is_no_policy(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="holds no policy"):
            find_policies(tmp_path)
        with pytest.raises(UsageError, match="there is no"):
            find_policies(tmp_path / "missing.toml")

    def test_a_policy_of_another_name_has_cases_of_its_name(self, tmp_path: Path) -> None:
        other = tmp_path / "staging.toml"
        other.write_text(POLICY)
        (tmp_path / "cases.toml").write_text("of somebody else")
        (tmp_path / "staging.cases.toml").write_text(INPUT + case())
        assert len(read_cases(other)) == 1


def test_no_case_can_lead_to_a_load(policy: Path) -> None:
    policy.with_name("cases.toml").write_text(INPUT + case())
    (found,) = read_cases(policy)
    assert from_document(found.document).verified is None
