"""From the tensors of a model's files to those that the model has in memory, without loading either.

A tensor of memory is one tensor of a file under another name, or several whole ones one after the other: a mixture
of experts keeps each expert's `gate_proj`, `up_proj` and `down_proj` in its file, and in memory stacks them per
layer, with gate and up side by side. Row after row that is nothing but concatenation, so that bytes can be hashed
where they lie. Whatever needs more than that is refused: it has to be measured in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.model_families import CONVERTED, FAMILIES, LEGACY, Architecture, Family
from skillwarrant_format.safetensors import TensorInfo
from skillwarrant_format.strict_json import JsonObject, JsonValue

__all__ = ["Whole", "in_memory"]

_EXPERT: Final = re.compile(r"(.+\.experts)\.(0|[1-9]\d*)\.(gate_proj|up_proj|down_proj)\.weight")
_FUSED: Final = (("gate_up_proj", ("gate_proj", "up_proj")), ("down_proj", ("down_proj",)))
_TIED: Final = re.compile(r".*(ForCausalLM|LMHeadModel|ForConditionalGeneration|ForMaskedLM|ForPreTraining)")
_FIX: Final = "Measure the model in memory: skillwarrant_verify.base.measure(model)."


@dataclass(frozen=True, slots=True)
class Whole:
    """A tensor as memory has it.

    Args:
        pieces: which of the files' tensors it is made of, by their place in the list, one after the other.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    pieces: tuple[int, ...]


def in_memory(document: JsonObject, tensors: Sequence[TensorInfo]) -> list[Whole]:
    """What the class that config.json names has in memory, once these tensors are loaded into it.

    A family that is not in `FAMILIES` is taken to name its tensors in memory as in its files.

    Args:
        document: config.json.
        tensors: of all files.

    Raises:
        FormatError: it cannot be told without loading the model, or the files are not what the class loads.
    """
    config = Fields(document, "config.json")
    family = FAMILIES.get(config.maybe("model_type", config.text) or "")
    _refuse_conversions(set(_model_types(document)), family)
    _refuse_quantization(config, family)
    if family is None:
        return [_renamed(tensor, _legacy(tensor.name), place) for place, tensor in enumerate(tensors)]
    architecture, name = _architecture(config, family)
    wholes = [
        _renamed(tensor, found, place)
        for place, tensor in enumerate(tensors)
        if (found := _name(tensor.name, family, architecture, name)) is not None
    ]
    fused = list(_fused(wholes)) if family.experts else wholes
    _check_complete(config, {whole.name for whole in fused}, family, architecture)
    return fused


def _renamed(tensor: TensorInfo, name: str, place: int) -> Whole:
    return Whole(name, tensor.dtype, tensor.shape, (place,))


def _legacy(name: str) -> str:
    for pattern, new in LEGACY:
        name = pattern.sub(new, name, count=1)
    return name


def _refuse_conversions(named: set[str], family: Family | None) -> None:
    """Loading makes other tensors of these, and which ones is not described here."""
    unknown = named & CONVERTED
    if family is None:  # a model of several parts, one of which is
        unknown |= {name for name in named & FAMILIES.keys() if FAMILIES[name].is_converted}
    if unknown:
        found = ", ".join(sorted(unknown))
        raise _refused("transformers converts the tensors of this family as it loads them", found)


def _refuse_quantization(config: Fields, family: Family | None) -> None:
    quantized = config.maybe("quantization_config", config.object)
    if quantized is None:
        return
    method = quantized.maybe("quant_method", quantized.text)
    if method != "bitsandbytes" or (family is not None and family.is_converted):
        raise _refused("this quantisation may hold other tensors in memory than in its files", method or "nothing")


def _model_types(value: JsonValue) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(found := value.get("model_type"), str):
            yield found
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _model_types(item)


def _architecture(config: Fields, family: Family) -> tuple[Architecture, str]:
    named = config.maybe("architectures", config.texts) or ()
    found = family.architectures.get(named[0]) if named else None
    if found is None:
        known = " or ".join(sorted(family.architectures))
        raise _refused("config.json names no class whose tensors are known", ", ".join(named) or "none", known)
    return found, named[0]


def _name(name: str, family: Family, architecture: Architecture, class_name: str) -> str | None:
    """A tensor's name in memory; None for what is not loaded."""
    name = _legacy(name)
    for pattern, new in family.renames:
        name = pattern.sub(new, name, count=1)
    if family.ignored is not None and family.ignored.fullmatch(name):
        return None
    relative = name.removeprefix(family.prefix)
    if architecture.body.match(relative):
        return relative if architecture.head is None else family.prefix + relative
    if architecture.head is not None and architecture.head.match(name):
        return name
    raise _refused(f"the files hold a tensor that {class_name} does not load", name)


def _fused(wholes: Sequence[Whole]) -> Iterator[Whole]:
    experts: dict[str, dict[tuple[int, str], Whole]] = {}
    for whole in wholes:
        if match := _EXPERT.fullmatch(whole.name):
            experts.setdefault(match[1], {})[int(match[2]), match[3]] = whole
        else:
            yield whole
    for layer, parts in experts.items():
        count = len({index for index, _ in parts})
        for name, kinds in _FUSED:
            found = [parts.get((index, kind)) for index in range(count) for kind in kinds]
            yield _stacked(f"{layer}.{name}", found, len(kinds))


def _stacked(name: str, parts: Sequence[Whole | None], each: int) -> Whole:
    """`parts` one after the other: the experts in their order, and side by side the `each` parts of an expert."""
    there = [part for part in parts if part is not None]
    forms = {(part.dtype, part.shape) for part in there}
    if len(there) != len(parts) or len(forms) != 1 or len(there[0].shape) != 2:
        raise FormatError(
            "the experts of a layer do not make one tensor",
            expected="matrices of one form, none missing",
            found=name,
        )
    rows, columns = there[0].shape
    shape = (len(parts) // each, rows * each, columns)
    return Whole(name, there[0].dtype, shape, tuple(place for part in there for place in part.pieces))


def _check_complete(config: Fields, names: set[str], family: Family, architecture: Architecture) -> None:
    """What is missing would be made up on loading, or be a weight tied to one of another name."""
    embedding = family.embedding if architecture.head is None else family.prefix + family.embedding
    if embedding not in names:
        raise _refused("the files lack a tensor of the model", "nothing", embedding)
    head = architecture.head
    if head is None or any(head.match(name) for name in names):
        return
    tied = config.maybe("tie_word_embeddings", config.boolean)
    class_name = config.texts("architectures")[0]
    if tied is False or not _TIED.fullmatch(class_name):
        raise _refused(f"the files lack the head of {class_name}", "nothing", head.pattern.replace("\\", ""))


def _refused(message: str, found: str, expected: str | None = None) -> FormatError:
    return FormatError(message, expected=expected, found=found, fix=_FIX)
