"""The measured base is the model that is really in memory, and touching it is noticed."""

from __future__ import annotations

import gc
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

import tiny
from skillwarrant_format.base_directory import fingerprint_directory
from skillwarrant_format.errors import Unavailable, UsageError
from skillwarrant_verify import base
from skillwarrant_verify.base import exclusive, measure
from skillwarrant_verify.loader import peft_adapter
from skillwarrant_verify.loader.peft_adapter import BaseState, base_of
from skillwarrant_verify.measuring import measurement, tensor_bytes

SMALL_BERT = BertConfig(
    vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
)
SMALL_GPT2 = GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2, n_positions=32)
SMALL_T5 = T5Config(
    vocab_size=64, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2, decoder_start_token_id=0
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tied", [True, False])
def test_memory_and_files_of_a_dense_llama_measure_the_same(tmp_path: Path, dtype: torch.dtype, tied: bool) -> None:
    model = tiny.llama(dtype, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    in_memory, on_disk = measure(model), fingerprint_directory(tmp_path)
    assert in_memory.fingerprint == on_disk.fingerprint
    assert in_memory.tensors == on_disk.tensors
    assert in_memory.facts == on_disk.facts
    assert in_memory.facts.dtype == str(dtype).removeprefix("torch.")
    assert in_memory.facts.architecture == "LlamaForCausalLM"
    assert in_memory.facts.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_a_model_reloaded_or_saved_in_shards_measures_the_same(tmp_path: Path) -> None:
    model = tiny.llama()
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    again = type(model).from_pretrained(tmp_path)
    assert fingerprint_directory(tmp_path).fingerprint == measure(model).fingerprint == measure(again).fingerprint


@pytest.mark.parametrize(
    "model",
    [BertForMaskedLM(SMALL_BERT), GPT2LMHeadModel(SMALL_GPT2), T5ForConditionalGeneration(SMALL_T5)],
    ids=lambda model: type(model).__name__,
)
def test_ties_of_other_architectures_are_named_as_their_files_name_them(tmp_path: Path, model: Any) -> None:
    model.save_pretrained(tmp_path)
    assert measure(model).fingerprint == fingerprint_directory(tmp_path).fingerprint


METHODS = {
    "lora": {"target_modules": ["q_proj", "v_proj"]},
    "lora on all linear layers": {"target_modules": "all-linear"},
    "dora": {"use_dora": True},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "output embedding": {"target_modules": ["lm_head"]},
    "modules to save": {"modules_to_save": ["lm_head", "norm"]},
    "tokens": {"trainable_token_indices": [1, 2]},
}


@pytest.mark.parametrize("options", METHODS.values(), ids=METHODS)
def test_attached_adapters_are_not_part_of_the_base(options: dict[str, Any]) -> None:
    model = tiny.llama()
    before = measure(model)
    attached = tiny.attach(model, **options)
    assert base_of(attached) is model
    assert measure(attached).fingerprint == measure(model).fingerprint == before.fingerprint
    assert measure(attached).buffers == before.buffers
    assert before.still_holds(attached)


@pytest.mark.parametrize("options", METHODS.values(), ids=METHODS)
def test_the_base_is_what_peft_says_it_is(options: dict[str, Any]) -> None:
    """The contract with `peft.get_base_model_state_dict`, whose walk over wrappers ours repeats."""
    attached = tiny.attach(tiny.llama(), **options)
    theirs = peft.get_base_model_state_dict(attached)
    ours = BaseState.of(base_of(attached)).tensors
    assert {name: tensor.data_ptr() for name, tensor in ours.items()} == {
        name: tensor.data_ptr() for name, tensor in theirs.items()
    }


@pytest.mark.parametrize(
    "config",
    [
        peft.IA3Config(target_modules=["k_proj"], feedforward_modules=[]),
        peft.LoHaConfig(target_modules=["q_proj"], r=2),
        peft.VeraConfig(target_modules=["q_proj"], r=2),
        peft.OFTConfig(target_modules=["q_proj"], oft_block_size=8),
        peft.LNTuningConfig(target_modules=["norm"]),
        peft.PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"),
    ],
    ids=lambda config: config.peft_type.value,
)
def test_other_methods_leave_the_base_its_measure(config: peft.PeftConfig) -> None:
    model = tiny.llama()
    before = measure(model)
    attached = get_peft_model(model, config)
    assert measure(attached).fingerprint == before.fingerprint
    assert {name: tensor.data_ptr() for name, tensor in peft.get_base_model_state_dict(attached).items()} == {
        name: tensor.data_ptr() for name, tensor in BaseState.of(base_of(attached)).tensors.items()
    }


@pytest.mark.parametrize(
    "config",
    [
        peft.LoraConfig(target_modules=["q_proj", "embed_tokens"], modules_to_save=["norm"]),
        peft.IA3Config(target_modules=["k_proj"], feedforward_modules=[]),
        peft.AdaptionPromptConfig(adapter_len=2, adapter_layers=1, task_type="CAUSAL_LM"),
        peft.PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"),
        peft.PromptEncoderConfig(num_virtual_tokens=2, encoder_hidden_size=8, task_type="CAUSAL_LM"),
        peft.PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"),
    ],
    ids=lambda config: config.peft_type.value,
)
@pytest.mark.parametrize("reuse", ["every-load", "once-verified", "sampled"])
def test_the_base_measures_the_same_before_with_and_after_an_adapter(config: peft.PeftConfig, reuse: Any) -> None:
    model = tiny.llama()
    before = measure(model, reuse=reuse)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attached = get_peft_model(model, config)
    assert base_of(attached) is model
    assert measure(attached, reuse=reuse).fingerprint == before.fingerprint
    assert measure(attached, reuse=reuse).buffers == before.buffers
    if config.is_adaption_prompt or config.is_prompt_learning:
        attached.delete_adapter("default")
    bare = attached.unload() if hasattr(attached.base_model, "unload") else model
    assert measure(bare, reuse=reuse).fingerprint == before.fingerprint


def test_a_move_to_the_device_where_it_is_changes_nothing_and_weights_on_no_device_are_refused() -> None:
    model = tiny.llama()
    before = measure(model, reuse="once-verified")
    assert measure(model.to("cpu"), reuse="once-verified") is before
    with pytest.raises(Unavailable, match="meta device"):
        measure(model.to("meta"), reuse="once-verified")


def nudge(model: Any) -> None:
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 5] += 1e-7


def replace_parameter(model: Any) -> None:
    old = model.model.layers[0].self_attn.q_proj.weight
    model.model.layers[0].self_attn.q_proj.weight = nn.Parameter(old.detach() * 2)


def swap_two_weights(model: Any) -> None:
    one, other = (layer.self_attn.q_proj for layer in model.model.layers)
    one.weight, other.weight = other.weight, one.weight


def untie(model: Any) -> None:
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach() + 1)


