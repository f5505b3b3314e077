"""Which configurations are loaded: what PEFT writes for every method, and nothing mistyped, huge or foreign."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import warnings
from copy import deepcopy
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any

import peft
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft.tuners.lora.config import LoraConfig
from peft_cases import CASES, Case

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.errors import FormatError
from skillwarrant_verify.loader.option_bounds import KNOWN_METHODS, NUMBERS, PRODUCTS, STRINGS, WORDS
from skillwarrant_verify.loader.option_types import leaves
from skillwarrant_verify.loader.peft_options import CORRECTED, METHODS, Option, check_options, options_of
from tiny import answers, llama

pytestmark = pytest.mark.filterwarnings("ignore")
METHODS_ONCE = [name for name in CASES if name in KNOWN_METHODS]
RAW = {name: case.raw() for name, case in CASES.items()}


def check(raw: dict[str, Any]) -> None:
    check_options(AdapterConfig.parse(json.dumps(raw).encode()))


def refused(name: str, **changes: Any) -> str:
    with pytest.raises(FormatError) as caught:
        check(RAW[name] | changes)
    return str(caught.value)


def owners(method: str) -> list[type[Any]]:
    """A method's configuration class, and those nested in it."""
    found: list[type[Any]] = [METHODS[method]]
    for owner in found:
        found += [option.nested for option in options_of(owner, method).values() if option.nested]
    return found


ALL_OPTIONS = {
    f"{method}: {owner.__name__}.{name}": option
    for method in METHODS
    for owner in owners(method)
    for name, option in options_of(owner, method).items()
}


# --- the tables, and the installed PEFT


def test_every_method_of_the_installed_peft_was_looked_at() -> None:
    assert {kind.value for kind in peft.PeftType} == KNOWN_METHODS == set(METHODS)


def test_every_option_of_every_method_was_looked_at() -> None:
    missing = {
        f"{method}: {owner.__name__}.{field.name}"
        for method in METHODS
        for owner in owners(method)
        for field in dataclasses.fields(owner)
        if field.name not in options_of(owner, method)
    }
    assert missing == {
        "LORA: LoraConfig.runtime_config",
        "ADALORA: AdaLoraConfig.runtime_config",
    }  # never in a file


def is_open(option: Option, kind: Any) -> bool:
    if kind in (int, float):
        return option.bounds.numbers is None
    if kind is str:
        return option.bounds.characters is None
    closed = isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, Enum))
    return not closed and kind not in (bool, NoneType)


def test_every_option_has_a_type_that_is_understood_and_bounds() -> None:
    assert [
        name for name, option in ALL_OPTIONS.items() if any(is_open(option, k) for k in leaves(option.kind))
    ] == []


def test_no_table_names_an_option_that_peft_does_not_have() -> None:
    named = {name.partition(": ")[0] + "." + name.rpartition(".")[2] for name in ALL_OPTIONS}
    plain = {name.partition(".")[2] for name in named}
    assert [
        key for table in (CORRECTED, NUMBERS, STRINGS, WORDS) for key in table if key not in plain | named
    ] == []
    assert [
        f"{method}.{name}"
        for method, products in PRODUCTS.items()
        for product in products
        for name in product
        if isinstance(name, str) and f"{method}.{name.rpartition('.')[2]}" not in named
    ] == []


def test_an_option_that_a_newer_peft_adds_is_refused_whatever_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass
    class Newer(LoraConfig):  # type: ignore[misc]
        trust_remote_code: bool = False

    monkeypatch.setitem(METHODS, "LORA", Newer)  # type: ignore[attr-defined]
    check(RAW["LORA"])
    assert "does not have: found trust_remote_code" in refused("LORA", trust_remote_code=False)


