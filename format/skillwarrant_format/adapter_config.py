"""`adapter_config.json`: what a PEFT adapter says of itself, read without PEFT and without running anything.

Both halves need the same reading: the publisher to state facts, the consumer to check them. PEFT writes a null for
every option that is not used, so here null and absent are the same. It opens no file and decides nothing: a hazard
is a fact with a stable name, which a policy may accept or not:

- `imports-modules`: a Python module is named that PEFT would import (`megatron_config`, a foreign `auto_mapping`)
- `loads-paths`: further files or models are named (X-LoRA, SHADOW, multitask prompts, a tokenizer)
- `modules-to-save`: whole modules are replaced, and not added to: those that are named, the head that PEFT adds of
  its own accord for some tasks, whether the file names it or not, and the norms of LayerNorm tuning
- `random-init`: what the file does not set starts random, although the method could start as a no-op
- `random-output`: random numbers are drawn whenever it runs: the same input gives different answers (PVeRA's
  `sample_at_inference`)
- `regex-targets`: regular expressions choose the modules
- `target-parameters`: bare parameters are targeted
- `trigger-tokens`: the adapter, or a part of it, acts only on or after certain tokens (aLoRA, trainable tokens)

`changes_base` is a fact of its own: loading the adapter changes weights of the base model, or their number. Tests
hold it, `random-init` and `random-output` against what PEFT really does, for every method.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from skillwarrant_format import limits
from skillwarrant_format.adapter_files import CONFIG_NAME
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.names import LABEL
from skillwarrant_format.strict_json import JsonObject, JsonValue, kind_of, loads_object

__all__ = ["HAZARDS", "AdapterConfig"]

ALL_LINEAR: Final = "all-linear"  # PEFT's one word for target_modules that is no regular expression
OWN_SHADOW: Final = "mirror"  # SHADOW's one value that loads nothing
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
# PEFT compares some of these by prefix and some in lower case; we take both for all of them.
_TASKS_WITH_A_HEAD: Final = ("QUESTION_ANS", "SEQ_CLS", "TOKEN_CLS")  # `score`, `classifier`, `qa_outputs`
_INITS_THAT_CHANGE_THE_BASE: Final = ("corda", "loftq", "olora", "pissa")
_SOURCES_OF_PROMPTS: Final = ("AVERAGE_SOURCE_TASKS", "EXACT_SOURCE_TASK", "ONLY_SOURCE_SHARED")
_INIT_OPTIONS: Final = ("init_ia3_weights", "init_lora_weights", "init_weights")
_NO_OP_ONLY_WITH_TRUE: Final = ("C3A", "FOURIERFT")  # by default they start random
_NO_OP_WITH_NULL: Final = ("OSF", "PREFIX_TUNING", "ROAD")
_REGEXES: Final = ("target_modules", "exclude_modules", "feedforward_modules")
_MAYBE_REGEXES: Final = (
    *("alpha_pattern", "block_size_pattern", "lambda_pattern", "layers_pattern", "modules_to_save"),
    *("n_frequency_pattern", "rank_pattern"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """The parts of the configuration that the manifest and the loader use.

    Args:
        rank: `r`, where the method has one and it is at least 1.
        alpha: `lora_alpha`, or `alpha` for the methods that call it so.
        target_modules: sorted; one regular expression or `all-linear` counts as one item.
        base_model_name_or_path: a label; it may be a path of the machine it was trained on.
        changes_base: loading it changes weights of the base model, or their number.
        hazards: codes from `HAZARDS`, sorted.
        raw: the whole object, as it stands in the file.
    """

    peft_type: str
    task_type: str | None
    peft_version: str | None
    rank: int | None
    alpha: int | float | None
    target_modules: tuple[str, ...]
    base_model_name_or_path: str | None
    revision: str | None
    changes_base: bool
    hazards: tuple[str, ...]
    raw: JsonObject

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview) -> Self:
        """Read the file's bytes, at most `limits.MAX_CONFIG_BYTES`.

        Raises:
            FormatError: not strict JSON, no `peft_type`, or a field of a type that PEFT would not write.
        """
        raw = loads_object(data, what=CONFIG_NAME, limit=limits.MAX_CONFIG_BYTES)
        fields = Fields({key: value for key, value in raw.items() if value is not None}, CONFIG_NAME)
        return cls(
            peft_type=fields.text("peft_type", pattern=LABEL),
            task_type=fields.maybe("task_type", fields.text),
            peft_version=fields.maybe("peft_version", fields.text),
            rank=fields.maybe("r", fields.integer) or None,  # OFT writes 0 for "from the block size"
            alpha=fields.maybe("lora_alpha" if "lora_alpha" in fields else "alpha", fields.number),
            target_modules=_target_modules(fields),
            base_model_name_or_path=fields.maybe("base_model_name_or_path", fields.text),
            revision=fields.maybe("revision", fields.text),
            changes_base=_changes_base(raw),
            hazards=tuple(sorted(code for code, applies in HAZARDS.items() if applies(raw))),
            raw=raw,
        )


def _target_modules(fields: Fields) -> tuple[str, ...]:
    """PEFT keeps a set, and so writes the names in another order each time: here they are sorted."""
    if "target_modules" not in fields:
        return ()
    found = fields.value("target_modules")
    if isinstance(found, str):
        return (fields.text("target_modules"),) if found else ()
    if not isinstance(found, list):
        raise FormatError(
            f"{fields.at('target_modules')} has the wrong type",
            expected="a list of names, or a string",
            found=kind_of(found),
        )
    return tuple(sorted(fields.texts("target_modules")))


def _changes_base(raw: JsonObject) -> bool:
    """Decompositions that leave a remainder in the base, copied layers, and biases that belong to the base. AdaLoRA
    has LoRA's options for the first, and does not act on them."""
    init = raw.get("init_lora_weights")
    decomposes = isinstance(init, str) and init.lower().startswith(_INITS_THAT_CHANGE_THE_BASE)
    return (
        ((decomposes or _given(raw.get("kasa_config"))) and raw.get("peft_type") != "ADALORA")
        or _given(raw.get("layer_replication"))
        or raw.get("bias", "none") not in ("none", None, False)
    )


