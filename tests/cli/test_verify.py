"""`skillwarrant verify`: yes only for what was asked and proved, and a plain word about the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from skillwarrant_cli.commands.verify import FIELDS
from skillwarrant_format.base_directory import fingerprint_directory
from skillwarrant_format.digest import Digest
from skillwarrant_format.limits import MAX_JSON_BYTES

SCRIPT = Path(sys.executable).with_name("skillwarrant")
PRODUCTION = ("--environment", "production")
WHO = ("--identity", "a@b.c", "--issuer", "https://a.b")
TOKEN = ("--operator-token", "t", "--operator-issuer", "https://a.b", "--operator-audience", "us")

COMPANY = "  what else is on the model, skills and hooks: verify_and_load sees them"


def test_a_signer_alone_can_be_demanded_and_the_rest_is_said_not_to_be_checked(run, signed):
    result = run("verify", signed.adapter, *signed.trust, *signed.signer)
    assert result.exit_code == 0
    assert result.stdout.startswith("verified  acme/support 1.2.0\n")
    assert f"  signed by   {signed.stack.ci_identity()}\n" in result.stdout
    assert "  trust root  devstack " in result.stdout
    unchecked = result.stdout.partition("not checked:\n")[2]
    assert unchecked.splitlines() == [
        "  the base model: give --base DIR or --base-fingerprint",
        "  where it is used: give --environment",
        "  your policy (policy class, hazards, age, versions): give --policy FILE",
        COMPANY,
    ]


def test_what_is_given_is_checked_and_no_longer_in_the_list(run, signed):
    result = run("verify", signed.adapter, *signed.trust, *signed.signer, *PRODUCTION, "--base", signed.base)
    assert result.exit_code == 0
    assert "  base        acme/tiny (" in result.stdout
    unchecked = result.stdout.partition("not checked:\n")[2]
    policy = "  your policy (policy class, hazards, age, versions): give --policy FILE"
    assert unchecked.splitlines() == [policy, COMPANY]


def test_a_policy_checks_everything_but_what_only_a_model_can_show(run, signed):
    result = run(
        "verify", signed.adapter, *signed.trust, "--policy", signed.policy, *PRODUCTION, "--base", signed.base
    )
    assert result.exit_code == 0
    assert "acme-production revision 3: all 35 requirements proved" in result.stdout
    assert result.stdout.partition("not checked:\n")[2].splitlines() == [COMPANY]


@pytest.mark.parametrize("by_policy", [True, False])
def test_the_answer_in_json_has_the_documented_fields(run, signed, by_policy):
    demand = ("--policy", signed.policy, *PRODUCTION, "--base", signed.base) if by_policy else signed.signer
    result = run("verify", signed.adapter, *signed.trust, *demand, "--json")
    answer = json.loads(result.stdout)
    assert (answer.pop("outcome"), answer.pop("code")) == ("ok", "verified")
    assert set(answer) == set(FIELDS)
    assert {check["outcome"] for check in answer["checks"]} == {"proved"}
    assert (
        bool(answer["policy"]) == bool(answer["base"]) == by_policy == (answer["notChecked"] == [COMPANY.strip()])
    )
    of_a_model = {"composition.allowed", "composition.limits", "composition.weights", "runtime.unaltered"}
    assert of_a_model.isdisjoint(check["code"] for check in answer["checks"])


@pytest.mark.parametrize("how", ["--base", "--base-fingerprint"])
def test_another_base_is_refused(run, signed, write_base, tmp_path, how):
    other = write_base(tmp_path / "other", 1)
    given = other if how == "--base" else fingerprint_directory(other).fingerprint
    for demand in (signed.signer, ("--policy", signed.policy, *PRODUCTION)):
        result = run("verify", signed.adapter, *signed.trust, *demand, how, str(given))
        assert result.exit_code == 1
        assert "[base.matches] the base model is not one the publisher vouches for" in result.stderr


def test_a_policy_without_a_base_is_no_yes_and_no_no(run, signed):
    result = run("verify", signed.adapter, *signed.trust, "--policy", signed.policy, *PRODUCTION)
    assert result.exit_code == 3
    assert "no base model was measured" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("environment", ["development", "Production"])
def test_another_environment_is_refused(run, signed, environment):
    result = run("verify", signed.adapter, *signed.trust, *signed.signer, "--environment", environment)
    assert result.exit_code == 1
    assert "[environment.allowed]" in result.stderr


@pytest.mark.parametrize(
    ("identity", "issuer"),
    [
        ("https://github.com/acme/skills/.github/workflows/other.yml@refs/tags/v1.0.0", None),
        ("https://github.com/acme/skills/.github/workflows/release.yml@refs/tags/v1.0.00", None),
        ("https://github.com/evil/**", None),
        (None, "https://token.actions.githubusercontent.com"),
    ],
)
def test_somebody_elses_signature_is_refused(run, signed, identity, issuer):
    whom = ("--identity", identity or signed.stack.ci_identity(), "--issuer", issuer or signed.stack.issuer)
    result = run("verify", signed.adapter, *signed.trust, *whom, "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert (answer["outcome"], answer["code"]) == ("refused", "policy.denied")
    assert len(answer["reasons"]) == 1
    assert answer["reasons"][0].startswith("[publisher.trusted]")


def test_all_reasons_are_told_at_once(run, signed, write_base, tmp_path):
    other = write_base(tmp_path / "other", 1)
    whom = ("--identity", "eve@example.com", "--issuer", signed.stack.issuer)
    result = run("verify", signed.adapter, *signed.trust, *whom, "--base", other, "--environment", "development")
    assert [line.split()[1] for line in result.stderr.splitlines()[1:]] == [
        "[publisher.trusted]",
        "[base.matches]",
        "[environment.allowed]",
    ]


def test_a_glob_covers_the_tags_of_one_workflow(run, signed):
    whom = "https://github.com/acme/skills/.github/workflows/release.yml@refs/tags/v*"
    result = run("verify", signed.adapter, *signed.trust, "--identity", whom, "--issuer", signed.stack.issuer)
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("extra", "given", "exit_code"),
    [
        ('regions = ["eu-west-1"]', (), 1),
        ('regions = ["eu-west-1"]', ("--region", "eu-west-1"), 0),
        ('regions = ["eu-west-1"]', ("--region", "us-east-1"), 1),
        ('operators = ["ops@acme.example"]', ("--operator", "ops@acme.example"), 0),
        ('operators = ["ops@acme.example"]', ("--operator", "eve@acme.example"), 1),
    ],
)
def test_the_publishers_limits_of_place_hold_without_a_policy(run, world, extra, given, exit_code):
    world.sign(extra)
    result = run("verify", world.adapter, *world.trust, *world.signer, *PRODUCTION, *given)
    assert result.exit_code == exit_code


@pytest.fixture
def with_token(world):
    """The arguments of a real token, which the devstack's identity provider signs and answers for."""

    def arguments(who="ops@acme.example", audience="sigstore", token=None):
        path = world.directory / "token"
        path.write_text(f"{token or world.stack.user_token(who)}\n")
        named = {"token": path, "issuer": world.stack.issuer, "audience": audience}
        return [part for name, value in named.items() for part in (f"--operator-{name}", str(value))]

    return arguments