def test_the_tables_and_the_trial_of_patterns_need_neither_torch_nor_peft() -> None:
    code = (
        "import sys; from skillwarrant_verify.loader import option_bounds, option_refusals, option_types, patterns;"
        "assert not {'torch', 'peft'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- what is loaded


@pytest.mark.parametrize("name", CASES)
def test_what_peft_writes_is_accepted(name: str) -> None:
    check(RAW[name])


@pytest.mark.parametrize("method", [name for name in METHODS_ONCE if "task_type" not in CASES[name].options])
@pytest.mark.parametrize("task", ["CAUSAL_LM", "FEATURE_EXTRACTION", "SEQ_2_SEQ_LM", "SEQ_CLS", None])
def test_every_task_of_a_method_that_does_not_depend_on_it_is_accepted(method: str, task: str | None) -> None:
    check(RAW[method] | {"task_type": task})


TEXT = {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "Say:\n", "tokenizer_name_or_path": "/nowhere"}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("LORA", {"target_modules": "all-linear", "lora_alpha": 16.5, "base_model_name_or_path": "acme/base"}),
        ("LORA", {"auto_mapping": {"base_model_class": "Net", "parent_library": "mine", "unsloth_fixed": True}}),
        ("LORA", {"trainable_token_indices": {"embed_tokens": [1, 2]}, "layers_to_transform": 1}),
        ("LORA", {"loftq_config": {}, "megatron_core": "megatron.core", "modules_to_save": ["score"]}),
        ("LORA", {"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4, "loftq_iter": 1}}),
        ("ADALORA", {"rank_pattern": {"model.layers.0.self_attn.q_proj.lora_E": [True, False]}}),
        ("OSF", {"rank_pattern": {"q_proj": 0.5, "v_proj": 4}}),
        ("LOKR", {"r": 100_000}),
        ("OFT", {"r": 8, "oft_block_size": 0}),
        (
            "PROMPT_TUNING",
            {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "Say:\n", "tokenizer_name_or_path": "x"},
        ),
        ("CPT", {"tokenizer_name_or_path": "acme/base"}),
        ("LORA", {"r": 4_096}),
        ("PREFIX_TUNING", {"num_virtual_tokens": 200, "num_layers": 80, "token_dim": 8_192}),
        ("SHADOW", {"shadow_num_hidden_layers": 4, "shadow_hidden_size": 2_048, "shadow_intermediate_size": 8_192}),
    ],
    ids=str,
)
def test_what_people_use_is_accepted(name: str, changes: dict[str, Any]) -> None:
    check(RAW[name] | changes)


# --- what is not

HUGE = 10**12
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 0.5, -0.5, HUGE, -HUGE, 2**53 - 1, 1e308, "", "x", "1", "x" * 10_000),
    *([], {}, [1], [-1], [HUGE], ["x"], [""], ["x" * 10_000], [["x"]], [None], [True], ["x", "x"]),
    *([[0, 2]], [[0, HUGE]], [[0]], {"x": 1}, {"x": HUGE}, {"x": "y"}, {"x": None}, {"": 0.5}, {"x": [1]}),
]


def accepted(raw: dict[str, Any]) -> bool:
    """Whether a configuration passes; if so, PEFT must build it, and keep what it says."""
    try:
        check(raw)
    except FormatError:
        return False
    built = peft.PeftConfig.from_peft_type(**deepcopy(raw))
    assert built.peft_type == raw["peft_type"]
    return True


@pytest.mark.parametrize("method", METHODS_ONCE)
def test_each_option_left_out_or_changed_to_anything_is_accepted_rightly_or_refused(method: str) -> None:
    raw = RAW[method]
    for option in raw:
        accepted({key: value for key, value in raw.items() if key != option})
        if option == "peft_type":
            continue
        passed = [value for value in VALUES if accepted(raw | {option: value})]
        seed = "seed" in option or option == "projection_prng_key"
        assert all(value not in passed for value in (HUGE, -HUGE, 1e308) if not seed), option
        assert len(passed) < len(VALUES) / 2, option


@given(
    st.sampled_from(METHODS_ONCE),
    st.dictionaries(
        st.sampled_from(sorted({key for raw in RAW.values() for key in raw})),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**53) + 1, 2**53 - 1)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3, alphabet="ab"), inner),
            max_leaves=4,
        ),
        max_size=3,
    ),
)
def test_no_configuration_ends_in_another_exception(method: str, changes: dict[str, Any]) -> None:
    accepted(RAW[method] | changes | {"peft_type": method})


NUMERIC = [
    (method, option)
    for method in METHODS_ONCE
    for option, found in options_of(METHODS[method], method).items()
    if {int, float} & set(leaves(found.kind)) and option in RAW[method]
]


def test_no_number_may_be_a_truth_a_string_or_beyond_its_bounds() -> None:
    assert len(NUMERIC) > 200
    for method, option in NUMERIC:
        kinds = set(leaves(options_of(METHODS[method], method)[option].kind))
        bounds = options_of(METHODS[method], method)[option].bounds.numbers
        assert bounds is not None
        assert bool in kinds or not accepted(RAW[method] | {option: True}), (method, option)
        assert not accepted(RAW[method] | {option: "1"}) or str in kinds, (method, option)
        assert not accepted(RAW[method] | {option: int(bounds[1]) + 1}), (method, option)


