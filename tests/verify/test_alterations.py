"""What can change answers without changing a tensor is seen and named, each kind by what an attacker would do."""

from __future__ import annotations

import functools
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import peft
import pytest
import torch
from accelerate.hooks import AlignDevicesHook, ModelHook, SequentialHook, add_hook_to_module
from peft import AdaptionPromptConfig, IA3Config, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrize
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

import families
import tiny
from skillwarrant_format.errors import Unavailable
from skillwarrant_verify.base import measure
from skillwarrant_verify.measuring.alterations import KINDS, alterations

LAYER = "model.layers.0"


def layer(model: Any) -> Any:
    return model.model.layers[0]


def first(*args: Any, **_options: Any) -> Any:
    return args[0]


def forward_hook(model: Any) -> None:
    layer(model).register_forward_hook(lambda _module, _args, output: output)


def forward_pre_hook(model: Any) -> None:
    layer(model).register_forward_pre_hook(lambda _module, args: args)


def own_forward(model: Any) -> None:
    layer(model).forward = first


def own_forward_that_looks_like_the_class(model: Any) -> None:
    patched = functools.wraps(type(layer(model)).forward)(lambda _self, *args, **_kwargs: args[0])
    layer(model).forward = types.MethodType(patched, layer(model))


def own_call(model: Any) -> None:
    layer(model)._call_impl = first


def own_compiled_call(model: Any) -> None:
    layer(model)._compiled_call_impl = first


def forward_with_a_false_hook_of_accelerate(model: Any) -> None:
    class Mine(ModelHook):
        def post_forward(self, _module: nn.Module, output: Any) -> Any:
            return output

    add_hook_to_module(layer(model), Mine())


def false_hook_in_a_sequence(model: Any) -> None:
    class Mine(ModelHook):
        pass

    add_hook_to_module(layer(model), SequentialHook(AlignDevicesHook(), Mine()))


def accelerates_hook_around_a_patch(model: Any) -> None:
    own_forward(model)
    add_hook_to_module(layer(model), AlignDevicesHook())


HOOKS = [forward_hook, forward_pre_hook]
PATCHES = [
    own_forward, own_forward_that_looks_like_the_class, own_call, own_compiled_call,
    forward_with_a_false_hook_of_accelerate, false_hook_in_a_sequence, accelerates_hook_around_a_patch,
]  # fmt: skip


def test_a_model_as_it_was_built_has_none() -> None:
    assert alterations(tiny.llama()) == ()


@pytest.mark.parametrize(("family", "architecture"), families.architectures())
def test_no_class_of_the_covered_families_looks_patched(family: str, architecture: str) -> None:
    assert alterations(families.build(family, architecture)) == ()


@pytest.mark.parametrize("change", HOOKS, ids=lambda change: change.__name__)
def test_hooks_before_and_after_a_forward_are_named(change: Callable[[Any], None]) -> None:
    model = tiny.llama()
    change(model)
    assert alterations(model) == (f"forward-hook: {LAYER}",)


def test_what_transformers_leaves_behind_to_record_hidden_states_alters_nothing() -> None:
    model = tiny.llama()
    with torch.no_grad():
        model(tiny.TOKENS, output_hidden_states=True, output_attentions=True)
    assert any(module._forward_hooks for module in model.modules())
    assert alterations(model) == ()
    forward_hook(model)
    assert alterations(model) == (f"forward-hook: {LAYER}",)


def test_a_hook_that_is_called_like_that_recorder_is_named() -> None:
    def output_capturing_hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        return output

    output_capturing_hook.__module__ = "transformers.utils.output_capturing"
    model = tiny.llama()
    layer(model).register_forward_hook(output_capturing_hook)
    layer(model).mlp.register_forward_hook(functools.partial(output_capturing_hook))
    assert alterations(model) == (f"forward-hook: {LAYER}", f"forward-hook: {LAYER}.mlp")


@pytest.mark.parametrize("change", PATCHES, ids=lambda change: change.__name__)
def test_a_module_that_does_something_else_than_its_class_is_named(change: Callable[[Any], None]) -> None:
    model = tiny.llama()
    change(model)
    assert alterations(model) == (f"patched-forward: {LAYER}",)


def test_the_hooks_that_accelerate_places_layers_with_are_told_apart() -> None:
    model = tiny.llama()
    add_hook_to_module(layer(model), AlignDevicesHook(execution_device="cpu"))
    add_hook_to_module(model.lm_head, SequentialHook(AlignDevicesHook(), AlignDevicesHook()))
    assert alterations(model) == ("accelerate-hook: lm_head", f"accelerate-hook: {LAYER}")


