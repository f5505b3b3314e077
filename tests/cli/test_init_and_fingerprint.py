"""`skillwarrant init` and `skillwarrant fingerprint`: what they write is what the other commands take."""

from __future__ import annotations

import json
import tomllib

import pytest

from skillwarrant_cli.commands import fingerprint, init
from skillwarrant_format.base_directory import cast_directory, fingerprint_directory
from skillwarrant_format.bundle import RawBundle
from skillwarrant_format.statement import Statement


def test_init_writes_beside_the_adapter_and_says_what_is_next(run, adapter):
    result = run("init", adapter)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"wrote  {adapter}.skill.toml\n")
    assert tomllib.loads((adapter.parent / "support.skill.toml").read_text())["skill"]["name"] == "support"


def test_what_init_wrote_cannot_be_signed_before_it_is_filled_in(run, adapter):
    assert run("init", adapter).exit_code == 0
    result = run("sign", adapter, "--dry-run")
    assert result.exit_code == 2
    assert "is not filled in" in result.stderr


def test_init_never_overwrites_unless_it_is_told_to(run, adapter):
    path = adapter.parent / "support.skill.toml"
    path.write_text("mine")
    result = run("init", adapter)
    assert result.exit_code == 2
    assert "is already there" in result.stderr
    assert path.read_text() == "mine"
    assert run("init", adapter, "--force").exit_code == 0
    assert path.read_text() != "mine"


def test_init_answers_in_json(run, adapter):
    path = adapter.parent / "else.toml"
    answer = json.loads(run("init", adapter, "--skill", path, "--json").stdout)
    assert answer == {"outcome": "ok", "code": "written", "path": str(path)}
    assert set(init.FIELDS) == {"path"}
    assert path.exists()


def test_a_base_is_described_as_a_skill_toml_takes_it(run, base):
    printed = tomllib.loads(run("fingerprint", base).stdout)
    assert printed == {
        "fingerprint": str(fingerprint_directory(base).fingerprint),
        "architecture": "LlamaForCausalLM",
        "parameters": 64,
        "dtype": "float32",
    }


def test_a_base_that_is_pasted_is_the_base_that_is_measured(run, world):
    measured = run("sign", world.adapter, "--dry-run").stdout
    printed = run("fingerprint", world.base).stdout
    world.skill.write_text(world.skill.read_text().replace('directory = "base"', printed))
    assert run("sign", world.adapter, "--dry-run").stdout == measured


def test_casts_are_described_as_a_skill_toml_takes_them(run, world):
    printed = run("fingerprint", world.base, "--cast", "bfloat16", "--cast", "float16").stdout
    casts = tomllib.loads(printed)["casts"]
    assert [(cast["dtype"], cast["kind"]) for cast in casts] == [("bfloat16", "rounded"), ("float16", "rounded")]
    assert casts[0]["fingerprint"] == str(cast_directory(world.base, "bfloat16").fingerprint)
    original = world.skill.read_text()
    world.skill.write_text(original.replace('directory = "base"', printed))
    pasted = run("sign", world.adapter, "--dry-run").stdout
    world.skill.write_text(
        original.replace('directory = "base"', 'directory = "base"\ncasts = ["bfloat16", "float16"]')
    )
    assert run("sign", world.adapter, "--dry-run").stdout == pasted
    assert casts[1]["fingerprint"].partition(":")[2] in pasted
    asked = json.loads(run("fingerprint", world.base, "--cast", "float16", "--json").stdout)
    assert asked["casts"] == [casts[1]]


def test_a_cast_that_is_none_is_misuse(run, base, signed):
    assert run("fingerprint", base, "--cast", "int4").exit_code == 2
    assert run("fingerprint", base, "--cast", "float32").exit_code == 2
    refused = run("fingerprint", signed.adapter, "--cast", "float16")
    assert refused.exit_code == 2
    assert "an adapter is not cast" in refused.stderr


def test_a_signed_cast_verifies_and_is_named_wherever_the_base_is(run, world):
    world.skill.write_text(
        world.skill.read_text().replace('directory = "base"', 'directory = "base"\ncasts = ["float16"]')
    )
    told = run("sign", world.adapter, *world.signs).stdout
    assert "cast to float16, rounded" in told
    cast = cast_directory(world.base, "float16").fingerprint
    assert str(cast) in run("inspect", world.adapter).stdout
    asked = ("verify", world.adapter, *world.trust, *world.signer, "--base-fingerprint", cast)
    assert f"acme/tiny, cast to float16, rounded ({cast.digest.short}…)" in run(*asked).stdout
    assert json.loads(run(*asked, "--json").stdout)["base"]["form"] == "cast to float16, rounded"
    other = cast_directory(world.base, "bfloat16").fingerprint
    assert run(*asked[:-1], other).exit_code == 1


def test_an_adapters_fingerprint_is_the_one_in_its_manifest(run, signed):
    printed = json.loads(run("fingerprint", signed.adapter, "--json").stdout)
    statement = Statement.parse(RawBundle.parse(signed.bundle.read_bytes()).envelope.payload)
    tensors = statement.predicate["adapter"]["tensors"]
    assert printed["fingerprint"] == f"{tensors['scheme']}:{tensors['digest']['sha256']}"


@pytest.mark.parametrize("what", ["base", "adapter"])
def test_json_has_documented_fields_only(run, signed, what):
    answer = json.loads(run("fingerprint", getattr(signed, what), "--json").stdout)
    assert (answer.pop("outcome"), answer.pop("code")) == ("ok", "measured")
    assert set(answer) <= set(fingerprint.FIELDS)


def test_measuring_imports_neither_torch_nor_sigstore(signed, modules_after):
    for directory in (signed.base, signed.adapter):
        loaded = modules_after("fingerprint", directory)
        assert not loaded & {"cryptography", "numpy", "rich", "sigstore", "torch"}
