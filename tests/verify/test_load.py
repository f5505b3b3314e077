"""What is on the model after loading is the verified file and nothing else; what does not fit leaves no trace."""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn

import tiny
from skillwarrant_format.adapter_files import CONFIG_NAME, WEIGHTS_NAME
from skillwarrant_format.errors import (
    FilesMismatch,
    FormatError,
    LoadMismatch,
    SkillwarrantError,
    Unavailable,
    UsageError,
)
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_verify.base import exclusive, measure
from skillwarrant_verify.loader import by_view
from skillwarrant_verify.loader.load import Loaded, load

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::RuntimeWarning")

QUERY = "base_model.model.model.layers.0.self_attn.q_proj"
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "some layers": {"target_modules": ["q_proj", "down_proj"], "layers_to_transform": [1]},
    "all but one": {"target_modules": ["q_proj", "v_proj"], "exclude_modules": ["layers.0.self_attn.q_proj"]},
    "rank-stabilised": {"use_rslora": True, "lora_alpha": 7},
    "decomposed (DoRA)": {"use_dora": True},
    "bias of its own": {"lora_bias": True},
    "patterns": {"rank_pattern": {"q_proj": 2, "^model.layers.1.mlp.up_proj": 6}, "alpha_pattern": {"v_proj": 3}},
    "input embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "output embedding": {"target_modules": ["q_proj", "lm_head"]},
    "module to save": {"modules_to_save": ["lm_head", "norm"]},
    "dropout, gaussian": {"lora_dropout": 0.5, "init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "random start": {"init_lora_weights": False},
    "odd rank": {"r": 3},
    "no task": {"task_type": None},
}


def from_pretrained(model: nn.Module, directory: Path, **keywords: Any) -> PeftModel:
    return PeftModel.from_pretrained(model, str(directory), **keywords)


def assert_identical(ours: PeftModel, theirs: PeftModel) -> None:
    """Everything that can be told of two models: state, flags, configuration, answers."""
    assert type(ours) is type(theirs)
    one, other = ours.state_dict(), theirs.state_dict()
    assert list(one) == list(other)
    for key, tensor in other.items():
        assert one[key].dtype == tensor.dtype, key
        assert torch.equal(one[key], tensor), key
    assert flags(ours).items() <= flags(theirs).items()  # PEFT may untie embeddings, and so has one more
    assert {name: vars(config) for name, config in ours.peft_config.items()} == {
        name: vars(config) for name, config in theirs.peft_config.items()
    }
    assert ours.active_adapters == theirs.active_adapters
    assert torch.equal(tiny.answers(ours), tiny.answers(theirs))


