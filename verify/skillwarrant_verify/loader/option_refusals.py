"""Configurations that are well-formed and cannot be loaded, from the verified bytes alone or by PEFT at all.

Each with the reason and with what to do. It knows no PEFT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from skillwarrant_format.adapter_config import OWN_SHADOW
from skillwarrant_format.adapter_files import CONFIG_NAME
from skillwarrant_format.errors import FormatError
from skillwarrant_format.strict_json import JsonObject, JsonValue, canonical

__all__ = ["REFUSALS", "Refusal", "check_refusals", "shown"]

_NO_TASK: Final = ("CARTRIDGE", "MULTITASK_PROMPT_TUNING", "POLY", "PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING")
_NO_HEADS: Final = ("ADAPTION_PROMPT", "TRAINABLE_TOKENS")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason not to load a configuration.

    Args:
        found: what it objects to, or None.
        why: a sentence.
        fix: what to do.
    """

    found: Callable[[str, JsonObject], JsonValue]
    why: str
    fix: str


def check_refusals(method: str, raw: JsonObject) -> None:
    """Check a configuration against every reason.

    Raises:
        FormatError: with the first that applies.
    """
    for refusal in REFUSALS:
        if (found := refusal.found(method, raw)) is not None:
            raise FormatError(f"{CONFIG_NAME}: {refusal.why}", found=shown(found), fix=refusal.fix)


def shown(value: JsonValue) -> str:
    """A value for people, cut where it is long."""
    return canonical(value).decode()[:80]


def _x_lora(method: str, _: JsonObject) -> JsonValue:
    return method if method == "XLORA" else None


def _foreign_shadow(_: str, raw: JsonObject) -> JsonValue:
    model = raw.get("shadow_model")
    return None if model == OWN_SHADOW else model


def _source_prompts(method: str, raw: JsonObject) -> JsonValue:
    start = raw.get("prompt_tuning_init")
    return start if method == "MULTITASK_PROMPT_TUNING" and start not in (None, "RANDOM", "TEXT") else None


def _corda(method: str, raw: JsonObject) -> JsonValue:
    start = raw.get("init_lora_weights")
    return start if method == "LORA" and start == "corda" else None


def _missing_task(method: str, raw: JsonObject) -> JsonValue:
    return method if method in _NO_TASK and raw.get("task_type") is None else None


def _impossible_task(method: str, raw: JsonObject) -> JsonValue:
    task = raw.get("task_type")
    return task if method in _NO_HEADS and task in ("QUESTION_ANS", "TOKEN_CLS") else None


REFUSALS: Final = (
    Refusal(
        _x_lora,
        "X-LoRA loads further adapters from paths",
        "Load each of its adapters on its own, or have them merged into one.",
    ),
    Refusal(
        _foreign_shadow,
        "SHADOW would load a further model from a path",
        f'Only "{OWN_SHADOW}", whose weights are in the adapter\'s own file, is loaded.',
    ),
    Refusal(
        _source_prompts,
        "PEFT would read the prompts that training started from, from a path, whenever it loads this adapter",
        'The file replaces them anyway: have its publisher set prompt_tuning_init to "RANDOM" and sign again.',
    ),
    Refusal(
        lambda _, raw: raw.get("megatron_config"),
        "PEFT would import the module that megatron_core names",
        "Have the adapter saved for a model without Megatron's layers.",
    ),
    Refusal(
        lambda _, raw: raw.get("arrow_config"),
        "Arrow routes between other adapters, whose names and weights PEFT does not save with it",
        "Load each of the adapters on its own.",
    ),
    Refusal(
        _corda,
        "CorDA starts from data that PEFT does not save, so that PEFT itself cannot load it",
        "Its publisher can convert it to a plain LoRA (PEFT: path_initial_model_for_weight_conversion).",
    ),
    Refusal(
        _missing_task,
        "without a task_type PEFT attaches this method and never uses it",
        "Have its publisher set the task_type that it was trained for, and sign again.",
    ),
    Refusal(
        _impossible_task,
        "PEFT cannot save a head along with this method, which the task needs",
        "Have the adapter trained with another method.",
    ),
)
