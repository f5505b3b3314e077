"""`Digest`: a SHA-256 that cannot be malformed, and the few ways to get one."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Self

from skillwarrant_format.errors import FormatError

__all__ = ["Digest"]

_HEX: Final = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256 digest as 64 lower-case hexadecimal digits (FIPS 180-4).

    One algorithm only: a choice of algorithms is a choice for an attacker.

    Raises:
        FormatError: when built from anything else.
    """

    hex: str

    def __post_init__(self) -> None:
        if not isinstance(self.hex, str) or not _HEX.match(self.hex):
            raise FormatError(
                "not a SHA-256 digest", expected="64 lower-case hexadecimal digits", found=repr(self.hex)
            )

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview) -> Self:
        """The digest of bytes in memory."""
        return cls(hashlib.sha256(data).hexdigest())

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `sha256:<hex>`.

        Raises:
            FormatError: for another algorithm or malformed digits.
        """
        algorithm, _, digits = text.partition(":")
        if algorithm != "sha256":
            raise FormatError("not a SHA-256 digest", expected="sha256:<64 hex digits>", found=repr(text))
        return cls(digits)

    @property
    def short(self) -> str:
        """The first 12 digits, for people."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"sha256:{self.hex}"
