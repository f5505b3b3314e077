"""`skillwarrant certify`: a laboratory puts its name to a result, and a policy that asks for it is content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from skillwarrant_cli.commands.certify import FIELDS
from skillwarrant_format.bundle import RawBundle
from skillwarrant_format.digest import Digest
from skillwarrant_format.endorsement import CERTIFICATION_TYPE
from skillwarrant_format.statement import Statement

REGULATED = Path(__file__).parents[2] / "policies" / "regulated" / "policy.toml"
LAB = "certification@lab.example"
PLACE = ("--environment", "production")


@pytest.fixture
def as_person(world, tmp_path):
    """The arguments that sign as a person."""

    def arguments(who: str) -> list[str]:
        token = tmp_path / f"{who}.token"
        token.write_text(world.stack.user_token(who))
        return ["--trust-config", str(world.stack.trust_config), "--token-file", str(token)]

    return arguments


@pytest.fixture
def lab(as_person) -> list[str]:
    return as_person(LAB)


def demanding(world, tmp_path: Path) -> Path:
    """Our policy with the very demand of the regulated example: a laboratory's certification of this release."""
    example = REGULATED.read_text()
    begin = example.index('[[evidence]]\npredicate_type = "certification"')
    demand = example[begin : example.index("#", begin)].replace("https://sso.lab.example", world.stack.issuer)
    assert LAB in demand
    path = tmp_path / "demanding.toml"
    path.write_text(f"{world.policy.read_text()}\n{demand}")
    return path


def gate(run, world, tmp_path, *evidence: Path):
    given = [argument for path in evidence for argument in ("--evidence", str(path))]
    policy = ("--policy", demanding(world, tmp_path), *PLACE)
    return run("verify", world.adapter, *world.trust, *policy, "--base", world.base, *given)


def payload(bundle: Path) -> Statement:
    return Statement.parse(RawBundle.parse(bundle.read_bytes()).envelope.payload)


