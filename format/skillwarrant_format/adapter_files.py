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

from pathlib import PurePosixPath
from typing import Final

from skillwarrant_format import limits
from skillwarrant_format.file_rules import FileRules

__all__ = ["ADAPTER", "CONFIG_NAME", "WEIGHTS_NAME"]

CONFIG_NAME: Final = "adapter_config.json"
WEIGHTS_NAME: Final = "adapter_model.safetensors"

_TEXT: Final = frozenset({".jinja", ".json", ".md", ".model", ".toml", ".txt"})
_LICENCES: Final = frozenset({"COPYING", "LICENCE", "LICENSE", "NOTICE"})
_PICKLES: Final = frozenset({".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"})
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


ADAPTER: Final = FileRules(
    what="adapter",
    objection=_objection,
    most_files=limits.MAX_FILES,
    most_bytes=limits.MAX_ADAPTER_BYTES,
    ignored=frozenset({".cache/huggingface", ".gitattributes"}),
    folders=frozenset({".cache"}),
)
"""The rules of this module."""
