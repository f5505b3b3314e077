"""`Context`: where an adapter is about to be used, as the host says. It is an input to the policy, never a guess.

What leaves this process about a context is `record`: names of places, digests of prompts, salted identities.
"""

from __future__ import annotations

from dataclasses import dataclass

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, UsageError
from skillwarrant_format.fields import check_text
from skillwarrant_format.limits import MAX_NAME_CHARS
from skillwarrant_format.names import LABEL
from skillwarrant_format.strict_json import JsonObject, JsonValue

__all__ = ["Context"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The deployment that asks for an adapter.

    Args:
        environment: "production", "staging", "development", …: a label, always given.
        region: a label, where deployments differ by region.
        operator: who runs this deployment, as the host claims it; nothing here verifies the claim.
        system_prompt: the exact system prompt the skill will run under; only its SHA-256 is kept in records.

    Raises:
        UsageError: a malformed label or an empty string.
    """

    environment: str
    region: str | None = None
    operator: str | None = None
    system_prompt: str | None = None

    def __post_init__(self) -> None:
        try:
            check_text(self.environment, "context.environment", 64, LABEL)
            if self.region is not None:
                check_text(self.region, "context.region", 64, LABEL)
            if self.operator is not None:
                check_text(self.operator, "context.operator", MAX_NAME_CHARS)
            _check_prompt(self.system_prompt)
        except FormatError as error:
            raise UsageError(error.message, expected=error.expected, found=error.found) from None

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
        if self.operator is not None:
            found["operatorSaltedSha256"] = Digest.of(f"{salt}\n{self.operator}".encode()).hex
        if (digest := self.prompt_digest) is not None:
            found["systemPromptSha256"] = digest.hex
        return found


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
