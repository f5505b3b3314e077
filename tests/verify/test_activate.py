"""The gate as a whole, on a real model: what gets in, what does not, and what is on record either way."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from skillwarrant_audit import read_records
from skillwarrant_devstack import Devstack
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import (
    AuditError,
    DigestMismatch,
    FilesMismatch,
    FormatError,
    ManifestMissing,
    PolicyDenied,
    PolicyError,
    SignatureInvalid,
    SkillwarrantError,
    TrustError,
    Unavailable,
    UsageError,
)
from skillwarrant_format.snapshot import WEIGHTS_NAME, File, Snapshot
from skillwarrant_verify import Context, LoadOptions, verify_and_load
from skillwarrant_verify.base import measure
from skillwarrant_verify.loader import load as load_module
from skillwarrant_verify.trust import from_file
from world import PRODUCTION, Failing, World, llama, logits, observed, phases, report, untouched


def test_a_warranted_adapter_is_loaded_as_peft_would_load_it_and_is_on_record(world: World, log: Path) -> None:
    expected = logits(PeftModel.from_pretrained(llama(), world.adapter))
    policy = log.parent / "policy.toml"
    policy.write_text(world.policy_text())
    model = verify_and_load(
        llama(), world.adapter, policy=policy, context=PRODUCTION, trust_root=world.trust, log=log
    )
    assert isinstance(model, PeftModel)
    assert torch.equal(logits(model), expected)
    assert not torch.equal(expected, logits(llama()))
    intent, activated = observed(log)
    assert (intent.phase, activated.phase) == ("intent", "activated")
    assert intent.activation == activated.activation
    assert activated.skills[0].identity == world.stack.ci_identity()
    assert activated.base == measure(llama()).fingerprint
    assert {check.outcome for check in activated.checks} == {"proved"}


def test_another_base_of_the_same_architecture_is_refused(world: World, log: Path) -> None:
    model = llama()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] += 1e-3
    before = measure(model).fingerprint
    with pytest.raises(PolicyDenied, match=r"base\.matches"):
        world.gate(log).activate(model, world.adapter, context=PRODUCTION)
    assert measure(model).fingerprint == before
    assert not isinstance(model, PeftModel)
    assert phases(log) == ["refused"]
    assert [check.code for check in observed(log)[0].checks if check.outcome != "proved"] == ["base.matches"]


def test_a_development_adapter_in_production_is_refused(world: World, log: Path) -> None:
    adapter = world.signed("development", environments='["development"]')
    with pytest.raises(PolicyDenied, match=r"environment\.allowed"):
        world.gate(log).activate(llama(), adapter, context=PRODUCTION)
    assert phases(log) == ["refused"]


def flip_weight(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def change_alpha(adapter: Path) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(path.read_text().replace('"lora_alpha": 8', '"lora_alpha": 800'))


def add_file(adapter: Path) -> None:
    (adapter / "notes.txt").write_text("hello")


def add_pickle(adapter: Path) -> None:
    (adapter / "adapter_model.bin").write_bytes(b"\x80\x04.")


def remove_readme(adapter: Path) -> None:
    (adapter / "README.md").unlink()


def remove_bundle(adapter: Path) -> None:
    (adapter / "skillwarrant.sigstore.json").unlink()


def truncate_bundle(adapter: Path) -> None:
    path = adapter / "skillwarrant.sigstore.json"
    path.write_bytes(path.read_bytes()[:-100])


def link_weights(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    path.rename(adapter.parent / "elsewhere")
    path.symlink_to(adapter.parent / "elsewhere")


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (flip_weight, DigestMismatch),
        (change_alpha, DigestMismatch),
        (add_file, FilesMismatch),
        (add_pickle, FilesMismatch),
        (remove_readme, FilesMismatch),
        (remove_bundle, ManifestMissing),
        (truncate_bundle, FormatError),
        (link_weights, FilesMismatch),
    ],
)
def test_an_adapter_that_is_not_what_was_signed_is_refused_and_the_model_untouched(
    world: World, log: Path, damage: Callable[[Path], None], error: type[SkillwarrantError]
) -> None:
    adapter = world.copy(log.parent / "copy")
    damage(adapter)
    model = llama()
    with pytest.raises(error):
        world.gate(log).activate(model, adapter, context=PRODUCTION)
    assert untouched(model)
    assert phases(log) == ["refused"]
    assert observed(log)[0].checks[-1].code == error.code


def test_the_bundle_of_another_adapter_is_refused(world: World, log: Path) -> None:
    other = world.signed("other", seed=2)
    with pytest.raises(DigestMismatch):
        world.gate(log).activate(
            llama(), world.adapter, context=PRODUCTION, manifest=str(other / "skillwarrant.sigstore.json")
        )


def test_a_bundle_of_another_sigstore_instance_is_refused(world: World, log: Path, tmp_path: Path) -> None:
    with Devstack(tmp_path / "mallory") as stack:
        trusted = from_file(stack.trusted_root)
    with pytest.raises((SignatureInvalid, TrustError)):
        world.gate(log, trust_root=trusted).activate(llama(), world.adapter, context=PRODUCTION)
    assert phases(log) == ["refused"]


def test_bytes_exchanged_on_disk_after_the_check_reach_nothing(world: World, log: Path) -> None:
    """The clock is read after the files and before the load: an insider who swaps the file then is too late."""
    adapter = world.copy(log.parent / "copy")

    def swap() -> datetime:
        flip_weight(adapter)
        return datetime.now(UTC)

    model = world.gate(log, clock=swap).activate(llama(), adapter, context=PRODUCTION)
    assert torch.equal(logits(model), logits(PeftModel.from_pretrained(llama(), world.adapter)))
    flip_weight(adapter)
    assert torch.equal(logits(model), logits(PeftModel.from_pretrained(llama(), world.adapter)))


def test_without_a_place_for_the_record_nothing_is_loaded(world: World, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    model = llama()
    with pytest.raises(AuditError):
        verify_and_load(
            model,
            world.adapter,
            policy=world.policy(),
            context=PRODUCTION,
            trust_root=world.trust,
            log=blocked / "log",
        )
    assert untouched(model)


@pytest.mark.parametrize("phase", ["intent", "activated"])
def test_an_activation_whose_record_fails_is_undone(world: World, log: Path, phase: str) -> None:
    model = llama()
    with pytest.raises(AuditError):
        world.gate(log, recorder=Failing.at(phase, log)).activate(model, world.adapter, context=PRODUCTION)
    assert untouched(model)
    if phase == "intent":
        assert list(read_records(log / "observations.log")) == []
    else:
        assert phases(log) == ["intent"]


def test_a_load_that_fails_is_on_record_and_undone(
    world: World, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(load_module, "_placed", fail)
    model = llama()
    with pytest.raises(KeyboardInterrupt):
        world.gate(log).activate(model, world.adapter, context=PRODUCTION)
    assert untouched(model)
    assert phases(log) == ["intent", "failed"]


def test_a_base_that_changes_while_the_adapter_is_loaded_is_noticed_and_the_adapter_taken_off(
    world: World, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, real = llama(), load_module._placed

    def overwrite(*given: Any) -> Any:
        placed = real(*given)
        model.lm_head.weight.data[0, 0] += 1  # torch counts no such write
        return placed

    monkeypatch.setattr(load_module, "_placed", overwrite)
    with pytest.raises(SkillwarrantError, match="changed the base"):
        world.gate(log).activate(model, world.adapter, context=PRODUCTION)
    assert phases(log) == ["intent", "failed"]
    assert [*dict(model.named_modules())] == [*dict(llama().named_modules())]


def test_a_base_changed_between_two_activations_is_noticed_when_measured_once(world: World, log: Path) -> None:
    gate, model = world.gate(log, 'measure = "once-verified"'), llama()
    loaded = gate.activate(model, world.adapter, context=PRODUCTION)
    with torch.no_grad():
        loaded.get_base_model().lm_head.weight.add_(1)
    with pytest.raises(PolicyDenied, match=r"base\.matches"):
        gate.activate(loaded, world.adapter, context=PRODUCTION, options=LoadOptions(adapter_name="second"))
    assert phases(log) == ["intent", "activated", "refused"]


def test_a_second_adapter_goes_onto_the_same_model_and_leaves_the_first_as_it_was(world: World, log: Path) -> None:
    gate = world.gate(log)
    other = world.signed("second", seed=3)
    model = gate.activate(llama(), world.adapter, context=PRODUCTION)
    first = logits(model)
    again = gate.activate(model, other, context=PRODUCTION, options=LoadOptions(adapter_name="second"))
    assert again is model
    assert torch.equal(logits(model), first)
    model.set_adapter("second")
    assert torch.equal(logits(model), logits(PeftModel.from_pretrained(llama(), other)))
    assert phases(log) == ["intent", "activated"] * 2


def test_a_skill_that_must_be_alone_does_not_join_another_one(world: World, log: Path) -> None:
    gate = world.gate(log)
    model = gate.activate(llama(), world.adapter, context=PRODUCTION)
    loner = world.signed("loner", seed=5, alone=True)
    with pytest.raises(PolicyDenied, match=r"composition\.allowed.*acme/loner must be alone"):
        gate.activate(model, loner, context=PRODUCTION, options=LoadOptions(adapter_name="second"))
    assert [*model.peft_config] == ["default"]


def test_no_skill_joins_one_that_must_be_alone(world: World, log: Path) -> None:
    gate = world.gate(log)
    model = gate.activate(llama(), world.signed("hermit", seed=6, alone=True), context=PRODUCTION)
    with pytest.raises(PolicyDenied, match=r"composition\.allowed.*acme/hermit must be alone"):
        gate.activate(model, world.adapter, context=PRODUCTION, options=LoadOptions(adapter_name="second"))


def test_no_skill_joins_an_adapter_that_did_not_come_through_the_gate(world: World, log: Path) -> None:
    model = PeftModel.from_pretrained(llama(), world.adapter, adapter_name="foreign")
    with pytest.raises(PolicyDenied, match=r"'foreign' on this model did not come through the gate"):
        world.gate(log).activate(model, world.adapter, context=PRODUCTION)
    assert phases(log) == ["refused"]


def test_an_adapter_that_was_exchanged_outside_the_gate_is_foreign(world: World, log: Path) -> None:
    gate = world.gate(log)
    model = gate.activate(llama(), world.adapter, context=PRODUCTION)
    model.load_adapter(world.signed("other-one", seed=7), adapter_name="foreign")
    with pytest.raises(PolicyDenied, match="'foreign'"):
        gate.activate(model, world.adapter, context=PRODUCTION, options=LoadOptions(adapter_name="second"))


def test_a_hook_on_the_base_is_refused_or_where_the_policy_allows_it_on_record(world: World, log: Path) -> None:
    model = llama()
    model.lm_head.register_forward_hook(lambda *_: None)
    with pytest.raises(PolicyDenied, match=r"runtime\.unaltered"):
        world.gate(log).activate(model, world.adapter, context=PRODUCTION)
    world.gate(log, 'allow_alterations = ["forward-hook"]').activate(model, world.adapter, context=PRODUCTION)
    altered = observed(log)[-1].runtime["baseAlterations"]
    assert altered == {"count": 1, "first": ["forward-hook: lm_head"]}


def test_an_adapter_name_that_is_taken_is_refused_and_the_first_stays(world: World, log: Path) -> None:
    gate = world.gate(log)
    model = gate.activate(llama(), world.adapter, context=PRODUCTION)
    before = logits(model)
    with pytest.raises(UsageError):
        gate.activate(model, world.signed("third", seed=4), context=PRODUCTION)
    assert torch.equal(logits(model), before)
    assert phases(log) == ["intent", "activated", "refused"]


@pytest.mark.parametrize("name", ["", "a.b", "lora", "x" * 65, "a/b", "a b", "\ud800"])
def test_an_adapter_name_that_cannot_be_used_is_refused_before_there_is_any_intent(
    world: World, log: Path, name: str
) -> None:
    model = llama()
    with pytest.raises(UsageError, match="name cannot be used"):
        world.gate(log).activate(model, world.adapter, context=PRODUCTION, options=LoadOptions(adapter_name=name))
    assert phases(log) == ["refused"]
    assert untouched(model)


def test_many_threads_on_one_gate_and_one_model_make_one_clean_log(world: World, log: Path) -> None:
    gate = world.gate(log, 'measure = "once-verified"')
    model = gate.activate(llama(), world.adapter, context=PRODUCTION)
    damaged = world.copy(log.parent / "copy")
    flip_weight(damaged)
    outcomes: list[str] = []

    def work(number: int) -> None:
        adapter = damaged if number % 3 == 0 else world.adapter
        try:
            gate.activate(model, adapter, context=PRODUCTION, options=LoadOptions(adapter_name=f"a{number}"))
            outcomes.append("in")
        except DigestMismatch:
            outcomes.append("out")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["in"] * 8 + ["out"] * 4
    assert sorted(model.peft_config) == sorted(["default", *(f"a{n}" for n in range(12) if n % 3)])
    assert sorted(phases(log)) == sorted(["intent", "activated"] * 9 + ["refused"] * 4)


def test_a_process_killed_between_intent_and_load_leaves_its_intent_on_record(world: World, log: Path) -> None:
    policy = log.parent / "policy.toml"
    policy.write_text(world.policy_text())
    script = """