@pytest.fixture
def restored() -> Iterator[None]:
    """Whatever a test does to classes, it is undone."""
    before = [(owner, dict(vars(owner))) for owner in (LlamaMLP, LlamaRMSNorm, nn.Linear, nn.Module)]
    yield
    for owner, names in before:
        for name, value in names.items():
            if vars(owner).get(name) is not value:
                setattr(owner, name, value)
        for name in set(vars(owner)) - set(names):
            delattr(owner, name)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("disguised", [False, True])
@pytest.mark.parametrize(
    ("owner", "place"),
    [
        (LlamaMLP, "transformers.models.llama.modeling_llama.LlamaMLP.forward"),
        (nn.Linear, "torch.nn.modules.linear.Linear.forward"),
    ],
)
def test_a_patched_class_is_named_also_where_the_patch_wraps_the_original(
    owner: Any, place: str, disguised: bool
) -> None:
    model, original = tiny.llama(), owner.forward

    def patched(self: Any, *args: Any) -> Any:
        return original(self, *args) + 1

    owner.forward = functools.wraps(original)(patched) if disguised else patched
    assert alterations(model) == (f"patched-forward: {place}",)
    owner.forward = original
    assert alterations(model) == ()


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("name", ["__call__", "_call_impl"])
def test_torchs_own_call_is_looked_at(name: str) -> None:
    model, original = tiny.llama(), getattr(nn.Module, name)
    setattr(nn.Module, name, lambda self, *args, **options: (original(self, *args, **options),)[0])
    assert alterations(model) == (f"patched-forward: torch.nn.modules.module.Module.{name}",)


@pytest.mark.usefixtures("restored")
def test_a_call_that_is_added_to_a_class_is_named() -> None:
    model = tiny.llama()
    LlamaRMSNorm.__call__ = first
    place = "transformers.models.llama.modeling_llama.LlamaRMSNorm.__call__"
    assert alterations(model) == (f"patched-forward: {place}",)


def test_hooks_on_every_module_there_is_are_named() -> None:
    model = tiny.llama()
    for register in (torch_module.register_module_forward_hook, torch_module.register_module_forward_pre_hook):
        handle = register(lambda *_: None)
        try:
            (found,) = alterations(model)
            assert found.startswith("global-hook: _global_forward")
        finally:
            handle.remove()
    assert alterations(model) == ()