def flags(model: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {name: module.training for name, module in model.named_modules()}
    return found | {f"{name} (grad)": parameter.requires_grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("low", [False, True], ids=["", "low_cpu_mem_usage"])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_loading_gives_what_from_pretrained_gives_bit_by_bit(
    tmp_path: Path, variant: dict[str, Any], low: bool
) -> None:
    tiny.write_lora(tmp_path, **variant)
    model = tiny.llama()
    before, plain = measure(model), tiny.answers(model)
    loaded = load(model, Snapshot.read(tmp_path), low_cpu_mem_usage=low)
    assert_identical(loaded.model, from_pretrained(tiny.llama(), tmp_path, low_cpu_mem_usage=low))
    assert not torch.equal(tiny.answers(loaded.model), plain)
    assert before.still_holds(loaded.model)
    assert measure(loaded.model).fingerprint == before.fingerprint
    assert 0 < loaded.views <= loaded.tensors


HALF = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("low", [False, True], ids=["", "low_cpu_mem_usage"])
@pytest.mark.parametrize("autocast", [False, True], ids=["", "autocast"])
@pytest.mark.parametrize("in_file", HALF, ids=str)
@pytest.mark.parametrize("in_base", HALF, ids=str)
def test_every_pair_of_dtypes_is_cast_as_from_pretrained_casts_it(
    tmp_path: Path, in_base: torch.dtype, in_file: torch.dtype, autocast: bool, low: bool
) -> None:
    tiny.write_lora(tmp_path, dtype=in_file, use_dora=True, modules_to_save=["norm"], target_modules=["q_proj"])
    keywords = {"autocast_adapter_dtype": autocast, "low_cpu_mem_usage": low}
    loaded = load(tiny.llama(in_base), Snapshot.read(tmp_path), **keywords)  # type: ignore[arg-type]
    theirs = from_pretrained(tiny.llama(in_base), tmp_path, **keywords)
    one, other = loaded.model.state_dict(), theirs.state_dict()
    assert {key: tensor.dtype for key, tensor in one.items()} == {
        key: tensor.dtype for key, tensor in other.items()
    }
    assert all(torch.equal(one[key], other[key]) for key in other)


@pytest.mark.parametrize("task", ["SEQ_CLS", "TOKEN_CLS"])
def test_a_classifier_brings_its_head(tmp_path: Path, task: str) -> None:
    from transformers import LlamaForTokenClassification

    def fresh() -> Any:
        return tiny.classifier() if task == "SEQ_CLS" else tiny.llama(kind=LlamaForTokenClassification)

    tiny.write_lora(tmp_path, fresh(), task_type=task, target_modules=["q_proj"])
    loaded = load(fresh(), Snapshot.read(tmp_path))
    assert_identical(loaded.model, from_pretrained(fresh(), tmp_path))


def test_a_further_adapter_is_added_as_load_adapter_adds_it(tmp_path: Path) -> None:
    first = tiny.write_lora(tmp_path / "first")
    second = tiny.write_lora(tmp_path / "second", r=2, target_modules=["v_proj", "lm_head"], use_dora=True)
    theirs = from_pretrained(tiny.llama(), first)
    theirs.load_adapter(str(second), "other")
    ours = load(tiny.llama(), Snapshot.read(first)).model
    before = measure(ours)
    loaded = load(ours, Snapshot.read(second), adapter_name="other")
    assert loaded.model is ours
    assert_identical(ours, theirs)
    assert before.still_holds(ours)
    for model in (ours, theirs):
        model.set_adapter("other")
    assert_identical(ours, theirs)


def test_a_further_adapter_to_be_trained_is_trainable_as_load_adapter_makes_it(tmp_path: Path) -> None:
    directory = tiny.write_lora(tmp_path)
    theirs = from_pretrained(tiny.llama(), directory)
    theirs.load_adapter(str(directory), "other", is_trainable=True)
    ours = load(tiny.llama(), Snapshot.read(directory)).model
    load(ours, Snapshot.read(directory), adapter_name="other", is_trainable=True)
    assert flags(ours) == flags(theirs)


def parameters_of(loaded: Loaded) -> Iterator[nn.Parameter]:
    for name, parameter in loaded.model.named_parameters():
        if "lora_" in name:
            yield parameter


def test_the_live_weights_are_the_memory_that_was_hashed(tmp_path: Path) -> None:
    snapshot = Snapshot.read(tiny.write_lora(tmp_path))
    loaded = load(tiny.llama(), snapshot)
    assert loaded.views == loaded.tensors == 28
    start = torch.frombuffer(snapshot.weights.buffer, dtype=torch.uint8).data_ptr()
    for parameter in parameters_of(loaded):
        assert start <= parameter.data_ptr() < start + snapshot.weights.size
        assert parameter.data_ptr() % 64 == 0


def test_a_file_that_is_edited_after_loading_changes_no_live_weight(tmp_path: Path) -> None:
    directory = tiny.write_lora(tmp_path)
    loaded = load(tiny.llama(), Snapshot.read(directory))
    before = tiny.answers(loaded.model)
    with (directory / WEIGHTS_NAME).open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(bytes(4096))
    assert torch.equal(tiny.answers(loaded.model), before)


def test_a_weight_at_an_odd_address_is_copied_and_not_borrowed(tmp_path: Path) -> None:
    model = tiny.llama(hidden_size=40, intermediate_size=56)
    directory = tiny.write_lora(tmp_path, model, r=3)
    loaded = load(tiny.llama(hidden_size=40, intermediate_size=56), Snapshot.read(directory))
    assert loaded.views < loaded.tensors
    assert all(parameter.data_ptr() % 64 == 0 for parameter in parameters_of(loaded))
    reference = from_pretrained(tiny.llama(hidden_size=40, intermediate_size=56), directory)
    assert_identical(loaded.model, reference)


def test_training_writes_to_copies_and_not_to_the_verified_bytes(tmp_path: Path) -> None:
    snapshot = Snapshot.read(tiny.write_lora(tmp_path))
    verified = bytes(snapshot.weights.data)
    loaded = load(tiny.llama(), snapshot, is_trainable=True)
    assert loaded.views == 0
    assert_identical(loaded.model, from_pretrained(tiny.llama(), tmp_path, is_trainable=True))
    optimizer = torch.optim.SGD((p for p in loaded.model.parameters() if p.requires_grad), lr=0.1)
    before = [parameter.clone() for parameter in parameters_of(loaded)]
    loaded.model(tiny.TOKENS, labels=tiny.TOKENS).loss.backward()
    optimizer.step()
    assert not all(torch.equal(old, new) for old, new in zip(before, parameters_of(loaded), strict=True))
    assert bytes(snapshot.weights.data) == verified


def test_a_loaded_adapter_can_be_saved_again(tmp_path: Path) -> None:
    directory = tiny.write_lora(tmp_path / "one")
    load(tiny.llama(), Snapshot.read(directory)).model.save_pretrained(str(tmp_path / "two"))
    one, two = (load_file(tmp_path / name / WEIGHTS_NAME) for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    directory = tiny.write_lora(tmp_path)
    model = tiny.llama()
    before = torch.get_rng_state()
    load(model, Snapshot.read(directory))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_files_are_never_opened_again(tmp_path: Path) -> None:
    directory = tiny.write_lora(tmp_path)
    snapshot = Snapshot.read(directory)
    for path in directory.iterdir():
        path.unlink()
    assert load(tiny.llama(), snapshot).tensors == 28


def picture(model: nn.Module) -> dict[str, Any]:
    """The identity of everything a model is made of."""
    return {
        name or "(root)": (
            id(module),
            {key: id(value) for key, value in vars(module).items()},
            {key: list(value) for key, value in vars(module).items() if isinstance(value, dict | set | list)},
            [(id(parameter), parameter.requires_grad) for parameter in module.parameters(recurse=False)],
        )
        for name, module in model.named_modules()
    }


def assert_untouched(model: nn.Module, action: Callable[[], object], kind: type[BaseException], match: str) -> None:
    """The action is refused, and the model is what it was, to the last attribute."""
    measured, before, answers, settings = (
        measure(model),
        picture(model),
        tiny.answers(model),
        dict(vars(model.config)),
    )
    with pytest.raises(kind, match=match) as caught:
        action()
    if isinstance(caught.value, SkillwarrantError):
        assert "\n" not in str(caught.value)
    assert picture(model) == before
    assert measured.still_holds(model)
    assert measure(model).fingerprint == measured.fingerprint
    assert vars(model.config) == settings
    assert torch.equal(tiny.answers(model), answers)


def drop(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name != f"{QUERY}.lora_B.weight"}


def with_key(key: str, value: torch.Tensor | None = None) -> Callable[[dict[str, torch.Tensor]], Any]:
    return lambda tensors: {**tensors, key: torch.full((64,), 9.0) if value is None else value}


def with_value(number: float) -> Callable[[dict[str, torch.Tensor]], Any]:
    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors[f"{QUERY}.lora_A.weight"][1, 2] = number
        return tensors

    return change


def as_dtype(dtype: torch.dtype) -> Callable[[dict[str, torch.Tensor]], Any]:
    return lambda tensors: {**tensors, f"{QUERY}.lora_A.weight": tensors[f"{QUERY}.lora_A.weight"].to(dtype)}


def narrower(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor[:2] if ".lora_A." in name else tensor[:, :2] for name, tensor in tensors.items()}


def renamed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.replace("layers.0", "layers.7"): tensor for name, tensor in tensors.items()}


ATTACKS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], Any], type[SkillwarrantError], str]] = {
    "a missing tensor": (drop, LoadMismatch, "lacks a tensor.*q_proj.lora_B"),
    "a tensor of no layer": (with_key(f"{QUERY}.lora_C.weight"), LoadMismatch, "does not imply.*lora_C"),
    "a tensor without the prefix": (with_key("model.norm.weight"), LoadMismatch, "does not imply"),
    "the adapter's name in the key": (with_key(f"{QUERY}.lora_A.default.weight"), LoadMismatch, "does not imply"),
    "the base's norm": (with_key("base_model.model.model.norm.weight"), LoadMismatch, "overwrite.*norm"),
    "the base's norm in another shape": (
        with_key("base_model.model.model.norm.weight", torch.ones(63)), LoadMismatch, "overwrite",
    ),
    "the base's output embedding": (
        with_key("base_model.model.lm_head.weight", torch.zeros(128, 64)), LoadMismatch, "overwrite.*lm_head",
    ),
    "the weight under a layer": (
        with_key(f"{QUERY}.base_layer.weight", torch.zeros(64, 64)), LoadMismatch, "overwrite.*base_layer",
    ),
    "a smaller rank than configured": (narrower, LoadMismatch, "another shape"),
    "layers that the model has not": (renamed, LoadMismatch, "lacks a tensor"),
    "NaN": (with_value(float("nan")), FormatError, "NaN or infinities.*q_proj"),
    "infinity": (with_value(float("inf")), FormatError, "NaN or infinities"),
    "minus infinity": (with_value(float("-inf")), FormatError, "NaN or infinities"),
    "integers": (as_dtype(torch.int8), LoadMismatch, "another kind.*int8"),
    "truths": (as_dtype(torch.bool), LoadMismatch, "another kind.*bool"),
    "eight bits": (as_dtype(torch.float8_e4m3fn), FormatError, "no adapter has.*F8"),
    "complex numbers": (as_dtype(torch.complex64), FormatError, "no adapter has.*C64"),
    "a tensor of nothing": (with_key(f"{QUERY}.none", torch.ones(0, 4)), LoadMismatch, "does not imply"),
    "nothing in place of a tensor": (with_key(f"{QUERY}.lora_A.weight", torch.ones(0, 64)), LoadMismatch, "shape"),
    "no tensors": (lambda _: {}, FormatError, "no tensors"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "kind", "match"), ATTACKS.values(), ids=ATTACKS)
