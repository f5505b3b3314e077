"""A policy and its bundle as one file: JSON of every file's text, so that one rename puts all of it in place.

    {"files": {"policy.toml": "…"}, "signature": "…", "type": "skillwarrant.dev/policy-pack/v1"}

The same policy and bundle give the same bytes (RFC 8785). There are no links, modes, times or places in it, and it
is read by the one strict parser that everything passes. It proves nothing: what is signed are the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError, Unavailable, UsageError
from skillwarrant_format.fields import Fields
from skillwarrant_format.policy_files import PolicyFiles
from skillwarrant_format.strict_json import canonical, loads_canonical

__all__ = ["PACK_TYPE", "pack", "read_policy", "unpack"]

PACK_TYPE: Final = "skillwarrant.dev/policy-pack/v1"


def pack(policy: PolicyFiles) -> bytes:
    """One file of a signed policy.

    Raises:
        UsageError: there is no bundle.
        FormatError: it is too large, or the bundle is no text.
    """
    if policy.bundle is None:
        raise UsageError(
            "the policy is not signed", found=policy.source, fix="Run `skillwarrant policy sign` first."
        )
    try:
        signature = policy.bundle.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError("the bundle is not UTF-8") from None
    files = {path: data.decode("utf-8") for path, data in policy.files.items()}
    data = canonical({"type": PACK_TYPE, "files": files, "signature": signature})
    if len(data) > limits.MAX_POLICY_PACK_BYTES:
        raise FormatError("the pack is too large", expected=f"at most {limits.MAX_POLICY_PACK_BYTES} bytes")
    return data


def unpack(data: bytes, source: str = "memory") -> PolicyFiles:
    """The inverse of `pack`.

    Raises:
        FormatError: it is no pack, or not the one spelling of what it holds.
        FilesMismatch: a file that a policy may not have, or not one policy document.
    """
    document = loads_canonical(data, what="the policy pack", limit=limits.MAX_POLICY_PACK_BYTES)
    fields = Fields(document, "pack")
    if (found := fields.text("type")) != PACK_TYPE:
        raise FormatError("not a policy pack", expected=PACK_TYPE, found=found)
    fields.only("files", "signature", "type")
    texts = fields.object("files")
    files = {name: _bytes(texts, name) for name in texts.keys()}  # noqa: SIM118  # Fields is no mapping
    return PolicyFiles.of(files, source, bundle=_bytes(fields, "signature"))


def read_policy(path: Path) -> PolicyFiles:
    """A policy's directory, or a pack of one, read once.

    Raises:
        UsageError: there is nothing of this name.
        FilesMismatch, FormatError: it is no policy.
        Unavailable: it cannot be read.
    """
    try:
        if path.is_dir():
            return PolicyFiles.read(path)
        if not path.is_file():  # a fifo would hang us
            raise UsageError(
                "there is no such policy", expected="a policy's directory, or a pack of one", found=str(path)
            )
        with path.open("rb") as file:
            data = file.read(limits.MAX_POLICY_PACK_BYTES + 1)
    except OSError as error:
        raise Unavailable(f"cannot read the policy {path}", found=error.strerror) from None
    return unpack(data, str(path))


def _bytes(fields: Fields, name: str) -> bytes:
    """A text, which may be empty, as it was before it was packed."""
    found = fields.value(name)
    if not isinstance(found, str):
        raise FormatError(f"{fields.at(name)} has the wrong type", expected="a string")
    return found.encode("utf-8")
