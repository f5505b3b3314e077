"""The tensor fingerprint scheme `skillwarrant-tensors-v1`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.strict_json import JsonObject

__all__ = ["SCHEME", "Fingerprint"]

SCHEME: Final = "skillwarrant-tensors-v1"


@dataclass(frozen=True, slots=True, order=True)
class Fingerprint:
    """A scheme and the root digest it gives. Written as `skillwarrant-tensors-v1:<hex>` on a command line."""

    scheme: str
    digest: Digest

    def __post_init__(self) -> None:
        if self.scheme != SCHEME:
            raise FormatError("unknown fingerprint scheme", expected=SCHEME, found=self.scheme)

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """From `{"scheme": …, "digest": {"sha256": …}}`."""
        return cls(fields.text("scheme"), fields.digest("digest"))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The inverse of `str()`."""
        scheme, _, digits = text.partition(":")
        return cls(scheme, Digest(digits))

    def to_json(self) -> JsonObject:
        return {"scheme": self.scheme, "digest": {"sha256": self.digest.hex}}

    def __str__(self) -> str:
        return f"{self.scheme}:{self.digest.hex}"
