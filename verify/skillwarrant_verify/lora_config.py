"""The options of a LoRA configuration that this version loads, each with its type, checked before PEFT sees them.

PEFT drops options that it does not know with a warning, takes most values of any type, uses names as regular
expressions, and changes the base model for some. So: a key that is not in the table is refused, a value of another
type is refused, and a variant that was not shown to load without touching the base is refused with what to do.
The table is held against PEFT's own `LoraConfig` by a test. It needs neither torch nor PEFT.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from skillwarrant_format import limits
from skillwarrant_format.adapter_files import CONFIG_NAME
from skillwarrant_format.errors import FormatError
from skillwarrant_format.strict_json import JsonObject, JsonValue, canonical

__all__ = ["OPTIONS", "TASKS", "check_lora"]

TASKS: Final = (
    "CAUSAL_LM",
    "FEATURE_EXTRACTION",
    "QUESTION_ANS",
    "SEQ_2_SEQ_LM",
    "SEQ_CLS",
    "TOKEN_CLS",
)
_MAX_RANK: Final = 65_536
_MAX_NAMES: Final = 1_000  # where PEFT compares names
_MAX_PATTERNS: Final = 450  # where it compiles them, for every module again; Python's cache holds 512
_MAX_SAVED: Final = 32
_MAX_INDEX: Final = 100_000  # layers
# PEFT puts these names into regular expressions. Without quantifiers and groups there is nothing to backtrack into.
_NAME: Final = re.compile(r"\^?[A-Za-z0-9_.\-]{1,512}")
_TO_LORA: Final = "Its publisher can convert it to a plain LoRA (PEFT: path_initial_model_for_weight_conversion)."
_LATER: Final = "A later version may; nothing of it was loaded."

Check = Callable[[JsonValue], bool]


def check_lora(raw: JsonObject) -> None:
    """Check a whole `adapter_config.json` of peft_type LORA.

    Raises:
        FormatError: naming the option, what would be accepted, and what to do.
    """
    for key, value in raw.items():
        if key not in OPTIONS:
            raise FormatError(
                f"{CONFIG_NAME} has an option that this version does not know",
                found=key,
                fix="Upgrade skillwarrant, or have the adapter saved again with the PEFT version it supports.",
            )
        accepts, expected = OPTIONS[key]
        if not accepts(value):
            raise FormatError(
                f"{CONFIG_NAME}.{key} is not what this version loads",
                expected=expected,
                found=_shown(value),
                fix=_FIXES.get(key, _LATER) if expected.startswith("no ") else None,
            )
    _check_init(raw.get("init_lora_weights", True))
    patterns = {name for key in ("rank_pattern", "alpha_pattern") for name in _keys(raw.get(key))}
    if len(patterns) > _MAX_PATTERNS:
        raise FormatError(f"{CONFIG_NAME} has too many patterns", expected=f"at most {_MAX_PATTERNS} in all")
    if raw.get("target_modules") is None:
        raise FormatError(f"{CONFIG_NAME} names no target_modules", expected='names of modules, or "all-linear"')


def _keys(value: JsonValue) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, Mapping) else ()


def _check_init(value: JsonValue) -> None:
    if value in _INITS or isinstance(value, bool):
        return
    raise FormatError(
        f"{CONFIG_NAME} starts from a decomposition of the base weights",
        expected=f"init_lora_weights of true, false or {' or '.join(_INITS)}",
        found=_shown(value),
        fix=_TO_LORA,
    )


_INITS: Final = ("gaussian", "orthogonal")


def _shown(value: JsonValue) -> str:
    return canonical(value).decode()[:80]


def _flag(value: JsonValue) -> bool:
    return isinstance(value, bool)


def _number(least: float, most: float) -> Check:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _integer(least: int, most: int) -> Check:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _label(value: JsonValue) -> bool:
    return isinstance(value, str) and len(value) <= limits.MAX_NAME_CHARS and value.isprintable()


def _one_of(*words: JsonValue) -> Check:
    return lambda value: any(type(value) is type(word) and value == word for word in words)


def _names(most: int) -> Check:
    return lambda value: (
        isinstance(value, list)
        and len(value) <= most
        and all(isinstance(item, str) and _NAME.fullmatch(item) for item in value)
    )


def _some_names(value: JsonValue) -> bool:
    return bool(value) and _names(_MAX_NAMES)(value)


def _layers(value: JsonValue) -> bool:
    index = _integer(0, _MAX_INDEX)
    return index(value) or (
        isinstance(value, list) and len(value) <= limits.MAX_LIST_ITEMS and all(index(item) for item in value)
    )


def _pattern(accepts: Check) -> Check:
    return lambda value: (
        isinstance(value, Mapping)
        and _names(_MAX_PATTERNS)(list(value))
        and all(accepts(item) for item in value.values())
    )


def _mapping_of_labels(value: JsonValue) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) <= 10
        and all(item is None or _label(item) for item in value.values())
    )


def _or_null(accepts: Check) -> Check:
    return lambda value: value is None or accepts(value)


_RANK: Final = _integer(1, _MAX_RANK)
_ALPHA: Final = _number(1e-9, 1e9)
_ABSENT: Final = _one_of(None)

OPTIONS: Final[Mapping[str, tuple[Check, str]]] = {
    "alora_invocation_tokens": (_ABSENT, "no activation by tokens (aLoRA)"),
    "alpha_pattern": (_or_null(_pattern(_ALPHA)), "plain module names, each with a number above 0"),
    "arrow_config": (_ABSENT, "no Arrow routing"),
    "auto_mapping": (_or_null(_mapping_of_labels), "names of classes"),
    "base_model_name_or_path": (_or_null(_label), "a name"),
    "bias": (_one_of("none", "all", "lora_only"), "none, all or lora_only"),
    "corda_config": (_ABSENT, "no CorDA"),
    "ensure_weight_tying": (_one_of(False), "no tied adapters"),
    "eva_config": (_ABSENT, "no EVA"),
    "exclude_modules": (_or_null(_names(_MAX_NAMES)), "a list of plain module names"),
    "fan_in_fan_out": (_flag, "true or false"),
    "inference_mode": (_flag, "true or false"),
    "init_lora_weights": (lambda value: isinstance(value, bool | str), "true, false or a word"),
    "kasa_config": (_ABSENT, "no KaSA"),
    "layer_replication": (_ABSENT, "no replicated layers"),
    "layers_pattern": (
        lambda value: value is None or _names(_MAX_SAVED)(value) or _names(1)([value]),
        "plain module names",
    ),
    "layers_to_transform": (_or_null(_layers), "layer numbers"),
    "loftq_config": (_one_of(None, {}), "no LoftQ"),
    "lora_alpha": (_ALPHA, "a number above 0"),
    "lora_bias": (_flag, "true or false"),
    "lora_dropout": (_number(0, 1), "a number from 0 to 1"),
    "lora_ga_config": (_ABSENT, "no LoRA-GA"),
    "megatron_config": (_ABSENT, "no Megatron"),
    "megatron_core": (_one_of(None, "megatron.core"), "megatron.core"),
    "modules_to_save": (_or_null(_names(_MAX_SAVED)), f"a list of at most {_MAX_SAVED} plain module names"),
    "monteclora_config": (_ABSENT, "no MonteCLoRA"),
    "peft_type": (_one_of("LORA"), "LORA"),
    "peft_version": (_or_null(_label), "a version"),
    "qalora_group_size": (_integer(1, _MAX_RANK), "a whole number"),
    "r": (_RANK, f"a whole number from 1 to {_MAX_RANK}"),
    "rank_pattern": (_or_null(_pattern(_RANK)), f"plain module names, each with a number from 1 to {_MAX_RANK}"),
    "revision": (_or_null(_label), "a revision"),
    "target_modules": (
        lambda value: value == "all-linear" or _some_names(value),
        'a list of plain module names, or "all-linear" (no regular expression)',
    ),
    "target_parameters": (_one_of(None, []), "no targeted parameters"),
    "task_type": (_one_of(None, *TASKS), " or ".join(TASKS)),
    "trainable_token_indices": (_ABSENT, "no trainable tokens"),
    "use_bdlora": (_ABSENT, "no block-diagonal LoRA"),
    "use_dora": (_flag, "true or false"),
    "use_qalora": (_one_of(False), "no QALoRA"),
    "use_rslora": (_flag, "true or false"),
    "velora_config": (_ABSENT, "no VeLoRA"),
}
"""Every option of `peft.LoraConfig` 0.21, what is accepted for it here, and how that is said."""

_FIXES: Final = {"corda_config": _TO_LORA, "loftq_config": _TO_LORA, "lora_ga_config": _TO_LORA}
