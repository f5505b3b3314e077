"""One adapter for every method of PEFT and every main option of LoRA: real, tiny, trained by adding noise.

A method that a later PEFT adds has no case here, and `test_load_methods` fails until it has one.
"""

from __future__ import annotations

import atexit
import json
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.lora.corda import preprocess_corda
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BitsAndBytesConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

import tiny
from skillwarrant_format.adapter_files import CONFIG_NAME

__all__ = ["CASES", "Case", "answers", "base", "trained", "write"]

BERT: Final = BertConfig(
    vocab_size=128,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_labels=3,
)
MIXTRAL: Final = MixtralConfig(
    vocab_size=128,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    num_local_experts=4,
)
VIT: Final = ViTConfig(
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    image_size=16,
    patch_size=4,
    num_labels=3,
)


@cache
def _plain_llama() -> Path:
    """Where a quantised base is made from; it lives as long as the tests."""
    directory = tempfile.TemporaryDirectory()
    atexit.register(directory.cleanup)
    tiny.llama().save_pretrained(directory.name)
    return Path(directory.name)


def quantised(**options: Any) -> nn.Module:
    """A Llama as bitsandbytes holds it."""
    model: nn.Module = LlamaForCausalLM.from_pretrained(
        _plain_llama(), quantization_config=BitsAndBytesConfig(**options)
    )
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # with it, an answer would round the base's scales
    return model


BASES: Final[Mapping[str, Callable[[], nn.Module]]] = {
    "BERT classifier": lambda: BertForSequenceClassification(BERT),
    "GPT-2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=128, n_embd=64, n_layer=2, n_head=4, n_positions=64)),
    "Llama": tiny.llama,
    "Llama classifier": tiny.classifier,
    "Llama, int8": lambda: quantised(load_in_8bit=True),
    "Llama, nf4": lambda: quantised(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True),
    "Llama, full heads": lambda: tiny.llama(num_key_value_heads=4),
    "Llama, untied": lambda: tiny.llama(tie_word_embeddings=False),
    "Llama, with biases": lambda: tiny.llama(attention_bias=True),
    "Mixtral": lambda: MixtralForCausalLM(MIXTRAL),
    "T5": lambda: T5ForConditionalGeneration(
        T5Config(vocab_size=128, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4)
    ),
    "ViT": lambda: ViTForImageClassification(VIT),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A method with options, on a base that it fits.

    Args:
        base: a name in `BASES`.
        options: of its configuration.
        edits: what is changed in the configuration once it is saved, where PEFT cannot make such an adapter here.
        why: for each column that is not a plain yes, the reason.
    """

    name: str
    method: str
    base: str = "Llama"
    options: Mapping[str, Any] = field(default_factory=dict)
    edits: Mapping[str, Any] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)


def base(case: Case) -> Any:
    """The same base each time."""
    torch.manual_seed(0)
    return BASES[case.base]().eval()


def trained(case: Case, seed: int = 7) -> PeftModel:
    """An adapter whose every weight differs from where its method starts."""
    model = base(case)
    config = PEFT_TYPE_TO_CONFIG_MAPPING[case.method](**{"task_type": "CAUSAL_LM", **case.options})
    if getattr(config, "corda_config", None) is not None:
        preprocess_corda(model, config, run_model=lambda: answers(model, case))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        model = get_peft_model(model, config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def write(case: Case, directory: Path, seed: int = 7) -> Path:
    """Save it as PEFT does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained(case, seed).save_pretrained(str(directory))
    if case.edits:
        config = directory / CONFIG_NAME
        config.write_text(json.dumps({**json.loads(config.read_text()), **case.edits}))
    return directory


def answers(model: Any, case: Case) -> torch.Tensor:
    """What a model says to the same questions."""
    tokens = tiny.TOKENS[:1] if case.options.get("corda_config") is not None else tiny.TOKENS
    inputs: dict[str, Any] = {"input_ids": tokens}
    if case.base == "ViT":
        inputs = {"pixel_values": torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)}
    if case.base == "T5":
        inputs["decoder_input_ids"] = tokens
    if case.method in ("MULTITASK_PROMPT_TUNING", "POLY") and isinstance(model, PeftModel):
        inputs["task_ids"] = torch.tensor([0, 1])
    with torch.no_grad():
        return torch.Tensor(model(**inputs).logits.clone())


QV: Final = ["q_proj", "v_proj"]
QO: Final = ["q_proj", "o_proj"]

