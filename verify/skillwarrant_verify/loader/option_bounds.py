"""The methods and options of PEFT that were looked at, and how much each option may ask for.

PEFT's annotations say what kind of value an option takes, and nothing of how much: a file of a few bytes could ask
for 10^12 virtual tokens. An option that is in none of these tables is refused, whatever its type, so that a newer
PEFT opens no hole; a test that holds the tables against the installed PEFT names what is missing. It knows no PEFT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = [
    "HIDDEN",
    "KNOWN_METHODS",
    "MAX_ELEMENTS",
    "MAX_LAYERS",
    "NUMBERS",
    "PRODUCTS",
    "STRINGS",
    "WORDS",
    "copies",
]

KNOWN_METHODS: Final = frozenset(
    (
        *("ADALORA", "ADAMSS", "ADAPTION_PROMPT", "BEFT", "BOFT", "C3A", "CARTRIDGE", "CPT", "DEFT", "DELORA"),
        *("FOURIERFT", "FROD", "GLORA", "GRALORA", "HIRA", "HRA", "IA3", "LILY", "LN_TUNING", "LOHA", "LOKR"),
        *("LORA", "MISS", "MULTITASK_PROMPT_TUNING", "OFT", "OSF", "PEANUT", "POLY", "PREFIX_TUNING"),
        *("PROMPT_TUNING", "PSOFT", "PVERA", "P_TUNING", "RANDLORA", "ROAD", "SHADOW", "SHIRA", "SUPERTUNING"),
        *("TINYLORA", "TRAINABLE_TOKENS", "UNILORA", "VBLORA", "VERA", "WAVEFT", "XLORA"),
    )
)

_FEW: Final = 64
_WIDTH: Final = 16_384  # of a hidden state, and so of a rank; the largest open models have this
_WIDE: Final = 65_536
_MANY: Final = 2**31 - 1
_SEED: Final = 2**53 - 1

Range = tuple[float, float]

NUMBERS: Final[Mapping[str, Range]] = {
    # ranks, widths and blocks
    **dict.fromkeys(("r", "init_r", "target_r", "mini_r", "num_ranks", "subspace_rank", "gralora_k"), (1, 4_096)),
    **dict.fromkeys(("hybrid_r", "oft_block_size", "boft_block_num", "boft_block_size"), (0, _WIDTH)),
    **dict.fromkeys(("block_size", "block_size_pattern", "group_size", "qalora_group_size"), (1, _WIDE)),
    **dict.fromkeys(("rank_pattern", "effective_rank", "target_svd_config"), (0, _WIDTH)),
    **dict.fromkeys(
        ("encoder_hidden_size", "hidden_size", "update_hidden_size", "shadow_hidden_size"), (1, _WIDTH)
    ),
    **dict.fromkeys(("shadow_intermediate_size", "token_dim", "vector_length", "num_vectors"), (1, _WIDE)),
    **dict.fromkeys(("stride_A", "num_B", "num_subspaces", "nblocks", "num_groups"), (1, _WIDTH)),
    **dict.fromkeys(("num_attention_heads", "shadow_num_attention_heads"), (1, 4_096)),
    **dict.fromkeys(("n_tasks", "n_skills", "n_splits", "num_tasks"), (1, 4_096)),
    **dict.fromkeys(("n_frequency", "n_frequency_pattern", "theta_d_length"), (1, 2**24)),
    **dict.fromkeys(("xlora_size", "u"), (1, _WIDTH)),
    "LOKR.r": (1, _MANY),  # larger than the layer: whole matrices
    "OFT.r": (0, _WIDTH),  # 0: from the block size
    "decompose_factor": (-1, _WIDTH),  # -1: as large as possible
    # what PEFT loops over
    **dict.fromkeys(("adapter_layers", "num_layers", "shadow_num_hidden_layers"), (1, 1_000)),
    **dict.fromkeys(("depth", "boft_n_butterfly_factor", "xlora_depth"), (0, _FEW)),
    **dict.fromkeys(("encoder_num_layers", "num_transformer_submodules"), (1, 16)),
    **dict.fromkeys(("num_cayley_neumann_terms", "psoft_svd_lowrank_niter", "loftq_iter"), (0, _FEW)),
    **dict.fromkeys(("num_samples", "buffer_size"), (1, 4_096)),
    **dict.fromkeys(("topk", "top_k", "top_k_lora"), (1, 4_096)),
    "loftq_bits": (2, 8),
    # tokens and layers
    **dict.fromkeys(("num_virtual_tokens", "adapter_len"), (1, _WIDE)),
    "num_frozen_tokens": (0, _WIDE),
    **dict.fromkeys(("token_indices", "trainable_token_indices", "alora_invocation_tokens"), (0, _MANY)),
    **dict.fromkeys(("cpt_token_ids", "cpt_mask", "cpt_tokens_type_mask", "prompt_tuning_init_task"), (0, _MANY)),
    **dict.fromkeys(("label_mask_value", "tokenizer_kwargs"), (-_MANY, _MANY)),
    "layers_to_transform": (0, 100_000),
    "layer_replication": (0, 1_000),
    # scales
    **dict.fromkeys(("lora_alpha", "alpha", "alpha_pattern", "psoft_alpha", "randlora_alpha"), (1e-9, 1e9)),
    **dict.fromkeys(("delora_lambda", "lambda_pattern", "scaling", "shadow_alpha", "init_scale"), (-1e9, 1e9)),
    **dict.fromkeys(("scale", "sample_scaler", "dirichlet_prior", "softmax_temperature"), (-1e9, 1e9)),
    **dict.fromkeys(("router_temperature", "global_scaling_weight", "scaling_pass_value"), (-1e9, 1e9)),
    **dict.fromkeys(("d_initial", "init_logits_std", "init_theta_d_bound", "init_v_bound"), (-1e9, 1e9)),
    **dict.fromkeys(("init_vector_bank_bound", "eps", "cayley_neumann_eps"), (0, 1e9)),
    # shares
    **dict.fromkeys(("lora_dropout", "boft_dropout", "deft_dropout", "encoder_dropout", "frod_dropout"), (0, 1)),
    **dict.fromkeys(("gralora_dropout", "hira_dropout", "miss_dropout", "module_dropout"), (0, 1)),
    **dict.fromkeys(("psoft_dropout", "pvera_dropout", "randlora_dropout", "rank_dropout"), (0, 1)),
    **dict.fromkeys(("shadow_dropout", "tinylora_dropout", "unilora_dropout", "vblora_dropout"), (0, 1)),
    **dict.fromkeys(("vera_dropout", "xlora_dropout_p", "sparse_rate", "sparsity", "weight_tying"), (0, 1)),
    **dict.fromkeys(("svd_threshold", "tau", "regularization_alpha"), (0, 1)),
    # seeds
    **dict.fromkeys(("generator_seed", "proj_seed", "projection_prng_key", "projection_seed"), (0, _SEED)),
    **dict.fromkeys(("random_loc_seed", "random_seed", "rng_seed"), (0, _SEED)),
    # only for training
    **dict.fromkeys(("asa_importance_beta", "asa_uncertainty_beta", "beta1", "beta2"), (0, 1)),
    **dict.fromkeys(("asa_schedule_exponent", "auxiliary_loss_weight", "beta", "gamma"), (0, 1e9)),
    **dict.fromkeys(("kl_loss_weight", "orth_reg_weight", "rho", "stable_gamma"), (0, 1e9)),
    **dict.fromkeys(("opt_loss_decay_factor", "opt_projection_epsilon"), (0, 1e9)),
    **dict.fromkeys(("opt_projection_format_epsilon", "asa_target_subspaces", "deltaT"), (0, _MANY)),
    **dict.fromkeys(("final_warmup", "init_warmup", "mask_interval", "tfinal", "tinit", "total_step"), (0, _MANY)),
}
"""Least and most of every number, also of those in lists and objects. `METHOD.option` goes before `option`."""

_NAME: Final = 512
_REGEX: Final = 8_192
STRINGS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("base_model_name_or_path", "revision", "peft_version", "auto_mapping"), _NAME),
    **dict.fromkeys(("act_fn", "wavelet_family"), _FEW),  # PEFT has a list of each
    **dict.fromkeys(("target_modules", "exclude_modules", "feedforward_modules"), _REGEX),
    **dict.fromkeys(("modules_to_save", "layers_pattern", "target_parameters"), _NAME),
    **dict.fromkeys(("alpha_pattern", "rank_pattern", "block_size_pattern", "lambda_pattern"), _NAME),
    **dict.fromkeys(("n_frequency_pattern", "target_svd_config", "trainable_token_indices"), _NAME),
    **dict.fromkeys(("target_modules_bd_a", "target_modules_bd_b"), _NAME),
    **dict.fromkeys(("task_adapter_names", "gks_adapter_names"), _NAME),
    **dict.fromkeys(("prompt_tuning_init_state_dict_path", "tokenizer_name_or_path", "tokenizer_kwargs"), 4_096),
    **dict.fromkeys(("cache_file", "covariance_file"), 4_096),
    "prompt_tuning_init_text": _WIDE,
}
"""Most characters of every string that is not one of a few words, also of those in lists and of keys."""

WORDS: Final = frozenset(
    (
        *("ab_svd_init", "adjust_scaling_factors", "apply_GS", "arrow_config", "block_share", "coft"),
        *("config_A_B", "config_C", "config_D_E", "corda_config", "corda_method", "decompose_both"),
        *("decomposition_method", "direction", "enable_softmax", "enable_softmax_topk"),
        *("encoder_reparameterization_type", "ensure_weight_tying", "eva_config", "fan_in_fan_out"),
        *("inference_mode", "init_ia3_weights", "init_type", "init_weights", "kasa_config"),
        *("layerwise_scalings", "lora_bias", "lora_ga_config", "mask_type", "match_strict"),
        *("monteclora_config", "opt_weighted_loss_type", "para", "peft_type", "poly_type", "prefix_projection"),
        *("progressbar", "prompt_tuning_init", "proportional_parameters", "prune_temporary_fields"),
        *("psoft_mag_a", "psoft_mag_b", "psoft_orth", "psoft_svd", "rank_dropout_scale"),
        *("runtime_offload_base_weight", "sample_at_inference", "save_indices", "save_only_topk_weights"),
        *("save_precomputed_indices", "save_projection", "select_top", "share_embeddings", "sparse"),
        *("task_type", "use_asa", "use_bdlora", "use_cayley_neumann", "use_dora", "use_dynamic_rank"),
        *("use_effective_conv2d", "use_entropy", "use_float16_for_covariance", "use_gks", "use_idwt"),
        *("use_label_mask", "use_qalora", "use_rslora", "use_trainable_adapters", "verbose", "very_sparse"),
        *("whiten",),
    )
)
"""Options that are true or false, one of a few words, or a configuration of their own: the type bounds them."""

MAX_LAYERS: Final = 1_000  # that layer_replication may make
MAX_ELEMENTS: Final = 2**28  # of one tensor: 1 GiB in float32
HIDDEN: Final = 4_096  # a width that the model decides, as far as a configuration can tell
PRODUCTS: Final[Mapping[str, tuple[tuple[str | int, ...], ...]]] = {
    "CARTRIDGE": (("num_virtual_tokens", "num_layers", "token_dim"),),
    "LILY": (("num_B", "r", HIDDEN),),
    "LORA": (("monteclora_config.num_samples", "r", "r", "r"),),  # it decomposes them
    "MULTITASK_PROMPT_TUNING": (
        ("num_virtual_tokens", "num_transformer_submodules", "token_dim"),
        ("num_tasks", "num_virtual_tokens", "num_transformer_submodules", "num_ranks"),
        ("num_tasks", "num_ranks", "token_dim"),
    ),
    "PEANUT": (("depth", "r", "r"),),
    "POLY": (("n_skills", "r", HIDDEN), ("n_tasks", "n_skills", "n_splits")),
    "PREFIX_TUNING": (("num_virtual_tokens", "num_layers", "token_dim"),),
    "PROMPT_TUNING": (("num_virtual_tokens", "num_transformer_submodules", "token_dim"),),
    "P_TUNING": (("num_virtual_tokens", "num_transformer_submodules", "token_dim"),),
    "SHADOW": (
        ("shadow_num_hidden_layers", "shadow_hidden_size", "shadow_hidden_size"),
        ("shadow_num_hidden_layers", "shadow_hidden_size", "shadow_intermediate_size"),
    ),
    "TINYLORA": (("u", "r", "r"),),
    "VBLORA": (("num_vectors", "vector_length"), ("num_vectors", "r", HIDDEN)),
}
"""Numbers, and options that hold them, which PEFT multiplies to the size of a tensor, by method. The encoders that
prompts are trained with are not made when they are loaded."""


def copies(ranges: Sequence[Any]) -> int:
    """How many layers `layer_replication` makes; ranges that are of the wrong type make none."""
    pairs = [pair for pair in ranges if isinstance(pair, list | tuple) and len(pair) == 2]
    whole = [(start, end) for start, end in pairs if isinstance(start, int) and isinstance(end, int)]
    return sum(max(end - start, 0) for start, end in whole)
