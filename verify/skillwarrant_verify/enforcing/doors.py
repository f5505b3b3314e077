"""Every way by which PEFT, transformers and diffusers put an adapter onto a model: the one place that knows them.

There are three rows of doors, one behind the other. The calls that people make come first: they refuse before
anything is changed. Behind them are the few functions of PEFT that all of them lead to, whoever calls them
(transformers and diffusers go past `PeftModel`). Last are the functions that make an adapter's weights in one
layer, which a tuner of one's own would call.

Nothing is imported here: a door is looked for in a module that somebody else has imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Final

from skillwarrant_format.errors import Unavailable

__all__ = ["doors_of", "is_watched", "required"]

_PEFT_SERIES: Final = "0.21."  # whose doors are known; another version may have further ones

# Module -> functions that must be there. A module without one of them is of a version that is not known.
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "diffusers.loaders.ip_adapter": ("IPAdapterMixin.load_ip_adapter",),
    "diffusers.loaders.lora_base": (
        "LoraBaseMixin.fuse_lora",
        "_load_lora_into_text_encoder",
        "fuse_text_encoder_lora",
    ),
    "diffusers.loaders.lora_pipeline": ("StableDiffusionLoraLoaderMixin.load_lora_weights",),
    "diffusers.loaders.peft": (
        "PeftAdapterMixin.add_adapter",
        "PeftAdapterMixin.fuse_lora",
        "PeftAdapterMixin.load_lora_adapter",
    ),
    "diffusers.loaders.textual_inversion": ("TextualInversionLoaderMixin.load_textual_inversion",),
    "diffusers.loaders.transformer_flux": ("FluxTransformer2DLoadersMixin._load_ip_adapter_weights",),
    "diffusers.loaders.transformer_sd3": ("SD3Transformer2DLoadersMixin._load_ip_adapter_weights",),
    "diffusers.loaders.unet": (
        "UNet2DConditionLoadersMixin._load_ip_adapter_weights",
        "UNet2DConditionLoadersMixin.load_attn_procs",
    ),
    "diffusers.models.controlnets.controlnet_xs": ("UNetControlNetXSModel.from_unet",),
    "diffusers.models.unets.unet_motion_model": (
        "UNetMotionModel.from_unet2d",
        "UNetMotionModel.load_motion_modules",
    ),
    "peft.auto": ("_BaseAutoPeftModel.from_pretrained",),
    "peft.mapping": ("inject_adapter_in_model",),
    "peft.mapping_func": ("get_peft_model",),
    "peft.mixed_model": (
        "PeftMixedModel.__init__",
        "PeftMixedModel.add_adapter",
        "PeftMixedModel.from_pretrained",
    ),
    "peft.peft_model": (
        "PeftModel.__init__",
        "PeftModel._setup_prompt_encoder",
        "PeftModel.add_adapter",
        "PeftModel.from_pretrained",
        "PeftModel.load_adapter",
    ),
    "peft.tuners.adaption_prompt.model": ("AdaptionPromptModel.__init__", "AdaptionPromptModel.add_adapter"),
    "peft.tuners.cartridge.utils": ("initialize_kv_prefix_from_past_key_values",),
    "peft.tuners.ia3.model": ("IA3Model.add_weighted_adapter",),
    "peft.tuners.lora.eva": ("initialize_lora_eva_weights",),
    "peft.tuners.lora.model": ("LoraModel.add_weighted_adapter",),
    "peft.tuners.tuners_utils": (
        "BaseTuner.__init__",
        "BaseTuner.inject_adapter",
        "BaseTuner.merge_adapter",
        "BaseTuner.merge_and_unload",
    ),
    "peft.tuners.xlora.model": ("XLoraModel.__init__", "_load_adapter_into_lora_model"),
    "peft.utils.hotswap": ("hotswap_adapter", "hotswap_adapter_from_state_dict"),
    "peft.utils.loftq_utils": ("replace_lora_weights_loftq",),
    "peft.utils.other": (
        "AuxiliaryTrainingWrapper.__init__",
        "ModulesToSaveWrapper.update",
        "TrainableTokensWrapper.update",
    ),
    "peft.utils.save_and_load": ("set_peft_model_state_dict",),
    "transformers.integrations.peft": ("PeftAdapterMixin.add_adapter", "PeftAdapterMixin.load_adapter"),
    "transformers.models.wav2vec2.modeling_wav2vec2": ("Wav2Vec2PreTrainedModel.load_adapter",),
}

# Modules that begin so -> methods that begin so, in whichever class: doors wherever they are found.
_FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "diffusers.loaders.": ("fuse_lora", "load_ip_adapter", "load_lora_into_", "load_lora_weights"),
    "peft.tuners.": ("inject_adapter", "load_prompt_embeddings", "update_layer"),
}


def is_watched(module_name: str) -> bool:
    """Whether a module of this name may have doors."""
    return module_name in _REQUIRED or module_name.startswith(tuple(_FAMILIES))


def required() -> tuple[str, ...]:
    """The doors that are known by name, as `module.function`, sorted."""
    return tuple(sorted(f"{module}.{name}" for module, names in _REQUIRED.items() for name in names))


def doors_of(module: ModuleType) -> Iterator[tuple[str, FunctionType]]:
    """The doors of an imported module.

    Yields:
        Each door's name (`module.function`) and the function itself, within whatever decorates it.

    Raises:
        Unavailable: the module lacks a door that must be there, or is of a PEFT whose doors are not known.
    """
    name = module.__name__
    _check_known(module)
    for path in _REQUIRED.get(name, ()):
        yield f"{name}.{path}", _required(module, path)
    beginnings = tuple(each for prefix, found in _FAMILIES.items() if name.startswith(prefix) for each in found)
    for holder in list(vars(module).values()) if beginnings else ():
        if isinstance(holder, type) and holder.__module__ == name:
            yield from _methods(holder, beginnings)


def _check_known(module: ModuleType) -> None:
    if module.__name__.partition(".")[0] == "peft":
        version = getattr(sys.modules.get("peft"), "__version__", None)
        if not str(version).startswith(_PEFT_SERIES):
            raise Unavailable(
                "the doors of this version of PEFT are not known, so it cannot be enforced that they are closed",
                expected=f"{_PEFT_SERIES}*",
                found=str(version),
                fix=f"pip install 'peft=={_PEFT_SERIES}*'",
            )


def _required(module: ModuleType, path: str) -> FunctionType:
    holder: object = module
    for part in path.split("."):
        holder = vars(holder).get(part) if isinstance(holder, ModuleType | type) else None
    if (function := _function(holder)) is None:
        raise Unavailable(
            "this version of a library is not known, so it cannot be enforced that its doors are closed",
            expected=f"{module.__name__}.{path}",
            found=f"{module.__name__} without it",
            fix="Install the versions that skillwarrant was made for.",
        )
    return function


def _methods(holder: type, beginnings: tuple[str, ...]) -> Iterator[tuple[str, FunctionType]]:
    for name, attribute in list(vars(holder).items()):
        if name.startswith(beginnings) and (function := _function(attribute)) is not None:
            yield f"{holder.__module__}.{holder.__qualname__}.{name}", function


def _function(attribute: object) -> FunctionType | None:
    inner = attribute.__func__ if isinstance(attribute, classmethod | staticmethod) else attribute
    if not callable(inner):
        return None
    from inspect import unwrap

    innermost = unwrap(inner)
    return innermost if isinstance(innermost, FunctionType) else None
