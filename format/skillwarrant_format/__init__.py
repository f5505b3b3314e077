"""What both halves of skillwarrant agree on: bytes <-> types. No network, no torch, no sigstore.

The names below are the package's public ones. Each is imported from its module when it is first asked for, so that
`import skillwarrant_format`, which every command line pays for, costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from skillwarrant_format.bundle import BUNDLE_NAME, LogEntry, RawBundle
    from skillwarrant_format.digest import Digest
    from skillwarrant_format.dsse import Envelope, Signature
    from skillwarrant_format.errors import (
        AuditError,
        DigestMismatch,
        FilesMismatch,
        FormatError,
        LoadMismatch,
        ManifestMissing,
        NotLogged,
        NotWarranted,
        OperatorInvalid,
        PolicyDenied,
        PolicyError,
        PolicyRefused,
        SignatureInvalid,
        SigningRefused,
        SkillwarrantError,
        TrustError,
        Unavailable,
        UsageError,
        VerificationError,
        WrongBase,
        WrongPredicate,
    )
    from skillwarrant_format.fingerprint import Fingerprint
    from skillwarrant_format.manifest import (
        AdapterFacts,
        BaseModel,
        Composition,
        Deployment,
        Evidence,
        Publisher,
        Skill,
        SkillManifest,
        TrainingData,
    )
    from skillwarrant_format.observation import (
        BaseSeen,
        Change,
        Check,
        Ended,
        LogPlace,
        Observation,
        Outcome,
        Phase,
        Place,
        PolicyOrigin,
        PolicyUsed,
        SkillSeen,
        Source,
        TrustUsed,
    )
    from skillwarrant_format.snapshot import File, Snapshot
    from skillwarrant_format.statement import Statement, Subject
    from skillwarrant_format.strict_json import JsonObject, JsonValue, canonical

__all__ = [
    "BUNDLE_NAME",
    "AdapterFacts",
    "AuditError",
    "BaseModel",
    "BaseSeen",
    "Change",
    "Check",
    "Composition",
    "Deployment",
    "Digest",
    "DigestMismatch",
    "Ended",
    "Envelope",
    "Evidence",
    "File",
    "FilesMismatch",
    "Fingerprint",
    "FormatError",
    "JsonObject",
    "JsonValue",
    "LoadMismatch",
    "LogEntry",
    "LogPlace",
    "ManifestMissing",
    "NotLogged",
    "NotWarranted",
    "Observation",
    "OperatorInvalid",
    "Outcome",
    "Phase",
    "Place",
    "PolicyDenied",
    "PolicyError",
    "PolicyOrigin",
    "PolicyRefused",
    "PolicyUsed",
    "Publisher",
    "RawBundle",
    "Signature",
    "SignatureInvalid",
    "SigningRefused",
    "Skill",
    "SkillManifest",
    "SkillSeen",
    "SkillwarrantError",
    "Snapshot",
    "Source",
    "Statement",
    "Subject",
    "TrainingData",
    "TrustError",
    "TrustUsed",
    "Unavailable",
    "UsageError",
    "VerificationError",
    "WrongBase",
    "WrongPredicate",
    "canonical",
]

_HOMES: Final = {
    "bundle": ("BUNDLE_NAME", "LogEntry", "RawBundle"),
    "digest": ("Digest",),
    "dsse": ("Envelope", "Signature"),
    "errors": (
        "AuditError",
        "DigestMismatch",
        "FilesMismatch",
        "FormatError",
        "LoadMismatch",
        "ManifestMissing",
        "NotLogged",
        "NotWarranted",
        "OperatorInvalid",
        "PolicyDenied",
        "PolicyError",
        "PolicyRefused",
        "SignatureInvalid",
        "SigningRefused",
        "SkillwarrantError",
        "TrustError",
        "Unavailable",
        "UsageError",
        "VerificationError",
        "WrongBase",
        "WrongPredicate",
    ),
    "fingerprint": ("Fingerprint",),
    "manifest": (
        "AdapterFacts",
        "BaseModel",
        "Composition",
        "Deployment",
        "Evidence",
        "Publisher",
        "Skill",
        "SkillManifest",
        "TrainingData",
    ),
    "observation": (
        "BaseSeen",
        "Change",
        "Check",
        "Ended",
        "LogPlace",
        "Observation",
        "Outcome",
        "Phase",
        "Place",
        "PolicyOrigin",
        "PolicyUsed",
        "SkillSeen",
        "Source",
        "TrustUsed",
    ),
    "snapshot": ("File", "Snapshot"),
    "statement": ("Statement", "Subject"),
    "strict_json": ("JsonObject", "JsonValue", "canonical"),
}
_HOME: Final = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if (module := _HOME.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
