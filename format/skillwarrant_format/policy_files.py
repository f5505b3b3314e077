"""`PolicyFiles`: every file of a policy, read exactly once into memory that we own.

On purpose short enough to remember:

- at the top, either `policy.toml` or `policy.json`, and the bundle, which is no part of the policy;
- anywhere: policies and cases (`.toml .json`), Rego (`.rego`), rule modules (`.py`), text for people (`.md .txt`),
  and licences without a suffix (`LICENSE`, `LICENCE`, `NOTICE`, `COPYING`);
- nothing else, and all of it UTF-8 text: no hidden file, no symlink, no compiled code, no archive.

What was hashed is what is parsed: nothing downstream opens a path again. It knows nothing of what policies say.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final, Self

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.directory_reader import read_directory
from skillwarrant_format.errors import FilesMismatch, FormatError, Unavailable, shown
from skillwarrant_format.file_rules import FileRules
from skillwarrant_format.statement import Subject

__all__ = ["DOCUMENT_NAMES", "POLICY", "POLICY_BUNDLE_NAME", "PolicyFiles", "document_of"]

POLICY_BUNDLE_NAME: Final = "policy.sigstore.json"
DOCUMENT_NAMES: Final = ("policy.toml", "policy.json")

_KINDS: Final = frozenset({".json", ".md", ".py", ".rego", ".toml", ".txt"})
_LICENCES: Final = frozenset({"COPYING", "LICENCE", "LICENSE", "NOTICE"})


def _objection(path: PurePosixPath) -> tuple[str, str] | None:
    if any(part.startswith(".") for part in path.parts):
        return "a hidden file", "Delete it."
    if "__pycache__" in path.parts:
        return "compiled Python in it", "Delete __pycache__."
    if path.suffix in _KINDS or path.name in _LICENCES:
        return None
    return "a file that a policy does not have", "Delete it, or keep it elsewhere."


POLICY: Final = FileRules(
    what="policy",
    objection=_objection,
    most_files=limits.MAX_POLICY_FILES,
    most_bytes=limits.MAX_POLICY_DIRECTORY_BYTES,
)
"""The rules of this module."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFiles:
    """The files of one policy, and the bundle kept apart from them.

    Args:
        files: POSIX path relative to the policy -> bytes, sorted by path.
        document: the path of the policy document, one of `DOCUMENT_NAMES`.
        bundle: the bundle's bytes, where there is one.
        source: where all of it came from, for people.
    """

    files: Mapping[str, bytes]
    document: str
    bundle: bytes | None
    source: str

    @classmethod
    def read(cls, directory: Path | str) -> Self:
        """Read a directory once.

        Raises:
            UsageError: there is no such directory.
            FilesMismatch: a symlink, a file that a policy may not have, or not one policy document.
            FormatError: a name or a size beyond what is accepted, a file that is no text or that changed while
                being read.
            Unavailable: the system would not let us read.
        """
        source = str(directory)
        try:
            with ExitStack() as stack:
                found = read_directory(stack, source, POLICY, beside=frozenset({POLICY_BUNDLE_NAME}))
                read = {path: bytes(file.data) for path, file in found.items()}
        except OSError as error:
            raise Unavailable(f"{shown(source)} could not be read", found=os.strerror(error.errno or 0)) from error
        return cls._of(read, read.pop(POLICY_BUNDLE_NAME, None), source)

    @classmethod
    def of(cls, files: Mapping[str, bytes], source: str = "memory", *, bundle: bytes | None = None) -> Self:
        """From bytes in memory.

        Raises:
            FilesMismatch, FormatError: as `read`.
        """
        POLICY.check_names(files)
        if POLICY_BUNDLE_NAME in files:
            raise FormatError("the bundle is no file of the policy", found=POLICY_BUNDLE_NAME)
        POLICY.check_size(sum(map(len, files.values())), len(bundle or b""))
        return cls._of({path: bytes(files[path]) for path in files}, bundle, source)

    @classmethod
    def _of(cls, files: dict[str, bytes], bundle: bytes | None, source: str) -> Self:
        for path, data in files.items():
            try:
                text = data.decode("utf-8")
            except UnicodeDecodeError as error:
                raise FormatError(
                    f"{path} is not UTF-8", expected="text", found=f"a bad byte at offset {error.start}"
                ) from None
            if "\x00" in text:
                raise FormatError(f"{path} holds a NUL character", expected="text")
        ordered = MappingProxyType({path: files[path] for path in sorted(files)})
        return cls(files=ordered, document=document_of(ordered), bundle=bundle, source=source)

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """What is signed: every file, sorted by name."""
        return tuple(Subject(name=path, digest=Digest.of(data)) for path, data in self.files.items())


def document_of(names: Mapping[str, object]) -> str:
    """The one file that is the policy document.

    Raises:
        FilesMismatch: none, or two of which each reader could take another.
    """
    found = [name for name in DOCUMENT_NAMES if name in names]
    if len(found) == 1:
        return found[0]
    raise FilesMismatch(
        "this is not one policy",
        expected=f"one of {' and '.join(DOCUMENT_NAMES)} at the top",
        found=" and ".join(found) or "neither",
    )
