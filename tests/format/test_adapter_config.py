"""adapter_config.json: the facts and hazards we state are those that PEFT acts upon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_format.adapter_config import HAZARDS, AdapterConfig
from skillwarrant_format.errors import FormatError

PLAIN = {"peft_type": "LORA", "bias": "none", "init_lora_weights": True, "megatron_core": "megatron.core"}
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3, alphabet="abc"), inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = [
    *("peft_type", "task_type", "r", "lora_alpha", "alpha", "target_modules", "bias", "init_lora_weights"),
    *("init_weights", "layer_replication", "kasa_config", "modules_to_save", "alora_invocation_tokens", "adapters"),
    *("target_parameters", "auto_mapping", "megatron_config", "shadow_model", "rank_pattern", "alpha_pattern"),
    *("exclude_modules", "feedforward_modules", "base_model_name_or_path", "revision"),
]


def parse(**changes: Any) -> AdapterConfig:
    return AdapterConfig.parse(json.dumps(PLAIN | changes).encode())


def test_facts_are_read_and_nulls_are_absent() -> None:
    config = parse(
        task_type="CAUSAL_LM",
        peft_version="0.21.2",
        r=8,
        lora_alpha=16.5,
        target_modules=["v", "q"],
        base_model_name_or_path="acme/base",
        revision=None,
        layer_replication=None,
        auto_mapping=None,
    )
    assert (config.peft_type, config.task_type, config.peft_version) == ("LORA", "CAUSAL_LM", "0.21.2")
    assert (config.rank, config.alpha) == (8, 16.5)
    assert config.target_modules == ("q", "v")
    assert (config.base_model_name_or_path, config.revision) == ("acme/base", None)
    assert config.changes_base is False
    assert config.hazards == ()
    assert config.raw["lora_alpha"] == 16.5


def test_methods_that_call_them_otherwise_are_read_too() -> None:
    assert parse(peft_type="LOHA", alpha=4).alpha == 4
    assert parse(peft_type="OFT", r=0, oft_block_size=8).rank is None
    assert parse(lora_alpha=0, alpha=4).alpha == 0
    assert parse(target_modules="all-linear").target_modules == ("all-linear",)
    assert parse(peft_type="PROMPT_TUNING").target_modules == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "pissa_niter_16"},
        {"init_lora_weights": "PiSSA"},
        {"init_lora_weights": "olora"},
        {"init_lora_weights": "OLoRA"},
        {"init_lora_weights": "corda"},
        {"init_lora_weights": "loftq"},
        {"kasa_config": {}},
        {"layer_replication": [[0, 2], [1, 3]]},
        {"bias": "all"},
        {"bias": "lora_only"},
        {"bias": True},
        {"bias": ["none"]},
    ],
    ids=str,
)
def test_what_changes_the_base_is_said_so(changes: dict[str, Any]) -> None:
    assert parse(**changes).changes_base is True


@pytest.mark.parametrize("init", [True, False, None, "gaussian", "orthogonal", "eva", "mica", "lora_ga"])
def test_other_initialisations_leave_the_base_alone(init: Any) -> None:
    assert parse(init_lora_weights=init).changes_base is False


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"megatron_config": {}}, "imports-modules"),
        ({"auto_mapping": {"parent_library": "os", "base_model_class": "system"}}, "imports-modules"),
        ({"auto_mapping": {"parent_library": "transformers_evil", "base_model_class": "X"}}, "imports-modules"),
        ({"auto_mapping": {"base_model_class": "X"}}, "imports-modules"),
        ({"auto_mapping": []}, "imports-modules"),
        ({"peft_type": "XLORA", "adapters": {"a": "/etc"}}, "loads-paths"),
        ({"peft_type": "SHADOW", "shadow_model": "evil/model"}, "loads-paths"),
        ({"prompt_tuning_init_state_dict_path": "x.bin"}, "loads-paths"),
        ({"tokenizer_name_or_path": "evil/tokenizer"}, "loads-paths"),
        ({"modules_to_save": ["lm_head"]}, "modules-to-save"),
        ({"modules_to_save": "lm_head"}, "modules-to-save"),
        # PEFT adds the head to modules_to_save itself: leaving it out of the file must not leave the hazard out.
        ({"modules_to_save": None, "task_type": "SEQ_CLS"}, "modules-to-save"),
        ({"modules_to_save": None, "task_type": "TOKEN_CLS"}, "modules-to-save"),
        ({"modules_to_save": [], "task_type": "QUESTION_ANS"}, "modules-to-save"),
        ({"init_lora_weights": False}, "random-init"),
        ({"peft_type": "VERA", "init_weights": False}, "random-init"),
        ({"target_modules": r".*\.(q|v)_proj"}, "regex-targets"),
        ({"target_modules": "q_proj"}, "regex-targets"),
        ({"exclude_modules": ".*"}, "regex-targets"),
        ({"rank_pattern": {"^layers.0.*": 4}}, "regex-targets"),
        ({"alpha_pattern": {"(a|b)+$": 4}}, "regex-targets"),
        ({"layers_pattern": "h[0-9]"}, "regex-targets"),
        ({"modules_to_save": ["lm_.*"]}, "regex-targets"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "target-parameters"),
        ({"alora_invocation_tokens": [1, 2]}, "trigger-tokens"),
    ],
    ids=str,
)
def test_each_hazard_is_found(changes: dict[str, Any], code: str) -> None:
    assert code in parse(**changes).hazards


@pytest.mark.parametrize(
    "changes",
    [
        {"auto_mapping": {"parent_library": "transformers.models.llama.modeling_llama", "base_model_class": "L"}},
        {"shadow_model": "mirror"},
        {"modules_to_save": []},
        {"modules_to_save": None},
        {"rank_pattern": {}},
        {"rank_pattern": {"model.layers.0.self_attn.q_proj": 4}},
        {"target_modules": "all-linear"},
        {"target_modules": ["q_proj", "layers.0.v-proj"]},
        {"exclude_modules": ["lm_head"]},
        {"target_parameters": None},
        {"alora_invocation_tokens": None},
        {"megatron_config": None},
    ],
    ids=str,
)
def test_what_peft_writes_of_its_own_accord_is_no_hazard(changes: dict[str, Any]) -> None:
    assert parse(**changes).hazards == ()


def test_hazards_are_sorted_and_known() -> None:
    found = parse(target_modules="x", modules_to_save=["y"], init_lora_weights=False, megatron_config={}).hazards
    assert found == ("imports-modules", "modules-to-save", "random-init", "regex-targets")
    assert set(found) < set(HAZARDS)
    assert all(code == code.lower() and " " not in code for code in HAZARDS)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"peft_type": None}, "peft_type is missing"),
        ({"peft_type": "LO RA"}, "peft_type is malformed"),
        ({"r": "8"}, "r has the wrong type"),
        ({"r": True}, "r has the wrong type"),
        ({"r": -8}, "r is too small"),
        ({"lora_alpha": "x"}, "lora_alpha has the wrong type"),
        ({"target_modules": {"q": 1}}, "target_modules has the wrong type"),
        ({"target_modules": ["q", "q"]}, "names something twice"),
        ({"target_modules": [1]}, "expected a string"),
        ({"base_model_name_or_path": ["x"]}, "base_model_name_or_path has the wrong type"),
        ({"task_type": "a\u001bb"}, "control characters"),
    ],
)
def test_a_type_that_peft_would_not_write_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FormatError) as refused:
        parse(**changes)
    assert complaint in str(refused.value)


def test_a_large_configuration_is_refused_unparsed() -> None:
    with pytest.raises(FormatError, match="too large"):
        AdapterConfig.parse(b"[" * 10_000_000)


@given(st.dictionaries(st.sampled_from(KEYS), json_values))
def test_any_configuration_is_read_or_is_a_format_error(changes: dict[str, Any]) -> None:
    try:
        config = parse(**changes)
    except FormatError:
        return
    assert config.raw == PLAIN | changes
    assert set(config.hazards) <= set(HAZARDS)


# --- against PEFT itself


@pytest.fixture(scope="module")
def llama() -> Any:
    pytest.importorskip("peft", reason="needs the extra `load`")
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def make() -> Any:
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "vocab_size": 32}
        return LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, attention_bias=True, **sizes))

    return make


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "gaussian": {"init_lora_weights": "gaussian"},
    "random": {"init_lora_weights": False},
    "eva": {"init_lora_weights": "eva"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "head": {"modules_to_save": ["lm_head"]},
    "tokens": {"trainable_token_indices": [1, 2]},
    "pissa": {"init_lora_weights": "pissa"},
    "pissa fast": {"init_lora_weights": "pissa_niter_2"},
    "olora": {"init_lora_weights": "olora"},
    "bias all": {"bias": "all"},
    "bias lora_only": {"bias": "lora_only"},
    "layers": {"layer_replication": [(0, 2), (1, 2)]},
    "kasa": {"kasa_config": "KasaConfig"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore")
def test_changes_base_is_what_really_happens_when_peft_loads_it(case: str, llama: Any, tmp_path: Path) -> None:
    """Save an adapter with PEFT, load it onto a fresh base with PEFT, and look at the base."""
    import peft
    import torch

    changes = {
        key: getattr(peft, value)() if value == "KasaConfig" else value for key, value in CASES[case].items()
    }
    trained = peft.get_peft_model(
        llama(), peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], **changes)
    )
    with torch.no_grad():  # a training step: everything that may be trained moves
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    trained.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(llama(), tmp_path)
    before, after = llama().state_dict(), peft.get_base_model_state_dict(loaded)
    changed = before.keys() != after.keys() or any(not torch.equal(before[key], after[key]) for key in before)
    config = AdapterConfig.parse((tmp_path / "adapter_config.json").read_bytes())
    assert config.rank == 2
    assert config.changes_base is changed