LOW: Final = "low_cpu_mem_usage"
SECOND: Final = "second"
IDENTICAL: Final = "identical"

_LOW_SVD: Final = {LOW: "PEFT cannot: it decomposes weights of the base, with results that are not in memory"}
_ONE_BIAS: Final = {SECOND: "PEFT cannot: it trains the base's biases for one adapter only"}
_TIED_ONCE: Final = {
    SECOND: "refused: PEFT ties the output embedding for a first adapter only, and would leave weights out"
}


def _lora(name: str, base: str = "Llama", why: Mapping[str, str] | None = None, **options: Any) -> Case:
    return Case(
        name=f"LoRA, {name}" if name else "LoRA",
        method="LORA",
        base=base,
        options={"r": 4, "target_modules": QV, **options},
        why=why or {},
    )


def _case(
    method: str, what: str = "", base: str = "Llama", why: Mapping[str, str] | None = None, **options: Any
) -> Case:
    return Case(
        name=f"{method}, {what}" if what else method, method=method, base=base, options=options, why=why or {}
    )


_LORA: Final = (
    _lora(""),
    _lora("rsLoRA", use_rslora=True),
    _lora("DoRA", use_dora=True),
    _lora("a bias of its own", lora_bias=True),
    _lora("rank and alpha patterns", rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 3}),
    _lora("some layers", layers_to_transform=[1], layers_pattern="layers"),
    _lora("excluded modules", exclude_modules=["layers.0.self_attn.q_proj"]),
    _lora("targets by a regular expression", target_modules=r".*\.(q|v)_proj"),
    _lora("all-linear", target_modules="all-linear"),
    _lora("tied embedding targeted", target_modules=["q_proj", "embed_tokens"]),
    _lora("both embeddings targeted", "Llama, untied", target_modules=["q_proj", "embed_tokens", "lm_head"]),
    _lora(
        "tied embedding targeted, kept tied",
        target_modules=["q_proj", "embed_tokens"],
        ensure_weight_tying=True,
        why=_TIED_ONCE,
    ),
    _lora("modules to save", "Llama, untied", modules_to_save=["lm_head", "norm"]),
    _lora("tied module to save", modules_to_save=["lm_head"]),
    _lora(
        "tied module to save, kept tied",
        modules_to_save=["embed_tokens"],
        ensure_weight_tying=True,
        why=_TIED_ONCE,
    ),
    _lora("trainable tokens", "Llama, untied", trainable_token_indices=[1, 5]),
    _lora("trainable tokens, tied", trainable_token_indices=[1, 5]),
    _lora(
        "trainable tokens by name, kept tied",
        trainable_token_indices={"embed_tokens": [1, 5]},
        ensure_weight_tying=True,
    ),
    _lora("target parameters", "Mixtral", target_parameters=["experts.gate_up_proj", "experts.down_proj"]),
    _lora("attention of a mixture of experts", "Mixtral"),
    _lora("Conv1D layers", "GPT-2", target_modules=["c_attn"], fan_in_fan_out=True),
    _lora("targets chosen by PEFT", "GPT-2", target_modules=None),
    _lora("classifier", "Llama classifier", task_type="SEQ_CLS"),
    _lora("BERT classifier", "BERT classifier", task_type="SEQ_CLS", target_modules=["query", "value"]),
    _lora("encoder and decoder", "T5", task_type="SEQ_2_SEQ_LM", target_modules=["q", "v"]),
    _lora(
        "convolution",
        "ViT",
        task_type=None,
        target_modules=["query", "projection"],
        modules_to_save=["classifier"],
    ),
    _lora("random start", init_lora_weights=False),
    _lora("gaussian start", init_lora_weights="gaussian"),
    _lora("orthogonal start", init_lora_weights="orthogonal"),
    _lora("EVA", init_lora_weights="eva", eva_config={"rho": 2.0}),
    _lora("LoRA-GA", init_lora_weights="lora_ga", lora_ga_config={}),
    _lora("MiCA", init_lora_weights="mica"),
    _lora("PiSSA", init_lora_weights="pissa", why=_LOW_SVD),
    _lora("PiSSA, fast", init_lora_weights="pissa_niter_4", why=_LOW_SVD),
    _lora("OLoRA", init_lora_weights="olora", why=_LOW_SVD),
    _lora(
        "CorDA",
        init_lora_weights="corda",
        corda_config={},
        why={IDENTICAL: "PEFT cannot: it wants the covariances of its training data again"},
    ),
    _lora(
        "KaSA",
        kasa_config={},
        why={LOW: "refused: PEFT then changes the base at its first answer, and not when it loads"},
    ),
    _lora("aLoRA", alora_invocation_tokens=[5, 6]),
    _lora(
        "BD-LoRA",
        use_bdlora={"target_modules_bd_a": ["q_proj"], "target_modules_bd_b": ["v_proj"], "nblocks": 2},
    ),
    _lora("QALoRA", use_qalora=True, qalora_group_size=16),
    _lora("VeLoRA", velora_config={"num_groups": 8}),
    _lora(
        "MonteCLoRA",
        monteclora_config={},
        why={LOW: "refused: PEFT then attaches no sampler, and would leave its weights out"},
    ),
    _lora(
        "replicated layers",
        layer_replication=[[0, 2], [1, 2]],
        why={
            SECOND: "refused: PEFT would replicate the replicas, and move the first adapter to other layers",
            LOW: "refused: PEFT leaves layers without weights",
        },
    ),
    _lora("nf4 base", "Llama, nf4"),
    _lora("int8 base", "Llama, int8"),
    _lora("DoRA on an nf4 base", "Llama, nf4", use_dora=True),
    _lora("OLoRA on an nf4 base", "Llama, nf4", init_lora_weights="olora", why=_LOW_SVD),
    _lora("biases of the base", "Llama, with biases", bias="all", why=_ONE_BIAS),
    _lora("biases of its layers", "Llama, with biases", bias="lora_only", why=_ONE_BIAS),
)

