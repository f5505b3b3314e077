"""DSSE v1: the envelope around a payload, and the bytes that are really signed.

Source: https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md. Signing and verifying are elsewhere:
this module only turns bytes into types and back.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Self

from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields
from skillwarrant_format.strict_json import JsonObject, canonical, loads

__all__ = ["Envelope", "Signature", "decode_base64", "encode_base64", "pae"]


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: what is signed (DSSE protocol, "Signature Definition")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str, where: str) -> bytes:
    """Standard base64 with padding, and only the one spelling of it that `encode_base64` writes.

    Raises:
        FormatError: for anything else, non-zero trailing bits included.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if encode_base64(data) != text or not text:
        raise FormatError(f"{where} is not base64", expected="standard base64 with padding", found=text[:64])
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature; `keyid` is a hint and proves nothing."""

    sig: bytes
    keyid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload, its type and exactly one signature.

    DSSE allows several signatures; Sigstore bundles and this product use one, and a second one whose meaning
    nobody defined is refused.
    """

    payload_type: str
    payload: bytes
    signature: Signature

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """From the JSON object of an envelope.

        Raises:
            FormatError: for anything but one well-formed signature over a bounded payload. Unknown fields are
                ignored, as the protocol asks (envelope.md, "Parsing rules").
        """
        encoded = fields.text("payload", limit=2 * limits.MAX_STATEMENT_BYTES)
        payload = decode_base64(encoded, fields.at("payload"))
        if len(payload) > limits.MAX_STATEMENT_BYTES:
            raise FormatError(
                "the envelope's payload is too large",
                expected=f"at most {limits.MAX_STATEMENT_BYTES} bytes",
                found=f"{len(payload)} bytes",
            )
        (signature,) = fields.objects("signatures", least=1, most=1)
        raw = decode_base64(signature.text("sig", limit=64 * limits.KIB), signature.at("sig"))
        keyid = signature.maybe("keyid", lambda key: _keyid(signature, key)) or ""
        payload_type = fields.text("payloadType")
        fields.refuse_lookalikes()
        return cls(
            payload_type=payload_type,
            payload=payload,
            signature=Signature(sig=raw, keyid=keyid),
        )

    @classmethod
    def loads(cls, data: bytes) -> Self:
        """From bytes, as `to_bytes` writes them."""
        return cls.parse(Fields(loads(data, what="envelope", limit=limits.MAX_BUNDLE_BYTES), "envelope"))

    def to_json(self) -> JsonObject:
        signature: dict[str, str] = {"sig": encode_base64(self.signature.sig)}
        if self.signature.keyid:
            signature["keyid"] = self.signature.keyid
        return {
            "payload": encode_base64(self.payload),
            "payloadType": self.payload_type,
            "signatures": [signature],
        }

    def to_bytes(self) -> bytes:
        """RFC 8785 bytes of the envelope."""
        return canonical(self.to_json())

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return pae(self.payload_type, self.payload)


def _keyid(signature: Fields, key: str) -> str:
    """Unset and empty are the same (envelope.md, "Parsing rules"); another type than a string is neither."""
    return "" if signature.value(key) == "" else signature.text(key)