def one_step_of_training(model: Any) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    model(tiny.TOKENS, labels=tiny.TOKENS).loss.backward()
    optimizer.step()


def load_other_weights(model: Any) -> None:
    model.load_state_dict(tiny.llama(seed=1).state_dict())


def cast(model: Any) -> None:
    model.to(torch.bfloat16)


def remove_a_layer(model: Any) -> None:
    del model.model.layers[1]


def merge_an_adapter(model: Any) -> None:
    tiny.attach(model).merge_and_unload()


CHANGES = [
    nudge, replace_parameter, swap_two_weights, untie, one_step_of_training, load_other_weights, cast,
    remove_a_layer, merge_an_adapter,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_base_measures_differently_and_the_old_measurement_no_longer_holds(
    change: Callable[[Any], None],
) -> None:
    model = tiny.llama()
    before = measure(model)
    assert before.still_holds(model)
    change(model)
    assert not before.still_holds(model)
    assert measure(model, reuse="once-verified").fingerprint != before.fingerprint


def test_a_changed_computed_buffer_is_seen_apart_from_the_fingerprint() -> None:
    model = tiny.llama()
    before = measure(model)
    model.model.rotary_emb.inv_freq.mul_(2)
    after = measure(model, reuse="once-verified")
    assert not before.still_holds(model)
    assert after.fingerprint == before.fingerprint
    assert after.buffers != before.buffers


def test_a_tensor_of_the_same_address_and_version_is_not_the_same_tensor() -> None:
    """The allocator gives a freed address to the next tensor of that size: identity decides."""
    model = tiny.llama()
    before = measure(model)
    layer = model.model.layers[0].self_attn.q_proj
    address, shape = layer.weight.data_ptr(), layer.weight.shape
    for _ in range(50):
        layer.weight = None
        layer.weight = nn.Parameter(torch.ones(shape))
        if layer.weight.data_ptr() == address:
            break
    assert not before.still_holds(model)


def test_reuse_measures_once_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.llama()
    first = measure(model, reuse="once-verified")
    monkeypatch.setattr(measurement, "hash_all", lambda *_: pytest.fail("hashed again"))
    assert measure(model, reuse="once-verified") is first
    assert measure(tiny.attach(model), reuse="once-verified").evidence is first.evidence


def test_without_reuse_every_measurement_hashes_what_is_there() -> None:
    """A write through `.data` that `still_holds` cannot see, as its docstring says."""
    model = tiny.llama()
    before = measure(model)
    model.model.layers[0].mlp.up_proj.weight.data[1, 1] += 1
    assert before.still_holds(model)
    assert measure(model).fingerprint != before.fingerprint


def test_measurements_do_not_keep_a_model_alive() -> None:
    model = tiny.llama()
    kept = measure(model)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    assert kept.fingerprint
    assert not any(reference is gone for reference in base._KEPT.keyrefs())


def test_layouts_that_cannot_be_read_in_place_measure_the_same() -> None:
    model = tiny.llama()
    before = measure(model).fingerprint
    weight = model.model.layers[0].mlp.up_proj.weight
    weight.data = weight.data.t().contiguous().t()
    assert not weight.is_contiguous()
    assert measure(model).fingerprint == before


def test_a_large_strided_tensor_is_copied_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = nn.Module()
    holder.register_buffer("plain", torch.arange(1200.0).reshape(40, 30))
    before = measure(holder).fingerprint
    holder.plain = torch.arange(1200.0).reshape(40, 30).t().contiguous().t()
    monkeypatch.setattr(tensor_bytes.limits, "READ_CHUNK", 500)
    assert measure(holder).fingerprint == before


def test_scalars_empty_tensors_and_every_common_dtype_are_measured() -> None:
    holder = nn.Module()
    for index, dtype in enumerate((torch.bool, torch.int64, torch.uint8, torch.float64, torch.float8_e4m3fn)):
        holder.register_buffer(f"b{index}", torch.ones(3).to(dtype))
    holder.register_buffer("scalar", torch.tensor(1.5))
    holder.register_buffer("empty", torch.empty(0, 3))
    measured = measure(holder)
    assert [(tensor.dtype, tensor.shape) for tensor in measured.tensors] == [
        ("BOOL", (3,)), ("I64", (3,)), ("U8", (3,)), ("F64", (3,)), ("F8_E4M3", (3,)), ("F32", (0, 3)), ("F32", ()),
    ]  # fmt: skip


def test_weights_that_are_not_in_memory_cannot_be_measured() -> None:
    with torch.device("meta"):
        model = tiny.llama()
    with pytest.raises(Unavailable, match="meta device"):
        measure(model)


def test_weights_whose_writes_torch_does_not_see_cannot_be_measured() -> None:
    with torch.inference_mode():
        model = tiny.llama()
    with pytest.raises(Unavailable, match="inference_mode"):
        measure(model)


def test_tensors_that_hide_their_bytes_cannot_be_measured() -> None:
    holder = nn.Module()
    holder.register_buffer("sparse", torch.eye(3).to_sparse())
    with pytest.raises(Unavailable, match="sparse"):
        measure(holder)

    class Wrapped(torch.Tensor):
        pass

    holder = nn.Module()
    holder.register_buffer("wrapped", torch.ones(2).as_subclass(Wrapped))
    with pytest.raises(Unavailable, match="Wrapped"):
        measure(holder)


def test_state_that_is_no_tensor_cannot_be_measured() -> None:
    class Extra(nn.Linear):
        def get_extra_state(self) -> object:
            return {"scale": 1.0}

        def set_extra_state(self, state: object) -> None:
            raise NotImplementedError

    with pytest.raises(Unavailable, match="no tensor"):
        measure(Extra(2, 2))


def test_what_is_no_model_is_misuse() -> None:
    with pytest.raises(UsageError, match="not a model"):
        measure("meta-llama/Llama-3")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="compiled"):
        measure(torch.compile(tiny.llama()))  # type: ignore[arg-type]


