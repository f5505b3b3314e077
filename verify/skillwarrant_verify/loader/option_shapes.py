"""What a configuration asks for, held against the shapes of the file's tensors before PEFT makes anything of it.

A rank of 4,096 in a configuration whose file holds tensors of rank 4 is refused in the end, when shapes are
compared; but by then PEFT has allocated it, in every layer. So each number that PEFT makes tensors of is compared
first with the dimension in which it shows, for every method that has one. Small ones need not show: they cost
little, and PEFT itself cuts some to the size of a layer. What tensors of few columns show in place of the real ones
is let through here, and refused when shapes are compared. It knows no PEFT and no torch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt, prod
from typing import Final, Literal

from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.errors import LoadMismatch
from skillwarrant_format.snapshot import WEIGHTS_NAME
from skillwarrant_format.strict_json import JsonObject, JsonValue

__all__ = ["SHOWN", "UNSHOWN", "Shown", "check_shown"]

_FEW: Final = 64  # a rank: with it, a layer's adapter is a small part of the layer
_MANY: Final = 65_536  # single numbers


@dataclass(frozen=True, slots=True)
class Shown:
    """Where numbers of a configuration show.

    Args:
        options: their product; `outer.inner` is one of a configuration within.
        parts: of tensors whose name has one of these in it.
        dim: the dimension, also counted from the end; or `triangle`: of the tensor are those elements of a square
            that are above its diagonal.
        harmless: up to here, they need not show.
        each: every such tensor shows it, but for those of modules that a rank pattern names: so the smallest
            counts, and a tensor put beside them makes room for nothing. Others may differ from layer to layer.
    """

    options: tuple[str, ...]
    parts: tuple[str, ...]
    dim: int | Literal["triangle"]
    harmless: int = _FEW
    each: bool = False

    def seen(self, shapes: Mapping[str, Sequence[int]], patterned: Collection[int] = ()) -> int:
        """The size of it; 0 where it is not to be seen, and a tensor that has no numbers shows nothing.

        Args:
            patterned: ranks of a rank pattern, which tensors may have instead (or multiples: one for many experts).
        """
        found = (shape for name, shape in shapes.items() if any(part in name for part in self.parts))
        sizes = [size for shape in found if prod(shape) for size in self._size(shape)]
        own = [size for size in sizes if self.each and not any(size % rank == 0 for rank in patterned)]
        return min(own) if own else max(sizes, default=0)

    def _size(self, shape: Sequence[int]) -> Iterator[int]:
        if self.dim == "triangle":
            yield isqrt(2 * shape[-1]) + 1 if shape else 0
        elif -len(shape) <= self.dim < len(shape):
            yield shape[self.dim]


def _rank(*parts: str, dim: int = 0, option: str = "r") -> Shown:
    return Shown((option,), parts, dim)


def _patterned(*parts: str, dim: int = 0) -> tuple[Shown, ...]:
    return Shown(("r",), parts, dim, each=True), _rank(*parts, dim=dim, option="rank_pattern")


_PROMPT: Final = ("prompt_embeddings",)
_TOKENS: Final = Shown(("num_virtual_tokens",), _PROMPT, 0)
_WIDTH: Final = Shown(("token_dim",), _PROMPT, 1, 16_384)
_PAST: Final = Shown(("num_layers", "token_dim"), _PROMPT, 1, 16_384)

SHOWN: Final[Mapping[str, tuple[Shown, ...]]] = {
    "ADALORA": (_rank("lora_A", option="init_r"),),
    "ADAMSS": (_rank("adamss_newB"), _rank("adamss_A", option="subspace_rank")),
    "ADAPTION_PROMPT": (Shown(("adapter_len",), ("adaption_prompt",), 1),),
    "BOFT": (
        Shown(("boft_block_size",), ("boft_R",), 2),
        Shown(("boft_block_num",), ("boft_R",), 1),
    ),
    "C3A": (
        Shown(("block_size",), ("c3a_kernel",), 2),
        Shown(("block_size_pattern",), ("c3a_kernel",), 2),
    ),
    "CARTRIDGE": (_TOKENS, _PAST),
    "CPT": (_TOKENS, _WIDTH),
    "DEFT": (_rank("deft_P", dim=1),),
    "DELORA": _patterned("delora_A"),
    "FOURIERFT": (
        Shown(("n_frequency",), ("fourierft_spectrum",), 0, _MANY),
        Shown(("n_frequency_pattern",), ("fourierft_spectrum",), 0, _MANY),
    ),
    "GLORA": (_rank(".Xu"),),
    "GRALORA": (
        _rank("gralora_A", dim=2),
        _rank("gralora_A_general", option="hybrid_r"),
        _rank("gralora_A", option="gralora_k"),
    ),
    "HIRA": _patterned("hira_A", "hira_embedding_A"),
    "HRA": (_rank("hra_u", dim=1),),
    "LILY": (_rank("lily_A"), _rank("lily_router", option="num_B")),
    "LOHA": _patterned("hada_w1_b"),
    "LORA": (
        *_patterned("lora_A", "lora_embedding_A"),
        Shown(("monteclora_config.num_samples",), ("lora_monteclora_sampler.expert_weights",), 0),
        Shown(("velora_config.num_groups",), ("lora_velora_embed",), 0, _MANY),
    ),
    "MISS": (_rank("miss_block", dim=-2), _rank("miss_block", dim=-1, option="mini_r")),
    "MULTITASK_PROMPT_TUNING": (
        Shown(("num_virtual_tokens", "num_transformer_submodules"), _PROMPT, 0),
        _WIDTH,
        _rank("prefix_task_cols", option="num_tasks"),
        _rank("prefix_task_cols", dim=-1, option="num_ranks"),
    ),
    "OFT": (Shown(("oft_block_size",), ("oft_R",), "triangle", 256),),
    "PEANUT": (_rank("peanut_A"),),
    "POLY": (
        _rank("poly_lora_A", dim=-1),
        _rank("poly_lora_A", dim=1, option="n_skills"),
        _rank("poly_lora_A", option="n_splits"),
        _rank("poly_router.module_logits", option="n_tasks"),
    ),
    "PREFIX_TUNING": (_TOKENS, _PAST),
    "PROMPT_TUNING": (Shown(("num_virtual_tokens", "num_transformer_submodules"), _PROMPT, 0), _WIDTH),
    "PSOFT": (Shown(("r",), ("psoft_R.weight",), "triangle"),),
    "PVERA": (_rank("pvera_lambda_d"),),
    "P_TUNING": (_TOKENS, _WIDTH),
    "RANDLORA": (_rank("randlora_lambda"),),
    "SHADOW": (
        _rank("shadow_down"),
        Shown(("update_hidden_size",), ("shadow_update_gate",), 0),
        Shown(("shadow_hidden_size",), ("shadow_backbone",), 0),
        Shown(("shadow_intermediate_size",), ("mlp.up_proj", "shadow_backbone"), 0),
    ),
    "SUPERTUNING": (_rank("supertuning_lora_A"),),
    "TINYLORA": (_rank("tinylora_A"), _rank("tinylora_v", option="u")),
    "UNILORA": (
        _rank("unilora_theta_d"),  # more ranks than there are numbers to fill them with mean nothing
        Shown(("theta_d_length",), ("unilora_theta_d",), 0, _MANY),
    ),
    "VBLORA": (
        _rank("vblora_logits_A"),
        Shown(("num_vectors",), ("vblora_vector_bank",), 0, 256),
        Shown(("vector_length",), ("vblora_vector_bank",), 1, 256),
    ),
    "VERA": (_rank("vera_lambda_d"),),
    "WAVEFT": (Shown(("n_frequency",), ("waveft_spectrum",), 0, _MANY),),
}
"""The numbers of each method that PEFT makes tensors of, and where they show."""

UNSHOWN: Final[Mapping[str, str]] = {
    "BEFT": "it has no number that sizes a tensor",
    "FROD": "it has no number that sizes a tensor",
    "IA3": "it has no number that sizes a tensor",
    "LN_TUNING": "it has no number that sizes a tensor",
    "LOKR": "a rank beyond half of a layer stands for whole matrices, which are no larger than the layer",
    "OSF": "what it keeps of a layer is no larger than the layer",
    "ROAD": "groups share a layer's width, whatever their size",
    "SHIRA": "PEFT refuses a rank that stands for more weights than the layer has",
    "TRAINABLE_TOKENS": "each of its tokens is an item of the configuration itself",
    "XLORA": "it is not loaded",
}
"""Methods without such a number, and why."""


def check_shown(config: AdapterConfig, shapes: Mapping[str, Sequence[int]]) -> None:
    """Hold a configuration against the tensors of its file.

    Args:
        config: of a known method, with options that `check_options` has checked.
        shapes: of the file's tensors, by name.

    Raises:
        LoadMismatch: it asks for more than the file holds.
    """
    patterned = {rank for rank in _numbers(config.raw.get("rank_pattern")) if rank > 0}
    for shown in SHOWN.get(config.peft_type, ()):
        found = prod(_largest(config.raw, option) for option in shown.options)
        if found <= shown.harmless:
            continue
        seen = max(shown.seen(shapes, patterned), _listed(config))
        if found > seen:
            raise LoadMismatch(
                f"the configuration asks for more than {WEIGHTS_NAME} holds",
                expected=f"{' x '.join(shown.options)} of at most {max(seen, shown.harmless)}",
                found=str(found),
                fix="Its weights are of another shape: get it again from its publisher.",
            )


def _listed(config: AdapterConfig) -> int:
    """AdaLoRA prunes what it saves; its configuration then lists, rank for rank, what is left of each layer."""
    pattern = config.raw.get("rank_pattern") if config.peft_type == "ADALORA" else None
    return max(map(len, pattern.values()), default=0) if isinstance(pattern, Mapping) else 0  # type: ignore[arg-type]


def _largest(raw: JsonObject, option: str) -> int:
    """The largest number of an option; 1 where PEFT fills it in, whose own defaults are small."""
    value: JsonValue = raw
    for key in option.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return max(_numbers(value), default=1)


def _numbers(value: JsonValue) -> Iterator[int]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value