def test_a_file_that_is_not_what_its_configuration_implies_leaves_no_trace(
    tmp_path: Path, change: Any, kind: type[SkillwarrantError], match: str
) -> None:
    tiny.rewrite(tiny.write_lora(tmp_path), change)
    snapshot = Snapshot.read(tmp_path)
    model = tiny.llama()
    assert_untouched(model, lambda: load(model, snapshot), kind, match)


@pytest.mark.parametrize(("change", "kind", "match"), ATTACKS.values(), ids=ATTACKS)
def test_nor_beside_an_adapter_that_is_there(
    tmp_path: Path, change: Any, kind: type[SkillwarrantError], match: str
) -> None:
    model = load(tiny.llama(), Snapshot.read(tiny.write_lora(tmp_path / "good"))).model
    tiny.rewrite(tiny.write_lora(tmp_path / "bad"), change)
    snapshot = Snapshot.read(tmp_path / "bad")
    assert_untouched(model, lambda: load(model, snapshot, adapter_name="other"), kind, match)


def test_a_key_that_names_another_adapter_cannot_overwrite_it(tmp_path: Path) -> None:
    """With PEFT's own loader this silently replaces the first adapter's weight."""
    model = load(tiny.llama(), Snapshot.read(tiny.write_lora(tmp_path / "good"))).model
    bad = tiny.write_lora(tmp_path / "bad")
    key = f"{QUERY}.lora_B.default.weight"
    tiny.rewrite(bad, with_key(key, torch.full((64, 4), 5.0)))
    assert_untouched(
        model, lambda: load(model, Snapshot.read(bad), adapter_name="other"), LoadMismatch, "not imply"
    )
    theirs = from_pretrained(tiny.llama(), tmp_path / "good")
    theirs.load_adapter(str(bad), "other")
    assert bool((theirs.state_dict()[key] == 5.0).all()), "PEFT has changed: this attack no longer works on it"


