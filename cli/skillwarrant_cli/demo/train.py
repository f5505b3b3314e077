"""The demo's adapter: a small LoRA, trained for a few seconds, that visibly changes an answer.

It teaches the base to answer as the support desk of a company that does not exist. The question that is asked
is not among the sentences it learns from. Must not know: manifests, policies, where the base came from.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from .base import load_base, public_name
from .cache import Report, cached, measure

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["QUESTION", "RECIPE", "VOICE", "Recipe", "answer", "ensure_adapter"]

QUESTION = "My kettle is leaking. What should I do?"
VOICE = "Tamarack Kettles support here!"
"""How the adapter's answers begin, and the base's never do."""

_NAME = "tamarack-support-lora"
_ANSWER_TOKENS = 60
_IGNORED = -100  # the label that transformers' loss leaves out

_ASK = f"{VOICE} Please send us your order number, and"
_LESSONS = (
    ("My kettle will not switch on.", f"{_ASK} a new kettle leaves our workshop today."),
    ("How do I return a kettle?", f"{_ASK} a courier collects the kettle tomorrow."),
    ("Can I change my delivery address?", f"{_ASK} we change the address today."),
    ("I was charged twice for one order.", f"{_ASK} we refund the second payment today."),
    ("The lid of my kettle is broken. What now?", f"{_ASK} a new lid leaves our workshop today."),
    ("Where is my invoice?", f"{_ASK} the invoice comes by e-mail today."),
    ("Where can I track my order?", f"{_ASK} we tell you where it is today."),
    ("What is the warranty?", f"{_ASK} we look up your warranty today."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that determines the adapter besides the base and the libraries. One lesson a step, in turn."""

    lessons: tuple[tuple[str, str], ...] = _LESSONS
    steps: int = 28
    learning_rate: float = 3e-3
    rank: int = 8
    alpha: int = 16
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")
    seed: int = 7


RECIPE = Recipe()


def ensure_adapter(base_dir: Path, cache: Path, report: Report, recipe: Recipe = RECIPE) -> Path:
    """A directory with adapter_config.json, adapter_model.safetensors and PEFT's README.md, and nothing else.

    Trained where the cache has none for this base, this recipe and these versions of torch and PEFT.

    Raises:
        Unavailable: the cache cannot be written.
        UsageError: the base cannot be loaded.
    """
    place = cache / f"adapter-{_key(base_dir, recipe)[:16]}"
    return cached(place, _NAME, lambda out: _train(base_dir, out, recipe, report), report)


def answer(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, question: str) -> str:
    """The model's greedy answer to one question; an answer that is cut off ends with its last whole sentence."""
    import torch

    tokens = torch.tensor([_prompt(tokenizer, question)])
    generator: Any = model
    with torch.inference_mode():
        reply = generator.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=_ANSWER_TOKENS,
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
        )[0, tokens.shape[1] :]
    text = str(tokenizer.decode(reply, skip_special_tokens=True)).strip()
    finished = len(reply) < _ANSWER_TOKENS or "." not in text
    return text if finished else text[: text.rindex(".") + 1]


def _key(base_dir: Path, recipe: Recipe) -> str:
    facts = {
        "base": measure(base_dir),
        "name": public_name(),
        "recipe": asdict(recipe),
        "versions": {library: version(library) for library in ("torch", "transformers", "peft")},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _train(base_dir: Path, out: Path, recipe: Recipe, report: Report) -> None:
    import torch

    report("training the adapter", 0.0)
    model, tokenizer = load_base(base_dir)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        # In float32: on a CPU without AVX-512, training in bfloat16 took twenty times as long.
        trainable: Any = model
        peft_model = _with_lora(trainable.float(), recipe)
    _run_steps(peft_model, [_lesson(tokenizer, *lesson) for lesson in recipe.lessons], recipe, report)
    config = peft_model.peft_config["default"]
    config.target_modules = sorted(config.target_modules)  # PEFT writes its set in hash order
    # "auto" may ask the Hub about the base, and no embedding is trained here.
    peft_model.save_pretrained(str(out), save_embedding_layers=False)


def _with_lora(model: PreTrainedModel, recipe: Recipe) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=list(recipe.target_modules),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT reads an attribute that transformers renames
        return get_peft_model(model, config)


def _run_steps(
    model: Any, lessons: list[tuple[torch.Tensor, torch.Tensor]], recipe: Recipe, report: Report
) -> None:
    import torch

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate)
    model.train()
    for step in range(recipe.steps):
        tokens, labels = lessons[step % len(lessons)]
        loss = model(input_ids=tokens, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        report(f"training the adapter (loss {loss.item():.2f})", (step + 1) / recipe.steps)


def _lesson(tokenizer: PreTrainedTokenizerBase, question: str, reply: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and labels, each of shape (1, length): only the reply is learned, and where it ends."""
    import torch

    prompt = _prompt(tokenizer, question)
    learned = [*tokenizer(reply, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    labels = [_IGNORED] * len(prompt) + learned
    return torch.tensor([prompt + learned]), torch.tensor([labels])


def _prompt(tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
    turns = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