def test_a_certified_release_is_accepted_where_a_certification_is_asked_for(run, world, lab, tmp_path):
    out, report = tmp_path / "certification.json", tmp_path / "report.pdf"
    report.write_bytes(b"%PDF: all well")
    said = ("--suite", "safety 3", "--result", "passed", "--report", report, "--expires", "2099-06-30")
    result = run("certify", world.adapter, *said, *lab, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert f"as          {LAB} ({world.stack.issuer})" in result.stderr
    assert result.stdout.startswith("certified  acme/support 1.2.0: safety 3 passed\n")
    statement = payload(out)
    assert statement.predicate_type == CERTIFICATION_TYPE
    assert statement.subjects[0].digest == Digest.of(world.bundle.read_bytes())
    assert json.loads(statement.raw)["predicate"] == {
        "skill": {"name": "acme/support", "version": "1.2.0"},
        "suite": "safety 3",
        "result": "passed",
        "report": {"sha256": hashlib.sha256(report.read_bytes()).hexdigest()},
        "expiresAt": "2099-06-30T00:00:00Z",
    }
    refused = gate(run, world, tmp_path)
    assert refused.exit_code == 1
    assert "[behaviour.certified]" in refused.stderr
    assert gate(run, world, tmp_path, out).exit_code == 0


@pytest.mark.parametrize(
    ("who", "result", "found"),
    [
        ("certification@lab.example.evil.example", "passed", "signed by certification@lab.example.evil.example"),
        (LAB, "failed", "a certification by safety 3 that failed"),
    ],
)
def test_a_certification_by_somebody_else_or_that_failed_is_refused(
    run, world, as_person, tmp_path, *, who, result, found
):
    out = tmp_path / "certification.json"
    said = ("--suite", "safety 3", "--result", result)
    assert run("certify", world.adapter, *said, *as_person(who), "--out", out).exit_code == 0
    refused = gate(run, world, tmp_path, out)
    assert refused.exit_code == 1
    assert "[behaviour.certified]" in refused.stderr
    assert found in refused.stderr


def test_the_publisher_cannot_certify_its_own_release(run, world, tmp_path):
    out = tmp_path / "certification.json"
    said = ("--suite", "safety 3", "--result", "passed")
    assert run("certify", world.adapter, *said, *world.signs, "--out", out).exit_code == 0
    policy = demanding(world, tmp_path)
    policy.write_text(policy.read_text().replace(LAB, world.stack.ci_identity()))
    arguments = ("--policy", policy, *PLACE, "--base", world.base, "--evidence", out)
    refused = run("verify", world.adapter, *world.trust, *arguments)
    assert refused.exit_code == 1
    assert "could have signed the manifest too" in refused.stderr


def test_an_expired_certification_is_refused(run, world, lab, tmp_path, monkeypatch):
    """It was good when it was made; the gate's clock is later."""
    from datetime import UTC, datetime, timedelta

    import skillwarrant_cli.commands.certify as module

    out = tmp_path / "certification.json"
    yesterday = datetime.now(UTC) - timedelta(days=1)

    class Past(datetime):
        @classmethod
        def now(cls, tz):
            assert tz is UTC
            return yesterday - timedelta(days=1)

    said = ("--suite", "safety 3", "--result", "passed", "--expires", f"{yesterday:%Y-%m-%dT%H:%M:%SZ}")
    soon = run("certify", world.adapter, *said, *lab, "--out", out)
    assert soon.exit_code == 2
    assert "expired before anybody reads it" in soon.stderr
    monkeypatch.setattr(module, "datetime", Past)
    assert run("certify", world.adapter, *said, *lab, "--out", out).exit_code == 0
    refused = gate(run, world, tmp_path, out)
    assert refused.exit_code == 1
    assert f"a certification that expired at {yesterday:%Y-%m-%dT%H:%M:%SZ}" in refused.stderr


def test_a_certification_of_another_adapter_is_none_of_this_one(run, world, lab, tmp_path):
    out = tmp_path / "certification.json"
    said = ("--suite", "safety 3", "--result", "passed")
    assert run("certify", world.adapter, *said, *lab, "--out", out).exit_code == 0
    (world.adapter / "README.md").write_text("# Another\n")
    world.sign()  # the same name and version, by the same publisher
    refused = gate(run, world, tmp_path, out)
    assert refused.exit_code == 1
    assert "[behaviour.certified]" in refused.stderr


def test_the_answer_in_json_has_the_documented_fields(run, world, lab):
    result = run("certify", world.adapter, "--suite", "safety 3", "--result", "passed", *lab, "--json")
    answer = json.loads(result.stdout)
    assert (answer.pop("outcome"), answer.pop("code")) == ("ok", "certified")
    assert set(answer) == set(FIELDS)
    assert Path(answer["path"]) == world.adapter.with_name(world.adapter.name + ".certification.sigstore.json")
    assert answer["certification"]["result"] == "passed"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "missing option '--suite'"),
        (("--suite", "safety 3"), 2, "missing option '--result'"),
        (("--suite", "safety 3", "--result", "probably"), 2, "'probably' is not one of"),
        (("--suite", "two\nlines", "--result", "passed"), 2, "this cannot be signed"),
        (("--suite", "safety 3", "--result", "passed", "--report", "nowhere.pdf"), 2, "no such report"),
        (("--suite", "safety 3", "--result", "passed", "--expires", "soon"), 2, "'soon' does not match"),
    ],
)
def test_what_cannot_be_signed_is_said_before_anybody_signs(run, world, lab, tmp_path, *, arguments, code, message):
    out = tmp_path / "certification.json"
    result = run("certify", world.adapter, *arguments, *lab, "--out", out)
    assert result.exit_code == code
    assert message in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("command", ["certify", "approve"])
def test_a_file_inside_the_adapter_would_make_its_manifest_void(run, world, lab, command):
    said = ("--suite", "safety 3", "--result", "passed") if command == "certify" else ()
    result = run(command, world.adapter, *said, *lab, "--out", world.adapter / "x.json")
    assert result.exit_code == 2
    assert "makes its manifest void" in result.stderr
    assert not (world.adapter / "x.json").exists()


def test_other_files_than_the_signed_ones_are_not_certified(run, world, lab, tmp_path):
    (world.adapter / "adapter_config.json").write_text("{}")
    said = ("--suite", "safety 3", "--result", "passed")
    result = run("certify", world.adapter, *said, *lab, "--out", tmp_path / "x.json")
    assert result.exit_code == 1
    assert not (tmp_path / "x.json").exists()
