"""A file of an adapter as it was read: its name, and what its bytes are. Never the manifest's word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, Self, TypeAlias, cast

from skillwarrant_format import limits
from skillwarrant_format.adapter_files import WEIGHTS_NAME, is_pickle
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_format.strict_json import JsonObject
from skillwarrant_format.toml import only

__all__ = ["Content", "FileSeen"]

Content: TypeAlias = Literal["safetensors", "pickle", "other"]
_CONTENTS: Final = ("safetensors", "pickle", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSeen:
    """One file.

    Args:
        name: its path in the adapter.
        content: `safetensors` for weights that were parsed as that; `pickle` for what begins as a pickle, or as an
            archive that holds pickles; `other` for text, and what else can be there.
    """

    name: str
    content: Content

    @classmethod
    def all_of(cls, snapshot: Snapshot) -> tuple[Self, ...]:
        """Of a snapshot whose weights were parsed, sorted by name."""
        return tuple(
            cls(name=name, content=_content(name, snapshot.files[name].data)) for name in sorted(snapshot.files)
        )

    @classmethod
    def parse_all(cls, fields: Fields, key: str) -> tuple[Self, ...]:
        """From the `files` of an input document's `adapter`.

        Raises:
            FormatError: a field that is missing, mistyped, malformed or unknown; none; not sorted, or one twice.
        """
        files = fields.objects(key, least=1, most=limits.MAX_FILES)
        found = tuple(cls._parse(file) for file in files)
        names = [file.name for file in found]
        if names != sorted(set(names)):
            raise FormatError(f"{fields.at(key)} is not in order", expected="names sorted, none twice")
        return found

    @classmethod
    def _parse(cls, fields: Fields) -> Self:
        only(fields, "name", "content")
        content = cast("Content", fields.choice("content", _CONTENTS))
        return cls(name=fields.text("name", limit=limits.MAX_NAME_CHARS), content=content)

    @staticmethod
    def all_to_json(files: Iterable[FileSeen]) -> list[JsonObject]:
        """The inverse of `parse_all`."""
        return [{"name": file.name, "content": file.content} for file in files]


def _content(name: str, data: memoryview) -> Content:
    if name == WEIGHTS_NAME:
        return "safetensors"
    return "pickle" if is_pickle(data) else "other"
