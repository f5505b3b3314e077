"""Every error this product raises, as one tree split by whose fault it is.

::

    SkillwarrantError
    ├── FormatError            their bytes: not what the specification says (exit 1)
    ├── VerificationError      we checked, and the answer is no (exit 1)
    │   ├── ManifestMissing        there is no bundle beside the adapter
    │   ├── SignatureInvalid       signature, certificate or timestamp does not verify
    │   ├── NotLogged              no valid transparency-log entry
    │   ├── WrongPredicate         a valid bundle that is no skill manifest (or of an unknown version)
    │   ├── FilesMismatch          a file is unsigned, or a signed file is missing
    │   ├── DigestMismatch         a file's bytes are not the signed bytes
    │   ├── WrongBase              the base model is not the one that was measured or authorised
    │   ├── LoadMismatch           what got onto the model is not what was verified
    │   ├── OperatorInvalid        an operator's credential proves nothing
    │   └── PolicyRefused          a policy that is signed, or should be, is not one that may be used
    ├── PolicyDenied           the policy did not find proved what it requires (exit 1)
    ├── NotWarranted           an adapter was to get onto a model past the gate (exit 1)
    ├── SigningRefused         a signing service answered no (exit 1)
    ├── UsageError             our caller's fault: arguments, skill.toml (exit 2)
    │   └── PolicyError            the policy document itself cannot be used
    ├── TrustError             our roots: missing, stale, unreadable, no match (exit 3)
    ├── Unavailable            could not check: network, disk, a missing optional package (exit 3)
    └── AuditError             the record could not be written or does not verify (exit 3)

"No" and "could not check" are different answers: a script tells them apart by the exit code.
Every text an error carries is made safe for one terminal line when the error is made, so that a hostile file name
or field cannot write a second line or move the cursor, whoever prints it.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Final

__all__ = [
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
    "shown",
]

_OWN_CHARS: Final = 2_000  # a message of ours may quote several names; only `found` is wholly theirs


class SkillwarrantError(Exception):
    """Base of the tree. Never raised itself.

    Args:
        message: one sentence, lower case, that names the thing at fault.
        expected: what would have been accepted, where that can be said.
        found: what was there instead (untrusted text is shown escaped and cut).
        fix: what the reader can do, as an imperative.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 3

    def __init__(
        self,
        message: str,
        *,
        expected: str | None = None,
        found: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.message = shown(message, _OWN_CHARS)
        self.expected = None if expected is None else shown(expected, _OWN_CHARS)
        self.found = None if found is None else shown(found)
        self.fix = None if fix is None else shown(fix, _OWN_CHARS)
        super().__init__(self.message)

    def __str__(self) -> str:
        parts = [
            f"expected {self.expected}" if self.expected else "",
            f"found {self.found}" if self.found else "",
        ]
        details = ", ".join(part for part in parts if part)
        line = f"{self.message}: {details}" if details else self.message
        return f"{line}. {self.fix}" if self.fix else line


class FormatError(SkillwarrantError):
    """Bytes from outside that are not what the specification says."""

    code = "format"
    exit_code = 1


class VerificationError(SkillwarrantError):
    """Checked, and the answer is no."""

    code = "verification"
    exit_code = 1


class ManifestMissing(VerificationError):
    """There is no bundle beside the adapter and none was given."""

    code = "manifest.missing"


class SignatureInvalid(VerificationError):
    """The signature, its certificate or its time does not verify."""

    code = "signature.invalid"


class NotLogged(VerificationError):
    """There is no valid transparency-log entry for this signature."""

    code = "log.missing"


class WrongPredicate(VerificationError):
    """A valid bundle, but no skill manifest that this version understands."""

    code = "predicate.wrong"


class FilesMismatch(VerificationError):
    """A file is not signed, or a signed file is not there."""

    code = "files.mismatch"


class DigestMismatch(VerificationError):
    """A file's bytes are not the bytes that were signed."""

    code = "files.digest"


class WrongBase(VerificationError):
    """The base model in memory is not the one that is authorised or that was measured."""

    code = "base.wrong"


class LoadMismatch(VerificationError):
    """What got onto the model is not exactly what was verified."""

    code = "load.mismatch"


class OperatorInvalid(VerificationError):
    """An operator's credential does not verify, and so proves nothing of who runs a deployment."""

    code = "operator.invalid"


class PolicyRefused(VerificationError):
    """A policy is not the one that was asked for: unsigned, another's, out of its time, or gone back."""

    code = "policy.refused"


class PolicyDenied(SkillwarrantError):
    """The policy did not find proved what it requires.

    Args:
        message: one sentence.
        reasons: one line for each requirement that was not proved; at least one.
    """

    code = "policy.denied"
    exit_code = 1

    def __init__(self, message: str, *, reasons: tuple[str, ...], fix: str | None = None) -> None:
        if not reasons:
            raise ValueError("a denial needs at least one reason")
        super().__init__(message, fix=fix)
        self.reasons = tuple(shown(reason, _OWN_CHARS) for reason in reasons)
        self.found = "; ".join(self.reasons)

    def __reduce__(self) -> tuple[Any, ...]:
        # So that a denial in a worker process arrives as a denial and not as a failure to unpickle one.
        return (partial(type(self), reasons=self.reasons), self.args, self.__dict__)

    def __str__(self) -> str:
        line = f"{self.message}: {self.found}"
        return f"{line}. {self.fix}" if self.fix else line


class NotWarranted(SkillwarrantError):
    """Enforcement is on in this process, and an adapter was to get onto a model past the gate."""

    code = "warrant.missing"
    exit_code = 1


class SigningRefused(SkillwarrantError):
    """A signing service was reached and said no."""

    code = "signing.refused"
    exit_code = 1


class UsageError(SkillwarrantError):
    """The caller's own arguments or files cannot be used."""

    code = "usage"
    exit_code = 2


class PolicyError(UsageError):
    """The policy document itself cannot be used; nothing is decided with it."""

    code = "policy.invalid"


class TrustError(SkillwarrantError):
    """Our trust material is missing, stale, unreadable or covers nothing that is needed."""

    code = "trust"


class Unavailable(SkillwarrantError):
    """Could not check: the network, the disk or an optional package is not there."""

    code = "unavailable"


class AuditError(SkillwarrantError):
    """The record could not be written durably, or does not verify."""

    code = "audit"


def shown(text: str, limit: int = 300) -> str:
    """Untrusted text made safe for a terminal line.

    Args:
        text: anything, lone surrogates included.
        limit: most characters returned, before the `…` that marks a cut.

    Returns:
        `text` with every character that is not printable (controls, line and paragraph separators, bidirectional
        overrides, zero-width characters) as a Python escape, cut to `limit`.
    """
    safe = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[: limit + 1])
    return safe if len(safe) <= limit else f"{safe[:limit]}…"
