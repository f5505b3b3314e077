"""Files against the statement that signs them: exactly the signed ones, byte by byte. Of adapters and policies.

It opens nothing, and knows nothing of signatures and predicates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import DigestMismatch, FilesMismatch, WrongPredicate
from skillwarrant_format.statement import PAYLOAD_TYPE, Subject

__all__ = ["check_files", "require_statement"]


def require_statement(payload_type: str) -> None:
    """A payload that other tools made for another purpose is told as that, and not as malformed.

    Raises:
        WrongPredicate: it is no in-toto statement.
    """
    if payload_type != PAYLOAD_TYPE:
        raise WrongPredicate("the bundle signs no statement", expected=PAYLOAD_TYPE, found=payload_type)


def check_files(subjects: Iterable[Subject], found: Mapping[str, Digest], *, what: str) -> None:
    """All files that are signed, and no other.

    Args:
        subjects: of the statement, a name once.
        found: path -> SHA-256 of what is there.
        what: they are files of, for messages: `adapter`.

    Raises:
        FilesMismatch: a file is not signed, or a signed one is missing.
        DigestMismatch: a file's bytes are not the signed ones.
    """
    signed = {subject.name: subject.digest for subject in subjects}
    if unsigned := found.keys() - signed.keys():
        raise FilesMismatch(
            f"the {what} has files that nobody signed",
            expected="only signed files",
            found=_some(unsigned),
            fix=f"Remove them, or get the {what} again from its publisher.",
        )
    if missing := signed.keys() - found.keys():
        raise FilesMismatch(
            "signed files are missing",
            expected=_some(missing),
            found=f"{len(found)} files",
            fix=f"Get the {what} again from its publisher.",
        )
    for name, digest in found.items():
        if digest != signed[name]:
            raise DigestMismatch(
                f"{name!r} is not the file that was signed",
                expected=str(signed[name]),
                found=str(digest),
                fix=f"Get the {what} again from its publisher; if it is the same, do not use it.",
            )


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    rest = len(ordered) - 5
    return ", ".join(ordered[:5]) + (f" and {rest} more" if rest > 0 else "")
