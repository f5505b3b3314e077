"""`Snapshot`: every file of an adapter, read exactly once into memory that we own.

What was hashed is what is parsed and what is loaded: nothing downstream opens a path again. The walk follows no
symlink and is held by directory descriptors, so that a swap during it is an error and not another file. What an
adapter may consist of is in `adapter_files`. It knows nothing of manifests and signatures.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

from skillwarrant_format.adapter_files import ADAPTER, CONFIG_NAME, WEIGHTS_NAME, check_content
from skillwarrant_format.bundle import BUNDLE_NAME
from skillwarrant_format.directory_reader import read_directory
from skillwarrant_format.errors import FilesMismatch, Unavailable, shown
from skillwarrant_format.hashing import Progress, StreamHasher
from skillwarrant_format.owned_file import File, copied

__all__ = ["BUNDLE_NAME", "CONFIG_NAME", "WEIGHTS_NAME", "File", "Snapshot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The files of one adapter, and the bundle kept apart from them.

    Args:
        files: POSIX path relative to the adapter -> file, sorted by path; never empty.
        bundle: the bundle's bytes, where there is one.
        source: where all of it came from, for people.
    """

    files: Mapping[str, File]
    bundle: bytes | None
    source: str

    @classmethod
    def read(
        cls, directory: Path | str, *, bundle_name: str = BUNDLE_NAME, progress: Progress | None = None
    ) -> Self:
        """Read a directory once.

        Args:
            bundle_name: the file at the top that is the bundle and no part of the adapter.
            progress: told (bytes read, bytes in total) after every chunk.

        Raises:
            UsageError: there is no such directory.
            FilesMismatch: a symlink, or a file that an adapter may not have, or none at all.
            FormatError: a name or a size beyond what is accepted, or a file that changed while being read.
            Unavailable: the system would not let us read.
        """
        source = str(directory)
        try:
            with ExitStack() as stack:
                # Where the bundle has another name, the usual one is no part of the adapter either.
                beside = frozenset({bundle_name, BUNDLE_NAME})
                files = read_directory(stack, source, ADAPTER, beside=beside, progress=progress)
                bundle = {name: files.pop(name, None) for name in sorted(beside)}[bundle_name]
        except OSError as error:
            raise Unavailable(f"{shown(source)} could not be read", found=os.strerror(error.errno or 0)) from error
        return cls._of(files, None if bundle is None else bytes(bundle.data), source)

    @classmethod
    def of(
        cls, files: Mapping[str, bytes | memoryview], source: str = "memory", *, bundle: bytes | None = None
    ) -> Self:
        """From bytes in memory; they are copied once, so that nobody else holds what we verify.

        Raises:
            FilesMismatch, FormatError: as `read`.
        """
        ADAPTER.check_names(files)
        ADAPTER.check_size(sum(map(len, files.values())), len(bundle or b""))
        with StreamHasher() as hasher:
            mine = {path: copied(path, files[path], hasher) for path in sorted(files)}
        return cls._of(mine, bundle, source)

    @classmethod
    def _of(cls, files: dict[str, File], bundle: bytes | None, source: str) -> Self:
        if not files:
            raise FilesMismatch(
                f"there is no adapter in {shown(source)}",
                expected=f"{CONFIG_NAME} and {WEIGHTS_NAME}",
                found="nothing",
            )
        for path, file in files.items():
            check_content(path, file.data)
        return cls(files=MappingProxyType(files), bundle=bundle, source=source)

    @property
    def size(self) -> int:
        """Bytes of all files together, without the bundle."""
        return sum(file.size for file in self.files.values())

    @property
    def config(self) -> File:
        """adapter_config.json. Raises FilesMismatch when it is not there."""
        return self._required(CONFIG_NAME)

    @property
    def weights(self) -> File:
        """adapter_model.safetensors. Raises FilesMismatch when it is not there."""
        return self._required(WEIGHTS_NAME)

    def _required(self, name: str) -> File:
        if name in self.files:
            return self.files[name]
        raise FilesMismatch(
            f"{shown(self.source)} is no PEFT adapter",
            expected=name,
            found=", ".join(list(self.files)[:5]),
            fix="Save one with model.save_pretrained(directory).",
        )
