"""Signed checkpoints (C2SP signed-note and tlog-checkpoint): a log's name, size and root, signed.

It knows nothing of what the log holds.
"""

from __future__ import annotations

from skillwarrant_format.dsse import encode_base64

__all__ = ["checkpoint_body", "sign_note"]


def checkpoint_body(origin: str, size: int, root: bytes) -> str:
    """The text that is signed: three lines."""
    return f"{origin}\n{size}\n{encode_base64(root)}\n"


def sign_note(body: str, *, name: str, key_id: bytes, signature: bytes) -> str:
    """The body with one signature line: an em dash, the signer's name, the key hint and the signature."""
    return f"{body}\n\u2014 {name} {encode_base64(key_id[:4] + signature)}\n"
