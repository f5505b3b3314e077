"""What `rank` and `scaling` mean for each method of PEFT, as its source computes them from a configuration.

The rank is the largest that what an adapter adds to any one weight can have; of DoRA, before it rescales. The
scaling is the largest factor before it. A method that is not here has no such number (a Kronecker product, a sparse
or a full update), or not one that its configuration holds down: nothing is proved of it. It knows no policy. A test
holds it against the weights that PEFT makes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from skillwarrant_format import limits
from skillwarrant_format.strict_json import JsonObject, JsonValue

__all__ = ["RANKED", "rank_of", "scaling_of"]

_Numbers: TypeAlias = list[float]


def rank_of(peft_type: str, raw: JsonObject) -> int | None:
    """The largest rank of any layer; None where the method has none, or it cannot be read.

    Args:
        raw: the configuration as it stands in the file.
    """
    read = _RANKS.get(peft_type)
    ranks = None if read is None else read(raw)
    if ranks is None or min(ranks) < 1 or any(rank != int(rank) for rank in ranks):
        return None
    return min(int(max(ranks)), limits.MAX_JSON_INTEGER)


def scaling_of(peft_type: str, raw: JsonObject) -> float | None:
    """The largest factor of any layer, at most: the largest alpha over the smallest rank, whether or not one layer
    has both. None where the method has none, or it cannot be read."""
    read = _FACTORS.get(peft_type)
    found = None if read is None else read(raw)
    if found is None or min(found[1]) < 1:
        return None
    alphas, ranks = found
    return min(max(map(abs, alphas)) / min(ranks), float(limits.MAX_JSON_INTEGER))  # more is not written as it is


def _number(value: JsonValue) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _numbers(*values: JsonValue) -> _Numbers | None:
    """All of them; None where one is no finite number."""
    found = [number for value in values if (number := _number(value)) is not None]
    return found if len(found) == len(values) else None


def _with_pattern(raw: JsonObject, key: str, pattern: str) -> _Numbers | None:
    """An option and what replaces it for some layers."""
    others = raw.get(pattern)
    if others is not None and not isinstance(others, Mapping):
        return None
    return _numbers(raw.get(key), *(others or {}).values())


def _plain(raw: JsonObject) -> _Numbers | None:
    return _numbers(raw.get("r"))


def _patterned(raw: JsonObject) -> _Numbers | None:
    return _with_pattern(raw, "r", "rank_pattern")


def _squared(raw: JsonObject) -> _Numbers | None:
    """An elementwise product of two matrices of rank r."""
    ranks = _patterned(raw)
    return None if ranks is None or max(map(abs, ranks)) > limits.MAX_JSON_INTEGER else [one * one for one in ranks]


def _in_blocks(raw: JsonObject) -> _Numbers | None:
    """GraLoRA: k times k blocks, each row of which can have rank r; and a LoRA of rank `hybrid_r` beside."""
    found = _numbers(raw.get("r"), raw.get("gralora_k"), raw.get("hybrid_r"))
    if found is None or any(not 0 <= one <= limits.MAX_JSON_INTEGER for one in found):
        return None
    rank, blocks, hybrid = found
    return [rank * max(blocks, 1) + hybrid]


def _adaptive(raw: JsonObject) -> _Numbers | None:
    """AdaLoRA starts with `init_r`, whatever `r` says; its pattern lists which of these directions are left."""
    kept = raw.get("rank_pattern")
    if kept is not None and not isinstance(kept, Mapping):
        return None
    counts: list[JsonValue] = []
    for mask in (kept or {}).values():
        if not isinstance(mask, list) or any(not isinstance(one, bool) for one in mask):
            return None
        counts.append(len(mask))
    return _numbers(raw.get("init_r"), *counts)


def _over(ranks: _Numbers | None, alphas: _Numbers | None) -> tuple[_Numbers, _Numbers] | None:
    return None if ranks is None or alphas is None else (alphas, ranks)


def _lora_factor(raw: JsonObject) -> tuple[_Numbers, _Numbers] | None:
    ranks = _patterned(raw)
    if raw.get("use_rslora") and ranks is not None:
        ranks = None if min(ranks) < 1 else [math.sqrt(one) for one in ranks]
    return _over(ranks, _with_pattern(raw, "lora_alpha", "alpha_pattern"))


def _lycoris_factor(raw: JsonObject) -> tuple[_Numbers, _Numbers] | None:
    return _over(_patterned(raw), _with_pattern(raw, "alpha", "alpha_pattern"))


def _adaptive_factor(raw: JsonObject) -> tuple[_Numbers, _Numbers] | None:
    """Divided by the rank at the start; an alpha that is not above 0 counts as that rank."""
    ranks, alphas = _numbers(raw.get("init_r")), _numbers(raw.get("lora_alpha"))
    if ranks is None or alphas is None or _adaptive(raw) is None:
        return None
    kept = raw.get("rank_pattern")
    masks = kept.values() if isinstance(kept, Mapping) else ()
    left = [sum(map(bool, mask)) for mask in masks if isinstance(mask, list)]
    ranks = [*ranks, *(float(one) for one in left if one)]  # a layer of which nothing is left does nothing
    return (alphas if alphas[0] > 0 else ranks[:1]), ranks


def _block_factor(raw: JsonObject) -> tuple[_Numbers, _Numbers] | None:
    found = _numbers(raw.get("r"), raw.get("hybrid_r"))
    return _over(None if found is None else [sum(found)], _numbers(raw.get("alpha")))


_RANKS: Final[Mapping[str, Callable[[JsonObject], _Numbers | None]]] = MappingProxyType(
    {
        "ADALORA": _adaptive,
        "DELORA": _patterned,
        "GRALORA": _in_blocks,
        "LOHA": _squared,
        "LORA": _patterned,
        "PVERA": _plain,
        "VBLORA": _plain,
        "VERA": _plain,
    }
)
_FACTORS: Final[Mapping[str, Callable[[JsonObject], tuple[_Numbers, _Numbers] | None]]] = MappingProxyType(
    {
        "ADALORA": _adaptive_factor,
        "GRALORA": _block_factor,
        "LOHA": _lycoris_factor,
        "LOKR": _lycoris_factor,
        "LORA": _lora_factor,
    }
)
RANKED: Final = frozenset(_RANKS)
"""The methods that have a rank."""
