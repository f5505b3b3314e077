"""`FileRules`: what a directory that is signed as a whole may consist of, and why each other name is refused.

A name must be spelled in one way only, on every system. Which kinds of files there may be is the business of
`adapter_files` and `policy_files`. It opens nothing; `directory_reader` does.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from skillwarrant_format import limits
from skillwarrant_format.errors import FilesMismatch, FormatError

__all__ = ["FileRules"]

_MAX_DEPTH: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRules:
    """The rules for one kind of directory.

    Args:
        what: such a directory is of, for messages: `adapter`.
        objection: why a file of this path may not be there, `a pickle`, and what to do; None where it may.
        most_files: in it, whatever their sizes.
        most_bytes: of all of them together.
        ignored: paths that are never opened and mean nothing.
        folders: hidden directories that are looked into all the same.
    """

    what: str
    objection: Callable[[PurePosixPath], tuple[str, str] | None]
    most_files: int
    most_bytes: int
    ignored: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()

    def check_names(self, paths: Iterable[str]) -> None:
        """Check every path, and all of them together.

        Args:
            paths: POSIX paths relative to the directory, of files only.

        Raises:
            FilesMismatch: a file that may not be there.
            FormatError: a name that two systems could read as two names, or too many files.
        """
        seen: dict[str, str] = {}
        for count, path in enumerate(paths, start=1):
            if count > self.most_files:
                raise FormatError(f"the {self.what} has too many files", expected=f"at most {self.most_files}")
            self.check_spelling(path)
            if (objection := self.objection(PurePosixPath(path))) is not None:
                raise self._refused(*objection, path)
            other = seen.setdefault(path.casefold(), path)
            if other != path:
                raise FormatError(f"two files of the {self.what} differ only in case", found=f"{other} and {path}")

    def check_folder(self, path: str) -> None:
        """Check a directory inside before anything in it is looked at.

        Raises:
            FilesMismatch: it is hidden, and none that may be.
            FormatError: it is nested too deeply.
        """
        if path.rpartition("/")[2].startswith(".") and path not in self.folders:
            raise self._refused("a hidden directory", f"Delete it, or copy the {self.what} without it.", path)
        if path.count("/") >= _MAX_DEPTH:
            raise FormatError(f"the {self.what}'s directories are nested too deeply", found=path)

    def check_spelling(self, path: str) -> None:
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
            raise FormatError(
                f"a file of the {self.what} has a name that is not accepted", expected=why, found=path
            )

    def check_size(self, total: int, bundle: int) -> None:
        """Check what all files together, and the bundle, would take.

        Raises:
            FormatError: too much.
        """
        for what, size, limit in (
            ("bundle", bundle, limits.MAX_BUNDLE_BYTES),
            (self.what, total, self.most_bytes),
        ):
            if size > limit:
                raise FormatError(
                    f"the {what} is too large", expected=f"at most {limit} bytes", found=f"{size} bytes"
                )

    def _refused(self, what: str, fix: str, path: str) -> FilesMismatch:
        return FilesMismatch(f"the {self.what} has {what}", found=path, fix=fix)