@pytest.mark.parametrize(
    ("name", "changes", "complaint"),
    [
        ("LORA", {"peft_type": "LOAR"}, "expected LORA?, found LOAR"),
        ("LORA", {"peft_type": "lora"}, "does not know"),
        ("LORA", {"target_module": ["q"]}, "does not have: expected target_modules?, found target_module"),
        ("LORA", {"runtime_config": {"ephemeral_gpu_offload": True}}, "found runtime_config"),
        ("LORA", {"_custom_modules": {}}, "found _custom_modules"),
        ("VERA", {"lora_alpha": 8}, "VERA does not have"),
        ("LORA", {"r": 10**9}, "a whole number from 1 to 4096, found 1000000000"),
        ("ADALORA", {"init_r": 8.5}, "a whole number from 1 to 4096, found 8.5"),
        ("LORA", {"modules_to_save": [f"x{n}" for n in range(2_001)]}, "a list of at most 2000"),
        ("LORA", {"layers_to_transform": list(range(10_001))}, "a list of at most 10000"),
        ("LORA", {"rank_pattern": {f"x{n}": 1 for n in range(10_001)}}, "an object of at most 10000"),
        ("LORA", {"lora_alpha": 0}, "a number from 1e-09"),
        ("LORA", {"lora_dropout": 1.5}, "a number from 0 to 1, found 1.5"),
        ("LORA", {"use_dora": 1}, "true or false, found 1"),
        ("LORA", {"use_dora": None}, "true or false, found null"),
        ("LORA", {"bias": "some"}, "none or all or"),
        ("LORA", {"init_lora_weights": "PiSSA"}, "pissa_niter_64"),
        ("LORA", {"init_lora_weights": "pissa_niter_1000000000"}, "pissa_niter_64"),
        ("LORA", {"task_type": "CHAT"}, "SEQ_CLS or"),
        ("LORA", {"layers_to_transform": [-1]}, "from 0 to 100000"),
        ("LORA", {"layer_replication": [[0, 1, 2]]}, "a list of 2"),
        ("LORA", {"layer_replication": [[0, 900], [0, 900]]}, "at most 1000, found 1800"),
        ("LORA", {"rank_pattern": {"q_proj": "8"}}, "an object of at most"),
        ("LORA", {"kasa_config": {"beta": "x"}}, "adapter_config.json.kasa_config.beta"),
        ("LORA", {"kasa_config": {"betta": 1}}, "adapter_config.json.kasa_config has an option"),
        ("LORA", {"monteclora_config": {"num_samples": HUGE}}, "monteclora_config.num_samples"),
        ("LORA", {"velora_config": {"num_groups": HUGE}}, "velora_config.num_groups"),
        ("LORA", {"use_bdlora": {"nblocks": 0}}, "use_bdlora.nblocks"),
        ("LORA", {"eva_config": {"rho": 0.5}}, "PEFT does not accept"),
        ("LORA", {"loftq_config": {"loftq_iter": 10**6}}, "loftq_config.loftq_iter"),
        ("LORA", {"lora_ga_config": {"direction": "up"}}, "ArBr or"),
        ("LORA", {"corda_config": []}, "adapter_config.json.corda_config"),
        ("LORA", {"megatron_core": "os"}, "megatron.core or null"),
        ("LORA", {"auto_mapping": {"base_model_class": ["x"]}}, "auto_mapping"),
        ("WAVEFT", {"wavelet_family": "db99"}, "PEFT does not accept"),
        ("PEANUT", {"act_fn": "system"}, "PEFT does not accept"),
        ("ROAD", {"variant": "road_3"}, "road_1 or"),
        ("PROMPT_TUNING", {"num_virtual_tokens": HUGE}, "from 1 to 65536"),
        ("PROMPT_TUNING", {"num_virtual_tokens": 65_536, "token_dim": 65_536}, "too large a tensor"),
        ("PREFIX_TUNING", {"num_layers": 1_000, "token_dim": 16_384, "num_virtual_tokens": 1_000}, "too large"),
        ("SHADOW", {"shadow_num_hidden_layers": 1_000}, "too large a tensor"),
        ("POLY", {"n_tasks": 4_096, "n_skills": 4_096, "n_splits": 4_096}, "too large a tensor"),
        ("SHADOW", {"shadow_num_hidden_layers": 1_000, "shadow_hidden_size": 16_384}, "too large a tensor"),
        ("TINYLORA", {"u": 16_384, "r": 4_096}, "too large a tensor"),
        ("LORA", {"monteclora_config": {"num_samples": 64}, "r": 256}, "too large a tensor"),
        ("PEANUT", {"depth": 64, "r": 4_096}, "too large a tensor"),
        ("LN_TUNING", {"modules_to_save": "norm"}, "a list of at most"),
        ("OFT", {"oft_block_size": 8, "r": 8}, "PEFT does not accept"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_refusal_names_the_option_and_what_it_takes(name: str, changes: dict[str, Any], complaint: str) -> None:
    assert complaint in refused(name, **changes)


X_LORA = {"peft_type": "XLORA", "task_type": "CAUSAL_LM", "hidden_size": 64, "adapters": {"one": "/somewhere"}}


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (X_LORA, "loads further adapters from paths"),
        (X_LORA | {"adapters": None}, "loads further adapters from paths"),
        (RAW["SHADOW"] | {"shadow_model": "acme/other"}, "further model from a path"),
        (RAW["LORA"] | {"megatron_config": {}}, "import the module that megatron_core names"),
        (RAW["LORA"] | {"arrow_config": {"top_k": 2}}, "Arrow routes between other adapters"),
        (RAW["LORA"] | {"init_lora_weights": "corda"}, "path_initial_model_for_weight_conversion"),
        *(
            (RAW["MULTITASK_PROMPT_TUNING"] | {"prompt_tuning_init": init}, "from a path, whenever it loads")
            for init in ("AVERAGE_SOURCE_TASKS", "EXACT_SOURCE_TASK", "ONLY_SOURCE_SHARED")
        ),
        *(
            (RAW[method] | {"task_type": None}, "without a task_type")
            for method in (
                "CARTRIDGE",
                "MULTITASK_PROMPT_TUNING",
                "POLY",
                "PREFIX_TUNING",
                "PROMPT_TUNING",
                "P_TUNING",
            )
        ),
        (RAW["CPT"] | {"task_type": "SEQ_CLS"}, "only supports task_type"),
        (RAW["ADAPTION_PROMPT"] | {"task_type": "TOKEN_CLS"}, "cannot save a head"),
        (RAW["TRAINABLE_TOKENS"] | {"task_type": "QUESTION_ANS"}, "cannot save a head"),
    ],
    ids=lambda value: str(value)[:70],
)
def test_what_cannot_be_loaded_is_refused_with_the_reason(raw: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        check(raw)


# --- the reasons are real: what PEFT does with what we refuse, or accept


def saved(case: Case, directory: Path, **changes: Any) -> Path:
    """An adapter as PEFT saves it, whose configuration says something else then."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft.get_peft_model(llama(), case.config()).save_pretrained(directory)
    path = directory / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return directory


def test_peft_reads_the_prompts_that_a_multitask_prompt_started_from_whenever_it_loads_it(tmp_path: Path) -> None:
    source = {
        "prompt_tuning_init": "EXACT_SOURCE_TASK",
        "prompt_tuning_init_state_dict_path": "/nowhere.safetensors",
    }
    directory = saved(CASES["MULTITASK_PROMPT_TUNING"], tmp_path, **source)
    with pytest.raises(FileNotFoundError, match=r"nowhere"):
        peft.PeftModel.from_pretrained(llama(), directory)


def test_peft_does_not_read_the_tokenizer_of_a_prompt_that_it_only_loads(tmp_path: Path) -> None:
    directory = saved(CASES["PROMPT_TUNING"], tmp_path, **TEXT)
    check_options(AdapterConfig.parse((directory / "adapter_config.json").read_bytes()))
    assert peft.PeftModel.from_pretrained(llama(), directory).peft_config["default"].inference_mode


def test_peft_attaches_a_prompt_without_a_task_and_never_uses_it(tmp_path: Path) -> None:
    directory = saved(CASES["PREFIX_TUNING"], tmp_path, task_type=None)
    loaded = peft.PeftModel.from_pretrained(llama(), directory)
    assert torch.equal(answers(loaded), answers(llama()))


@pytest.mark.parametrize("changes", [{"init_lora_weights": "corda"}, {"arrow_config": {"top_k": 1}}], ids=str)
def test_peft_itself_cannot_load_what_it_saves_for_these(tmp_path: Path, changes: dict[str, Any]) -> None:
    directory = saved(CASES["LORA"], tmp_path, **changes)
    with pytest.raises((AttributeError, ValueError)):
        peft.PeftModel.from_pretrained(llama(), directory)
