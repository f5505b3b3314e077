"""An adapter of a task that needs a head goes onto a model that has one, and onto no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peft import LoHaConfig, LoraConfig, PeftConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForTokenClassification,
    BertModel,
    T5Config,
    T5ForSequenceClassification,
)

import catalogue
import tiny
from skillwarrant_format.adapter_files import WEIGHTS_NAME
from skillwarrant_format.errors import LoadMismatch
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_verify.loader.load import load

T5 = T5Config(vocab_size=128, d_model=64, d_kv=16, d_ff=128, num_layers=1, num_heads=4, num_labels=3)
BERT: BertConfig = catalogue.BERT
QV = ["q_proj", "v_proj"]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def saved(directory: Path, model: nn.Module, config: PeftConfig) -> Snapshot:
    get_peft_model(model, config).save_pretrained(str(directory))  # type: ignore[arg-type]
    return Snapshot.read(directory)


def lora(task: str, *targets: str, **options: Any) -> LoraConfig:
    return LoraConfig(r=4, task_type=task, target_modules=list(targets or QV), **options)


@pytest.mark.parametrize("task", ["SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS"])
def test_a_model_without_the_head_is_refused_whether_or_not_the_file_has_one(tmp_path: Path, task: str) -> None:
    without = saved(tmp_path / "without", tiny.llama(), lora(task))
    model = tiny.llama()
    modules = [name for name, _ in model.named_modules()]
    with pytest.raises(LoadMismatch, match=r"task is not one of this model.*LlamaForCausalLM"):
        load(model, without)
    assert [name for name, _ in model.named_modules()] == modules
    with_one = saved(tmp_path / "with", tiny.classifier(), lora("SEQ_CLS"))
    with pytest.raises(LoadMismatch, match="classifier or score"):
        load(tiny.llama(), with_one)


@pytest.mark.parametrize(
    "config",
    [
        LoHaConfig(r=4, task_type="SEQ_CLS", target_modules=QV),
        PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3),
    ],
    ids=["LOHA", "PROMPT_TUNING"],
)
def test_other_methods_are_refused_too(tmp_path: Path, config: Any) -> None:
    snapshot = saved(tmp_path, tiny.llama(), config)
    with pytest.raises(LoadMismatch, match="task is not one"):
        load(tiny.llama(), snapshot)


def test_an_encoder_without_a_head_is_refused(tmp_path: Path) -> None:
    snapshot = saved(tmp_path, BertModel(BERT), lora("SEQ_CLS", "query"))
    with pytest.raises(LoadMismatch, match="BertModel"):
        load(BertModel(BERT), snapshot)


def test_a_head_that_is_on_the_model_must_be_in_the_file(tmp_path: Path) -> None:
    saved(tmp_path, tiny.classifier(), lora("SEQ_CLS"))
    path = tmp_path / WEIGHTS_NAME
    save_file({key: one for key, one in load_file(path).items() if "score" not in key}, path, {"format": "pt"})
    with pytest.raises(LoadMismatch, match=r"lacks a tensor.*score"):
        load(tiny.classifier(), Snapshot.read(tmp_path))


def test_an_adapter_of_no_such_task_goes_onto_a_classifier_only_if_peft_lets_it(tmp_path: Path) -> None:
    with pytest.raises(LoadMismatch):
        load(tiny.classifier(), saved(tmp_path, tiny.llama(), lora("CAUSAL_LM")))


class Own(nn.Module):
    """No class of transformers: what its head is called, nobody knows."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(8, 8)
        self.verdict = nn.Linear(8, 2)


def named_by_the_publisher() -> nn.Module:
    return tiny.llama(tie_word_embeddings=False)


WITH: dict[str, tuple[Callable[[], nn.Module], LoraConfig]] = {
    "score": (tiny.classifier, lora("SEQ_CLS")),
    "classifier": (lambda: BertForTokenClassification(BERT), lora("TOKEN_CLS", "query")),
    "qa_outputs": (lambda: BertForQuestionAnswering(BERT), lora("QUESTION_ANS", "query")),
    "a name that PEFT does not know": (lambda: T5ForSequenceClassification(T5), lora("SEQ_CLS", "q")),
    "one that the configuration names": (
        named_by_the_publisher,
        lora("SEQ_CLS", modules_to_save=["lm_head"]),
    ),
    "a class of one's own": (Own, lora("SEQ_CLS", "q_proj")),
}


@pytest.mark.parametrize("name", WITH)
def test_a_model_with_a_head_is_given_the_adapter(tmp_path: Path, name: str) -> None:
    make, config = WITH[name]
    loaded = load(make(), saved(tmp_path, make(), config))
    assert loaded.tensors > 0
