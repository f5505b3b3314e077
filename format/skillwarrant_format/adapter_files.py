"""What an adapter may consist of: the names, and why each other name is refused.

On purpose short enough to remember:

- at the top: `adapter_config.json`, `adapter_model.safetensors`, and the bundle, which is no part of the adapter;
- anywhere: text (`.json .jinja .md .txt .toml`), SentencePiece models (`.model`), and licences without a suffix
  (`LICENSE`, `LICENCE`, `NOTICE`, `COPYING`);
- `.gitattributes` and `.cache/huggingface`, which a download from the Hub leaves behind, are ignored: never opened,
  never signed, never loaded;
- nothing else: no other hidden file, no symlink, no pickle, no code.

It opens nothing; `snapshot` does.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from skillwarrant_format import limits
from skillwarrant_format.errors import FilesMismatch, FormatError

__all__ = ["CONFIG_NAME", "WEIGHTS_NAME", "check_folder", "check_names", "check_spelling", "is_ignored"]

CONFIG_NAME: Final = "adapter_config.json"
WEIGHTS_NAME: Final = "adapter_model.safetensors"

_MAX_DEPTH: Final = 8
_TEXT: Final = frozenset({".jinja", ".json", ".md", ".model", ".toml", ".txt"})
_LICENCES: Final = frozenset({"COPYING", "LICENCE", "LICENSE", "NOTICE"})
_IGNORED: Final = frozenset({".cache/huggingface", ".gitattributes"})
_PICKLES: Final = frozenset({".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"})
_CONVERT: Final = (
    "Load it once where that is safe, save it with model.save_pretrained(directory), which writes"
    f" {WEIGHTS_NAME}, and delete the pickle (training_args.bin and optimizer.pt can simply go)."
)


def is_ignored(path: str) -> bool:
    """Whether a path is one of the two well-known leftovers of a download."""
    return path in _IGNORED


def check_names(paths: Iterable[str]) -> None:
    """Check every path of an adapter, and all of them together.

    Args:
        paths: POSIX paths relative to the adapter, of files only.

    Raises:
        FilesMismatch: a file that an adapter may not have.
        FormatError: a name that two systems could read as two names, or too many files.
    """
    seen: dict[str, str] = {}
    for count, path in enumerate(paths, start=1):
        if count > limits.MAX_FILES:
            raise FormatError("the adapter has too many files", expected=f"at most {limits.MAX_FILES}")
        check_spelling(path)
        _check_kind(PurePosixPath(path))
        other = seen.setdefault(path.casefold(), path)
        if other != path:
            raise FormatError("two files of the adapter differ only in case", found=f"{other} and {path}")


def check_folder(path: str) -> None:
    """Check a directory inside an adapter before anything in it is looked at.

    Raises:
        FilesMismatch: it is hidden, and not the Hub's own `.cache`.
        FormatError: it is nested too deeply.
    """
    if path.rpartition("/")[2].startswith(".") and path != ".cache":
        raise _refused("a hidden directory", PurePosixPath(path), "Delete it, or copy the adapter without it.")
    if path.count("/") >= _MAX_DEPTH:
        raise FormatError("the adapter's directories are nested too deeply", found=path)


def check_spelling(path: str) -> None:
    """A path must be spelled in one way only, on every system.

    Raises:
        FormatError: too long, not in Unicode NFC, control characters or bytes that are not UTF-8, a backslash,
            or not a plain relative path.
    """
    why = None
    if not 0 < len(path) <= limits.MAX_NAME_CHARS:
        why = f"1 to {limits.MAX_NAME_CHARS} characters"
    elif not path.isprintable() or "\\" in path:
        why = "no control characters and no backslash"
    elif not unicodedata.is_normalized("NFC", path):
        why = "Unicode normal form C"
    elif str(PurePosixPath(path)) != path or path.startswith("/") or ".." in path.split("/") or path == ".":
        why = "a plain relative path"
    if why is not None:
        raise FormatError("a file of the adapter has a name that is not accepted", expected=why, found=path)


def _check_kind(path: PurePosixPath) -> None:
    suffix = path.suffix.lower()
    if any(part.startswith(".") for part in path.parts):
        raise _refused("a hidden file", path, "Delete it.")
    if suffix in _PICKLES:
        raise _refused("a pickle, which runs code when it is opened", path, _CONVERT)
    if str(path) == WEIGHTS_NAME or suffix in _TEXT or path.name in _LICENCES:
        return
    if suffix == ".safetensors":
        raise _refused(f"weights that are not {WEIGHTS_NAME}", path, "Sign each adapter in a directory of its own.")
    raise _refused("a file that an adapter does not have", path, "Delete it, or keep it elsewhere.")


def _refused(what: str, path: PurePosixPath, fix: str) -> FilesMismatch:
    return FilesMismatch(f"the adapter has {what}", found=str(path), fix=fix)
