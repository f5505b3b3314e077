"""The fingerprint of a base model from its files: safetensors only, sharded or not, without torch.

It gives the same answer as measuring the loaded model wherever the files hold the model's state under the names
that the model uses (dense models do). It follows symlinks: these bytes are measured, and never loaded from here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from skillwarrant_format import limits
from skillwarrant_format.base_facts import BaseFacts, most_common_dtype
from skillwarrant_format.errors import FormatError, Unavailable, UsageError
from skillwarrant_format.fields import Fields
from skillwarrant_format.fingerprint import Fingerprint, TensorDigest, root
from skillwarrant_format.hashing import Progress, Source, hash_all
from skillwarrant_format.safetensors import Header, TensorInfo
from skillwarrant_format.strict_json import loads_object
from skillwarrant_format.ties import canonical

__all__ = ["DirectoryFingerprint", "fingerprint_directory"]

_SINGLE: Final = "model.safetensors"
_INDEX: Final = "model.safetensors.index.json"
_PICKLES: Final = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_CHUNK: Final = 512 * limits.KIB  # a read that is still in the processor's cache when it is hashed
_MAX_SHARDS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryFingerprint:
    """A measured directory: its fingerprint, the tensors in it, and what config.json says."""

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
        FormatError: no safetensors weights, files that contradict each other, or a file that changed meanwhile.
        Unavailable: the system would not let us read.
    """
    path = Path(directory)
    if not path.is_dir():
        raise UsageError("there is no such directory", expected="a model's directory", found=str(path))
    try:
        with ExitStack() as stack:
            shards = _shards(path, stack)
            config = _document(path / "config.json")
            tensors = canonical(_measure(shards, progress))
    except OSError as error:
        raise Unavailable("the model's files could not be read", found=str(error)) from error
    return DirectoryFingerprint(fingerprint=root(tensors), tensors=tensors, facts=_facts(config, tensors))


@dataclass(frozen=True, slots=True)
class _Shard:
    name: str
    descriptor: int
    header: Header

    def state(self) -> tuple[int, ...]:
        status = os.fstat(self.descriptor)
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _shards(path: Path, stack: ExitStack) -> list[_Shard]:
    single, index = (path / _SINGLE).exists(), (path / _INDEX).exists()
    if single and index:
        raise FormatError("the model's weights are there twice", found=f"{_SINGLE} and {_INDEX}", fix="Delete one.")
    if single:
        return [_open(path, _SINGLE, stack)]
    if index:
        return _indexed(path, stack)
    pickle = next((name for name in _PICKLES if (path / name).exists()), None)
    raise FormatError(
        "the directory has no weights in safetensors",
        expected=f"{_SINGLE} or {_INDEX}",
        found=pickle or "neither",
        fix="Load the model where that is safe and save it again with model.save_pretrained(directory).",
    )


def _open(path: Path, name: str, stack: ExitStack) -> _Shard:
    descriptor = os.open(path / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a fifo must not hang us
    stack.callback(os.close, descriptor)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise FormatError("the model's weights are no regular file", found=name)
    return _Shard(name, descriptor, Header.read(descriptor, what=name))


def _indexed(path: Path, stack: ExitStack) -> list[_Shard]:
    places = _document(path / _INDEX, limits.MAX_JSON_BYTES).object("weight_map")
    expected = {name: places.text(name) for name in places.keys()}  # noqa: SIM118  # Fields is no mapping
    names = sorted(set(expected.values()))
    if len(names) > _MAX_SHARDS or any("/" in name or not name.endswith(".safetensors") for name in names):
        raise FormatError(f"{_INDEX} names no shards", expected=f"1 to {_MAX_SHARDS} names like *.safetensors")
    if missing := [name for name in names if not (path / name).is_file()]:
        raise FormatError(f"{_INDEX} names a file that is not there", found=missing[0])
    shards = [_open(path, name, stack) for name in names]
    found = [(tensor.name, shard.name) for shard in shards for tensor in shard.header.tensors]
    if sorted(found) != sorted(expected.items()):
        odd = sorted(set(found) ^ set(expected.items())) or sorted(found)
        raise FormatError(f"{_INDEX} and the shards do not hold the same tensors", found=" in ".join(odd[0]))
    return shards


def _measure(shards: list[_Shard], progress: Progress | None) -> list[TensorDigest]:
    before = [shard.state() for shard in shards]
    placed = [(shard, tensor) for shard in shards for tensor in shard.header.tensors]
    digests = hash_all([_source(shard, tensor) for shard, tensor in placed], progress)
    for shard, state in zip(shards, before, strict=True):
        if shard.state() != state:
            raise _changed(shard)
    return [
        TensorDigest(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, digest=digest)
        for (_, tensor), digest in zip(placed, digests, strict=True)
    ]


def _source(shard: _Shard, tensor: TensorInfo) -> Source:
    size = tensor.end - tensor.start
    position = shard.header.data_start + tensor.start

    def chunks() -> Iterator[memoryview]:
        # Not mapped into memory: a file that is cut short meanwhile would then kill the process.
        buffer = memoryview(bytearray(min(size, _CHUNK)))
        for offset in range(0, size, _CHUNK):
            chunk = buffer[: min(_CHUNK, size - offset)]
            if os.preadv(shard.descriptor, [chunk], position + offset) != len(chunk):
                raise _changed(shard)
            yield chunk

    return Source(size=size, chunks=chunks)


def _changed(shard: _Shard) -> FormatError:
    return FormatError("a file changed while it was being read", found=shard.name)


def _document(path: Path, limit: int = limits.MAX_CONFIG_BYTES) -> Fields:
    if not path.is_file():
        raise FormatError("the directory is no model's directory", expected=path.name, found="nothing")
    with path.open("rb") as file:
        data = file.read(limit + 1)
    return Fields(loads_object(data, what=path.name, limit=limit), path.name)


def _facts(config: Fields, tensors: tuple[TensorDigest, ...]) -> BaseFacts:
    architectures = config.maybe("architectures", config.texts) or ()
    model_type = config.maybe("model_type", config.text)
    quantized = config.maybe("quantization_config", config.object)
    return BaseFacts(
        architecture=architectures[0] if architectures else model_type or "unknown",
        parameters=sum(tensor.parameters for tensor in tensors),
        dtype=most_common_dtype(tensors),
        model_type=model_type,
        quantization=None if quantized is None else quantized.maybe("quant_method", quantized.text) or "unknown",
    )