def test_a_model_that_is_trained_while_it_is_measured_is_not_measured() -> None:
    model = tiny.llama()
    with pytest.raises(Unavailable, match="changed while"):
        measure(model, progress=lambda *_: nudge(model))


def test_hooks_patched_methods_and_adapters_are_named() -> None:
    model = tiny.llama()
    assert measure(model).alterations == ()
    model.model.layers[0].register_forward_hook(lambda *_: None)
    model.lm_head.forward = lambda x: x
    attached = tiny.attach(model)
    attached.merge_adapter()
    assert set(measure(attached).alterations) == {
        "active-adapter: default",
        "forward-hook: model.layers.0",
        "merged-adapter: default",
        "patched-forward: lm_head",
    }


def test_one_at_a_time_and_the_same_thread_again() -> None:
    model = tiny.llama()
    attached = tiny.attach(model)
    entered = threading.Event()
    with exclusive(model):
        with exclusive(attached):
            other = threading.Thread(target=lambda: (exclusive(attached).__enter__(), entered.set()))
            other.start()
        assert not entered.wait(0.1)
    assert entered.wait(5)
    other.join()


def test_progress_ends_with_everything_counted_once() -> None:
    model = tiny.llama()
    seen: list[tuple[int, int]] = []
    measure(model, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert len({total for _, total in seen}) == 1


def test_a_write_past_torch_is_seen_where_it_meets_a_sample() -> None:
    model = tiny.llama()
    before = measure(model)
    flat = model.model.embed_tokens.weight.data.view(-1)
    for element in (0, len(flat) // 2, -1):
        kept = flat[element].clone()
        flat[element] += 1
        assert not before.still_holds(model)
        flat[element] = kept
        assert before.still_holds(model)


def test_quantised_state_below_a_weight_is_part_of_the_base() -> None:
    """bitsandbytes keeps `weight.absmax` and the like in the state: the key's path names no module."""

    class Packed(nn.Linear):
        def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
            super()._save_to_state_dict(destination, prefix, keep_vars)
            destination[f"{prefix}weight.quant_state.absmax"] = torch.ones(2)

    model = nn.Sequential(Packed(4, 4, bias=False))
    attached = peft.get_peft_model(model, peft.LoraConfig(target_modules=["0"], r=2))
    names = BaseState.of(base_of(attached)).tensors
    assert set(names) == {"0.weight", "0.weight.quant_state.absmax"}
    assert (
        measure(attached).fingerprint == measure(nn.Sequential(attached.base_model.model[0].base_layer)).fingerprint
    )


def test_the_private_names_that_are_used_exist() -> None:
    model: Any = tiny.attach(tiny.llama())
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    assert isinstance(layer, peft_adapter.BaseTunerLayer)
    assert layer._get_base_layer_device_and_dtype(layer.get_base_layer()) == (torch.device("cpu"), torch.float32)
    assert {"_forward_hooks", "_forward_pre_hooks"} <= set(vars(layer))
    assert layer.merged_adapters == []
    assert tiny.llama().all_tied_weights_keys == {"lm_head.weight": "model.embed_tokens.weight"}
    assert isinstance(model, PeftModel)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.zeros(1)._version == 0