def demand_operators(world):
    rule = '[operators]\nrequire = "verified"\n[[operators.issuers]]\n'
    rule += f'issuer = "{world.stack.issuer}"\naudience = "sigstore"\nsubjects = ["ops@acme.example"]\n'
    world.policy.write_text(world.policy.read_text() + rule)


def test_a_policy_that_wants_a_proved_operator_takes_a_token_and_no_claim(run, world, with_token):
    demand_operators(world)
    ask = ("verify", world.adapter, *world.trust, "--policy", world.policy, *PRODUCTION, "--base", world.base)
    assert run(*ask, *with_token()).exit_code == 0
    for other, found in (
        (("--operator", "ops@acme.example"), "the operator is only claimed"),
        ((), "nobody says who operates this deployment"),
        (with_token(who="eve@acme.example"), "the operator is none that the policy trusts"),
    ):
        result = run(*ask, *other)
        assert result.exit_code == 1
        assert f"[operator.verified] {found}" in result.stderr


def test_a_token_proves_the_operator_that_a_manifest_names(run, world, with_token):
    world.sign('operators = ["ops@acme.example"]')
    ask = ("verify", world.adapter, *world.trust, *world.signer, *PRODUCTION)
    assert run(*ask, *with_token()).exit_code == 0
    assert run(*ask, *with_token(who="eve@acme.example")).exit_code == 1


