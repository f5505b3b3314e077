"""One small configuration for every method of PEFT and for each of its options that may matter to a consumer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

QV = ["q_proj", "v_proj"]
TASK = {"task_type": "CAUSAL_LM"}
LORA: dict[str, Any] = {"r": 4, "target_modules": QV, **TASK}
RANKED: dict[str, Any] = {"r": 4, "target_modules": QV}
PROMPT: dict[str, Any] = {"num_virtual_tokens": 4, **TASK}


@dataclass(frozen=True, slots=True)
class Case:
    """A configuration.

    Args:
        nested: option -> the class of its configuration in `peft.tuners.lora.config`, and its options.
    """

    method: str
    options: dict[str, Any]
    nested: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)

    def config(self, **changes: Any) -> Any:
        """PEFT's own configuration."""
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
        from peft.tuners.lora import config

        nested = {key: getattr(config, name)(**options) for key, (name, options) in self.nested.items()}
        return PEFT_TYPE_TO_CONFIG_MAPPING[self.method](**{**self.options, **nested, **changes})

    def raw(self) -> dict[str, Any]:
        """What PEFT writes for it into adapter_config.json."""
        found: dict[str, Any] = self.config().to_dict()
        return {key: sorted(value) if isinstance(value, set) else value for key, value in found.items()}


def lora(**options: Any) -> Case:
    return Case("LORA", {**LORA, **options})


def nested(option: str, name: str, **options: Any) -> Case:
    return Case("LORA", LORA, {option: (name, options)})


def lora_ga() -> Case:
    return Case("LORA", {**LORA, "init_lora_weights": "lora_ga"}, {"lora_ga_config": ("LoraGAConfig", {})})


