"""Bad input of every kind: one clear line, the right exit code, no traceback, and nothing half-written.

A case is a function that spoils a signed world and returns what is then run; its decorator says how that must end.
The number of cases is asserted, so that none gets lost.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from skillwarrant_format.bundle import RawBundle
from skillwarrant_format.digest import Digest
from skillwarrant_format.manifest import PREDICATE_TYPE
from skillwarrant_format.statement import Statement
from skillwarrant_verify.proof.embedded import embedded

World = Any  # of conftest.py, which cannot be imported from here
Arguments = tuple[str | Path, ...]
WORDS = {1: "refused: ", 2: "misuse: ", 3: "could not "}
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
QUICK = ("--timeout", "1")
SECONDS = 10  # for any case, on a busy machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    exit_code: int
    says: str
    prepare: Callable[[World], Arguments]


CASES: dict[str, Case] = {}


def case(exit_code: int, says: str) -> Callable[[Callable[[World], Arguments]], Callable[[World], Arguments]]:
    """Register a case: how it must end, and what its block on stderr must say."""

    def register(prepare: Callable[[World], Arguments]) -> Callable[[World], Arguments]:
        name = prepare.__name__
        assert name not in CASES
        CASES[name] = Case(name=name, exit_code=exit_code, says=says, prepare=prepare)
        return prepare

    return register


def verify(world: World, *more: str | Path) -> Arguments:
    return ("verify", world.adapter, *world.trust, *world.signer, *more)


def sign(world: World, *more: str | Path) -> Arguments:
    return ("sign", world.adapter, *world.signs, *more)


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_no_case_is_lost():
    assert len(CASES) == 100


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("name", CASES)
def test_bad_input(run, world, name, as_json):
    expected = CASES[name]
    arguments = expected.prepare(world)
    before, begun = tree(world.directory), time.monotonic()
    result = run(*arguments, *(("--json",) if as_json else ()))
    assert time.monotonic() - begun < SECONDS
    assert result.exit_code == expected.exit_code, result.stderr or result.stdout
    assert tree(world.directory) == before, "something was written"
    if as_json:
        check_json(result.stdout, result.stderr, expected)
    else:
        check_text(result.stdout, result.stderr, expected)


def check_text(stdout: str, stderr: str, expected: Case) -> None:
    assert stdout == ""
    block = stderr[stderr.index("skillwarrant: ") :].splitlines()
    assert block[0].startswith(f"skillwarrant: {WORDS[expected.exit_code]}")
    assert all(line.startswith("  ") and line.isprintable() for line in block[1:])
    assert len(block) <= 5
    assert expected.says in "\n".join(block)


def check_json(stdout: str, stderr: str, expected: Case) -> None:
    assert stderr == ""
    (line,) = stdout.splitlines()
    answer = json.loads(line)
    assert answer["outcome"] == {1: "refused", 2: "misuse", 3: "could-not-check"}[expected.exit_code]
    assert answer["code"] != "internal"
    assert expected.says in "\n".join([str(value) for value in answer.values()] + answer.get("reasons", []))


def tree(directory: Path) -> dict[str, object]:
    """Every path, with its bytes or where it points."""
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = path.readlink()
        elif path.is_file():
            found[name] = Digest.of(path.read_bytes())
        else:
            found[name] = "directory" if path.is_dir() else "other"
    return found


# --- directories


@case(2, "nowhere")
def verify_of_a_missing_directory(world):
    return ("verify", world.directory / "nowhere", *world.trust, *world.signer)


@case(2, "nowhere")
def sign_of_a_missing_directory(world):
    return ("sign", world.directory / "nowhere", *world.signs)


@case(2, "nowhere")
def init_of_a_missing_directory(world):
    return ("init", world.directory / "nowhere")


@case(2, "nowhere")
def inspect_of_a_missing_directory(world):
    return ("inspect", world.directory / "nowhere")


@case(2, "nowhere")
def fingerprint_of_a_missing_directory(world):
    return ("fingerprint", world.directory / "nowhere")


def empty(world: World) -> Path:
    path: Path = world.directory / "empty"
    path.mkdir()
    return path


@case(1, "/empty")
def verify_of_an_empty_directory(world):
    return ("verify", empty(world), *world.trust, *world.signer)


@case(1, "/empty")
def sign_of_an_empty_directory(world):
    return ("sign", empty(world), *world.signs)


@case(1, "/empty")
def init_of_an_empty_directory(world):
    return ("init", empty(world))


@case(1, "there is no such bundle")
def inspect_of_an_empty_directory(world):
    return ("inspect", empty(world))


@case(1, "no weights in safetensors")
def fingerprint_of_an_empty_directory(world):
    return ("fingerprint", empty(world))


@case(2, "adapter_config.json")
def verify_of_a_file(world):
    return ("verify", world.adapter / CONFIG, *world.trust, *world.signer)


@case(2, "not a directory")
def sign_of_a_file(world):
    return ("sign", world.adapter / CONFIG, *world.signs)


@case(1, "no weights in safetensors")
def verify_against_an_empty_base(world):
    return verify(world, "--base", empty(world))


@case(2, "nowhere")
def verify_against_a_missing_base(world):
    return verify(world, "--base", world.directory / "nowhere")


# --- bundles that are missing, cut short, or hostile


@case(1, "no signed manifest")
def verify_without_a_bundle(world):
    world.bundle.unlink()
    return verify(world)


@case(1, "there is no such bundle")
def inspect_without_a_bundle(world):
    world.bundle.unlink()
    return ("inspect", world.adapter)


@case(1, "nowhere.json")
def verify_of_a_named_bundle_that_is_missing(world):
    return verify(world, "--bundle", world.directory / "nowhere.json")


def with_bundle(world: World, data: bytes) -> Arguments:
    world.bundle.write_bytes(data)
    return verify(world)


def inspecting(world: World, data: bytes) -> Arguments:
    with_bundle(world, data)
    return ("inspect", world.adapter)


@case(1, "bundle is not JSON")
def an_empty_bundle(world):
    return with_bundle(world, b"")


@case(1, "bundle is not JSON")
def a_bundle_cut_in_the_middle(world):
    data = world.bundle.read_bytes()
    return with_bundle(world, data[: len(data) // 2])


@case(1, "bundle is not JSON")
def a_bundle_cut_by_one_byte(world):
    return with_bundle(world, world.bundle.read_bytes()[:-1])


@case(1, "bundle is not JSON")
def inspect_of_a_cut_bundle(world):
    return inspecting(world, world.bundle.read_bytes()[:-100])


@case(1, "nested too deeply")
def ten_megabytes_of_brackets_as_a_bundle(world):
    return with_bundle(world, b"[" * 10_000_000)


@case(1, "nested too deeply")
def inspect_of_ten_megabytes_of_brackets(world):
    return inspecting(world, b"[" * 10_000_000)


@case(1, "nested too deeply")
def ten_megabytes_of_braces_as_a_bundle(world):
    return with_bundle(world, b'{"a":' * 2_000_000)


@case(1, "too large")
def a_bundle_that_is_too_large(world):
    return with_bundle(world, b" " * (17 << 20))


@case(1, "too large")
def inspect_of_a_bundle_that_is_too_large(world):
    return inspecting(world, b" " * (17 << 20))


@case(1, "not UTF-8")
def a_bundle_of_random_bytes(world):
    return with_bundle(world, bytes(range(256)))


@case(1, "twice")
def a_bundle_with_a_key_twice(world):
    return with_bundle(world, world.bundle.read_bytes().replace(b"{", b'{"mediaType": "x", ', 1))


@case(1, "NaN")
def a_bundle_with_nan(world):
    return with_bundle(world, b'{"mediaType": NaN}')


@case(1, "not a Sigstore bundle v0.3")
def a_bundle_of_an_old_version(world):
    edited(
        world.bundle, lambda bundle: bundle.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.1")
    )
    return verify(world)


@case(1, "dsseEnvelope.signatures")
def a_bundle_with_two_signatures(world):
    edited(world.bundle, lambda bundle: bundle["dsseEnvelope"]["signatures"].append({"sig": "AAAA"}))
    return verify(world)


@case(1, "tlogEntries")
def a_bundle_without_a_log_entry(world):
    edited(world.bundle, lambda bundle: bundle["verificationMaterial"].update(tlogEntries=[]))
    return verify(world)


@case(1, "certificate")
def a_bundle_with_rubbish_for_a_certificate(world):
    edited(world.bundle, lambda bundle: bundle["verificationMaterial"].update(certificate={"rawBytes": "AAAA"}))
    return verify(world)


@case(1, "certificate")
def inspect_of_rubbish_for_a_certificate(world):
    edited(world.bundle, lambda bundle: bundle["verificationMaterial"].update(certificate={"rawBytes": "AAAA"}))
    return ("inspect", world.adapter)


@case(1, "sig")
def a_bundle_with_another_signature(world):
    edited(world.bundle, lambda bundle: bundle["dsseEnvelope"]["signatures"][0].update(sig="MEUCIQ=="))
    return verify(world)


@case(1, r"\x1b[2J")
def a_bundle_that_would_clear_the_screen(world):
    edited(world.bundle, lambda bundle: bundle.update(mediaType="\x1b[2J\nskillwarrant: verified"))
    return verify(world)


@case(1, r"\u202e")
def a_bundle_that_would_turn_the_line_around(world):
    edited(world.bundle, lambda bundle: bundle.update(mediaType="\u202everified"))
    return ("inspect", world.adapter)


@case(1, "symlink")
def a_bundle_that_is_a_symlink(world):
    world.bundle.rename(world.directory / "real.json")
    world.bundle.symlink_to(world.directory / "real.json")
    return verify(world)


@case(1, "the bundle is no regular file")
def a_bundle_that_is_a_directory(world):
    world.bundle.unlink()
    world.bundle.mkdir()
    return ("inspect", world.adapter)


# --- statements that are really signed and say something else


def with_statement(world: World, predicate_type: str, change: Callable[[dict[str, Any]], None]) -> Arguments:
    statement = Statement.parse(RawBundle.parse(world.bundle.read_bytes()).envelope.payload)
    predicate = json.loads(json.dumps(statement.predicate))
    change(predicate)
    built = Statement.build(subjects=statement.subjects, predicate_type=predicate_type, predicate=predicate)
    world.sign_statement(built)
    return verify(world)


def nothing(_: dict[str, Any]) -> None: ...


@case(1, "the bundle signs something else")
def a_wrong_predicate_type(world):
    return with_statement(world, "https://slsa.dev/provenance/v1", nothing)


@case(1, "the bundle signs something else")
def inspect_of_a_wrong_predicate_type(world):
    with_statement(world, "https://slsa.dev/provenance/v1", nothing)
    return ("inspect", world.adapter)


@case(1, "of a version that this release does not know")
def an_unknown_predicate_version(world):
    return with_statement(world, PREDICATE_TYPE.replace("/v1", "/v2"), nothing)


@case(1, "of a version that this release does not know")
def inspect_of_an_unknown_predicate_version(world):
    with_statement(world, PREDICATE_TYPE.replace("/v1", "/v2"), nothing)
    return ("inspect", world.adapter)


@case(1, "predicate.baseModels")
def a_manifest_without_a_base_model(world):
    return with_statement(world, PREDICATE_TYPE, lambda predicate: predicate.update(baseModels=[]))


@case(1, "predicate.deployment")
def a_manifest_without_a_deployment(world):
    return with_statement(world, PREDICATE_TYPE, lambda predicate: predicate.pop("deployment"))


@case(1, "[adapter.as-declared]")
def a_manifest_that_lies_about_the_adapter(world):
    return with_statement(world, PREDICATE_TYPE, lambda predicate: predicate["adapter"].update(peftType="IA3"))


@case(1, "[time.window]")
def an_expired_window(world):
    world.sign("not_after = 2020-01-01T00:00:00Z\n")
    return verify(world)


@case(1, "[time.window]")
def a_window_that_has_not_begun(world):
    world.sign("not_before = 2099-01-01T00:00:00Z\n")
    return verify(world)


# --- adapters that are not what was signed


@case(1, "extra.md")
def an_extra_file(world):
    (world.adapter / "extra.md").write_text("unsigned")
    return verify(world)


@case(1, "README.md")
def a_missing_file(world):
    (world.adapter / "README.md").unlink()
    return verify(world)


@case(1, WEIGHTS)
def missing_weights(world):
    (world.adapter / WEIGHTS).unlink()
    return verify(world)


@case(1, WEIGHTS)
def one_changed_byte(world):
    path = world.adapter / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return verify(world)


@case(1, CONFIG)
def a_changed_configuration(world):
    edited(world.adapter / CONFIG, lambda config: config.update(lora_alpha=400))
    return verify(world)


@case(1, "README.md")
def two_files_swapped(world):
    one, other = world.adapter / "README.md", world.adapter / CONFIG
    one_data, other_data = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_data)
    other.write_bytes(one_data)
    return verify(world)


def linked(world: World) -> None:
    path = world.adapter / "README.md"
    path.rename(world.directory / "elsewhere.md")
    path.symlink_to(world.directory / "elsewhere.md")


@case(1, "symlink")
def a_symlink_to_the_very_same_bytes(world):
    linked(world)
    return verify(world)


@case(1, "symlink")
def sign_of_a_symlink(world):
    linked(world)
    return sign(world)


@case(1, "symlink")
def a_symlink_for_a_directory(world):
    (world.adapter / "docs").symlink_to(world.base)
    return verify(world)


@case(1, "symlink")
def init_of_a_symlink(world):
    linked(world)
    return ("init", world.adapter, "--force")


@case(1, "a pickle, which runs code when it is opened")
def a_pickle(world):
    (world.adapter / "adapter_model.bin").write_bytes(b"\x80\x04K\x01.")
    return verify(world)


@case(1, "a pickle, which runs code when it is opened")
def sign_of_a_pickle(world):
    (world.adapter / "training_args.bin").write_bytes(b"\x80\x04K\x01.")
    return sign(world)


@case(1, "a hidden file")
def a_hidden_file(world):
    (world.adapter / ".hidden.md").write_text("")
    return verify(world)


@case(1, "a file that an adapter does not have")
def code_in_the_adapter(world):
    (world.adapter / "modeling.py").write_text("print('hello')")
    return verify(world)


@case(1, "fifo.md")
def a_named_pipe(world):
    os.mkfifo(world.adapter / "fifo.md")
    return verify(world)


@case(1, "name that is not accepted")
def a_file_name_with_a_line_break(world):
    (world.adapter / "a\nskillwarrant: verified.md").write_text("")
    return verify(world)


@case(1, "name that is not accepted")
def a_file_name_that_is_no_text(world):
    Path(os.fsdecode(os.fsencode(world.adapter) + b"/\xff\xfe.md")).write_text("")
    return verify(world)


@case(1, "is not JSON")
def sign_of_a_broken_configuration(world):
    (world.adapter / CONFIG).write_text("{")
    return sign(world)


@case(1, "too large")
def sign_of_ten_megabytes_of_brackets_as_a_configuration(world):
    (world.adapter / CONFIG).write_bytes(b"[" * 10_000_000)
    return sign(world)


@case(1, WEIGHTS)
def sign_of_weights_that_are_none(world):
    (world.adapter / WEIGHTS).write_bytes(b"rubbish")
    return sign(world)


@case(1, WEIGHTS)
def sign_of_weights_that_are_cut_short(world):
    path = world.adapter / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1])
    return sign(world)


@case(1, "safetensors")
def fingerprint_of_weights_with_ten_megabytes_of_brackets_as_a_header(world):
    header = b"[" * 10_000_000
    (world.base / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return ("fingerprint", world.base)


# --- who signed


@case(1, "[publisher.trusted]")
def an_unknown_issuer(world):
    whom = ("--identity", world.stack.ci_identity(), "--issuer", "https://accounts.example.com")
    return ("verify", world.adapter, *world.trust, *whom)


@case(1, "[publisher.trusted]")
def an_unknown_identity(world):
    return ("verify", world.adapter, *world.trust, "--identity", "eve@example.com", "--issuer", world.stack.issuer)


@case(2, "says nothing unless you say whose")
def no_identity_at_all(world):
    return ("verify", world.adapter, *world.trust)


# --- policies and skill.toml


@case(3, "cannot read the policy")
def a_missing_policy(world):
    return ("verify", world.adapter, "--policy", world.directory / "no.toml", "--environment", "production")


def with_policy(world: World, text: str) -> Arguments:
    world.policy.write_text(text)
    return ("verify", world.adapter, *world.trust, "--policy", world.policy, "--environment", "production")


@case(2, "policy.toml")
def an_empty_policy(world):
    return with_policy(world, "")


@case(2, "Did you mean 'environments'?")
def a_policy_with_a_misspelt_key(world):
    return with_policy(world, world.policy.read_text().replace("environments", "enviroments"))


@case(2, "policy.toml")
def a_policy_of_brackets(world):
    return with_policy(world, "a = " + "[" * 900_000)


@case(2, "there is no ")
def sign_without_a_skill_toml(world):
    world.skill.unlink()
    return sign(world)


@case(2, "Did you mean 'version'?")
def sign_with_a_misspelt_skill_toml(world):
    world.skill.write_text(world.skill.read_text().replace("version", "verzion"))
    return sign(world)


@case(2, "is not measured")
def sign_without_a_base(world):
    world.skill.write_text(world.skill.read_text().replace('directory = "base"', ""))
    return sign(world)


# --- tokens and services


@case(2, "no such token file")
def a_missing_token_file(world):
    return ("sign", world.adapter, "--token-file", world.directory / "no.token")


@case(2, "no identity token that can sign")
def a_token_that_is_none(world):
    (world.directory / "token").write_text("hello")
    return ("sign", world.adapter, "--token-file", world.directory / "token")


@case(1, "Fulcio")
def a_token_of_another_instance(world):
    token = world.directory / "token"
    header, payload, _ = world.stack.ci_token().split(".")
    token.write_text(f"{header}.{payload}.{'A' * 86}")
    return ("sign", world.adapter, "--token-file", token, "--trust-config", world.stack.trust_config, *QUICK)


def with_service(world: World, key: str, url: str, version: int = 1) -> Arguments:
    """Sign with one service elsewhere."""
    document = json.loads((world.stack.trust_config if version == 1 else world.stack.trust_config_v2).read_bytes())
    service = document["signingConfig"][key][0]
    document["signingConfig"][key] = [{**service, "url": url}]
    config = world.directory / "config.json"
    config.write_text(json.dumps(document))
    return ("sign", world.adapter, *world.signs[:2], "--trust-config", config, *QUICK)


@case(3, "Fulcio")
def fulcio_is_down(world):
    return with_service(world, "caUrls", world.nobody)


@case(3, "Rekor")
def rekor_is_down(world):
    return with_service(world, "rekorTlogUrls", world.nobody)


@case(3, "Rekor")
def rekor_v2_is_down(world):
    return with_service(world, "rekorTlogUrls", world.nobody, version=2)


@case(3, "timestamp authority")
def the_timestamp_authority_is_down(world):
    return with_service(world, "tsaUrls", world.nobody)


@case(3, "Fulcio")
def fulcio_never_answers(world):
    return with_service(world, "caUrls", world.mute)


@case(3, "Rekor")
def rekor_never_answers(world):
    return with_service(world, "rekorTlogUrls", world.mute)


@case(3, "timestamp authority")
def the_timestamp_authority_never_answers(world):
    return with_service(world, "tsaUrls", world.mute)


@case(3, "no such trust config")
def sign_with_a_missing_trust_config(world):
    return ("sign", world.adapter, *world.signs[:2], "--trust-config", world.directory / "no.json")


# --- trust roots


@case(3, "cannot read the trust root")
def a_missing_trust_root(world):
    return ("verify", world.adapter, "--trust-root", world.directory / "no.json", *world.signer)


def with_root(world: World, data: bytes, *more: str) -> Arguments:
    path = world.directory / "root.json"
    path.write_bytes(data)
    return ("verify", world.adapter, "--trust-root", path, *world.signer, *more)


@case(3, "the trust root cannot be used")
def an_empty_trust_root(world):
    return with_root(world, b"")


@case(3, "nested too deeply")
def a_trust_root_of_brackets(world):
    return with_root(world, b"[" * 5_000_000)


@case(3, "the trust root cannot be used")
def a_trust_root_that_trusts_nobody(world):
    return with_root(world, b'{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')


@case(3, "the trust root is stale")
def a_stale_trust_root(world):
    arguments = with_root(world, world.stack.trusted_root.read_bytes(), "--trust-max-age", "30")
    old = (datetime.now(UTC) - timedelta(days=31)).timestamp()
    os.utime(world.directory / "root.json", (old, old))
    return arguments


@case(1, "trust root")
def a_signature_of_an_instance_that_is_not_trusted(world):
    return ("verify", world.adapter, *world.signer)


@case(3, "could not be asked")
def a_tuf_repository_that_is_down(world):
    (world.directory / "root.json").write_bytes(embedded("root.json"))
    where = ("--tuf-url", world.nobody, "--tuf-root", world.directory / "root.json")
    return ("verify", world.adapter, *where, *world.signer)


@case(3, "does not verify")
def a_tuf_root_that_is_none(world):
    (world.directory / "root.json").write_bytes(b"{}")
    where = ("--tuf-url", world.nobody, "--tuf-root", world.directory / "root.json")
    return ("verify", world.adapter, *where, *world.signer)


@case(3, "no usable cached root")
def offline_without_an_earlier_refresh(world):
    (world.directory / "root.json").write_bytes(embedded("root.json"))
    where = ("--tuf-url", world.nobody, "--tuf-root", world.directory / "root.json", "--offline")
    return ("verify", world.adapter, *where, *world.signer)
