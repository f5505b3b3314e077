"""Whether this version loads an adapter's configuration: every option of every method, before PEFT acts on it.

PEFT drops options that it does not know with a warning, takes most values of any type and any size, and reads paths
and imports modules that a configuration names. So an unknown key, a value of another type or beyond its bounds, and
what could only be loaded from somewhere else are refused here, with what to do. What a configuration may do to a
model is not judged here: those are hazards, which a policy decides on.

What is well-formed and still cannot be loaded is in `option_refusals`. Types come from the annotations of PEFT's
own configuration classes, corrected by `CORRECTED` where they are not what PEFT takes; bounds come from
`option_bounds`. A test holds both against every field of every class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from copy import deepcopy
from difflib import get_close_matches
from functools import cache
from math import prod
from types import NoneType
from typing import Any, Final, Literal, get_type_hints

from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.lora.config import LoftQConfig, VeloraConfig
from peft.tuners.road.config import RoadVariant
from peft.utils.transformers_weight_conversion import _MOE_TARGET_MODULE_MAPPING
from torch import nn

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.adapter_files import CONFIG_NAME
from skillwarrant_format.errors import FormatError, Unavailable
from skillwarrant_format.strict_json import JsonObject
from skillwarrant_verify.loader.option_bounds import (
    HIDDEN,
    KNOWN_METHODS,
    MAX_ELEMENTS,
    MAX_LAYERS,
    NUMBERS,
    PRODUCTS,
    STRINGS,
    WORDS,
    copies,
)
from skillwarrant_verify.loader.option_refusals import check_refusals, shown
from skillwarrant_verify.loader.option_types import Bounds, described, fits, leaves
from skillwarrant_verify.loader.patterns import check_patterns

__all__ = ["CORRECTED", "METHODS", "Option", "check_options", "check_patterns", "matched_names", "options_of"]

METHODS: Final[Mapping[str, type[PeftConfig]]] = {
    str(kind.value): found for kind, found in PEFT_TYPE_TO_CONFIG_MAPPING.items() if kind.value in KNOWN_METHODS
}

_BIASES = (
    *("adalora", "boft", "c3a", "deft", "delora", "fourier", "fourierft", "frod", "glora", "gralora", "hra"),
    *("lora", "miss", "MiSS", "oft", "pvera", "randlora", "tinylora", "unilora", "vblora", "vera", "waveft"),
)
_INITS = ("corda", "eva", "gaussian", "loftq", "lora_ga", "mica", "olora", "orthogonal", "pissa")

CORRECTED: Final[Mapping[str, Any]] = {
    "ADALORA.rank_pattern": dict[str, list[bool]] | None,
    "DEFT.alpha": float | None,
    "LN_TUNING.modules_to_save": list[str] | None,
    "OSF.rank_pattern": dict[str, float] | None,
    "TINYLORA.init_weights": bool | Literal["uniform"],
    "adapters": NoneType,
    "alpha": float,
    "alpha_pattern": dict[str, float] | None,
    "auto_mapping": dict[str, str | bool | None] | None,
    "bias": Literal[("none", "all", *(f"{word}_only" for word in _BIASES))],
    "block_size_pattern": dict[str, int] | None,
    "init_lora_weights": bool | Literal[(*_INITS, *(f"pissa_niter_{n}" for n in range(65)))],
    "lambda_pattern": dict[str, float] | None,
    "loftq_config": LoftQConfig | None,
    "lora_alpha": float,
    "megatron_config": NoneType,
    "megatron_core": Literal["megatron.core"] | None,
    "n_frequency_pattern": dict[str, int] | None,
    "rank_pattern": dict[str, int] | None,
    "shadow_model": Literal["mirror"],
    "tokenizer_kwargs": dict[str, str | bool | int | None] | None,
    "variant": RoadVariant,
    "velora_config": VeloraConfig | None,
}
"""Options whose annotation is not what PEFT takes, or not all that we refuse. `METHOD.option` before `option`."""
_BEFORE_FUSION: Final = sorted({old for names in _MOE_TARGET_MODULE_MAPPING.values() for old in names})
_FUSED: Final = frozenset(new for names in _MOE_TARGET_MODULE_MAPPING.values() for new in names.values())
_TABLES: Final = (CORRECTED, NUMBERS, STRINGS, WORDS)


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """What one option accepts.

    Args:
        kind: its annotation.
        nested: the class of its configuration, where it holds one.
    """

    kind: Any
    bounds: Bounds
    nested: Any


@cache
def options_of(owner: type[object], method: str) -> Mapping[str, Option]:
    """Every option of a configuration class that was looked at, by name.

    Args:
        owner: a PEFT configuration, or one nested in it.
        method: its `peft_type`.
    """
    hints = get_type_hints(owner)
    fields = dataclasses.fields(owner)  # type: ignore[arg-type]
    return {
        field.name: _option(field, hints[field.name], method)
        for field in fields
        if any(name in table for name in _names(field.name, method) for table in _TABLES)
    }


def _names(option: str, method: str) -> tuple[str, str]:
    return f"{method}.{option}", option


def _option(field: dataclasses.Field[Any], hint: Any, method: str) -> Option:
    names = _names(field.name, method)
    kind = next((CORRECTED[key] for key in names if key in CORRECTED), hint)
    if field.default is None:
        kind = kind | None
    bounds = Bounds(
        next((NUMBERS[key] for key in names if key in NUMBERS), None),
        next((STRINGS[key] for key in names if key in STRINGS), None),
    )
    nested = next((leaf for leaf in leaves(kind) if dataclasses.is_dataclass(leaf)), None)
    return Option(kind, bounds, nested)


def check_options(config: AdapterConfig) -> None:
    """Check a whole configuration.

    Raises:
        FormatError: naming the option, what would be accepted, what was found, and what to do.
        Unavailable: PEFT needs a package for this method that is not installed.
    """
    owner = METHODS.get(config.peft_type)
    if owner is None:
        near = get_close_matches(config.peft_type, METHODS, n=1)
        raise FormatError(
            f"{CONFIG_NAME} has a peft_type that this version or the installed PEFT does not know",
            expected=f"{near[0]}?" if near else "a method that this version knows",
            found=config.peft_type,
        )
    check_refusals(config.peft_type, config.raw)
    _check_object(config.raw, owner, config.peft_type, CONFIG_NAME)
    _check_sizes(_constructed(owner, config.raw), config.peft_type)


def matched_names(base: nn.Module) -> list[str]:
    """Every name of a base model that PEFT may match an expression against, for `check_patterns`.

    Those of its modules, and for mixtures of experts also those of its parameters, and those that the experts had
    before transformers kept them in one parameter.
    """
    modules = [name for name, _ in base.named_modules()]
    parameters = [name for name, _ in base.named_parameters()]
    homes = {home for home, _, leaf in (name.rpartition(".") for name in parameters) if leaf in _FUSED}
    return [*modules, *parameters, *(f"{home}.{name}" for home in sorted(homes) for name in _BEFORE_FUSION)]


def _check_object(raw: JsonObject, owner: type[object], method: str, where: str) -> None:
    options = options_of(owner, method)  # type: ignore[arg-type]  # a class can be hashed
    for key, value in raw.items():
        if key not in options:
            near = get_close_matches(key, options, n=1)
            raise FormatError(
                f"{where} has an option that {method} does not have",
                expected=f"{near[0]}?" if near else None,
                found=key[:80],
                fix="Upgrade skillwarrant, or have the adapter saved again with the PEFT version it supports.",
            )
        option = options[key]
        if option.nested is not None and isinstance(value, Mapping):
            _check_object(value, option.nested, method, f"{where}.{key}")
        elif not fits(value, option.kind, option.bounds):
            raise FormatError(
                f"{where}.{key} is not what {method} takes",
                expected=described(option.kind, option.bounds),
                found=shown(value),
            )


def _constructed(owner: type[PeftConfig], raw: JsonObject) -> PeftConfig:
    """PEFT's own checks, which compare options with each other."""
    options = deepcopy(dict(raw))  # PEFT changes lists in place
    try:
        return owner(**owner.check_kwargs(**options))  # type: ignore[no-untyped-call]
    except ImportError as error:
        raise Unavailable("PEFT needs a package for this adapter's method", found=str(error)) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise FormatError(f"PEFT does not accept {CONFIG_NAME}", found=str(error)) from error


def _check_sizes(config: PeftConfig, method: str) -> None:
    """What PEFT allocates is a product of options, each of which may be harmless."""
    for factors in PRODUCTS.get(method, ()):
        found = prod(_number(config, factor) for factor in factors)
        if found > MAX_ELEMENTS:
            raise FormatError(
                f"{CONFIG_NAME} asks for too large a tensor",
                expected=f"{' x '.join(map(str, factors))} of at most {MAX_ELEMENTS}",
                found=str(found),
            )
    layers = copies(getattr(config, "layer_replication", None) or ())
    if layers > MAX_LAYERS:
        raise FormatError(
            f"{CONFIG_NAME}.layer_replication asks for too many layers",
            expected=f"at most {MAX_LAYERS}",
            found=str(layers),
        )


def _number(config: PeftConfig, factor: str | int) -> int:
    """A factor of a product. Where it is not given, the model decides: its width is guessed, a count is left out.
    It is 0 where its whole configuration is not there."""
    if isinstance(factor, int):
        return factor
    owner, _, name = factor.rpartition(".")
    nested = getattr(config, owner) if owner else config
    return 0 if nested is None else getattr(nested, name) or (HIDDEN if name.endswith("_size") else 1)
