"""How the files of a model name its tensors, and how the model in memory does, family by family.

Data only; `model_names` applies it. Memory's names are those of transformers 5. The tests hold every family here
against transformers, and `CONVERTED` against transformers' own list of what it converts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["CONVERTED", "FAMILIES", "LEGACY", "Architecture", "Family"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """Which tensors a class has.

    Args:
        body: pattern of the names in its body, without the family's prefix.
        head: pattern of the names of its head; None for the bare body, whose names have no prefix.
    """

    body: re.Pattern[str]
    head: re.Pattern[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One kind of model.

    Args:
        prefix: what a model with a head puts before the names of its body.
        architectures: class -> which tensors it has.
        embedding: a tensor of the body that no file may lack.
        renames: what loading renames: (pattern, replacement), each in turn, at its first match.
        ignored: names in older files that the model does not load.
        experts: whether loading fuses the experts of each layer (see `model_names`).
    """

    prefix: str
    architectures: Mapping[str, Architecture]
    embedding: str
    renames: tuple[tuple[re.Pattern[str], str], ...] = ()
    ignored: re.Pattern[str] | None = None
    experts: bool = False

    @property
    def is_converted(self) -> bool:
        """Whether memory has other tensors or names than the files."""
        return self.experts or bool(self.renames)


def _architectures(body: str, heads: Mapping[str, str | None]) -> dict[str, Architecture]:
    return {
        name: Architecture(re.compile(body), None if head is None else re.compile(head))
        for name, head in heads.items()
    }


def _decoder(name: str, *, renames: tuple[tuple[str, str], ...] = (), experts: bool = False) -> Family:
    """Llama and its relatives: all name their tensors alike."""
    heads = {
        f"{name}Model": None,
        f"{name}ForCausalLM": r"lm_head\.",
        f"{name}ForSequenceClassification": r"score\.",
        f"{name}ForTokenClassification": r"score\.",
    }
    return Family(
        prefix="model.",
        architectures=_architectures(r"(embed_tokens|layers|norm)\.", heads),
        embedding="embed_tokens.weight",
        renames=_patterns(renames),
        ignored=re.compile(r".*\.rotary_emb\.inv_freq"),
        experts=experts,
    )


def _patterns(renames: tuple[tuple[str, str], ...]) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(pattern), new) for pattern, new in renames)


_BERT_POOLED: Final = _architectures(
    r"(embeddings|encoder|pooler)\.",
    {
        "BertModel": None,
        "BertForMultipleChoice": r"classifier\.",
        "BertForNextSentencePrediction": r"cls\.seq_relationship\.",
        "BertForPreTraining": r"cls\.(predictions|seq_relationship)\.",
        "BertForSequenceClassification": r"classifier\.",
    },
)
_BERT: Final = _architectures(
    r"(embeddings|encoder)\.",
    {
        "BertForMaskedLM": r"cls\.predictions\.",
        "BertForQuestionAnswering": r"qa_outputs\.",
        "BertForTokenClassification": r"classifier\.",
        "BertLMHeadModel": r"cls\.predictions\.",
    },
)

