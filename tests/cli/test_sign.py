"""`skillwarrant sign`: what people see, what scripts get, and that nothing is signed by accident."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from skillwarrant_cli.commands.sign import FIELDS
from skillwarrant_format.bundle import RawBundle
from skillwarrant_format.digest import Digest

SCRIPT = Path(sys.executable).with_name("skillwarrant")


def test_signing_says_who_signs_what_and_where_it_is_logged(run, world):
    world.bundle.unlink()
    result = run("sign", world.adapter, *world.signs)
    assert result.exit_code == 0
    before = result.stderr
    assert "signing   acme/support 1.2.0\n" in before
    assert f"as        {world.stack.ci_identity()} ({world.stack.issuer})\n" in before
    assert "for base  acme/tiny\n" in before
    entry = RawBundle.parse(world.bundle.read_bytes()).entry
    assert result.stdout.startswith("signed  acme/support 1.2.0\n")
    assert f"  log entry  {entry.index} of {entry.origin}\n" in result.stdout


def test_what_it_tells_to_run_verifies(run, world):
    world.bundle.unlink()
    result = run("sign", world.adapter, *world.signs)
    command = result.stdout.partition("skillwarrant verify ")[2].replace("\\\n", "").split()
    assert run("verify", *command).exit_code == 0  # it names the instance that signed, too


def test_the_answer_in_json_has_the_documented_fields_and_nothing_else_is_printed(run, world):
    result = run("sign", world.adapter, *world.signs, "--json")
    assert result.exit_code == 0
    assert result.stderr == ""
    answer = json.loads(result.stdout)
    assert (answer.pop("outcome"), answer.pop("code")) == ("ok", "signed")
    assert set(answer) == set(FIELDS) - {"statement", "digest"}
    assert answer["signer"] == {"identity": world.stack.ci_identity(), "issuer": world.stack.issuer}
    assert answer["bundle"] == str(Digest.of(world.bundle.read_bytes()))
    payload = RawBundle.parse(world.bundle.read_bytes()).envelope.payload
    assert answer["statementDigest"] == str(Digest.of(payload))


def test_a_dry_run_shows_the_statement_and_signs_nothing(run, world):
    world.bundle.unlink()
    shown, answer = run("sign", world.adapter, "--dry-run"), run("sign", world.adapter, "--dry-run", "--json")
    assert shown.exit_code == answer.exit_code == 0
    assert not world.bundle.exists()
    fields = json.loads(answer.stdout)
    assert json.loads(shown.stdout) == fields["statement"]
    assert fields["statement"]["predicate"]["skill"]["name"] == "acme/support"
    assert set(fields) == {"outcome", "code", "statement", "digest"}
    assert fields["code"] == "not-signed"


def test_the_digest_of_a_dry_run_is_of_the_bytes_that_are_signed(run, world):
    promised = json.loads(run("sign", world.adapter, "--dry-run", "--json").stdout)["digest"]
    assert run("sign", world.adapter, *world.signs).exit_code == 0
    assert str(Digest.of(RawBundle.parse(world.bundle.read_bytes()).envelope.payload)) == promised


def test_a_ci_job_signs_as_itself(run, world):
    config = ("--trust-config", world.stack.trust_config)
    environment = world.stack.ci_environment(repository="acme/other", ref="refs/heads/main")
    result = run("sign", world.adapter, *config, "--json", env=environment)
    assert result.exit_code == 0
    signer = json.loads(result.stdout)["signer"]["identity"]
    assert signer == world.stack.ci_identity(repository="acme/other", ref="refs/heads/main")


def test_outside_ci_and_without_a_terminal_somebody_must_be_named(run, world):
    result = run("sign", world.adapter, "--trust-config", world.stack.trust_config)
    assert result.exit_code == 2
    assert "this is no CI job that has an identity" in result.stderr


@pytest.mark.parametrize("version", [1, 2])
def test_either_rekor_signs_by_the_trust_config(run, world, version):
    config = world.stack.trust_config if version == 1 else world.stack.trust_config_v2
    result = run("sign", world.adapter, *world.signs[:2], "--trust-config", config)
    assert result.exit_code == 0
    assert RawBundle.parse(world.bundle.read_bytes()).entry.kind == ("dsse" if version == 1 else "hashedrekord")
    assert run("verify", world.adapter, *world.trust, *world.signer).exit_code == 0


def test_a_base_is_measured_where_the_command_line_says(run, world, write_base):
    other = write_base(world.directory / "other", 1)
    assert run("sign", world.adapter, *world.signs, "--base", other).exit_code == 0
    verify = ("verify", world.adapter, *world.trust, *world.signer, "--base")
    assert run(*verify, other).exit_code == 0
    assert run(*verify, world.base).exit_code == 1


def test_another_skill_toml_can_be_named(run, world):
    other = world.directory / "else.toml"
    other.write_text(world.skill.read_text().replace("1.2.0", "9.9.9"))
    assert "9.9.9" in run("sign", world.adapter, "--skill", other, "--dry-run").stdout


def test_a_person_at_a_terminal_is_asked_to_sign_in(world):
    """Up to the trust config, which is missing: the login itself is the library's, and tested there."""
    ours, theirs = pty.openpty()
    command = [SCRIPT, "sign", world.adapter, "--trust-config", world.directory / "nowhere.json"]
    done = subprocess.run(command, stdin=theirs, capture_output=True, text=True, timeout=60, check=False)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 3
    assert done.stderr.startswith("Sign in with your browser: the identity that you choose there signs.\n")


def test_a_manifest_that_is_expired_already_is_not_signed(run, world, tmp_path):
    world.bundle.unlink()
    text = world.skill.read_text()
    assert "[deployment]" in text
    past = tmp_path / "past.skill.toml"
    past.write_text(text.replace("[deployment]", "[deployment]\nnot_after = 2020-01-01T00:00:00Z"))
    result = run("sign", world.adapter, "--skill", past, *world.signs)
    assert result.exit_code == 2
    assert "not_after" in result.stderr
    assert not world.bundle.exists()
