"""What a .rego file must be before a Rego engine sees it: small, plain text, and not deeply nested.

An engine's parser is where hostile bytes do harm: each bracket within another doubles the time of ours, and a NUL
makes it ignore the rest of a file without a word. This knows no Rego but its strings, comments and brackets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from skillwarrant_format.errors import PolicyError, shown
from skillwarrant_format.limits import KIB
from skillwarrant_verify.arguments import check_kind

__all__ = ["MAX_DEPTH", "MAX_FILES", "MAX_FILE_BYTES", "MAX_TOTAL_BYTES", "is_test_file", "read_sources"]

MAX_FILES: Final = 100
MAX_FILE_BYTES: Final = 128 * KIB
MAX_TOTAL_BYTES: Final = 256 * KIB  # about 6,000 lines
MAX_DEPTH: Final = 12  # brackets in brackets; the engine's parser takes twice as long for each more

_NAME: Final = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*/)*[A-Za-z0-9_][A-Za-z0-9._-]*\.rego")
_MAX_NAME: Final = 200
# Controls but tab and line ends, and what changes how a line reads (bidirectional and zero-width characters).
_HIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_TOKEN: Final = re.compile(r'"(?:[^"\\\n]|\\.)*+"|`[^`]*+`|#[^\n]*+|[\[({]|[\])}]')
_STEP: Final = {"[": 1, "(": 1, "{": 1, "]": -1, ")": -1, "}": -1}


def read_sources(files: Mapping[str, bytes]) -> dict[str, str]:
    """The texts of policy files, in the order of their names.

    Args:
        files: name (a relative path that ends in .rego) -> bytes.

    Raises:
        PolicyError: there is none, or one that is no such text; naming it.
        UsageError: something of another type.
    """
    check_kind("the Rego files", files, Mapping, "a mapping of file names to bytes")
    for name, data in files.items():
        check_kind("the name of a Rego file", name, str, "a string")
        check_kind(f"the Rego file {shown(name, _MAX_NAME)}", data, bytes, "bytes")
    if not files or len(files) > MAX_FILES:
        raise PolicyError("no set of Rego files", expected=f"1 to {MAX_FILES} files", found=str(len(files)))
    total = sum(map(len, files.values()))
    if total > MAX_TOTAL_BYTES:
        raise PolicyError("the Rego files are too large", expected=f"{MAX_TOTAL_BYTES} bytes", found=str(total))
    return {name: _text(name, files[name]) for name in sorted(files)}


def is_test_file(name: str) -> bool:
    """Whether a file holds tests and what they need, and no rule that decides."""
    return name.endswith("_test.rego")


def _text(name: str, data: bytes) -> str:
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise PolicyError("a Rego file's name cannot be used", expected="a relative path like a/b.rego", found=name)
    if len(data) > MAX_FILE_BYTES:
        raise PolicyError(f"{name} is too large", expected=f"at most {MAX_FILE_BYTES} bytes", found=f"{len(data)}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PolicyError(f"{name} is not UTF-8", found=f"a bad byte at offset {error.start}") from None
    if hidden := _HIDDEN.search(text):
        raise PolicyError(
            f"{name}:{_line(text, hidden.start())} holds a character that cannot be seen",
            found=f"U+{ord(hidden.group()):04X}",
            fix=r"Write it as an escape (\uXXXX) in a string, or remove it.",
        )
    _check_depth(name, text)
    return text


def _check_depth(name: str, text: str) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        depth = max(0, depth + _STEP.get(token.group(), 0))
        if depth > MAX_DEPTH:
            raise PolicyError(
                f"{name}:{_line(text, token.start())} is nested too deeply",
                expected=f"at most {MAX_DEPTH} brackets within each other",
                fix="Give the inner part a name: a rule of its own, or a variable.",
            )


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
