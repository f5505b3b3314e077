"""`Context`: where an adapter is about to be used, as the host says. It is an input to the policy, never a guess.

What leaves this process about a context is `record`: names of places, digests of prompts, salted identities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, UsageError
from skillwarrant_format.fields import check_text, format_time
from skillwarrant_format.limits import MAX_NAME_CHARS
from skillwarrant_format.names import LABEL
from skillwarrant_format.strict_json import JsonObject, JsonValue
from skillwarrant_verify.operators.verified_operator import VerifiedOperator

__all__ = ["Context"]

MAX_SESSION: Final = 32  # attributes of one session


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The deployment that asks for an adapter.

    Args:
        environment: "production", "staging", "development", …: a label, always given.
        region: a label, where deployments differ by region.
        operator: who runs this deployment: what `verify_operator` returned, or a name that is only claimed. A
            policy can refuse claims.
        system_prompt: the exact system prompt the skill will run under; only its SHA-256 is kept in records.
        policy_class: the class of policy this deployment is under, a label; a skill made for another is refused.
        session: attributes of the session (tenant, ticket, agent run): at most 32, a label and a line each. Records
            keep the labels, and salted digests of the values.

    Raises:
        UsageError: a malformed label, an empty string, or another type.
    """

    environment: str
    region: str | None = None
    operator: str | VerifiedOperator | None = None
    system_prompt: str | None = None
    policy_class: str | None = None
    session: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        try:
            check_text(self.environment, "context.environment", 64, LABEL)
            if self.region is not None:
                check_text(self.region, "context.region", 64, LABEL)
            if self.policy_class is not None:
                check_text(self.policy_class, "context.policy_class", 64, LABEL)
            if self.operator is not None and not isinstance(self.operator, VerifiedOperator):
                check_text(self.operator, "context.operator", MAX_NAME_CHARS)
            _check_prompt(self.system_prompt)
            _check_session(self.session)
        except FormatError as error:
            raise UsageError(error.message, expected=error.expected, found=error.found) from None
        object.__setattr__(self, "session", dict(self.session))  # a copy: nobody else changes it

    @property
    def operator_name(self) -> str | None:
        """The operator's name, verified or claimed."""
        return self.operator.subject if isinstance(self.operator, VerifiedOperator) else self.operator

    @property
    def prompt_digest(self) -> Digest | None:
        """SHA-256 of the system prompt's UTF-8 bytes."""
        return None if self.system_prompt is None else Digest.of(self.system_prompt.encode())

    def record(self, salt: str) -> JsonObject:
        """What an observation keeps: somebody who knows an operator can confirm it, nobody can list them.

        Args:
            salt: the activation's random id, so that two records do not show the same operator by equal digests.
        """
        found: dict[str, JsonValue] = {"environment": self.environment}
        if self.region is not None:
            found["region"] = self.region
        if self.policy_class is not None:
            found["policyClass"] = self.policy_class
        if self.operator is not None:
            found["operator"] = _operator(self.operator, salt)
        if (digest := self.prompt_digest) is not None:
            found["systemPromptSha256"] = digest.hex
        if self.session:
            found["session"] = {name: _salted(salt, name, self.session[name]) for name in sorted(self.session)}
        return found


def _operator(operator: str | VerifiedOperator, salt: str) -> JsonObject:
    if isinstance(operator, str):
        return {"verified": False, "saltedSha256": _salted(salt, operator)}
    return {
        "verified": True,
        "saltedSha256": _salted(salt, operator.subject),
        "issuer": operator.issuer,
        "audience": operator.audience,
        "expiresAt": format_time(operator.expires_at),
    }


def _salted(*parts: str) -> str:
    return Digest.of("\n".join(parts).encode()).hex


def _check_session(session: Mapping[str, str]) -> None:
    if not isinstance(session, Mapping):
        found = type(session).__name__
        raise FormatError("context.session has the wrong type", expected="a mapping of strings", found=found)
    if len(session) > MAX_SESSION:
        expected = f"at most {MAX_SESSION}"
        raise FormatError("context.session has too many attributes", expected=expected, found=str(len(session)))
    for name, value in session.items():
        check_text(name, "an attribute's name in context.session", 64, LABEL)
        check_text(value, f"context.session[{name!r}]", MAX_NAME_CHARS)


def _check_prompt(prompt: str | None) -> None:
    if prompt is None:
        return
    if not isinstance(prompt, str):
        raise FormatError(
            "context.system_prompt has the wrong type", expected="a string", found=type(prompt).__name__
        )
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise FormatError("context.system_prompt holds a lone surrogate", expected="text that is UTF-8") from None