def test_a_parametrized_weight_is_named_and_measures_otherwise() -> None:
    class Double(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight * 2

    model = tiny.llama()
    before = measure(model).fingerprint
    parametrize.register_parametrization(layer(model).mlp.up_proj, "weight", Double())
    assert f"parametrization: {LAYER}.mlp.up_proj" in alterations(model)
    assert measure(model).fingerprint != before


def test_backward_hooks_do_not_touch_answers() -> None:
    model = tiny.llama()
    layer(model).register_full_backward_hook(lambda *_: None)
    assert alterations(model) == ()


@pytest.mark.parametrize(
    "config",
    [
        IA3Config(target_modules=["k_proj"], feedforward_modules=[]),
        PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"),
        PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"),
    ],
    ids=lambda config: config.peft_type.value,
)
def test_an_active_adapter_of_any_method_is_named(config: Any) -> None:
    assert alterations(get_peft_model(tiny.llama(), config)) == ("active-adapter: default",)


def test_merged_adapters_and_what_is_hung_onto_peft_are_named() -> None:
    attached = tiny.attach(tiny.llama(), target_modules=["q_proj"])
    wrapper = attached.base_model.model.model.layers[0].self_attn.q_proj
    wrapper.register_forward_hook(lambda *_: None)
    wrapper.lora_A["default"].forward = lambda x: x
    attached.merge_adapter()
    path = f"base_model.model.{LAYER}.self_attn.q_proj"
    assert alterations(attached) == (
        "active-adapter: default",
        f"forward-hook: {path}",
        "merged-adapter: default",
        f"patched-forward: {path}.lora_A.default",
    )


def test_every_kind_is_on_the_list_that_policies_choose_from() -> None:
    from skillwarrant_verify.document.policy_sections import ALTERATIONS

    assert tuple(KINDS) == tuple(ALTERATIONS) == tuple(sorted(KINDS))


def test_a_hook_put_on_after_the_first_measurement_is_seen_without_hashing_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from skillwarrant_verify.measuring import measurement

    model = tiny.llama()
    assert measure(model, reuse="once-verified").alterations == ()
    monkeypatch.setattr(measurement, "hash_all", lambda *_: pytest.fail("hashed again"))
    handle = layer(model).register_forward_hook(lambda *_: None)
    assert measure(model, reuse="once-verified").alterations == (f"forward-hook: {LAYER}",)
    handle.remove()
    assert measure(model, reuse="once-verified").alterations == ()


def left_out_of_the_state(model: Any) -> None:
    """A method of the module's own that saves something else than what it computes with."""
    other = {"weight": torch.ones(128, 64)}
    layer(model).mlp.up_proj._save_to_state_dict = lambda state, *_args, **_options: state.update(other)


def attribute_over_a_parameter(model: Any) -> None:
    vars(layer(model).mlp.up_proj)["weight"] = torch.ones(128, 64)


def attribute_over_a_module(model: Any) -> None:
    vars(layer(model).mlp)["up_proj"] = nn.Linear(64, 128)


def attribute_over_a_buffer(model: Any) -> None:
    vars(model.model.rotary_emb)["inv_freq"] = torch.ones(8)


def property_over_a_parameter(model: Any) -> None:
    module = layer(model).mlp.up_proj
    module.__class__ = type("Linear", (nn.Linear,), {"weight": property(lambda _self: torch.ones(128, 64))})


LIES = [
    left_out_of_the_state, attribute_over_a_parameter, attribute_over_a_module, attribute_over_a_buffer,
    property_over_a_parameter,
]  # fmt: skip


@pytest.mark.parametrize("reuse", ["every-load", "once-verified", "sampled"])
@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_model_that_shows_other_tensors_than_it_computes_with_is_not_measured(
    lie: Callable[[Any], None], reuse: Any
) -> None:
    """Without this, the state would measure as ever while the weights in use are others."""
    model = tiny.llama()
    measure(model, reuse=reuse)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lie(model)
    with pytest.raises(Unavailable, match=r"does not show|hides"):
        measure(model, reuse=reuse)


@pytest.mark.parametrize("way", ["hook", "method"])
def test_a_state_dict_that_shows_clean_weights_deceives_nobody(way: str) -> None:
    model = tiny.llama()
    before = measure(model).fingerprint
    clean = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    if way == "hook":
        model.register_state_dict_post_hook(lambda _module, state, _prefix, _metadata: state.update(clean))
    else:
        model.state_dict = lambda **_options: clean
    assert measure(model).fingerprint == before
    layer(model).mlp.up_proj.weight.data[3, 5] += 1
    assert measure(model).fingerprint != before


def test_adapters_that_rest_are_not_walked_over() -> None:
    """A thousand of them would cost as much as they have modules, at each activation."""
    attached = tiny.attach(tiny.llama(), target_modules=["q_proj"])
    attached.add_adapter("resting", peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    wrapper = attached.base_model.model.model.layers[0].self_attn.q_proj
    wrapper.lora_A["resting"].register_forward_hook(lambda *_: None)
    assert alterations(attached) == ("active-adapter: default",)
    attached.set_adapter("resting")
    path = f"base_model.model.{LAYER}.self_attn.q_proj.lora_A.resting"
    assert alterations(attached) == ("active-adapter: resting", f"forward-hook: {path}")


def test_the_private_names_that_are_used_exist() -> None:
    """The contract with torch, accelerate and PEFT."""
    assert torch_module._global_forward_hooks == torch_module._global_forward_pre_hooks == {}
    plain = nn.Linear(2, 2)
    assert {"_forward_hooks", "_forward_pre_hooks", "_parameters", "_buffers", "_modules"} <= set(vars(plain))
    assert plain._compiled_call_impl is None
    plain.compile()
    assert vars(plain)["_compiled_call_impl"] is not None
    hooked = add_hook_to_module(nn.Linear(2, 2), AlignDevicesHook())
    assert {"_hf_hook", "_old_forward", "forward"} <= set(vars(hooked))
    assert isinstance(vars(hooked)["forward"], functools.partial)
    attached: Any = tiny.attach(tiny.llama(), modules_to_save=["lm_head"])
    assert attached.active_adapters == attached.base_model.model.lm_head.active_adapters == ["default"]


def test_the_wrapper_of_llama_adapter_borrows_a_forward_and_alters_nothing() -> None:
    model = get_peft_model(
        tiny.llama(), AdaptionPromptConfig(adapter_len=4, adapter_layers=1, task_type="CAUSAL_LM")
    )
    assert not [one for one in alterations(model) if one.startswith("patched-forward")]
    model.base_model.forward = lambda *_, **__: None
    assert "patched-forward: base_model" in alterations(model)