def test_a_token_that_proves_nothing_is_refused_and_keys_that_cannot_be_had_are_no_answer(run, world, with_token):
    ask = ("verify", world.adapter, *world.trust, *world.signer, *PRODUCTION)
    head, body, seal = world.stack.user_token("ops@acme.example").split(".")
    for token in (f"{head}.{body}.{'A' * len(seal)}", f"{head}.{body}.", "\xff", "a" * 20_000):
        result = run(*ask, *with_token(token=token), "--json")
        assert (result.exit_code, json.loads(result.stdout)["code"]) == (1, "operator.invalid"), token
    assert run(*ask, *with_token(audience="another")).exit_code == 1
    nowhere = world.directory / "nowhere"
    assert run(*ask, *with_token(), "--operator-keys", nowhere).exit_code == 3
    assert run(*ask, *with_token()[2:], "--operator-token", nowhere).exit_code == 3


def test_an_issuers_keys_can_be_brought_along(run, world, with_token):
    ask = ("verify", world.adapter, *world.trust, *world.signer, *PRODUCTION, *with_token(), "--operator-keys")
    keys = world.directory / "jwks.json"
    with urllib.request.urlopen(f"{world.stack.issuer}/keys") as reply:  # noqa: S310  # on this machine
        keys.write_bytes(reply.read())
    assert run(*ask, keys).exit_code == 0
    keys.write_text('{"keys": []}')
    assert run(*ask, keys).exit_code == 1


def test_a_system_prompt_is_compared_by_its_digest(run, world):
    prompt, other = world.directory / "prompt.txt", world.directory / "other.txt"
    prompt.write_text("You are kind.")
    other.write_text("You are not.")
    world.sign(f'system_prompts = ["{Digest.of(prompt.read_bytes())}"]')
    verify = ("verify", world.adapter, *world.trust, *world.signer, *PRODUCTION)
    assert run(*verify, "--system-prompt", prompt).exit_code == 0
    for given in (("--system-prompt", other), ()):
        result = run(*verify, *given)
        assert result.exit_code == 1
        assert "[prompt.allowed]" in result.stderr


def test_a_system_prompt_is_never_cut_to_one_that_is_allowed(run, world):
    allowed = b" " * MAX_JSON_BYTES
    prompt = world.directory / "long.txt"
    prompt.write_bytes(allowed + b"Be evil.")
    world.sign(f'system_prompts = ["{Digest.of(allowed)}"]')
    result = run("verify", world.adapter, *world.trust, *world.signer, *PRODUCTION, "--system-prompt", prompt)
    assert result.exit_code == 2
    assert "too large" in result.stderr


def test_versions_are_those_of_the_deployment_where_it_names_them(run, world):
    world.sign('\n[requires]\npeft = ">=99"\n')
    by_policy = ("--policy", world.policy, *PRODUCTION, "--base", world.base)
    verify = ("verify", world.adapter, *world.trust, *by_policy)
    assert "[requires.met]" in run(*verify).stderr
    assert run(*verify, "--package", "peft=99.1").exit_code == 0
    assert run(*verify, "--package", "peft").exit_code == 2
    assert run(*verify, "--package", "PEFT=99.1").exit_code == 0
    world.sign('\n[requires]\npeft = ">=0.1"\n')
    assert run(*verify).exit_code == 0
    assert run(*verify, "--package", "Peft=0.0.1").exit_code == 1  # and never what is installed here instead


