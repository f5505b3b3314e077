"""From the digest that a command shows to a denial, whatever becomes of the bundle on the way."""

from __future__ import annotations

import json

import pytest

from skillwarrant_format.bundle import BUNDLE_NAME

PLACE = ("--environment", "production")


def revoking(world, tmp_path, digest):
    path = tmp_path / "revoking.toml"
    path.write_text(world.policy.read_text() + f'\n[revocations]\nmanifests = ["{digest}"]\n')
    return path


@pytest.mark.parametrize("how", ["text", "json"])
def test_the_digest_that_is_shown_revokes_the_release_however_its_bundle_is_written(run, world, tmp_path, how):
    plain = ("verify", world.adapter, *world.trust, "--policy", world.policy, *PLACE, "--base", world.base)
    if how == "json":
        digest = json.loads(run("inspect", world.adapter, "--json").stdout)["statementDigest"]
        assert json.loads(run(*plain, "--json").stdout)["statementDigest"] == digest
    else:
        (digest,) = {line.split()[1] for line in _lines(run("inspect", world.adapter)) + _lines(run(*plain))}
    policy = revoking(world, tmp_path, digest)
    demand = ("verify", world.adapter, *world.trust, "--policy", policy, *PLACE, "--base", world.base)
    bundle = world.adapter / BUNDLE_NAME
    honest = bundle.read_bytes()
    for spelling in (honest, honest + b"\n", json.dumps(json.loads(honest), indent=1).encode()):
        bundle.write_bytes(spelling)
        assert run(*plain).exit_code == 0
        refused = run(*demand)
        assert refused.exit_code == 1
        assert "[manifest.not-revoked]" in refused.stderr


def test_the_bundles_own_digest_revokes_nothing(run, world, tmp_path):
    """It can be written in another way by anybody, so it is no name of a release."""
    digest = json.loads(run("inspect", world.adapter, "--json").stdout)["bundle"]
    policy = revoking(world, tmp_path, digest)
    demand = ("verify", world.adapter, *world.trust, "--policy", policy, *PLACE, "--base", world.base)
    assert run(*demand).exit_code == 0


def test_an_approval_is_revoked_by_the_digest_that_was_shown_when_it_was_signed(run, world, tmp_path):
    token = tmp_path / "alice.token"
    token.write_text(world.stack.user_token("alice@acme.example"))
    alice = ("--trust-config", str(world.stack.trust_config), "--token-file", str(token))
    out, policy = tmp_path / "approval.json", tmp_path / "asking.toml"
    answer = json.loads(run("approve", world.adapter, *alice, "--out", out, "--json").stdout)
    signer = f'{{ issuer = "{answer["signer"]["issuer"]}", identity = "{answer["signer"]["identity"]}" }}'
    asked = f'\n[[evidence]]\npredicate_type = "approval"\nsigners = [{signer}]\n'
    policy.write_text(world.policy.read_text() + asked)
    demand = ("verify", world.adapter, *world.trust, "--policy", policy, *PLACE, "--base", world.base)
    assert run(*demand, "--evidence", out).exit_code == 0
    policy.write_text(policy.read_text() + f'[revocations]\nmanifests = ["{answer["statementDigest"]}"]\n')
    refused = run(*demand, "--evidence", out)
    assert refused.exit_code == 1
    assert "[release.approved]" in refused.stderr
    assert "revoked: the statement" in refused.stderr


def _lines(result):
    return [line.strip() for line in result.stdout.splitlines() if line.strip().startswith("statement ")]
