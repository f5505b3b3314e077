"""A weight that a model has under two names counts once: the same tensors from any file, and from memory.

Frameworks tie an output layer to the input embedding, or one embedding to another; a file repeats the tied weight
or leaves it out, depending on who wrote it. Only names known for it are left out, and only where the weight
really is the same: a model whose layers repeat each other is not the model without them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fingerprint import TensorDigest

__all__ = ["canonical", "refuse_unknown_ties"]

# Rank 1 is left out for a weight of rank 0 (any other name), rank 2 for one of rank 0 or 1.
_EMBEDDINGS: Final = re.compile(r"(.+\.)?(encoder|decoder)\.embed_tokens\.weight")
_OUTPUTS: Final = re.compile(r"(.+\.)?(lm_head\.weight|(lm_head|cls\.predictions)\.decoder\.(weight|bias))")

_Content = tuple[str, tuple[int, ...], Digest]


def canonical(tensors: Iterable[TensorDigest]) -> tuple[TensorDigest, ...]:
    """A base model's tensors as its fingerprint counts them, sorted by name.

    An output layer or a second embedding that equals a tensor of lower rank is left out (docs/reference/
    fingerprint.md lists the names). Ties of other names are found where they can be seen, which is in memory.
    """
    ordered = sorted(tensors, key=lambda tensor: tensor.name.encode())
    lowest: dict[_Content, int] = {}
    for tensor in ordered:
        content = _content(tensor)
        lowest[content] = min(lowest.get(content, 2), _rank(tensor.name))
    return tuple(tensor for tensor in ordered if _rank(tensor.name) <= lowest[_content(tensor)])


def refuse_unknown_ties(tensors: Iterable[TensorDigest]) -> None:
    """Refuse a file that holds one matrix under two unlike names: memory may count it once, or twice.

    Names that differ in numbers only (`layers.3`, `layers.4`) are alike: models made of repeated layers hold each.

    Raises:
        FormatError: naming both.
    """
    seen: dict[_Content, str] = {}
    for tensor in tensors:
        if len(tensor.shape) < 2 or not tensor.parameters:
            continue
        first = seen.setdefault(_content(tensor), tensor.name)
        if _without_numbers(first) != _without_numbers(tensor.name):
            raise FormatError(
                "the files hold the same weights under two names, and do not say whether they are tied",
                found=f"{first} and {tensor.name}",
                fix="Measure the model in memory: skillwarrant_verify.base.measure(model).",
            )


def _rank(name: str) -> int:
    if _OUTPUTS.fullmatch(name):
        return 2
    return 1 if _EMBEDDINGS.fullmatch(name) else 0


def _content(tensor: TensorDigest) -> _Content:
    return tensor.dtype, tensor.shape, tensor.digest


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "0", name)
