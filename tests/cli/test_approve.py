"""`skillwarrant approve`: somebody else agrees to a release, and a policy that asks for it is content."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skillwarrant_cli.commands.approve import FIELDS
from skillwarrant_format.bundle import RawBundle
from skillwarrant_format.digest import Digest
from skillwarrant_format.endorsement import APPROVAL_TYPE
from skillwarrant_format.statement import Statement

ALICE = "alice@acme.example"


@pytest.fixture
def alice(world, tmp_path) -> list[str]:
    token = tmp_path / "alice.token"
    token.write_text(world.stack.user_token(ALICE))
    return ["--trust-config", str(world.stack.trust_config), "--token-file", str(token)]


def evidence_of(issuer: str, identity: str) -> str:
    signers = f'[{{ issuer = "{issuer}", identity = "{identity}" }}]'
    return f'\n[[evidence]]\npredicate_type = "approval"\nsigners = {signers}\n'


def asking(world, tmp_path: Path) -> Path:
    path = tmp_path / "asking.toml"
    path.write_text(world.policy.read_text() + evidence_of(world.stack.issuer, ALICE))
    return path


def test_an_approved_release_is_accepted_where_an_approval_is_asked_for(run, world, alice, tmp_path):
    out = tmp_path / "approval.json"
    result = run("approve", world.adapter, *alice, "--out", out, "--comment", "looked at the evaluation")
    assert result.exit_code == 0
    assert f"as         {ALICE} ({world.stack.issuer})" in result.stderr
    assert result.stdout.startswith("approved  acme/support 1.2.0\n")
    statement = Statement.parse(RawBundle.parse(out.read_bytes()).envelope.payload)
    assert statement.predicate_type == APPROVAL_TYPE
    assert statement.subjects[0].digest == Digest.of(world.bundle.read_bytes())
    arguments = ("verify", world.adapter, *world.trust, "--policy", asking(world, tmp_path))
    place = ("--environment", "production", "--base", world.base)
    refused = run(*arguments, *place)
    assert refused.exit_code == 1
    assert "[release.approved]" in refused.stderr
    assert run(*arguments, *place, "--evidence", out).exit_code == 0


def test_the_publisher_cannot_approve_its_own_release(run, world, tmp_path):
    out = tmp_path / "approval.json"
    assert run("approve", world.adapter, *world.signs, "--out", out).exit_code == 0
    policy = tmp_path / "own.toml"
    policy.write_text(world.policy.read_text() + evidence_of(world.stack.issuer, world.stack.ci_identity()))
    arguments = ("verify", world.adapter, *world.trust, "--policy", policy, "--environment", "production")
    refused = run(*arguments, "--base", world.base, "--evidence", out)
    assert refused.exit_code == 1
    assert "could have signed the manifest too" in refused.stderr


def test_the_answer_in_json_has_the_documented_fields_and_the_file_is_beside_the_adapter(run, world, alice):
    result = run("approve", world.adapter, *alice, "--json")
    answer = json.loads(result.stdout)
    assert (answer.pop("outcome"), answer.pop("code")) == ("ok", "approved")
    assert set(answer) == set(FIELDS)
    assert Path(answer["path"]) == world.adapter.with_name(world.adapter.name + ".approval.sigstore.json")
    again = run("approve", world.adapter, *alice)
    assert again.exit_code == 2
    assert "already there" in again.stderr


def test_other_files_than_the_signed_ones_are_not_approved(run, world, alice, tmp_path):
    config = world.adapter / "adapter_config.json"
    config.write_text(config.read_text() + " ")
    result = run("approve", world.adapter, *alice, "--out", tmp_path / "x.json")
    assert result.exit_code == 1
    assert "is not the file that was signed" in result.stderr
    assert not (tmp_path / "x.json").exists()


def test_a_bundle_alone_is_not_approved(run, world, alice):
    result = run("approve", world.bundle, *alice)
    assert result.exit_code == 2
