"""What an adapter may consist of: the names, and why each other name is refused.

On purpose short enough to remember:

- at the top: `adapter_config.json`, `adapter_model.safetensors`, and the bundle, which is no part of the adapter;
- anywhere: text (`.json .jinja .md .txt .toml`), SentencePiece models (`.model`), and licences without a suffix
  (`LICENSE`, `LICENCE`, `NOTICE`, `COPYING`);
- `.gitattributes` and `.cache/huggingface`, which a download from the Hub leaves behind, are ignored: never opened,
  never signed, never loaded;
- nothing else: no other hidden file, no symlink, no pickle, no code.

A pickle is refused under a name of the list too, by its first bytes (`is_pickle`). One in the old text form cannot
be told from text that way; under these names, nothing opens it.

It opens nothing; `snapshot` does.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from skillwarrant_format import limits
from skillwarrant_format.errors import FilesMismatch
from skillwarrant_format.file_rules import FileRules

__all__ = ["ADAPTER", "CONFIG_NAME", "WEIGHTS_NAME", "check_content", "is_pickle"]

CONFIG_NAME: Final = "adapter_config.json"
WEIGHTS_NAME: Final = "adapter_model.safetensors"

_TEXT: Final = frozenset({".jinja", ".json", ".md", ".model", ".toml", ".txt"})
_LICENCES: Final = frozenset({"COPYING", "LICENCE", "LICENSE", "NOTICE"})
_PICKLES: Final = frozenset({".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"})
_PICKLE_STARTS: Final = (
    *(bytes((0x80, protocol)) for protocol in range(2, 6)),
    *(b"PK\x03\x04", b"PK\x05\x06"),  # zip: torch.save, .npz
    b"\x93NUMPY",  # an array of objects is a pickle
    b"\x1f\x8b",  # gzip, which joblib looks into
)
_CONVERT: Final = (
    "Load it once where that is safe, save it with model.save_pretrained(directory), which writes"
    f" {WEIGHTS_NAME}, and delete the pickle (training_args.bin and optimizer.pt can simply go)."
)


def _objection(path: PurePosixPath) -> tuple[str, str] | None:
    suffix = path.suffix.lower()
    if any(part.startswith(".") for part in path.parts):
        return "a hidden file", "Delete it."
    if suffix in _PICKLES:
        return "a pickle, which runs code when it is opened", _CONVERT
    if str(path) == WEIGHTS_NAME or suffix in _TEXT or path.name in _LICENCES:
        return None
    if suffix == ".safetensors":
        return f"weights that are not {WEIGHTS_NAME}", "Sign each adapter in a directory of its own."
    return "a file that an adapter does not have", "Delete it, or keep it elsewhere."


def is_pickle(data: bytes | memoryview) -> bool:
    """Whether a file begins as a pickle, or as an archive that can hold pickles. No text does.

    Its first bytes only: a pickle of protocol 0 or 1 has no such start, and an archive may begin elsewhere.
    """
    return bytes(data[:6]).startswith(_PICKLE_STARTS)


def check_content(path: str, data: bytes | memoryview) -> None:
    """That a file is not a pickle under another name.

    Raises:
        FilesMismatch: it is.
    """
    if path != WEIGHTS_NAME and is_pickle(data):
        raise FilesMismatch(
            f"the adapter has a pickle under another name, {path}",
            expected="the kind of file that its name says",
            found="the first bytes of a pickle, or of an archive that holds pickles",
            fix="Delete it. Do not open it.",
        )


ADAPTER: Final = FileRules(
    what="adapter",
    objection=_objection,
    most_files=limits.MAX_FILES,
    most_bytes=limits.MAX_ADAPTER_BYTES,
    ignored=frozenset({".cache/huggingface", ".gitattributes"}),
    folders=frozenset({".cache"}),
)
"""The rules of this module."""
