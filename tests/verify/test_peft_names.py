"""The names of PEFT that are not promised to stay, and what is relied on about each of them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel, PromptLearningConfig, get_peft_model_state_dict, set_peft_model_state_dict
from peft.auto import MODEL_TYPE_TO_PEFT_MODEL_MAPPING
from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from peft.tuners.adaption_prompt import AdaptionPromptModel
from peft.tuners.adaption_prompt.layer import AdaptedAttention, AdaptedAttentionGPT
from peft.tuners.tuners_utils import BasePromptEncoder, BaseTuner, BaseTunerLayer
from peft.utils.constants import UPCAST_DTYPES
from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper, TrainableTokensWrapper
from torch import nn

from catalogue import CASES, base, trained, write
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_verify.loader.load import load
from skillwarrant_verify.loader.peft_adapter import BaseState, base_of, carries_adapters
from skillwarrant_verify.loader.peft_tensors import FileTensors, adapter_state

pytestmark = pytest.mark.filterwarnings("ignore")

NAMED = {case.name: case for case in CASES}


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_reading_and_writing_an_adapters_state_take_what_we_give() -> None:
    assert {"state_dict", "adapter_name", "save_embedding_layers"} <= set(parameters(get_peft_model_state_dict))
    assert {"adapter_name", "low_cpu_mem_usage"} <= set(parameters(set_peft_model_state_dict))
    keywords = {"autocast_adapter_dtype", "low_cpu_mem_usage"}
    assert keywords <= set(parameters(PeftModel.__init__))
    assert keywords <= set(parameters(PeftModel.add_adapter))
    assert all(issubclass(kind, PeftModel) for kind in MODEL_TYPE_TO_PEFT_MODEL_MAPPING.values())


def test_every_method_is_a_tuner_a_prompt_or_a_llama_adapter() -> None:
    """A method of another kind would have to be looked at: where is its base, and what wraps it?"""
    for kind, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items():
        prompt = issubclass(PEFT_TYPE_TO_CONFIG_MAPPING[kind], PromptLearningConfig)
        expected = BasePromptEncoder if prompt else (BaseTuner, AdaptionPromptModel)
        assert issubclass(tuner, expected), kind
        assert kind in PEFT_TYPE_TO_PREFIX_MAPPING


def test_from_pretrained_does_what_we_do_step_by_step() -> None:
    """A step that PEFT adds to its loading would be missing here."""
    source = inspect.getsource(PeftModel.load_adapter)
    steps = ["_check_new_adapter_config", "add_adapter(", "set_requires_grad(", "load_peft_weights("]
    steps += ["_temporarily_active", "set_peft_model_state_dict(", "dispatch_model(", "_cast_adapter_dtype("]
    steps += ["self.eval()"]
    places = [source.index(step) for step in steps]
    assert places == sorted(places)


def test_wrappers_keep_the_base_where_we_look() -> None:
    assert issubclass(ModulesToSaveWrapper, AuxiliaryTrainingWrapper)
    assert issubclass(TrainableTokensWrapper, AuxiliaryTrainingWrapper)
    known = {ModulesToSaveWrapper, TrainableTokensWrapper}
    assert set(AuxiliaryTrainingWrapper.__subclasses__()) == known, "another wrapper: where does it keep the base?"
    assert all(isinstance(name, str) and name.startswith("float") for name in UPCAST_DTYPES)
    assert parameters(BaseTunerLayer._get_base_layer_device_and_dtype) == ["self", "base_layer"]


def test_llama_adapters_wrap_attention_under_a_name_and_can_be_swapped_in(tmp_path: Path) -> None:
    case = NAMED["ADAPTION_PROMPT"]
    model = load(base(case), Snapshot.read(write(case, tmp_path))).model
    tuner = model.base_model
    assert isinstance(tuner, AdaptionPromptModel)
    assert tuner._active_adapter == "default"
    wrapped = [module for module in model.modules() if isinstance(module, AdaptedAttention | AdaptedAttentionGPT)]
    assert len(wrapped) == 2
    assert all(isinstance(module.model, nn.Module) for module in wrapped)
    load(model, Snapshot.read(tmp_path), adapter_name="other")
    with tuner._temporarily_active("other"):
        assert tuner._active_adapter == "other"
    assert tuner._active_adapter == "default"


@pytest.mark.parametrize("case", [case for case in CASES if not case.edits], ids=lambda case: case.name)
def test_the_base_is_found_under_what_any_method_puts_around_it(case: Any) -> None:
    """Under the same names, at the same place, and nothing of the adapter is taken for the base."""
    model = trained(case)
    found = BaseState.of(base_of(model))
    plain = BaseState.of(base(case))
    more = found.tensors.keys() - plain.tensors.keys()
    assert plain.tensors.keys() <= found.tensors.keys()
    assert bool(more) == ("replicated" in case.name)
    assert found.buffers.keys() == plain.buffers.keys()
    own = adapter_state(model, "default")
    assert own
    ids = {id(tensor) for tensor in found.tensors.values()}
    assert not any(id(tensor) in ids for tensor in own.values())
    assert FileTensors.of(model, "default").own.keys() <= own.keys() or "largest" in case.name
    assert FileTensors.held(model, "default").own.keys() <= own.keys()
    assert carries_adapters(model) or model.peft_config["default"].is_prompt_learning