def test_a_hazard_is_loud_without_a_policy_and_refused_by_one(run, world):
    path = world.adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"init_lora_weights": "pissa"}))
    world.sign()
    told = run("verify", world.adapter, *world.trust, *world.signer)
    assert told.exit_code == 0
    assert "THE ADAPTER'S HAZARDS: " in told.stdout
    by_policy = ("--policy", world.policy, *PRODUCTION, "--base", world.base)
    refused = run("verify", world.adapter, *world.trust, *by_policy)
    assert refused.exit_code == 1
    assert "[hazards.allowed]" in refused.stderr


@pytest.mark.parametrize("option", ["--trust-root", "--trust-config"])
def test_a_trust_root_file_or_a_client_trust_config_will_do(run, signed, option):
    path = signed.stack.trusted_root if option == "--trust-root" else signed.stack.trust_config
    assert run("verify", signed.adapter, option, path, *signed.signer).exit_code == 0


def test_a_bundle_can_lie_elsewhere(run, world):
    elsewhere = world.bundle.rename(world.directory / "bundle.json")
    assert run("verify", world.adapter, *world.trust, *world.signer).exit_code == 1
    assert run("verify", world.adapter, *world.trust, *world.signer, "--bundle", elsewhere).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "a signature says nothing unless you say whose it must be"),
        (WHO[:2], "only --identity"),
        (WHO[2:], "only --issuer"),
        (("--policy", "p"), "a policy is for a place"),
        (("--policy", "p", *WHO[:2], *PRODUCTION), "a policy and a signer are given"),
        (("--identity", "^https://a.b/c$", *WHO[2:]), "looks like a regular expression"),
        (("--identity", "https://github.com/*", *WHO[2:]), "leaves the organisation open"),
        (("--identity", "*@b.c", *WHO[2:]), "only a URI may hold wildcards"),
        ((*WHO, "--region", "eu"), "without an environment"),
        ((*WHO, "--environment", "no such place"), "context.environment is malformed"),
        ((*WHO, "--base", "b", "--base-fingerprint", "x"), "a base model is given twice"),
        ((*WHO, "--base-fingerprint", "sha256:abc"), "--base-fingerprint: "),
        ((*WHO, "--devstack", "d", "--refresh"), "several trust roots"),
        ((*WHO, "--tuf-url", "http://127.0.0.1"), "half a TUF repository"),
        ((*WHO, "--offline"), "for a TUF repository"),
        ((*WHO, "--trust-max-age", "0"), "--trust-max-age"),
        ((*WHO, "--package", "=1"), "a package has no version"),
        ((*WHO, *PRODUCTION, "--operator-token", "t"), "only half described"),
        ((*WHO, *PRODUCTION, "--operator-keys", "k"), "only half described"),
        ((*WHO, *PRODUCTION, *TOKEN, "--operator", "ops"), "an operator is given twice"),
        ((*WHO, *TOKEN), "without an environment"),
    ],
)
def test_a_question_that_makes_no_sense_is_misuse_before_anything_is_read(run, tmp_path, arguments, says):
    result = run("verify", tmp_path / "nowhere", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr


def test_verifying_imports_neither_torch_nor_numpy(signed, modules_after):
    loaded = modules_after("verify", signed.adapter, *signed.trust, *signed.signer, "--base", signed.base)
    assert "sigstore" in loaded
    assert not loaded & {"numpy", "peft", "rich", "safetensors", "torch", "transformers"}


def test_the_exit_codes_are_the_scripts_own(signed):
    arguments = ["verify", str(signed.adapter), *signed.trust]
    stranger = ["--identity", "eve@example.com", "--issuer", signed.stack.issuer]
    codes = [
        subprocess.run([SCRIPT, *arguments, *rest], capture_output=True, timeout=60, check=False).returncode
        for rest in (signed.signer, stranger, [], [*signed.signer, "--base", os.devnull])
    ]
    assert codes == [0, 1, 2, 2]