_OTHERS: Final = (
    _case("ADALORA", target_modules=QV, init_r=6, target_r=3, total_step=100),
    _case(
        "ADALORA",
        "pruned, some to nothing",
        target_modules=QV,
        init_r=4,
        target_r=2,
        total_step=100,
        rank_pattern={
            f"model.layers.{layer}.self_attn.{name}.lora_E": [layer == 0, name == "v_proj", False, False]
            for layer in range(2)
            for name in QV
        },
        why={LOW: "PEFT cannot: it looks for the ranks that are left in weights that are not in memory"},
    ),
    _case("ADAMSS", r=8, num_subspaces=2, target_modules=QV),
    _case("ADAPTION_PROMPT", base="Llama, full heads", adapter_len=4, adapter_layers=2),
    _case("BEFT", target_modules=QV),
    _case("BOFT", boft_block_size=4, boft_n_butterfly_factor=2, target_modules=QV),
    _case("C3A", block_size=8, target_modules=QV),
    _case("CARTRIDGE", num_virtual_tokens=4, num_frozen_tokens=1),
    _case("CARTRIDGE", "nothing frozen", num_virtual_tokens=4, num_frozen_tokens=0),
    _case("CPT", cpt_token_ids=[1, 2, 3, 4], cpt_mask=[1, 1, 1, 1], cpt_tokens_type_mask=[1, 2, 3, 4]),
    _case("DEFT", r=4, target_modules=QV),
    _case("DEFT", "QR, PaRa", r=4, target_modules=QV, decomposition_method="qr", para=True),
    _case("DELORA", r=4, target_modules=QV),
    _case("FOURIERFT", n_frequency=20, target_modules=QV),
    _case("FROD", target_modules=QV, progressbar=False),
    _case("FROD", "projections not saved", target_modules=QV, progressbar=False, save_projection=False),
    _case("GLORA", r=4, target_modules=QV),
    _case("GRALORA", r=4, target_modules=QV),
    _case("GRALORA", "hybrid", r=4, hybrid_r=2, target_modules=QV),
    _case("HIRA", r=4, target_modules=QV),
    _case("HRA", r=4, target_modules=QV),
    _case("IA3"),
    _case(
        "IA3",
        "int8 base",
        "Llama, int8",
        why={LOW: "PEFT cannot: it moves modules that are not in memory"},
    ),
    _case("IA3", "feed-forward modules", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    _case("LILY", r=4, target_modules=QV),
    _case("LN_TUNING"),
    _case("LOHA", r=4, target_modules=QV),
    _case("LOKR", r=4, target_modules=QV),
    _case("LOKR", "convolution", "ViT", task_type=None, r=4, target_modules=["query", "projection"]),
    _case("MISS", r=4, target_modules=QV),
    _case("MISS", "bat", r=4, target_modules=QV, init_weights="bat"),
    _case("MISS", "mini", r=4, mini_r=2, target_modules=QV, init_weights="mini"),
    _case("MULTITASK_PROMPT_TUNING", num_virtual_tokens=3, num_tasks=2),
    _case("OFT", oft_block_size=8, target_modules=QV),
    _case("OFT", "shared, constrained", oft_block_size=8, target_modules=QV, block_share=True, coft=True),
    _case("OSF", effective_rank=8, target_modules=QV),
    _case("PEANUT", r=4, depth=2, target_modules=QV),
    _case("POLY", r=4, n_tasks=2, n_skills=2, target_modules=QV),
    _case("PREFIX_TUNING", num_virtual_tokens=3),
    _case("PREFIX_TUNING", "projected", num_virtual_tokens=3, prefix_projection=True, encoder_hidden_size=16),
    _case("PROMPT_TUNING", num_virtual_tokens=3),
    _case("PROMPT_TUNING", "encoder and decoder", "T5", task_type="SEQ_2_SEQ_LM", num_virtual_tokens=3),
    _case("PROMPT_TUNING", "classifier", "BERT classifier", task_type="SEQ_CLS", num_virtual_tokens=3),
    _case("PSOFT", r=8, target_modules=QV),
    _case("PVERA", r=8, target_modules=QO),
    _case("PVERA", "projections not saved", r=8, target_modules=QO, save_projection=False),
    _case("P_TUNING", num_virtual_tokens=3, encoder_hidden_size=16),
    _case(
        "P_TUNING",
        "LSTM",
        num_virtual_tokens=3,
        encoder_hidden_size=16,
        encoder_reparameterization_type="LSTM",
    ),
    _case("RANDLORA", r=8, target_modules=QV),
    _case("RANDLORA", "projections not saved", r=8, target_modules=QV, save_projection=False),
    _case("ROAD", group_size=8, target_modules=QV),
    _case("ROAD", "road_4", group_size=8, variant="road_4", target_modules=QV),
    _case("SHADOW", r=4, why={LOW: "PEFT cannot: it moves modules that are not in memory"}),
    _case("SHIRA", r=4, target_modules=QV),
    _case("SUPERTUNING", sparsity=0.9, target_modules=QV),
    _case("SUPERTUNING", "with a rank", sparsity=0.9, r=4, lora_alpha=4, target_modules=QV),
    _case("SUPERTUNING", "indices not saved", sparsity=0.9, target_modules=QV, save_precomputed_indices=False),
    _case("TINYLORA", r=2, u=8, target_modules=QV),
    _case("TINYLORA", "projections not saved", r=2, u=8, target_modules=QV, save_projection=False),
    _case("TRAINABLE_TOKENS", "untied", "Llama, untied", token_indices=[1, 5]),
    _case(
        "TRAINABLE_TOKENS",
        "tied",
        token_indices=[1, 5],
        why={SECOND: "refused: PEFT ties a second adapter otherwise than a first, and would leave weights random"},
    ),
    _case("UNILORA", r=4, theta_d_length=64, target_modules=QV),
    _case("UNILORA", "indices saved", r=4, theta_d_length=64, target_modules=QV, save_indices=True),
    _case("VBLORA", r=2, num_vectors=20, vector_length=16, target_modules=QV),
    _case(
        "VBLORA",
        "largest logits only",
        r=2,
        num_vectors=20,
        vector_length=16,
        target_modules=QV,
        save_only_topk_weights=True,
    ),
    _case("VERA", r=8, target_modules=QO),
    _case("VERA", "projections not saved", r=8, target_modules=QO, save_projection=False),
    _case("WAVEFT", n_frequency=20, target_modules=QV),
)

_IMPOSSIBLE: Final = (
    Case(
        name="LoRA, LoftQ",
        method="LORA",
        options={"r": 4, "target_modules": QV},
        edits={"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4, "loftq_iter": 1}},
        why={IDENTICAL: "PEFT cannot where there is no CUDA: it quantises the base's weights again"},
    ),
    Case(
        name="LoRA, Arrow",
        method="LORA",
        options={"r": 4, "target_modules": QV},
        edits={"arrow_config": {"top_k": 1}},
        why={IDENTICAL: "PEFT cannot: it does not save which adapters the router chooses from"},
    ),
    Case(
        name="XLORA",
        method="LORA",
        options={"r": 4, "target_modules": QV},
        edits={"peft_type": "XLORA"},
        why={IDENTICAL: "refused: it reads further adapters from paths"},
    ),
)

CASES: Final = (*_LORA, *_IMPOSSIBLE[:2], *_OTHERS, *_IMPOSSIBLE[2:])