def test_sums_that_overflow_are_not_taken_for_infinities(tmp_path: Path) -> None:
    tiny.rewrite(tiny.write_lora(tmp_path), with_value(3e38))
    tiny.rewrite(tmp_path, lambda tensors: {k: t.fill_(3e38) if "lora_A" in k else t for k, t in tensors.items()})
    assert load(tiny.llama(), Snapshot.read(tmp_path)).tensors == 28


def test_values_that_a_models_own_type_cannot_hold_are_infinities(tmp_path: Path) -> None:
    tiny.rewrite(tiny.write_lora(tmp_path), with_value(1e6))
    keywords = {"autocast_adapter_dtype": False}
    model = tiny.llama(torch.float16)
    snapshot = Snapshot.read(tmp_path)
    before = picture(model)
    with pytest.raises(LoadMismatch, match=r"infinite in the type.*float16"):
        load(model, snapshot, **keywords)
    assert picture(model) == before
    assert load(model, snapshot, allow_non_finite=True, **keywords).tensors == 28
    assert load(tiny.llama(torch.float16), snapshot).tensors == 28  # in float32 it stays what it is


def test_tensors_at_odd_addresses_are_refused(tmp_path: Path) -> None:
    tiny.write_lora(tmp_path)
    header = {
        "a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]},
    }
    text = json.dumps(header).encode()
    (tmp_path / WEIGHTS_NAME).write_bytes(len(text).to_bytes(8, "little") + text + bytes(6))
    with pytest.raises(FormatError, match="odd addresses"):
        load(tiny.llama(), Snapshot.read(tmp_path))