import os, signal, sys
from pathlib import Path
from skillwarrant_verify import Context, verify_and_load
from skillwarrant_verify.loader import load
from skillwarrant_verify.trust import from_devstack
from world import llama
load.load = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
adapter, policy, stack, log = map(Path, sys.argv[1:])
verify_and_load(llama(), adapter, policy=policy, context=Context(environment="production"),
                trust_root=from_devstack(stack), log=log)
"""
    arguments = [world.adapter, policy, world.stack.trusted_root.parent, log]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert phases(log) == ["intent"]
    assert len(report(log).findings) == 1


def test_a_context_is_never_optional_or_guessed(world: World, log: Path) -> None:
    with pytest.raises(UsageError, match="context"):
        world.gate(log).activate(llama(), world.adapter, context={"environment": "production"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "error"), [(None, Unavailable), (b"", PolicyError), (b"\xff\xfe", PolicyError), (b"{", PolicyError)]
)
def test_a_policy_that_cannot_be_used_loads_nothing(
    world: World, log: Path, content: bytes | None, error: type[SkillwarrantError]
) -> None:
    path = log.parent / "policy.toml"
    if content is not None:
        path.write_bytes(content)
    model = llama()
    with pytest.raises(error):
        verify_and_load(model, world.adapter, policy=path, context=PRODUCTION, trust_root=world.trust, log=log)
    assert untouched(model)


def test_a_policy_inside_the_adapter_is_just_an_unsigned_file(world: World, log: Path) -> None:
    adapter = world.copy(log.parent / "copy")
    (adapter / "policy.toml").write_text(world.policy_text())
    with pytest.raises(FilesMismatch):
        world.gate(log).activate(llama(), adapter, context=PRODUCTION)


def test_what_is_on_record_names_no_operator_and_no_prompt(world: World, log: Path) -> None:
    context = Context(environment="production", operator="alice@example.org", system_prompt="a secret prompt")
    world.gate(log).activate(llama(), world.adapter, context=context)
    with pytest.raises(PolicyDenied):
        world.gate(log).activate(llama(), world.adapter, context=replace(context, environment="staging"))
    statements = [record.statement.raw for record in report(log).observations]
    assert len(statements) == 3
    for statement in statements:
        assert b"saltedSha256" in statement
        assert b"alice" not in statement
        assert b"secret prompt" not in statement


def test_a_snapshot_is_hashed_again_so_that_a_written_one_is_refused(world: World, log: Path) -> None:
    snapshot = Snapshot.read(world.adapter)
    world.gate(log).activate(llama(), snapshot, context=PRODUCTION)
    snapshot.weights.buffer[-1] ^= 1
    with pytest.raises(DigestMismatch):
        world.gate(log).activate(llama(), snapshot, context=PRODUCTION)
    assert phases(log) == ["intent", "activated", "refused"]


def test_models_loaded_from_one_snapshot_share_no_weights(world: World, log: Path) -> None:
    snapshot, gate = Snapshot.read(world.adapter), world.gate(log)
    one = gate.activate(llama(), snapshot, context=PRODUCTION)
    expected = logits(one)
    other = gate.activate(llama(), snapshot, context=PRODUCTION)
    for parameter in one.parameters():
        parameter.data.mul_(2)
    assert torch.equal(logits(other), expected)
    assert torch.equal(logits(gate.activate(llama(), snapshot, context=PRODUCTION)), expected)


def test_a_snapshot_that_lies_about_its_digests_is_refused(world: World, log: Path) -> None:
    """What a caller made up, or a class of its own that has one answer for the check and one for the loader."""
    honest = Snapshot.read(world.adapter)
    digest: Future[Digest] = Future()
    digest.set_result(honest.weights.digest)
    evil = bytearray(honest.weights.data)
    evil[-1] ^= 1
    files = {**honest.files, WEIGHTS_NAME: File(WEIGHTS_NAME, memoryview(evil), digest)}

    class TwoFaced(Snapshot):
        @property
        def weights(self) -> File:
            return files[WEIGHTS_NAME]

    liar = Snapshot(files=files, bundle=honest.bundle, source="a liar")
    with pytest.raises(DigestMismatch):
        world.gate(log).activate(llama(), liar, context=PRODUCTION)
    two_faced = TwoFaced(files=honest.files, bundle=honest.bundle, source="two faces")
    expected = logits(world.gate(log).activate(llama(), honest, context=PRODUCTION))
    assert torch.equal(logits(world.gate(log).activate(llama(), two_faced, context=PRODUCTION)), expected)


def test_a_name_that_no_file_system_can_have_is_refused_on_record(world: World, log: Path) -> None:
    with pytest.raises(UsageError, match="no path"):
        world.gate(log).activate(llama(), "\ud800", context=PRODUCTION)
    assert phases(log) == ["refused"]


def test_a_model_that_is_no_model_is_a_misuse_and_no_verdict(world: World, log: Path) -> None:
    with pytest.raises(UsageError, match="not a model"):
        world.gate(log).activate("a string", world.adapter, context=PRODUCTION)  # type: ignore[arg-type]


def test_peft_itself_gives_the_same_with_skillwarrant_in_the_process_as_without(world: World, log: Path) -> None:
    """The plain run is a process that never imports us; here a gate has been at work before PEFT is used again."""
    plain = """
import hashlib, sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(sys.argv[1]).eval(), sys.argv[2])
with torch.no_grad():
    logits = model(torch.arange(12).reshape(1, 12)).logits
assert not [name for name in sys.modules if name.startswith("skillwarrant")]
print(hashlib.sha256(logits.numpy().tobytes()).hexdigest())
"""
    command = [sys.executable, "-c", plain, str(world.base), str(world.adapter)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    world.gate(log).activate(llama(), world.adapter, context=PRODUCTION)
    with_us = logits(PeftModel.from_pretrained(llama(), world.adapter))
    assert hashlib.sha256(with_us.numpy().tobytes()).hexdigest() == done.stdout.strip()