def _given(value: JsonValue) -> bool:
    """Whether an option is used. An empty object is: PEFT takes it as one with defaults."""
    return value is not None and value is not False and value not in ("", [])


def _is_pattern(value: JsonValue) -> bool:
    return isinstance(value, str) and value != ALL_LINEAR and not _PLAIN_NAME.fullmatch(value)


def _has_regex(raw: JsonObject) -> bool:
    """To PEFT, a single string is a regular expression; names in lists and keys are one where they look like it.
    LLaMA-Adapter alone compares its one name."""
    compared = {"target_modules"} if raw.get("peft_type") == "ADAPTION_PROMPT" else set()
    for key in _REGEXES:
        value = raw.get(key)
        if isinstance(value, str) and value not in ("", ALL_LINEAR) and key not in compared:
            return True
    for key in _MAYBE_REGEXES:
        value = raw.get(key)
        names = [value] if isinstance(value, str) else value
        if isinstance(names, list | dict) and any(_is_pattern(name) for name in names):
            return True
    return False


def _loads_paths(raw: JsonObject) -> bool:
    named = ("adapters", "prompt_tuning_init_state_dict_path", "tokenizer_name_or_path")
    return (
        any(_given(raw.get(key)) for key in named)
        or raw.get("peft_type") == "XLORA"
        or raw.get("prompt_tuning_init") in _SOURCES_OF_PROMPTS
        or raw.get("shadow_model") not in (None, OWN_SHADOW)
    )


def _replaces_modules(raw: JsonObject) -> bool:
    return (
        _given(raw.get("modules_to_save"))
        or raw.get("task_type") in _TASKS_WITH_A_HEAD
        or raw.get("peft_type") == "LN_TUNING"
    )


def _starts_random(raw: JsonObject) -> bool:
    """A null that stands there is a choice, and for most methods as good as false. Prompts, VB-LoRA and UniLoRA
    cannot start otherwise: that is no hazard."""
    method = raw.get("peft_type")
    if method in _NO_OP_ONLY_WITH_TRUE:
        return raw.get("init_weights") is not True
    refused = (False,) if method in _NO_OP_WITH_NULL else (False, None)
    return any(raw.get(key, True) in refused for key in _INIT_OPTIONS)


def _waits_for_tokens(raw: JsonObject) -> bool:
    named = ("alora_invocation_tokens", "trainable_token_indices")
    return any(_given(raw.get(key)) for key in named) or raw.get("peft_type") == "TRAINABLE_TOKENS"


def _imports(raw: JsonObject) -> bool:
    """PEFT writes `megatron_core` always and imports it where there is a `megatron_config`; an automatic mapping
    names a module too, which for a model of transformers is transformers itself."""
    mapping = raw.get("auto_mapping")
    library = mapping.get("parent_library") if isinstance(mapping, dict) else None
    own = isinstance(library, str) and (library == "transformers" or library.startswith("transformers."))
    return _given(raw.get("megatron_config")) or (mapping is not None and not own)


HAZARDS: Final[Mapping[str, Callable[[JsonObject], bool]]] = {
    "imports-modules": _imports,
    "loads-paths": _loads_paths,
    "modules-to-save": _replaces_modules,
    "random-init": _starts_random,
    "random-output": lambda raw: _given(raw.get("sample_at_inference")),
    "regex-targets": _has_regex,
    "target-parameters": lambda raw: _given(raw.get("target_parameters")),
    "trigger-tokens": _waits_for_tokens,
}
"""Each code, and whether a configuration has it. Codes are part of the manifest format and never change meaning."""
