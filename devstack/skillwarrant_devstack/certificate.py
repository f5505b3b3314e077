"""What Fulcio puts into a certificate for a checked identity: the subject name and Fulcio's own extensions.

Source: sigstore/fulcio docs/oid-info.md (1.3.6.1.4.1.57264.1.x) and its GitHub claim mapping. It knows nothing
of tokens' signatures, requests or keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asn1crypto.core import UTF8String
from cryptography import x509

from skillwarrant_devstack.http import RequestRefusedError
from skillwarrant_devstack.workflow import SERVER

__all__ = ["identity_of"]

_ARC: Final = "1.3.6.1.4.1.57264.1"
# Extensions 1 to 6 hold the text itself; those from 8 on hold it as a DER UTF8String.
_RAW_WORKFLOW: Final = {2: "event_name", 3: "sha", 4: "workflow", 5: "repository", 6: "ref"}
_WORKFLOW: Final = {
    9: SERVER + "/{job_workflow_ref}",
    10: "{job_workflow_sha}",
    11: "{runner_environment}",
    12: SERVER + "/{repository}",
    13: "{sha}",
    14: "{ref}",
    15: "{repository_id}",
    16: SERVER + "/{repository_owner}",
    17: "{repository_owner_id}",
    18: SERVER + "/{workflow_ref}",
    19: "{workflow_sha}",
    20: "{event_name}",
    21: SERVER + "/{repository}/actions/runs/{run_id}/attempts/{run_attempt}",
    22: "{repository_visibility}",
}


def identity_of(claims: Mapping[str, Any]) -> tuple[x509.GeneralName, list[x509.UnrecognizedExtension]]:
    """The subject alternative name and the extensions for a token's claims.

    Raises:
        RequestRefusedError: 400, when the claims say neither a workflow nor a verified e-mail address, or both.
    """
    is_workflow, is_user = "job_workflow_ref" in claims, "email" in claims
    if is_workflow == is_user:
        raise RequestRefusedError(400, "the token must be either a CI job's or a user's")
    issuer = _text(claims, "iss")
    extensions = [_raw(1, issuer), _utf8(8, issuer)]
    if is_user:
        return _email(claims), extensions
    extensions += [_raw(number, _text(claims, claim)) for number, claim in _RAW_WORKFLOW.items()]
    extensions += [_utf8(number, _fill(template, claims)) for number, template in _WORKFLOW.items()]
    return x509.UniformResourceIdentifier(f"{SERVER}/{_text(claims, 'job_workflow_ref')}"), extensions


def _email(claims: Mapping[str, Any]) -> x509.RFC822Name:
    if claims.get("email_verified") is not True:
        raise RequestRefusedError(400, "the token's e-mail address is not verified")
    return x509.RFC822Name(_text(claims, "email"))


def _fill(template: str, claims: Mapping[str, Any]) -> str:
    names = [part.partition("}")[0] for part in template.split("{")[1:]]
    return template.format_map({name: _text(claims, name) for name in names})


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value:
        raise RequestRefusedError(400, f"the token's claim {name!r} is missing or not printable text")
    return value


def _raw(number: int, value: str) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(f"{_ARC}.{number}"), value.encode())


def _utf8(number: int, value: str) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(f"{_ARC}.{number}"), UTF8String(value).dump())