FAMILIES: Final[Mapping[str, Family]] = {
    "bert": Family(
        prefix="bert.",
        architectures={**_BERT_POOLED, **_BERT},
        embedding="embeddings.word_embeddings.weight",
        ignored=re.compile(r"(.+\.)?embeddings\.position_ids"),
    ),
    "gpt2": Family(
        prefix="transformer.",
        architectures=_architectures(
            r"(wte|wpe|h|ln_f)\.",
            {
                "GPT2Model": None,
                "GPT2LMHeadModel": r"lm_head\.",
                "GPT2ForSequenceClassification": r"score\.",
                "GPT2ForTokenClassification": r"classifier\.",
            },
        ),
        embedding="wte.weight",
        ignored=re.compile(r"(.+\.)?h\.\d+\.(attn|crossattention)\.(masked_)?bias"),
    ),
    "llama": _decoder("Llama"),
    "mistral": _decoder("Mistral"),
    "mixtral": _decoder(
        "Mixtral",
        renames=(
            (r"\.block_sparse_moe\.", ".mlp."),
            (r"\.experts\.(\d+)\.w1\.", r".experts.\1.gate_proj."),
            (r"\.experts\.(\d+)\.w2\.", r".experts.\1.down_proj."),
            (r"\.experts\.(\d+)\.w3\.", r".experts.\1.up_proj."),
        ),
        experts=True,
    ),
    "qwen2": _decoder("Qwen2"),
    "qwen2_moe": _decoder("Qwen2Moe", experts=True),
    "qwen3": _decoder("Qwen3"),
    "qwen3_moe": _decoder("Qwen3Moe", experts=True),
    "t5": Family(
        prefix="",
        architectures={
            **_architectures(
                r"(shared|encoder|decoder)\.", {"T5Model": None, "T5ForConditionalGeneration": r"lm_head\."}
            ),
            **_architectures(r"(shared|encoder)\.", {"T5EncoderModel": None}),
        },
        embedding="shared.weight",
        ignored=re.compile(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"),
    ),
    "vit": Family(
        prefix="vit.",
        architectures={
            **_architectures(r"(embeddings|layers|layernorm|pooler)\.", {"ViTModel": None}),
            **_architectures(r"(embeddings|layers|layernorm)\.", {"ViTForImageClassification": r"classifier\."}),
        },
        embedding="embeddings.patch_embeddings.projection.weight",
        renames=_patterns(
            (
                (r"encoder\.layer\.", "layers."),
                (r"attention\.query", "q_proj"),
                (r"attention\.key", "k_proj"),
                (r"attention\.value", "v_proj"),
                (r"attention\.output\.dense", "attention.o_proj"),
                (r"intermediate\.dense", "mlp.fc1"),
                (r"output\.dense", "mlp.fc2"),
            )
        ),
    ),
}
"""By transformers' `model_type`."""

LEGACY: Final = _patterns(((r"LayerNorm\.gamma", "LayerNorm.weight"), (r"LayerNorm\.beta", "LayerNorm.bias")))
"""What loading renames in every family."""

_CONVERTED: Final = """
    afmoe altclip aria aria_text audio-spectrogram-transformer audioflamingo3 axk1 axk2 aya_vision
    bailing_hybrid beam beit chinese_clip_vision_model clip_text_model clip_vision_model cohere2_moe cohere_asr
    colqwen2 conditional_detr cosmos3_edge cosmos3_omni d_fine deepseek_ocr2 deepseek_v2 deepseek_v3
    deepseek_v32 deepseek_v4 deformable_detr deit detr dinov2 dinov2_with_registers dinov3_convnext dinov3_vit
    dots1 dots3_note dots3_note_audio_encoder dots3_note_text dots3_note_vision_encoder emu3 ernie4_5_moe
    ernie4_5_vl_moe esm exaone_moe flex_olmo flint fuyu gemma3 gemma3n_text gemma4_unified glm4_moe
    glm4_moe_lite glm4v_moe glm5_next glm5_next_text glm_moe_dsa glmasr got_ocr2 gpt_neox gradium_phonon_tts
    granite_speech granite_speech_plus granitemoe granitemoehybrid granitemoeshared gte hrm_text hunyuan_v1_moe
    hunyuan_vl hy_v3 hy_v4 hyperclovax_vision_v2 ijepa inkling2 inkling2_text inkling_mm_model internvl jamba
    jev jina_embeddings_v3 kimi_k25 kimi_linear kolibri1 laguna lfm2_moe lfm3 lfm3_vl_vision llava llava_next
    llava_next_video llava_onevision longcat_flash lw_detr maskformer mellum mimi mimi_decoder mimi_encoder
    mimo_v2_flash minimax minimax_m2 minimax_m3_vl mistral3 mistral_large4 mistral_large4_text mlcd mllama
    molmo2 molmo2_text musicflamingo nemo_speechlm nemotron_h nemotron_h_omni nomic_bert olmo_hybrid olmoe
    paddleocr_vl paligemma phimoe pi0 pixio pp_chart2table pp_doclayout_v2 pp_doclayout_v3 pp_doclayout_v4
    qianfan_ocr qwen2_5_omni_thinker qwen2_5_vl qwen2_audio qwen2_vl qwen3_5_moe_text qwen3_5_text qwen3_next
    qwen3_omni_moe qwen3_omni_moe_text qwen3_omni_moe_thinker qwen3_vl_moe qwen4_exp_text radio rf_detr rt_detr
    rt_detr_v2 sam3_tracker sam3_tracker_video sapiens2 segformer shieldgemma2 siglip2_vision_model
    siglip_vision_model solar_open step3p5_vision step3p7 swin t5gemma2_encoder timesfm2_5 timm_wrapper tipsv2
    tipsv2_dpt tipsv2_text_model tipsv2_vision_model ultrabert ultravbert unlimited_ocr vibevoice_asr
    video_llava videomae vipllava vit_mae vit_msn vivit voxtral voxtral_realtime yolos
"""
CONVERTED: Final = frozenset(_CONVERTED.split())
"""Further model types that transformers 5 converts as it loads them, in ways that are not described here."""