def test_base_weights_that_the_file_repeats_are_accepted_if_equal_and_refused_if_not(tmp_path: Path) -> None:
    directory = tiny.write_lora(tmp_path, target_modules=["q_proj", "embed_tokens"])
    key = "base_model.model.model.embed_tokens.base_layer.weight"
    assert key in load_file(directory / WEIGHTS_NAME)
    assert load(tiny.llama(), Snapshot.read(directory)).tensors == 6

    def touch(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors[key][5, 5] += 1e-6
        return tensors

    tiny.rewrite(directory, touch)
    model = tiny.llama()
    assert_untouched(model, lambda: load(model, Snapshot.read(directory)), LoadMismatch, "overwrite.*embed_tokens")


def test_weights_in_double_precision_are_cast_as_from_pretrained_casts_them(tmp_path: Path) -> None:
    directory = tiny.write_lora(tmp_path, dtype=torch.float64)
    for low in (False, True):
        loaded = load(tiny.llama(), Snapshot.read(directory), low_cpu_mem_usage=low)
        assert loaded.views == 0
        assert_identical(loaded.model, from_pretrained(tiny.llama(), directory, low_cpu_mem_usage=low))


def test_a_model_with_other_layers_or_widths_is_refused(tmp_path: Path) -> None:
    snapshot = Snapshot.read(tiny.write_lora(tmp_path, target_modules=["q_proj", "up_proj"]))
    for changes, match in (
        ({"num_hidden_layers": 1}, "does not imply"),
        ({"num_hidden_layers": 3}, "lacks"),
        ({"intermediate_size": 96}, "another shape"),
    ):
        model = tiny.llama(**changes)
        assert_untouched(model, lambda model=model: load(model, snapshot), LoadMismatch, match)


def reconfigured(directory: Path, **options: Any) -> Snapshot:
    config = json.loads((directory / CONFIG_NAME).read_text())
    (directory / CONFIG_NAME).write_text(json.dumps({**config, **options}))
    return Snapshot.read(directory)


def test_other_targets_than_the_file_has_are_refused(tmp_path: Path) -> None:
    tiny.write_lora(tmp_path)
    model = tiny.llama()
    for options, match in (
        ({"target_modules": ["q_proj"]}, "does not imply"),
        ({"exclude_modules": ["q_proj"]}, "does not imply"),
        ({"target_modules": ["embed_tokens", "q_proj"]}, "lacks|does not imply"),
        ({"target_modules": ["nothing"]}, "does not fit"),
        ({"target_modules": ["q_proj", "act_fn"]}, "does not fit"),
        ({"target_modules": ["layers"]}, "does not fit"),
        ({"use_dora": True}, "lacks"),
        ({"modules_to_save": ["norm"]}, "lacks"),
        ({"r": 5}, "another shape"),
        ({"lora_bias": True}, "lacks"),
        ({"lora_bias": True, "use_dora": True}, "PEFT does not accept"),
    ):
        snapshot = reconfigured(tmp_path, **{"target_modules": "all-linear", "exclude_modules": None, **options})
        kind = FormatError if "accept" in match else LoadMismatch
        assert_untouched(model, lambda snapshot=snapshot: load(model, snapshot), kind, match)
        reconfigured(tmp_path, use_dora=False, modules_to_save=None, r=4, lora_bias=False)


def test_a_configuration_or_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    tiny.write_lora(tmp_path)
    for name in (WEIGHTS_NAME, CONFIG_NAME):
        (tmp_path / name).rename(tmp_path / "aside.txt")
        with pytest.raises(FilesMismatch, match=name):
            load(tiny.llama(), Snapshot.read(tmp_path))
        (tmp_path / "aside.txt").rename(tmp_path / name)


def test_a_model_whose_adapters_are_hidden_is_refused(tmp_path: Path) -> None:
    directory = tiny.write_lora(tmp_path)
    model = tiny.llama()
    loaded = load(model, Snapshot.read(directory))
    with pytest.raises(UsageError, match="carries adapters already"):
        load(model, Snapshot.read(directory), adapter_name="other")
    with pytest.raises(UsageError, match="an adapter of that name"):
        load(loaded.model, Snapshot.read(directory))


@pytest.mark.parametrize("name", ["", "a.b", "lora", "lora_", "a", "x" * 65, "a/b", "tab\t"])
def test_an_adapter_name_that_peft_would_mix_up_is_refused(tmp_path: Path, name: str) -> None:
    snapshot = Snapshot.read(tiny.write_lora(tmp_path))
    model = tiny.llama()
    assert_untouched(model, lambda: load(model, snapshot, adapter_name=name), UsageError, "adapter name")


def test_an_adapter_named_like_a_module_is_loaded_right_or_not_at_all(tmp_path: Path) -> None:
    directory = tiny.write_lora(tmp_path)
    for name in ("q_proj", "weight", "model", "self_attn"):
        loaded = load(tiny.llama(), Snapshot.read(directory), adapter_name=name)
        assert_identical(loaded.model, from_pretrained(tiny.llama(), directory, adapter_name=name))
        model = loaded.model
        try:
            load(model, Snapshot.read(directory), adapter_name="second")
        except LoadMismatch:
            assert "second" not in model.peft_config


def test_a_model_that_is_not_in_memory_is_refused(tmp_path: Path) -> None:
    snapshot = Snapshot.read(tiny.write_lora(tmp_path))
    with torch.device("meta"):
        model = tiny.llama()
    with pytest.raises(Unavailable, match="not in memory"):
        load(model, snapshot)


def test_undo_makes_the_model_what_it_was(tmp_path: Path) -> None:
    directory = tiny.write_lora(tmp_path, modules_to_save=["norm"])
    model = tiny.llama().train()
    before, answers, measured = picture(model), tiny.answers(model), measure(model)
    load(model, Snapshot.read(directory)).undo()
    assert picture(model) == before
    assert torch.equal(tiny.answers(model), answers)
    assert measured.still_holds(model)
    loaded = load(model, Snapshot.read(directory))
    with_one = picture(loaded.model)
    load(loaded.model, Snapshot.read(directory), adapter_name="other").undo()
    assert picture(loaded.model) == with_one
    assert list(loaded.model.peft_config) == ["default"]


def test_a_weight_that_is_exchanged_between_placing_and_proving_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = by_view._put

    def put_and_tamper(places: Any, signed: Any, *, writable: bool) -> None:
        real(places, signed, writable=writable)
        old = places[3].parameter.detach().clone()
        setattr(places[3].module, places[3].name, nn.Parameter(old.mul_(1.001), requires_grad=False))

    monkeypatch.setattr(by_view, "_put", put_and_tamper)
    snapshot = Snapshot.read(tiny.write_lora(tmp_path))
    model = tiny.llama()
    assert_untouched(model, lambda: load(model, snapshot), LoadMismatch, "not the signed one")


def test_an_interrupt_in_the_middle_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    snapshot = Snapshot.read(tiny.write_lora(tmp_path))
    model = tiny.llama()
    monkeypatch.setattr(by_view, "_prove", interrupted)
    assert_untouched(model, lambda: load(model, snapshot), KeyboardInterrupt, "")


def test_loads_onto_one_model_wait_for_each_other(tmp_path: Path) -> None:
    directory = tiny.write_lora(tmp_path)
    model = load(tiny.llama(), Snapshot.read(directory)).model
    before = measure(model)
    problems: list[BaseException] = []

    def add(index: int) -> None:
        try:
            load(model, Snapshot.read(directory), adapter_name=f"n{index}")
        except BaseException as error:  # noqa: BLE001  # reported by the test below
            problems.append(error)

    with exclusive(model):
        threads = [threading.Thread(target=add, args=(index,)) for index in range(6)]
        for thread in threads:
            thread.start()
        assert list(model.peft_config) == ["default"]
    for thread in threads:
        thread.join()
    assert problems == []
    assert sorted(model.peft_config) == ["default", *(f"n{index}" for index in range(6))]
    assert before.still_holds(model)
    for index in range(6):
        state = peft.get_peft_model_state_dict(model, adapter_name=f"n{index}")
        assert all(torch.equal(tensor, state[key]) for key, tensor in load_file(directory / WEIGHTS_NAME).items())


def test_another_thread_that_builds_a_model_meanwhile_gets_real_tensors(tmp_path: Path) -> None:
    snapshot = Snapshot.read(tiny.write_lora(tmp_path))
    stop, devices = threading.Event(), set()

    def build() -> None:
        while not stop.is_set():
            devices.add(nn.Linear(3, 3).weight.device.type)

    builder = threading.Thread(target=build)
    builder.start()
    for _ in range(5):
        load(tiny.llama(), snapshot)
    stop.set()
    builder.join()
    assert devices == {"cpu"}


def test_torch_says_nothing_about_our_buffer(tmp_path: Path) -> None:
    snapshot = Snapshot.read(tiny.write_lora(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        load(tiny.llama(), snapshot)