CASES: dict[str, Case] = {
    "LORA": lora(),
    "LORA aLoRA": lora(alora_invocation_tokens=[1, 2]),
    "LORA BD-LoRA": nested("use_bdlora", "BdLoraConfig", target_modules_bd_b=QV, nblocks=2),
    "LORA DoRA": lora(use_dora=True),
    "LORA EVA": lora(init_lora_weights="eva"),
    "LORA KaSA": nested("kasa_config", "KasaConfig"),
    "LORA LoRA-GA": lora_ga(),
    "LORA MiCA": lora(init_lora_weights="mica"),
    "LORA MonteCLoRA": nested("monteclora_config", "MontecloraConfig"),
    "LORA OLoRA": lora(init_lora_weights="olora"),
    "LORA PiSSA": lora(init_lora_weights="pissa"),
    "LORA PiSSA, fast": lora(init_lora_weights="pissa_niter_4"),
    "LORA QALoRA": lora(use_qalora=True),
    "LORA VeLoRA": nested("velora_config", "VeloraConfig", num_groups=4),
    "LORA bias all": lora(bias="all"),
    "LORA bias of its layers": lora(bias="lora_only"),
    "LORA bias of its own": lora(lora_bias=True),
    "LORA embeddings": lora(target_modules=["embed_tokens", "q_proj"]),
    "LORA gaussian": lora(init_lora_weights="gaussian"),
    "LORA layers": lora(layers_to_transform=[0], layers_pattern="layers"),
    "LORA orthogonal": lora(init_lora_weights="orthogonal"),
    "LORA parameters": lora(target_modules=[], target_parameters=["mlp.down_proj.weight"]),
    "LORA patterns": lora(rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 3.5}),
    "LORA random": lora(init_lora_weights=False),
    "LORA regex": lora(target_modules=r".*\.(q|v)_proj", exclude_modules=r".*\.1\..*"),
    "LORA replicated": lora(layer_replication=[(0, 2), (1, 2)]),
    "LORA rsLoRA": lora(use_rslora=True),
    "LORA saved head": lora(modules_to_save=["lm_head"]),
    "LORA tied": lora(target_modules=["embed_tokens", "q_proj"], ensure_weight_tying=True),
    "LORA tokens": lora(trainable_token_indices=[1, 2]),
    "ADALORA": Case("ADALORA", {**LORA, "total_step": 10, "init_r": 4, "target_r": 2}),
    "ADALORA PiSSA": Case("ADALORA", {**LORA, "total_step": 10, "init_lora_weights": "pissa"}),
    "ADALORA KaSA": Case("ADALORA", {**LORA, "total_step": 10}, {"kasa_config": ("KasaConfig", {})}),
    "ADALORA replicated": Case("ADALORA", {**LORA, "total_step": 10, "layer_replication": [(0, 2), (1, 2)]}),
    "ADAMSS": Case("ADAMSS", {**RANKED, "num_subspaces": 2}),
    "ADAPTION_PROMPT": Case("ADAPTION_PROMPT", {"adapter_layers": 1, "adapter_len": 4, **TASK}),
    "BEFT": Case("BEFT", {"target_modules": QV}),
    "BOFT": Case("BOFT", {"boft_block_size": 4, "target_modules": QV}),
    "C3A": Case("C3A", {"block_size": 8, "target_modules": QV}),
    "CARTRIDGE": Case("CARTRIDGE", PROMPT),
    "CPT": Case("CPT", {"cpt_token_ids": [1, 2, 3], **TASK}),
    "DEFT": Case("DEFT", RANKED),
    "DEFT QR": Case("DEFT", {**RANKED, "decomposition_method": "qr"}),
    "DEFT PaRa": Case("DEFT", {**RANKED, "para": True}),
    "DELORA": Case("DELORA", RANKED),
    "FOURIERFT": Case("FOURIERFT", {"n_frequency": 20, "target_modules": QV}),
    "FROD": Case("FROD", {"target_modules": QV, "progressbar": False}),
    "FROD unsaved": Case("FROD", {"target_modules": QV, "progressbar": False, "save_projection": False}),
    "GLORA": Case("GLORA", RANKED),
    "GRALORA": Case("GRALORA", RANKED),
    "HIRA": Case("HIRA", RANKED),
    "HRA": Case("HRA", RANKED),
    "HRA Gram-Schmidt": Case("HRA", {**RANKED, "apply_GS": True}),
    "IA3": Case("IA3", {"target_modules": ["down_proj", "q_proj"], "feedforward_modules": ["down_proj"]}),
    "LILY": Case("LILY", RANKED),
    "LN_TUNING": Case("LN_TUNING", {"target_modules": ["input_layernorm"]}),
    "LOHA": Case("LOHA", RANKED),
    "LOKR": Case("LOKR", RANKED),
    "LOKR LyCORIS": Case("LOKR", {**RANKED, "init_weights": "lycoris"}),
    "MISS": Case("MISS", RANKED),
    "MISS bat": Case("MISS", {**RANKED, "init_weights": "bat"}),
    "MISS mini": Case("MISS", {**RANKED, "init_weights": "mini", "mini_r": 2}),
    "MULTITASK_PROMPT_TUNING": Case("MULTITASK_PROMPT_TUNING", {**PROMPT, "num_tasks": 2}),
    "OFT": Case("OFT", {"oft_block_size": 8, "target_modules": QV}),
    "OFT constrained": Case("OFT", {"oft_block_size": 8, "target_modules": QV, "coft": True}),
    "OSF": Case("OSF", {"effective_rank": 8, "target_modules": QV}),
    "PEANUT": Case("PEANUT", {**RANKED, "depth": 1}),
    "POLY": Case("POLY", {**RANKED, **TASK}),
    "PREFIX_TUNING": Case("PREFIX_TUNING", PROMPT),
    "PREFIX_TUNING projected": Case(
        "PREFIX_TUNING", {**PROMPT, "prefix_projection": True, "encoder_hidden_size": 8}
    ),
    "PROMPT_TUNING": Case("PROMPT_TUNING", PROMPT),
    "PROMPT_TUNING sampled": Case("PROMPT_TUNING", {**PROMPT, "prompt_tuning_init": "SAMPLE_VOCAB"}),
    "PSOFT": Case("PSOFT", RANKED),
    "PSOFT low rank": Case("PSOFT", {**RANKED, "psoft_svd": "lowrank"}),
    "PVERA": Case("PVERA", RANKED),
    "PVERA sampling": Case("PVERA", {**RANKED, "sample_at_inference": True}),
    "PVERA sampling, seeded": Case("PVERA", {**RANKED, "sample_at_inference": True, "generator_seed": 1}),
    "PVERA unsaved": Case("PVERA", {**RANKED, "save_projection": False}),
    "P_TUNING": Case("P_TUNING", PROMPT),
    "P_TUNING LSTM": Case("P_TUNING", {**PROMPT, "encoder_reparameterization_type": "LSTM"}),
    "RANDLORA": Case("RANDLORA", RANKED),
    "RANDLORA unsaved": Case("RANDLORA", {**RANKED, "save_projection": False}),
    "ROAD": Case("ROAD", {"group_size": 4, "target_modules": QV}),
    "SHADOW": Case("SHADOW", {"r": 4, **TASK}),
    "SHIRA": Case("SHIRA", RANKED),
    "SUPERTUNING": Case("SUPERTUNING", {"target_modules": QV, "sparsity": 0.5}),
    "SUPERTUNING Supra": Case("SUPERTUNING", {"target_modules": QV, "sparsity": 0.5, "r": 2}),
    "SUPERTUNING unsaved": Case(
        "SUPERTUNING", {"target_modules": QV, "sparsity": 0.5, "save_precomputed_indices": False}
    ),
    "TINYLORA": Case("TINYLORA", {"r": 2, "u": 4, "target_modules": QV}),
    "TINYLORA unsaved": Case("TINYLORA", {"r": 2, "u": 4, "target_modules": QV, "save_projection": False}),
    "TRAINABLE_TOKENS": Case("TRAINABLE_TOKENS", {"token_indices": [1, 2], "target_modules": ["embed_tokens"]}),
    "UNILORA": Case("UNILORA", {**RANKED, "theta_d_length": 16}),
    "VBLORA": Case("VBLORA", {**RANKED, "vector_length": 8, "num_vectors": 6}),
    "VBLORA top": Case("VBLORA", {**RANKED, "vector_length": 8, "num_vectors": 6, "save_only_topk_weights": True}),
    "VERA": Case("VERA", RANKED),
    "VERA unsaved": Case("VERA", {**RANKED, "save_projection": False}),
    "WAVEFT": Case("WAVEFT", {"n_frequency": 20, "target_modules": QV}),
}
"""All that PEFT 0.21 attaches to a tiny Llama without data, a GPU or a further file."""
BIASED = (
    *("ADALORA", "BOFT", "C3A", "DEFT", "DELORA", "FOURIERFT", "FROD", "GLORA", "GRALORA", "HRA", "LORA", "MISS"),
    *("OFT", "PVERA", "RANDLORA", "TINYLORA", "UNILORA", "VBLORA", "VERA", "WAVEFT"),
)
"""The methods that can train biases of the base."""
CASES |= {f"{name} bias": Case(name, {**CASES[name].options, "bias": "all"}) for name in BIASED}
