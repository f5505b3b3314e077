"""The hazards that we read out of a configuration are those of the real thing: every method, loaded by PEFT."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from peft_cases import BIASED, CASES, Case

from skillwarrant_format.adapter_config import AdapterConfig

peft = pytest.importorskip("peft", reason="needs the extra `load`")
torch = pytest.importorskip("torch", reason="needs the extra `load`")
from peft.tuners.ln_tuning.layer import LNTuningLayer  # noqa: E402
from peft.utils.other import ModulesToSaveWrapper  # noqa: E402

pytest.importorskip("sklearn", reason="AdaMSS needs it")

pytestmark = pytest.mark.filterwarnings("ignore")
UNNAMED = 20  # no case names this token or a later one
INIT_OPTIONS = ("init_ia3_weights", "init_lora_weights", "init_weights")


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "vocab_size": 32}
    return LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, attention_bias=True, **sizes)).eval()


def answers(model: Any, method: str, *, seed: int = 0, first: int = 0) -> Any:
    """What a model computes of twelve tokens, with torch's random numbers as they are after a seed."""
    tokens = torch.arange(first, first + 12).reshape(1, 12)
    given: dict[str, Any] = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    if method in ("MULTITASK_PROMPT_TUNING", "POLY"):
        given["task_ids"] = torch.tensor([0])
    if method == "CPT":
        given |= {"input_type_mask": torch.ones_like(tokens), "labels": tokens}
    torch.manual_seed(seed)
    with torch.no_grad():
        return model(**given).logits


def state(model: Any) -> dict[str, Any]:
    """Every tensor of a model, also the buffers that no file holds."""
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    return {name: tensor.detach().clone() for name, tensor in named}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        one[key].shape == other[key].shape and bool(torch.equal(one[key], other[key])) for key in one
    )


def base_changed(own: dict[str, Any], before: dict[str, Any], loaded: Any) -> bool:
    """Whether parameters of the base have other values than before, are gone, or are in more layers."""
    there = {id(parameter) for parameter in loaded.parameters()}
    kept = all(id(parameter) in there for parameter in own.values()) and same(own, before)
    return not kept or len(loaded.get_base_model().model.layers) != 2


@dataclass(frozen=True)
class Measured:
    """What PEFT did.

    Args:
        config: as we read it from the file that PEFT wrote.
        base_changed: loading changed the base.
        state_random: loading the same file twice gave two states.
        output_random: the loaded adapter answers the same question in two ways.
        sleeps: it changes answers to tokens that its configuration names, and to no others.
        replaces: whole modules are exchanged for others.
    """

    config: AdapterConfig
    base_changed: bool
    state_random: bool
    output_random: bool
    sleeps: bool
    replaces: bool


@cache
def measured(name: str) -> Measured:
    """Train an adapter for a step, save it, and load it twice onto a fresh base, all with PEFT."""
    case = CASES[name]
    torch.manual_seed(1)
    trained = peft.get_peft_model(llama(), case.config())
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    with tempfile.TemporaryDirectory() as directory:
        trained.save_pretrained(directory)
        raw = Path(directory, "adapter_config.json").read_bytes()
        states = []
        for seed in (100, 200):
            base = llama()
            own = dict(base.named_parameters())
            before = {key: parameter.detach().clone() for key, parameter in own.items()}
            torch.manual_seed(seed)
            loaded = peft.PeftModel.from_pretrained(base, directory).eval()
            states.append(state(loaded))
    return Measured(
        AdapterConfig.parse(raw),
        base_changed(own, before, loaded),
        not same(*states),
        not torch.equal(answers(loaded, case.method, seed=1), answers(loaded, case.method, seed=2)),
        equal(answers(loaded, case.method, first=UNNAMED), answers(llama(), "", first=UNNAMED)),
        any(isinstance(module, ModulesToSaveWrapper | LNTuningLayer) for module in loaded.modules()),
    )


def equal(one: Any, other: Any) -> bool:
    return one.shape == other.shape and bool(torch.equal(one, other))


def test_every_method_but_x_lora_has_a_case() -> None:
    from peft import PeftType

    assert {case.method for case in CASES.values()} == {kind.value for kind in PeftType} - {"XLORA"}


def test_every_method_that_trains_biases_is_known() -> None:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    owners = {kind.value: owner for kind, owner in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    assert set(BIASED) == {
        kind for kind, owner in owners.items() if "bias" in {field.name for field in dataclasses.fields(owner)}
    }


@pytest.mark.parametrize("name", CASES)
def test_changes_base_is_said_of_those_that_change_it_and_of_no_others(name: str) -> None:
    assert measured(name).config.changes_base is measured(name).base_changed


@pytest.mark.parametrize("name", CASES)
def test_random_output_is_said_of_those_that_draw_numbers_and_of_no_others(name: str) -> None:
    assert ("random-output" in measured(name).config.hazards) is measured(name).output_random


@pytest.mark.parametrize("name", CASES)
def test_trigger_tokens_is_said_of_those_that_sleep_and_of_those_that_do_in_part(name: str) -> None:
    in_part = name == "LORA tokens"
    assert ("trigger-tokens" in measured(name).config.hazards) is (measured(name).sleeps or in_part)


@pytest.mark.parametrize("name", CASES)
def test_modules_to_save_is_said_of_those_that_replace_modules_and_of_no_others(name: str) -> None:
    assert ("modules-to-save" in measured(name).config.hazards) is measured(name).replaces


@pytest.mark.parametrize("name", CASES)
def test_what_a_whole_file_leaves_random_is_in_the_base_that_it_changes(name: str) -> None:
    """The fast PiSSA alone: its decomposition of the base is drawn."""
    assert measured(name).state_random is (name == "LORA PiSSA, fast")


def starts(case: Case, **changes: Any) -> str:
    """How an adapter starts that no file fills: as a no-op, or random."""
    found = []
    for seed in (1, 2):
        base = llama()
        torch.manual_seed(seed)
        try:
            attached = peft.get_peft_model(base, case.config(**changes)).eval()
        except ValueError:
            return "refused"
        found.append(answers(attached, case.method))
    plain = answers(llama(), "")
    if found[0].shape == plain.shape and torch.allclose(found[0], plain, atol=1e-5):
        return "no-op"
    return "random" if not torch.equal(*found) else "fixed"


def init_options() -> list[tuple[str, str]]:
    return [
        (method, option)
        for method in sorted({case.method for case in CASES.values()})
        for option in INIT_OPTIONS
        if option in CASES[method].raw()
    ]


@pytest.mark.parametrize(("method", "option"), init_options())
def test_random_init_is_said_where_another_start_would_have_been_a_no_op(method: str, option: str) -> None:
    case = CASES[method]
    ways = {value: starts(case, **{option: value}) for value in (True, False, None)}
    default = starts(case)
    possible = "no-op" in {*ways.values(), default}
    for value, way in {**ways, "default": default}.items():
        raw = case.raw() | ({} if value == "default" else {option: value})
        config = AdapterConfig.parse(json.dumps(raw).encode())
        if way in ("random", "no-op") and (possible or way == "no-op"):
            assert ("random-init" in config.hazards) is (way == "random"), (value, way)
