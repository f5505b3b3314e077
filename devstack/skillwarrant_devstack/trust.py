"""The files that clients need: trusted root, signing configurations and client trust configurations.

Sigstore's protobuf-specs as JSON, complete enough for the strictest verifier: base URLs that contain the
checkpoint's signer, the whole chain, and an end to every validity. It knows nothing of files or servers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from skillwarrant_devstack.keys import ORGANIZATION, Instance, log_id, public_der
from skillwarrant_devstack.rekor_v2 import note_key_id
from skillwarrant_devstack.tsa import PATH
from skillwarrant_format.dsse import encode_base64
from skillwarrant_format.fields import format_time

__all__ = ["Endpoints", "documents"]

_P256: Final = "PKIX_ECDSA_P256_SHA_256"
_ED25519: Final = "PKIX_ED25519"
OPERATOR: Final = "skillwarrant devstack"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where each service is, from the one server's URL. Fulcio has no prefix: clients drop it."""

    url: str

    @property
    def issuer(self) -> str:
        return f"{self.url}/oidc"

    @property
    def rekor_v1(self) -> str:
        return f"{self.url}/rekor-v1"

    @property
    def rekor_v2(self) -> str:
        return f"{self.url}/rekor-v2"

    @property
    def ct(self) -> str:
        return f"{self.url}/ct"

    @property
    def tsa(self) -> str:
        return f"{self.url}/tsa{PATH}"


def documents(instance: Instance, at: Endpoints) -> dict[str, bytes]:
    """Every file by name."""
    root = _trusted_root(instance, at)
    v1 = _signing_config(instance, at, rekor=at.rekor_v1, version=1)
    v2 = _signing_config(instance, at, rekor=at.rekor_v2, version=2)
    return {
        "trusted_root.json": _json(root),
        "signing_config.json": _json(v1),
        "signing_config_v2.json": _json(v2),
        "client_trust_config.json": _json(_client_trust_config(root, v1)),
        "client_trust_config_v2.json": _json(_client_trust_config(root, v2)),
    }


def _trusted_root(instance: Instance, at: Endpoints) -> dict[str, Any]:
    v1, v2 = instance.rekor_v1_key, instance.rekor_v2_key
    return {
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [
            _log(instance, at.rekor_v1, public_der(v1), _P256, log_id(v1)),
            _log(instance, at.rekor_v2, public_der(v2), _ED25519, note_key_id(v2)),
        ],
        "certificateAuthorities": [_authority(instance, at.url, [instance.fulcio_ca, instance.fulcio_root])],
        "ctlogs": [_log(instance, at.ct, public_der(instance.ct_key), _P256, log_id(instance.ct_key))],
        "timestampAuthorities": [_authority(instance, at.tsa, [instance.tsa, instance.tsa_root])],
    }


def _log(instance: Instance, url: str, key: bytes, details: str, key_id: bytes) -> dict[str, Any]:
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": encode_base64(key),
            "keyDetails": details,
            "validFor": _validity(instance),
        },
        "logId": {"keyId": encode_base64(key_id)},
    }


def _authority(instance: Instance, url: str, chain: list[x509.Certificate]) -> dict[str, Any]:
    (common_name,) = chain[-1].subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    certificates = [{"rawBytes": encode_base64(item.public_bytes(Encoding.DER))} for item in chain]
    return {
        "subject": {"organization": ORGANIZATION, "commonName": str(common_name.value)},
        "uri": url,
        "certChain": {"certificates": certificates},
        "validFor": _validity(instance),
    }


def _signing_config(instance: Instance, at: Endpoints, *, rekor: str, version: int) -> dict[str, Any]:
    def service(url: str, api: int = 1) -> list[dict[str, Any]]:
        start = {"start": format_time(instance.created)}
        return [{"url": url, "majorApiVersion": api, "validFor": start, "operator": OPERATOR}]

    return {
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": service(at.url),
        "oidcUrls": service(at.issuer),
        "rekorTlogUrls": service(rekor, version),
        "tsaUrls": service(at.tsa),
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaConfig": {"selector": "ANY"},
    }


def _client_trust_config(root: dict[str, Any], signing: dict[str, Any]) -> dict[str, Any]:
    return {
        "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
        "trustedRoot": root,
        "signingConfig": signing,
    }


def _validity(instance: Instance) -> dict[str, str]:
    return {"start": format_time(instance.created), "end": format_time(instance.expires)}


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode() + b"\n"
