"""`skillwarrant policy explain`: who reads a denial can end it; an auditor learns why something was allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import builders
from history import POLICY, History
from skillwarrant_verify import Context
from skillwarrant_verify.deciding.decision_input import to_document
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.review.policy_cases import read_cases

Document = dict[str, Any]
Denial = dict[str, str]


@pytest.fixture
def policy(new_policy: Path) -> Path:
    return new_policy / "policy.toml"


@pytest.fixture
def good(policy: Path) -> Document:
    """An input that the new policy allows."""
    return json.loads(json.dumps(read_cases(policy)[0].document))


def asked(run: Any, policy: Path, document: Any) -> tuple[int, Any]:
    Path("input.json").write_text(json.dumps(document))
    result = run("policy", "explain", policy, "--input", "input.json", "--json")
    return result.exit_code, json.loads(result.stdout)


def put(document: Document, path: str, value: Any) -> None:
    *above, last = path.split(".")
    for key in above:
        document = document[key]
    document[last] = value


def add(policy: Path, text: str, *, top: bool = False) -> None:
    plain = policy.read_text()
    policy.write_text(plain.replace("\n[[publishers]]", f"\n{text}\n\n[[publishers]]", 1) if top else plain + text)


def expected_into_the_input(_: Path, document: Document, denial: Denial) -> None:
    """The message names a field and what it must say."""
    put(document, denial["input"], denial["expected"])


def publisher_added(policy: Path, document: Document, denial: Denial) -> None:
    assert "add it to the policy's publishers" in denial["fix"]
    identity, _, issuer = denial["found"].rstrip(")").partition(" (")
    add(policy, f'\n[[publishers]]\nissuer = "{issuer}"\nidentity = "{identity}"\nskills = ["acme/*"]\n')


def hazard_allowed(policy: Path, document: Document, denial: Denial) -> None:
    assert "allow_hazards" in denial["fix"]
    add(policy, f"allow_hazards = {json.dumps(denial['found'].split(', '))}", top=True)


def alteration_allowed(policy: Path, document: Document, denial: Denial) -> None:
    """The fix holds the very line."""
    _, _, line = denial["fix"].partition("allow_alterations")
    add(policy, "allow_alterations" + line[: line.index("]") + 1], top=True)


def named_key_of_the_policy_widened(policy: Path, document: Document, denial: Denial) -> None:
    """The message names the line of the policy that asks, and what was found."""
    place, _, key = denial["askedBy"].partition(" ")
    line = int(place.rpartition(":")[2]) - 1
    lines = policy.read_text().splitlines()
    assert lines[line].startswith(key)
    lines[line] = lines[line].replace("[", f"[{json.dumps(denial['found'])}, ", 1)
    policy.write_text("\n".join(lines) + "\n")


def licence_accepted(policy: Path, document: Document, denial: Denial) -> None:
    assert "training_data.licences, spelt so" in denial["fix"]
    name = denial["found"].partition(": ")[2]
    policy.write_text(policy.read_text().replace('licences = ["', f'licences = ["{name}", "', 1))


def fresh_release(_: Path, document: Document, denial: Denial) -> None:
    assert denial["fix"] == "Ask the publisher for a fresh release."
    document["warrant"]["signedAt"] = document["now"]


def version_installed(_: Path, document: Document, denial: Denial) -> None:
    assert "Install a version within the range" in denial["fix"]
    name, _, wanted = denial["expected"].partition(" ")
    document["versions"] = {name: wanted.removeprefix(">=")}


DENIALS: list[Any] = [
    ("context.environment", "staging", None, "environment.allowed", expected_into_the_input),
    ("manifest.policyClass", "medical", None, "class.allowed", expected_into_the_input),
    ("manifest.policyClass", "medical", None, "class.allowed", named_key_of_the_policy_widened),
    (
        "warrant.signer.identity",
        "https://github.com/acme/tools/.github/workflows/a.yml@refs/tags/v1",
        None,
        "publisher.trusted",
        publisher_added,
    ),
    ("adapter.hazards manifest.adapter.hazards", ["regex-targets"], None, "hazards.allowed", hazard_allowed),
    ("base.alterations", ["forward-hook: model.layers.0"], None, "runtime.unaltered", alteration_allowed),
    ("warrant.signedAt", "2020-01-01T00:00:00Z", "max_age_days = 30", "manifest.age", fresh_release),
    (
        "manifest.trainingData",
        [{"name": "web", "licence": "unknown", "rights": "none"}],
        '\n[training_data]\nlicences = ["CC0-1.0"]\n',
        "data.licences",
        licence_accepted,
    ),
    ("versions", {}, '\n[dependencies]\npeft = ">=0.21"\n', "dependencies.met", version_installed),
]


@pytest.mark.parametrize("case", DENIALS, ids=lambda case: f"{case[3]} {case[4].__name__}")
def test_a_denial_ends_by_doing_what_its_message_says(run: Any, policy: Path, good: Document, case: Any) -> None:
    path, value, more, code, fix = case
    for one in path.split():
        put(good, one, value)
    if more:
        add(policy, more, top=not more.startswith("\n"))
    exit_code, answer = asked(run, policy, good)
    (decision,) = answer["decisions"]
    denials = [item for item in decision["requirements"] if item["outcome"] != "proved"]
    assert (exit_code, answer["outcome"], [item["code"] for item in denials]) == (1, "refused", [code])
    fix(policy, good, denials[0])
    exit_code, answer = asked(run, policy, good)
    left = [item for item in answer["decisions"][0]["requirements"] if item["outcome"] != "proved"]
    assert (exit_code, left) == (0, [])


def test_the_text_says_all_that_the_json_does(run: Any, policy: Path, good: Document) -> None:
    put(good, "context.environment", "staging")
    Path("input.json").write_text(json.dumps(good))
    result = run("policy", "explain", policy, "--input", "input.json")
    assert result.exit_code == 1
    assert result.stderr == "skillwarrant: refused: policy 'p' denies this\n"
    for line in (
        "  environment.allowed",
        "      input     context.environment",
        "      expected  production",
        "      found     staging",
        "      asked by  policy.toml:8 environments",
    ):
        assert line in result.stdout.splitlines()


def test_why_allowed_names_what_proved_each_requirement(run: Any, policy: Path, good: Document) -> None:
    Path("input.json").write_text(json.dumps(good))
    plain = run("policy", "explain", policy.parent, "--input", "input.json")
    why = run("policy", "explain", policy.parent, "--input", "input.json", "--why-allowed")
    assert plain.exit_code == why.exit_code == 0
    assert "may vouch for" not in plain.stdout
    assert "may vouch for acme/1 (policy.toml:12 publishers)" in why.stdout


@pytest.mark.parametrize("document", [{}, [], None, "text", {"apiVersion": "v0"}])
def test_what_is_no_input_is_denied_with_the_path(run: Any, policy: Path, document: Any) -> None:
    exit_code, answer = asked(run, policy, document)
    assert exit_code == 1
    ((found,),) = [decision["requirements"] for decision in answer["decisions"]]
    assert found["code"] == "input.malformed"


def test_a_missing_input_is_neither_yes_nor_no(run: Any, policy: Path, good: Document) -> None:
    del good["base"]["fingerprint"]
    exit_code, answer = asked(run, policy, good)
    assert (exit_code, answer["outcome"], answer["code"]) == (3, "could-not-check", "policy.undecided")


def test_what_is_no_json_is_refused_and_what_cannot_be_read_is_no_answer(run: Any, policy: Path) -> None:
    Path("input.json").write_text("{")
    assert run("policy", "explain", policy, "--input", "input.json").exit_code == 1
    assert run("policy", "explain", policy, "--input", "missing.json").exit_code == 3


def test_a_policy_alone_says_what_it_asks_and_where(run: Any, policy: Path) -> None:
    result = run("policy", "explain", policy)
    assert result.exit_code == 0
    assert "  environment.allowed  policy.toml:8 environments" in result.stdout
    assert "  hazards.allowed       (allow_hazards)" in result.stdout
    answer = json.loads(run("policy", "explain", policy, "--json").stdout)
    found = {item["code"]: item for item in answer["requirements"]}
    assert found["environment.allowed"] == {
        "code": "environment.allowed",
        "severity": "deny",
        "askedBy": "policy.toml:8 environments",
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ("--log", "log"),
        ("--activation", "00"),
        ("--operator-key", "key"),
        ("--input", "a", "--log", "b", "--activation", "00"),
        ("--environment", "production"),
        ("adapter", "--input", "a"),
    ],
)
def test_half_a_question_is_misuse(run: Any, policy: Path, arguments: tuple[str, ...]) -> None:
    assert run("policy", "explain", policy, *arguments).exit_code == 2


class TestLog:
    @pytest.fixture
    def history(self, tmp_path: Path) -> History:
        return History(tmp_path)

    def test_a_past_denial_is_explained_from_the_log_alone(self, run: Any, history: History) -> None:
        path = history.write(POLICY)
        history.decided(Policy.load(path))
        denied = history.decided(Policy.load(path), context=Context(environment="staging"))
        result = run("policy", "explain", path, "--log", history.log, "--activation", denied)
        assert result.exit_code == 1
        first, *rest = result.stdout.splitlines()
        assert first.startswith(
            "on record as #2: acme/support-lora 1.0.0 in staging was denied at 2026-11-22T12:02:00Z"
        )
        assert first.endswith("by this policy, acme revision 1")
        assert "      found     staging" in rest

    def test_under_another_policy_it_says_so(self, run: Any, history: History) -> None:
        history.write(POLICY)
        denied = history.decided(history.policy(), context=Context(environment="staging"))
        other = history.write(POLICY.replace("revision = 1", "revision = 2"), "other")
        answer = run("policy", "explain", other, "--log", history.log, "--activation", denied[:32], "--json")
        (decision,) = json.loads(answer.stdout)["decisions"]
        assert decision["past"]["policy"]["revision"] == 1
        assert decision["policy"]["revision"] == 2

    def test_every_member_of_a_stack_is_explained(self, run: Any, history: History) -> None:
        found = history.decided_together(history.policy(), [{}, {"weight": 0.5}])
        result = run("policy", "explain", history.write(POLICY), "--log", history.log, "--activation", found)
        assert result.stdout.count("on record as") == 2

    def test_an_input_that_is_gone_is_no_answer_and_what_is_on_record_is_told(
        self, run: Any, history: History
    ) -> None:
        denied = history.decided(history.policy(), context=Context(environment="staging"))
        for path in history.inputs():
            path.unlink()
        result = run("policy", "explain", history.write(POLICY), "--log", history.log, "--activation", denied)
        assert result.exit_code == 3
        assert "its input is not kept" in result.stderr
        assert "it was denied [environment.allowed]" in result.stderr

    @pytest.mark.parametrize("activation", ["ff", "0000"])
    def test_an_id_must_mean_one_activation(self, run: Any, history: History, activation: str) -> None:
        history.decided(history.policy())
        history.decided(history.policy())
        result = run("policy", "explain", history.write(POLICY), "--log", history.log, "--activation", activation)
        assert result.exit_code == 2


class TestAdapter:
    def test_an_adapter_on_disk_is_verified_and_decided(self, run: Any, signed: Any) -> None:
        given = ("policy", "explain", signed.policy, signed.adapter, *signed.trust, "--base", signed.base)
        result = run(*given, "--environment", "production", "--why-allowed")
        assert result.exit_code == 0
        assert "allowed by policy acme-production" in result.stdout
        denied = run(*given, "--environment", "elsewhere", "--json")
        assert denied.exit_code == 1
        (decision,) = json.loads(denied.stdout)["decisions"]
        assert not decision["hypothetical"]
        assert [one["code"] for one in decision["requirements"] if one["outcome"] != "proved"] == [
            "environment.allowed"
        ]

    def test_without_a_base_it_is_undecided(self, run: Any, signed: Any) -> None:
        given = ("policy", "explain", signed.policy, signed.adapter, *signed.trust)
        assert run(*given, "--environment", "production").exit_code == 3

    def test_without_a_place_it_is_misuse(self, run: Any, signed: Any) -> None:
        assert run("policy", "explain", signed.policy, signed.adapter, *signed.trust).exit_code == 2

    def test_a_damaged_adapter_is_refused_before_any_policy(self, run: Any, world: Any) -> None:
        (world.adapter / "README.md").write_text("another")
        given = ("policy", "explain", world.policy, world.adapter, *world.trust)
        result = run(*given, "--environment", "production")
        assert result.exit_code == 1
        assert result.stdout == ""

    def test_a_policy_inside_the_adapter_is_none(self, run: Any, world: Any) -> None:
        inside = world.adapter / "policy.toml"
        inside.write_bytes(world.policy.read_bytes())
        given = ("policy", "explain", inside, world.adapter, *world.trust)
        assert run(*given, "--environment", "production").exit_code == 1


def test_an_input_document_of_a_gate_is_one(run: Any, tmp_path: Path) -> None:
    path = History(tmp_path).write(POLICY)
    (tmp_path / "input.json").write_text(json.dumps(to_document(builders.facts())))
    assert run("policy", "explain", path, "--input", tmp_path / "input.json").exit_code == 0
