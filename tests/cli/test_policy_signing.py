"""`skillwarrant policy sign`, `pack`, `verify`, and `verify --policy DIR`: from a security team to a host."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from skillwarrant_cli.commands import policy_pack, policy_sign, policy_verify
from skillwarrant_format.bundle import RawBundle
from skillwarrant_format.digest import Digest

PRODUCTION = ("--environment", "production")


@pytest.fixture
def policy(world: Any, tmp_path: Path) -> Path:
    """The world's policy in a directory of its own, revision 3 of acme-production, unsigned."""
    directory = tmp_path / "policy"
    directory.mkdir()
    shutil.copy(world.policy, directory / "policy.toml")
    (directory / "README.md").write_text("# Ours\n")
    return directory


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the host of a test remembers lies here."""
    monkeypatch.setenv("SKILLWARRANT_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


@pytest.fixture
def signed_policy(run: Any, world: Any, policy: Path, host: Path) -> Path:
    assert run("policy", "sign", policy, *world.signs).exit_code == 0
    return policy


def demanded(world: Any, prefix: str = "--policy-") -> tuple[str, ...]:
    return (
        f"{prefix}name",
        "acme-production",
        f"{prefix}identity",
        world.stack.ci_identity(),
        f"{prefix}issuer",
        world.stack.issuer,
    )


def test_signing_says_what_until_when_and_as_whom(run, world, policy, host):
    result = run("policy", "sign", policy, *world.signs, "--days", "30")
    assert result.exit_code == 0
    assert "signing  acme-production revision 3\n" in result.stderr
    assert f"as       {world.stack.ci_identity()} ({world.stack.issuer})\n" in result.stderr
    assert result.stdout.startswith("signed  acme-production revision 3\n")
    assert (policy / "policy.sigstore.json").exists()


def test_what_it_tells_to_run_verifies(run, world, policy, host):
    told = run("policy", "sign", policy, *world.signs).stdout.partition("skillwarrant policy verify ")[2]
    result = run("policy", "verify", *told.replace("\\\n", "").split())
    assert result.exit_code == 0
    assert result.stdout.startswith("verified  acme-production revision 3\n")
    assert not host.exists()  # it takes nothing


def test_the_answers_in_json_have_the_documented_fields(run, world, policy, host, tmp_path):
    answer = json.loads(run("policy", "sign", policy, *world.signs, "--json").stdout)
    assert (answer.pop("outcome"), answer.pop("code")) == ("ok", "signed")
    assert set(answer) == set(policy_sign.FIELDS) - {"statement", "digest"}
    bundle = (policy / "policy.sigstore.json").read_bytes()
    assert answer["bundle"] == str(Digest.of(bundle))
    assert [file["name"] for file in answer["files"]] == ["README.md", "policy.toml"]
    assert answer["log"]["index"] == RawBundle.parse(bundle).entry.index

    dry = json.loads(run("policy", "sign", policy, "--dry-run", "--json").stdout)
    assert set(dry) - {"outcome", "code"} == {"statement", "digest"}
    assert dry["statement"]["predicateType"] == "https://skillwarrant.dev/policy-bundle/v1"

    packed = json.loads(run("policy", "pack", policy, tmp_path / "p.json", "--json").stdout)
    assert set(packed) - {"outcome", "code"} == set(policy_pack.FIELDS)
    assert packed["digest"] == str(Digest.of((tmp_path / "p.json").read_bytes()))

    checked = json.loads(run("policy", "verify", policy, *world.trust, *demanded(world, "--"), "--json").stdout)
    assert set(checked) - {"outcome", "code"} == set(policy_verify.FIELDS)
    assert checked["policy"]["origin"]["signer"] == answer["signer"]


def test_a_signed_policy_decides_and_the_host_remembers_its_revision(run, world, signed_policy, host):
    ask = ("verify", world.adapter, *world.trust, *PRODUCTION, "--base", world.base, *demanded(world))
    result = run(*ask, "--policy", signed_policy, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["policy"]["origin"]["signer"]["identity"] == world.stack.ci_identity()
    assert b'"revision":3' in (host / "policy-revisions.log").read_bytes()

    (signed_policy / "policy.toml").write_text((signed_policy / "policy.toml").read_text().replace("= 3", "= 2"))
    assert run("policy", "sign", signed_policy, *world.signs).exit_code == 0
    for older in (run(*ask, "--policy", signed_policy), verify(run, world, signed_policy)):
        assert older.exit_code == 1
        assert "has gone back" in older.stderr
        assert "revision 3 or later" in older.stderr


def verify(run: Any, world: Any, path: Path, *more: str) -> Any:
    return run("policy", "verify", path, *world.trust, *demanded(world, "--"), *more)


def test_a_pack_decides_as_well(run, world, signed_policy, tmp_path):
    packed = tmp_path / "acme.policy.json"
    assert run("policy", "pack", signed_policy, packed).exit_code == 0
    assert verify(run, world, packed).exit_code == 0
    ask = ("verify", world.adapter, *world.trust, *PRODUCTION, "--base", world.base, *demanded(world))
    assert run(*ask, "--policy", packed).exit_code == 0


@pytest.mark.parametrize("command", ["check", "test", "explain"])
def test_where_a_document_is_asked_for_a_pack_is_told_apart_from_a_broken_one(
    run, world, signed_policy, tmp_path, command
):
    packed = tmp_path / "acme.policy.json"
    assert run("policy", "pack", signed_policy, packed).exit_code == 0
    result = run("policy", command, packed)
    assert result.exit_code in (1, 2)
    assert "a signed policy in one file" in result.stdout + result.stderr
    assert "policy verify" in result.stdout + result.stderr


def test_half_a_demand_and_a_directory_without_one_are_misuse(run, world, signed_policy):
    ask = ("verify", world.adapter, *world.trust, *PRODUCTION, "--policy", signed_policy)
    bare = run(*ask)
    assert bare.exit_code == 2
    assert "not whose it must be" in bare.stderr
    for left_out in range(0, 6, 2):
        half = demanded(world)
        result = run(*ask, *half[:left_out], *half[left_out + 2 :])
        assert result.exit_code == 2
        assert "only half named" in result.stderr
    assert run("verify", world.adapter, *world.trust, *demanded(world)).exit_code == 2


def test_another_signer_name_or_revision_is_a_no(run, world, signed_policy):
    for other in (
        ("--identity", "mallory@example.com"),
        ("--issuer", "https://issuer.evil.example"),
        ("--name", "acme-development"),
        ("--least-revision", "4"),
    ):
        result = verify(run, world, signed_policy, *other)
        assert result.exit_code == 1, other
        assert result.stderr.startswith("skillwarrant: refused: ")


def test_what_is_not_signed_is_a_no_and_is_not_packed(run, world, policy, host, tmp_path):
    assert verify(run, world, policy).exit_code == 1
    result = run("policy", "pack", policy, tmp_path / "p.json")
    assert result.exit_code == 2
    assert not (tmp_path / "p.json").exists()


def test_what_changed_after_signing_is_not_packed(run, signed_policy, tmp_path):
    (signed_policy / "README.md").write_text("other")
    result = run("policy", "pack", signed_policy, tmp_path / "p.json")
    assert result.exit_code == 1
    assert "not the file that was signed" in result.stderr


@pytest.mark.parametrize(
    "case",
    [
        (lambda policy: (policy / "rules.py").write_text(""), 2, "does not name"),
        (lambda policy: (policy / "more.rego").write_text("package skillwarrant.more\n"), 2, "does not name"),
        (lambda policy: (policy / "policy.toml").write_text("name = 1"), 2, "policy"),
        (lambda policy: (policy / "policy.toml").rename(policy / "other.toml"), 1, "not one policy"),
        (lambda policy: (policy / "key.pem").write_text("x"), 1, "does not have"),
        (
            lambda policy: (policy / "policy.toml").write_text(
                "not_after = 2020-01-01T00:00:00Z\n" + (policy / "policy.toml").read_text()
            ),
            2,
            "expired before anybody reads it",
        ),
    ],
)
def test_what_a_gate_would_refuse_is_not_signed(run, world, policy, case):
    change, code, words = case
    change(policy)
    result = run("policy", "sign", policy, *world.signs)
    assert result.exit_code == code
    assert words in result.stderr
    assert not (policy / "policy.sigstore.json").exists()


def test_a_policy_inside_the_adapter_is_a_no(run, world, host):
    inside = world.adapter / "policy.toml"
    shutil.copy(world.policy, inside)
    result = run("verify", world.adapter, *world.trust, *PRODUCTION, "--base", world.base, "--policy", inside)
    assert result.exit_code == 1
    assert "lies inside the adapter" in result.stderr


def test_a_copy_of_a_policy_that_the_adapter_brought_along_is_a_no(run, world, host, tmp_path):
    shutil.copy(world.policy, world.adapter / "policy.toml")
    world.sign()
    copied = tmp_path / "mine.toml"
    shutil.copy(world.adapter / "policy.toml", copied)
    result = run("verify", world.adapter, *world.trust, *PRODUCTION, "--base", world.base, "--policy", copied)
    assert result.exit_code == 1
    assert "is a file of the adapter" in result.stderr


def test_a_damaged_memory_is_neither_yes_nor_no(run, world, signed_policy, host):
    host.mkdir()
    (host / "policy-revisions.log").write_bytes(b"garbage\n")
    result = verify(run, world, signed_policy)
    assert result.exit_code == 3
    assert "is damaged" in result.stderr


def test_signing_that_fails_leaves_no_bundle(run, world, policy):
    config = json.loads(world.stack.trust_config.read_text())
    config["signingConfig"]["caUrls"][0]["url"] = world.nobody
    (policy.parent / "config.json").write_text(json.dumps(config))
    token = [*world.signs][:2]
    result = run("policy", "sign", policy, *token, "--trust-config", policy.parent / "config.json")
    assert result.exit_code == 3
    assert "skillwarrant: could not sign: " in result.stderr
    assert not (policy / "policy.sigstore.json").exists()
