"""A Sigstore bundle made by hand, in which every field can be changed; nothing in it verifies."""

from __future__ import annotations

import copy
import json
from typing import Any

from skillwarrant_format.dsse import encode_base64
from skillwarrant_format.statement import PAYLOAD_TYPE


def minimal() -> dict[str, Any]:
    """Every field that a bundle of ours may have; the bytes in it are arbitrary."""
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "certificate": {"rawBytes": encode_base64(b"a certificate")},
            "tlogEntries": [
                {
                    "logIndex": "12",
                    "logId": {"keyId": encode_base64(b"k" * 32)},
                    "kindVersion": {"kind": "dsse", "version": "0.0.1"},
                    "integratedTime": "1734374576",
                    "inclusionPromise": {"signedEntryTimestamp": encode_base64(b"a promise")},
                    "inclusionProof": {
                        "logIndex": "3",
                        "rootHash": encode_base64(b"r" * 32),
                        "treeSize": "4",
                        "hashes": [encode_base64(b"h" * 32)],
                        "checkpoint": {"envelope": "rekor.example - 1\n4\ncm9vdA==\n\n\u2014 rekor.example c2ln\n"},
                    },
                    "canonicalizedBody": encode_base64(b"{}"),
                }
            ],
            "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": encode_base64(b"a time")}]},
        },
        "dsseEnvelope": {
            "payload": encode_base64(b"{}"),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": encode_base64(b"a signature"), "keyid": "k"}],
        },
    }


def raw(document: Any) -> bytes:
    return json.dumps(document).encode()


def paths(value: Any, prefix: str = "") -> list[str]:
    """The dotted path of every value below."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path for key in keys for path in [f"{prefix}{key}", *paths(value[key], f"{prefix}{key}.")]]


def changed(path: str, value: Any = ..., *, document: dict[str, Any] | None = None) -> dict[str, Any]:
    """A copy with one value replaced, or dropped."""
    document = copy.deepcopy(minimal() if document is None else document)
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    holder: Any = document
    for part in parents:
        holder = holder[part]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    return document
