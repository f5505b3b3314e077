"""What a caller asks for: options of loading, the items of a stack, and how to mix them. Light: no torch, no PEFT.

Names, weights and options are checked here, before anything is fetched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, Literal, get_args

from skillwarrant_format.errors import UsageError
from skillwarrant_format.strict_json import JsonObject
from skillwarrant_verify.arguments import check_flag, check_kind, check_sequence
from skillwarrant_verify.proof.fetch import AdapterSource, BundleSource, check_sources

__all__ = [
    "Combination",
    "CombinationType",
    "LoadOptions",
    "SignMethod",
    "StackItem",
    "SvdDriver",
    "check_items",
    "check_names",
    "check_weights",
]

CombinationType = Literal[
    "svd",
    "linear",
    "cat",
    "ties",
    "ties_svd",
    "dare_ties",
    "dare_linear",
    "dare_ties_svd",
    "dare_linear_svd",
    "magnitude_prune",
    "magnitude_prune_svd",
]

SignMethod = Literal["total", "frequency"]
SvdDriver = Literal["gesvd", "gesvda", "gesvdj"]
"""`torch.linalg.svd`'s drivers."""
_MAX_RANK: Final = 65_537


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """PEFT's own keywords of `PeftModel.from_pretrained`, with PEFT's meanings and defaults.

    Args:
        adapter_name: for one adapter; the items of a stack have names of their own.
    """

    adapter_name: str = "default"
    is_trainable: bool = False
    torch_device: str | None = None
    autocast_adapter_dtype: bool = True
    low_cpu_mem_usage: bool = False

    def __post_init__(self) -> None:
        _check_name(self.adapter_name)
        for name in ("is_trainable", "autocast_adapter_dtype", "low_cpu_mem_usage"):
            check_flag(name, getattr(self, name))
        if self.torch_device is not None:
            check_kind("torch_device", self.torch_device, str, "a string")


@dataclass(frozen=True, slots=True, kw_only=True)
class StackItem:
    """One adapter of a stack.

    Args:
        adapter: directory of the adapter, or a `Snapshot` of it.
        adapter_name: its name on the model.
        manifest: the bundle, where it is not beside the adapter.
        weight: its factor in a mixture; given for every item with `combine`, and for none without.
        evidence: bundles of further attestations; those about another adapter are left out.
    """

    adapter: AdapterSource
    adapter_name: str
    manifest: BundleSource | None = None
    weight: float | None = None
    evidence: Sequence[BundleSource] = ()

    def __post_init__(self) -> None:
        _check_name(self.adapter_name)
        check_sources(self.adapter, self.manifest, self.evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """How adapters are mixed into a new one: PEFT's keywords of `add_weighted_adapter`, with PEFT's meanings.

    Args:
        adapter_name: of the mixture.
        combination_type: LoRA's methods; IA3 knows `linear` alone, which is a sum.
        svd_rank, svd_clamp, svd_full_matrices, svd_driver: for the types that end in `svd`.
        density: between 0 and 1, for `ties`, `dare` and `magnitude_prune`.
        majority_sign_method: for `ties`.

    Raises:
        UsageError: no such type, or an option out of its range.
    """

    adapter_name: str
    combination_type: CombinationType = "svd"
    svd_rank: int | None = None
    svd_clamp: float | None = None
    svd_full_matrices: bool = True
    svd_driver: SvdDriver | None = None
    density: float | None = None
    majority_sign_method: SignMethod = "total"

    def __post_init__(self) -> None:
        _check_name(self.adapter_name)
        check_flag("svd_full_matrices", self.svd_full_matrices)
        _check_one_of("combination_type", self.combination_type, get_args(CombinationType))
        _check_one_of("majority_sign_method", self.majority_sign_method, get_args(SignMethod))
        _check_one_of("svd_driver", self.svd_driver, (None, *get_args(SvdDriver)))
        if self.svd_rank is not None and (
            isinstance(self.svd_rank, bool)
            or not isinstance(self.svd_rank, int)
            or self.svd_rank not in range(1, _MAX_RANK)
        ):
            raise UsageError("svd_rank is out of range", expected=f"1 to {_MAX_RANK - 1}", found=str(self.svd_rank))
        for name in ("density", "svd_clamp"):
            found = getattr(self, name)
            if found is not None and not (_is_number(found) and 0 <= found <= 1):
                raise UsageError(f"the {name} is out of range", expected="0 to 1", found=str(found))

    def options(self) -> JsonObject:
        """PEFT's keywords, those that say something else than PEFT's default; and the type, always."""
        changed = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("adapter_name", "combination_type") and getattr(self, field.name) != field.default
        }
        return {"combination_type": self.combination_type, **changed}


def check_items(items: Sequence[StackItem], combine: Combination | None) -> tuple[StackItem, ...]:
    """The items of a stack, as they can be asked for.

    Raises:
        UsageError: none, two of one name, weights without a combination or a combination without weights.
    """
    check_sequence("items", items, "a list of StackItem")
    if combine is not None:
        check_kind("combine", combine, Combination, "a Combination")
    found = tuple(items)
    if not found or not all(isinstance(item, StackItem) for item in found):
        raise UsageError("a stack needs adapters", expected="at least one StackItem", found=f"{len(found)} things")
    check_names([item.adapter_name for item in found], combine)
    if combine is None:
        if any(item.weight is not None for item in found):
            raise UsageError("weights are for mixtures", fix="Give `combine` too, or no weights.")
    else:
        check_weights([item.weight for item in found], len(found))
    return found


def check_names(names: Sequence[str], combine: Combination | None) -> None:
    """Raises UsageError where two adapters, the mixture among them, would have one name."""
    check_sequence("the adapters", names, "a list of adapter names")
    every = [*names, *([] if combine is None else [combine.adapter_name])]
    for name in every:
        _check_name(name)
    if len(set(every)) != len(every):
        raise UsageError("two adapters have one name", expected="names that differ", found=", ".join(every))


def check_weights(weights: Sequence[float | None], count: int) -> None:
    """Raises UsageError for a weight that is missing or no finite number. What is too much, a policy says."""
    check_sequence("weights", weights, "a list of numbers")
    if len(weights) != count:
        raise UsageError("a mixture needs a weight for each adapter", expected=str(count), found=str(len(weights)))
    for weight in weights:
        if not _is_number(weight):
            found = type(weight).__name__ if isinstance(weight, int) else str(weight)  # its digits may be too many
            raise UsageError("a mixture needs a weight for each adapter", expected="a number", found=found)


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise UsageError("an adapter needs a name", expected="a string", found=type(name).__name__)


def _check_one_of(what: str, found: object, allowed: Sequence[object]) -> None:
    if not isinstance(found, str | None) or found not in allowed:
        raise UsageError(f"no such {what}", expected=" or ".join(map(str, allowed)), found=str(found))


def _is_number(weight: object) -> bool:
    """Whether it is finite as a float, which an integer of many digits is not."""
    try:
        return not isinstance(weight, bool) and isinstance(weight, int | float) and math.isfinite(weight)
    except OverflowError:
        return False
