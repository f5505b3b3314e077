"""adapter_config.json: the facts and hazards we state are those that PEFT acts upon."""

from __future__ import annotations

import json
import re
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


@pytest.mark.parametrize("changes", [{"init_lora_weights": "pissa"}, {"kasa_config": {}}], ids=str)
def test_adalora_has_options_of_lora_that_it_does_not_act_on(changes: dict[str, Any]) -> None:
    assert parse(peft_type="ADALORA", **changes).changes_base is False


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
        ({"trainable_token_indices": {"embed_tokens": [1]}}, "trigger-tokens"),
        ({"peft_type": "TRAINABLE_TOKENS"}, "trigger-tokens"),
        ({"peft_type": "LN_TUNING"}, "modules-to-save"),
        ({"peft_type": "XLORA"}, "loads-paths"),
        ({"peft_type": "MULTITASK_PROMPT_TUNING", "prompt_tuning_init": "EXACT_SOURCE_TASK"}, "loads-paths"),
        ({"peft_type": "PVERA", "sample_at_inference": True}, "random-output"),
        ({"peft_type": "IA3", "init_ia3_weights": False}, "random-init"),
        ({"peft_type": "C3A"}, "random-init"),
        ({"peft_type": "ADAMSS", "init_weights": None}, "random-init"),
        ({"lambda_pattern": {"(a|b)+$": 4}}, "regex-targets"),
        ({"n_frequency_pattern": {"(a|b)+$": 4}}, "regex-targets"),
        ({"block_size_pattern": {"(a|b)+$": 4}}, "regex-targets"),
        ({"feedforward_modules": ".*down_proj"}, "regex-targets"),
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
        {"peft_type": "ADAPTION_PROMPT", "target_modules": "self_attn"},
        {"peft_type": "PREFIX_TUNING", "init_weights": None},
        {"peft_type": "C3A", "init_weights": True},
        {"peft_type": "PVERA", "sample_at_inference": False},
    ],
    ids=str,
)
def test_what_peft_writes_of_its_own_accord_is_no_hazard(changes: dict[str, Any]) -> None:
    assert parse(**changes).hazards == ()


def test_the_page_lists_every_hazard() -> None:
    page = Path(__file__).parents[2] / "docs/reference/manifest.md"
    _, _, table = page.read_text().partition("| hazard | the configuration |")
    assert re.findall(r"^\| `([a-z-]+)` \|", table.partition("\n\n")[0], flags=re.MULTILINE) == sorted(HAZARDS)


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
