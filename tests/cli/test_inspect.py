"""`skillwarrant inspect`: everything a person wants to know, and never the impression that it was checked."""

from __future__ import annotations

import json
import os
from random import Random

import pytest

from mutate import mutated
from skillwarrant_cli.commands.inspect import FIELDS
from skillwarrant_format.bundle import BUNDLE_NAME, RawBundle

LOUD = "NOT VERIFIED: this is what the bundle claims. Nothing was checked."


def test_it_says_first_that_nothing_is_verified_and_last_how_to(run, signed):
    lines = run("inspect", signed.adapter).stdout.splitlines()
    assert lines[0] == LOUD
    assert lines[-1].startswith("To check it: skillwarrant verify DIR --identity WHO-YOU-EXPECT")


def test_a_bundle_that_is_a_fifo_is_refused_and_not_waited_for(run, tmp_path):
    os.mkfifo(tmp_path / BUNDLE_NAME)
    result = run("inspect", tmp_path)
    assert result.exit_code == 1
    assert "no regular file" in result.stderr


def test_it_shows_who_what_for_which_base_where_logged_and_until_when(run, world):
    world.sign('not_after = 2031-01-01T00:00:00Z\nregions = ["eu-west-1"]\n[requires]\npeft = ">=0.20"\n')
    result = run("inspect", world.adapter)
    assert result.exit_code == 0
    entry = RawBundle.parse(world.bundle.read_bytes()).entry
    shown = " ".join(result.stdout.split())
    for fact in (
        "skill acme/support 1.2.0 Answers as the support desk.",
        "publisher Acme <security@acme.example> (in the publisher's own words)",
        f"signed by {world.stack.ci_identity()} issuer {world.stack.issuer}",
        "source https://github.com/acme/skills@9f4c3b6c1f4f0b0e2a7d5c8b1e6a3d2f7c0b9a84",
        f"log entry {entry.index} of {entry.origin} (dsse 0.0.1, ",
        "adapter LORA, rank 2, alpha 4, 32 parameters in 2 tensors for base",
        "for base acme/tiny: LlamaForCausalLM, 64 parameters, float32 skillwarrant-tensors-v1:",
        "environments production, staging when until 2031-01-01T00:00:00Z regions eu-west-1",
        "policy class general composition must be alone on its model requires peft >=0.20",
        "README.md",
    ):
        assert fact in shown


def test_a_file_and_its_directory_show_the_same(run, signed):
    assert run("inspect", signed.bundle).stdout == run("inspect", signed.adapter).stdout


def test_json_has_the_documented_fields_and_says_not_verified(run, signed):
    answer = json.loads(run("inspect", signed.adapter, "--json").stdout)
    assert (answer.pop("outcome"), answer.pop("code")) == ("ok", "not-verified")
    assert set(answer) == set(FIELDS)
    assert answer["verified"] is False
    assert answer["signer"]["identity"] == signed.stack.ci_identity()
    assert [file["name"] for file in answer["files"]] == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_a_bundle_of_rekor_v2_can_be_read(run, world):
    config = world.stack.trust_config_v2
    assert run("sign", world.adapter, *world.signs[:2], "--trust-config", config).exit_code == 0
    assert "(hashedrekord 0.0.2)" in run("inspect", world.adapter).stdout


def test_a_substituted_adapter_is_not_noticed_and_that_is_said(run, world):
    (world.adapter / "adapter_model.safetensors").write_bytes(b"other")
    assert run("inspect", world.adapter).stdout.startswith(LOUD)


def test_a_hazard_stands_out(run, world):
    path = world.adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"init_lora_weights": "pissa"}))
    world.sign()
    assert "changes the base model" in run("inspect", world.adapter).stdout


def test_many_files_are_counted_and_not_all_listed(run, world):
    for number in range(20):
        (world.adapter / f"note-{number:02}.md").write_text("a note")
    world.sign()
    shown = run("inspect", world.adapter).stdout
    assert "and 11 more (--json lists all)" in shown
    assert len(json.loads(run("inspect", world.adapter, "--json").stdout)["files"]) == 23


@pytest.mark.parametrize("name", ["public-good-rekor-v1.sigstore.json", "staging-rekor-v2.sigstore.json"])
def test_a_bundle_of_another_kind_is_told_as_that(run, name):
    folder = os.environ.get("SKILLWARRANT_CONFORMANCE_BUNDLES")
    if folder is None:
        pytest.skip("SKILLWARRANT_CONFORMANCE_BUNDLES names no folder of bundles from real instances")
    result = run("inspect", f"{folder}/{name}")
    assert result.exit_code == 1
    assert result.stderr.startswith("skillwarrant: refused: ")


def test_inspecting_imports_no_sigstore(signed, modules_after):
    assert not modules_after("inspect", signed.adapter) & {"numpy", "requests", "rich", "sigstore", "torch", "tuf"}


def test_no_mutation_of_a_bundle_is_anything_but_shown_or_refused(run, signed, tmp_path):
    honest = json.loads(signed.bundle.read_bytes())
    random, codes = Random(7), set()  # noqa: S311  # a fixed sequence of attacks
    path = tmp_path / "bundle.json"
    for _ in range(400):
        path.write_bytes(mutated(honest, honest, random))
        result = run("inspect", path, "--json")
        answer = json.loads(result.stdout)
        assert answer["code"] != "internal", path.read_bytes()
        codes.add(result.exit_code)
        shown = run("inspect", path)
        assert shown.exit_code == result.exit_code
        assert "\x1b" not in shown.stdout + shown.stderr
    assert codes == {0, 1}
