"""The files that a policy document names beside it, each by its digest: modules of rules, in Python and in Rego.

What counts is the digest in the document: a file that has another is not read at all. Names are relative and go
nowhere but below the document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeAlias

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, PolicyError, Unavailable
from skillwarrant_format.fields import Fields
from skillwarrant_format.toml import only

__all__ = ["Files", "NamedFile", "files_below", "files_of", "parse_files", "read_all", "read_rules"]

Files: TypeAlias = Callable[[str], bytes]
"""Gives the bytes of a file by its relative name; raises PolicyError or Unavailable."""

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_MAX_FILES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFile:
    """A file that a policy names.

    Args:
        name: relative to the document, with `/`.
        digest: SHA-256 of its bytes.
    """

    name: str
    digest: Digest

    @classmethod
    def parse(cls, fields: Fields, key: str, suffix: str) -> Self:
        """Read a table of `key` and `sha256`.

        Raises:
            FormatError: an unknown key, a name that leaves the directory or ends otherwise, or no digest.
        """
        only(fields, key, "sha256")
        name = fields.text(key, limit=200)
        if not _NAME.fullmatch(name) or not name.endswith(suffix):
            expected = f"a relative path like checks/acme{suffix}"
            raise FormatError(f"{fields.at(key)} cannot be used", expected=expected, found=name)
        return cls(name=name, digest=Digest(fields.text("sha256")))

    def read(self, files: Files) -> bytes:
        """Its bytes.

        Raises:
            PolicyError: they are not those that the document names.
            Unavailable: they cannot be read.
        """
        data = files(self.name)
        if (found := Digest.of(data)) != self.digest:
            raise PolicyError(
                f"{self.name} is not the file that the policy names",
                expected=self.digest.hex,
                found=found.hex,
                fix="If you have read it and this is what you mean, write its digest into the policy.",
            )
        return data


def parse_files(fields: Fields, table: str, key: str, suffix: str) -> tuple[NamedFile, ...]:
    """The files of an array of tables; none where it is not there.

    Raises:
        FormatError: as `NamedFile.parse`, or a name twice.
    """
    items = fields.maybe(table, lambda name: fields.objects(name, least=1, most=_MAX_FILES)) or []
    found = tuple(NamedFile.parse(item, key, suffix) for item in items)
    if len({file.name for file in found}) != len(found):
        raise FormatError(f"{fields.at(table)} names a file twice")
    return found


def read_all(named: Sequence[NamedFile], files: Files | None) -> dict[str, bytes]:
    """The bytes of every file, by name.

    Raises:
        PolicyError: one is not what the document names, or the document came alone.
        Unavailable: one cannot be read.
    """
    if named and files is None:
        raise PolicyError(
            "the policy names files and came without them",
            expected=", ".join(file.name for file in named),
            fix="Load it from its directory.",
        )
    return {file.name: file.read(files) for file in named if files is not None}


def read_rules(named: Sequence[NamedFile], files: Files | None) -> dict[str, bytes]:
    """`read_all`, of modules in Python, which are small: CPython reads some text in the square of its length.

    Raises:
        PolicyError: as `read_all`, or they are too large.
        Unavailable: as `read_all`.
    """
    found = read_all(named, files)
    most, all_of_them = limits.MAX_RULE_MODULE_BYTES, limits.MAX_RULE_MODULES_BYTES
    for name, data in found.items():
        if len(data) > most:
            raise PolicyError(
                f"the module {name} is too large", expected=f"at most {most} bytes", found=str(len(data))
            )
    if (together := sum(map(len, found.values()))) > all_of_them:
        raise PolicyError(
            "the modules of [[rules]] are too large", expected=f"at most {all_of_them} bytes", found=str(together)
        )
    return found


def files_of(found: Mapping[str, bytes]) -> Files:
    """Files in memory, by name."""

    def read(name: str) -> bytes:
        if name not in found:
            raise _missing(name)
        return found[name]

    return read


def files_below(directory: Path) -> Files:
    """The files of a directory."""

    def read(name: str) -> bytes:
        path = directory / name
        if path.exists() and not path.is_file():  # a fifo would hang us
            raise Unavailable(f"cannot read {name} beside the policy", found="no regular file")
        try:
            with path.open("rb") as file:
                data = file.read(limits.MAX_POLICY_BYTES + 1)
        except FileNotFoundError:
            raise _missing(name) from None
        except OSError as error:
            raise Unavailable(f"cannot read {name} beside the policy", found=error.strerror) from None
        if len(data) > limits.MAX_POLICY_BYTES:
            raise PolicyError(f"{name} is too large", expected=f"at most {limits.MAX_POLICY_BYTES} bytes")
        return data

    return read


def _missing(name: str) -> PolicyError:
    return PolicyError("a file that the policy names is not beside it", expected=name, found="none")
