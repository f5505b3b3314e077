"""The fingerprint of a base model from its files: safetensors only, sharded or not, without torch.

The same answer as measuring the loaded model gives, or a refusal that says to measure that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from skillwarrant_format.base_facts import BaseFacts, most_common_dtype, quantization_of
from skillwarrant_format.casts import Caster
from skillwarrant_format.errors import FormatError, Unavailable, UsageError
from skillwarrant_format.fields import Fields
from skillwarrant_format.fingerprint import Fingerprint, TensorDigest, root
from skillwarrant_format.hashing import Progress, Source, hash_all
from skillwarrant_format.manifest_facts import Cast
from skillwarrant_format.model_names import Whole, in_memory
from skillwarrant_format.safetensors import DTYPE_BITS
from skillwarrant_format.strict_json import JsonObject
from skillwarrant_format.ties import canonical, refuse_unknown_ties
from skillwarrant_format.weight_files import Placed, Shard, open_shards, read_document

__all__ = ["DirectoryFingerprint", "cast_directory", "fingerprint_directory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryFingerprint:
    """A measured directory: its fingerprint, the tensors that it is the root of, and what config.json says."""

    fingerprint: Fingerprint
    tensors: tuple[TensorDigest, ...]
    facts: BaseFacts


def fingerprint_directory(directory: Path | str, progress: Progress | None = None) -> DirectoryFingerprint:
    """Measure a model's directory, on two threads.

    Args:
        directory: as `model.save_pretrained` or a download of the Hub leaves it.
        progress: told (bytes hashed, bytes in total).

    Raises:
        UsageError: there is no such directory.
        FormatError: no safetensors weights, files that contradict each other, a file that changed meanwhile, or a
            model whose tensors in memory cannot be told from its files.
        Unavailable: the system would not let us read.
    """
    config, tensors = _read(Path(directory), None, progress)
    return DirectoryFingerprint(fingerprint=root(tensors), tensors=tensors, facts=_facts(config, tensors))


def cast_directory(directory: Path | str, dtype: str, progress: Progress | None = None) -> Cast:
    """What a model measures after `model.to(dtype)`, from its files.

    Args:
        dtype: `bfloat16`, `float16` or `float32`.
        progress: told (bytes hashed, bytes in total).

    Raises:
        UsageError: as `fingerprint_directory`, another dtype, or a cast that changes nothing.
        FormatError: as `fingerprint_directory`, or weights that cannot be cast reproducibly.
        Unavailable: as `fingerprint_directory`, or numpy is not installed.
    """
    caster = Caster(dtype)
    _, tensors = _read(Path(directory), caster, progress)
    return Cast(dtype=dtype, kind=caster.kind, fingerprint=root(tensors))


def _read(
    path: Path, caster: Caster | None, progress: Progress | None
) -> tuple[JsonObject, tuple[TensorDigest, ...]]:
    if not path.is_dir():
        raise UsageError("there is no such directory", expected="a model's directory", found=str(path))
    try:
        with ExitStack() as stack:
            shards = open_shards(path, stack)
            config = read_document(path / "config.json")
            return config, _measure(config, shards, caster, progress)
    except OSError as error:
        raise Unavailable("the model's files could not be read", found=str(error)) from error


def _measure(
    config: JsonObject, shards: list[Shard], caster: Caster | None, progress: Progress | None
) -> tuple[TensorDigest, ...]:
    before = [shard.state() for shard in shards]
    placed = [Placed(shard, tensor) for shard in shards for tensor in shard.header.tensors]
    wholes = in_memory(config, [item.info for item in placed])
    readings = [_Reading(whole, [placed[piece] for piece in whole.pieces], caster) for whole in wholes]
    if caster is not None:
        _check_cast(config, readings)
    digests = hash_all([reading.source() for reading in readings], progress)
    for shard, state in zip(shards, before, strict=True):
        if shard.state() != state:
            raise shard.changed()
    tensors = canonical(
        TensorDigest(name=reading.whole.name, dtype=reading.dtype, shape=reading.whole.shape, digest=digest)
        for reading, digest in zip(readings, digests, strict=True)
    )
    refuse_unknown_ties(tensors)
    return tensors


@dataclass(frozen=True, slots=True)
class _Reading:
    """How a tensor of memory is read from the files."""

    whole: Whole
    pieces: Sequence[Placed]
    caster: Caster | None

    @property
    def dtype(self) -> str:
        now = self.whole.dtype
        return now if self.caster is None else self.caster.dtype(now, self.whole.name)

    def source(self) -> Source:
        size = sum(piece.size for piece in self.pieces) * DTYPE_BITS[self.dtype] // DTYPE_BITS[self.whole.dtype]
        return Source(size=size, chunks=self.chunks)

    def chunks(self) -> Iterator[memoryview]:
        for piece in self.pieces:
            if self.caster is None:
                yield from piece.chunks()
            else:
                yield from self.caster.chunks(self.whole.dtype, self.whole.name, piece.chunks())


def _check_cast(config: JsonObject, readings: Sequence[_Reading]) -> None:
    if "quantization_config" in config:
        raise FormatError("a quantised model is not cast", fix="Name it as a base model of its own.")
    if all(reading.dtype == reading.whole.dtype for reading in readings):
        raise UsageError("the cast changes nothing", expected="a dtype that the model does not have")


def _facts(document: JsonObject, tensors: tuple[TensorDigest, ...]) -> BaseFacts:
    config = Fields(document, "config.json")
    architectures = config.maybe("architectures", config.texts) or ()
    model_type = config.maybe("model_type", config.text)
    quantized = document.get("quantization_config")
    return BaseFacts(
        architecture=architectures[0] if architectures else model_type or "unknown",
        parameters=sum(tensor.parameters for tensor in tensors),
        dtype=most_common_dtype(tensors),
        model_type=model_type,
        quantization=quantization_of(quantized) if isinstance(quantized, Mapping) else None,
    )
