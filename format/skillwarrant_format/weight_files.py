"""A model's safetensors files: which they are, opened once, and read in pieces that fit the processor's cache.

It follows symlinks: these bytes are measured, and never loaded from here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.safetensors import Header, TensorInfo
from skillwarrant_format.strict_json import JsonObject, loads_object

__all__ = ["Placed", "Shard", "open_shards", "read_document"]

_SINGLE: Final = "model.safetensors"
_INDEX: Final = "model.safetensors.index.json"
_PICKLES: Final = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_CHUNK: Final = 512 * limits.KIB  # a read that is still in the processor's cache when it is hashed
_MAX_SHARDS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Shard:
    """An open file, and what its header says."""

    name: str
    descriptor: int
    header: Header

    def state(self) -> tuple[int, ...]:
        """What changes when the file does."""
        status = os.fstat(self.descriptor)
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def changed(self) -> FormatError:
        """What to say when it did."""
        return FormatError("a file changed while it was being read", found=self.name)


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor, and the file that holds it."""

    shard: Shard
    info: TensorInfo

    @property
    def size(self) -> int:
        """Bytes."""
        return self.info.end - self.info.start

    def chunks(self) -> Iterator[memoryview]:
        """Its elements, each chunk whole ones; the next chunk overwrites the last."""
        # Not mapped into memory: a file that is cut short meanwhile would then kill the process.
        buffer = memoryview(bytearray(min(self.size, _CHUNK)))
        position = self.shard.header.data_start + self.info.start
        for offset in range(0, self.size, _CHUNK):
            chunk = buffer[: min(_CHUNK, self.size - offset)]
            if os.preadv(self.shard.descriptor, [chunk], position + offset) != len(chunk):
                raise self.shard.changed()
            yield chunk


def open_shards(path: Path, stack: ExitStack) -> list[Shard]:
    """Open a model's files; `stack` closes them.

    Raises:
        FormatError: there is none, or they contradict each other.
        OSError: from the system.
    """
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


def read_document(path: Path, limit: int = limits.MAX_CONFIG_BYTES) -> JsonObject:
    """A JSON file of the model.

    Raises:
        FormatError: there is none, or it is no strict JSON object.
        OSError: from the system.
    """
    if not path.is_file():
        raise FormatError("the directory is no model's directory", expected=path.name, found="nothing")
    with path.open("rb") as file:
        data = file.read(limit + 1)
    return loads_object(data, what=path.name, limit=limit)


def _open(path: Path, name: str, stack: ExitStack) -> Shard:
    descriptor = os.open(path / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a fifo must not hang us
    stack.callback(os.close, descriptor)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise FormatError("the model's weights are no regular file", found=name)
    return Shard(name, descriptor, Header.read(descriptor, what=name))


def _indexed(path: Path, stack: ExitStack) -> list[Shard]:
    places = Fields(read_document(path / _INDEX, limits.MAX_JSON_BYTES), _INDEX).object("weight_map")
    expected = {name: places.text(name) for name in places.keys()}  # noqa: SIM118  # Fields is no mapping
    names = sorted(set(expected.values()))
    if len(names) > _MAX_SHARDS or any("/" in name or not name.endswith(".safetensors") for name in names):
        raise FormatError(f"{_INDEX} names no shards", expected=f"1 to {_MAX_SHARDS} names like *.safetensors")
    if missing := [name for name in names if not (path / name).is_file()]:
        raise FormatError(f"{_INDEX} names a file that is not there", found=missing[0])
    shards = [_open(path, name, stack) for name in names]
    _check_index(shards, expected)
    return shards


def _check_index(shards: Sequence[Shard], expected: dict[str, str]) -> None:
    found = [(tensor.name, shard.name) for shard in shards for tensor in shard.header.tensors]
    if sorted(found) != sorted(expected.items()):
        odd = sorted(set(found) ^ set(expected.items())) or sorted(found)
        raise FormatError(f"{_INDEX} and the shards do not hold the same tensors", found=" in ".join(odd[0]))
