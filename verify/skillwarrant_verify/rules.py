"""What a policy's own module of rules imports: nothing else of skillwarrant is promised to it. See `user_rules`."""

from __future__ import annotations

from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.facts import Facts
from skillwarrant_verify.deciding.requirement import no, proves, unknown, yes
from skillwarrant_verify.policy import Policy

__all__ = ["Facts", "Finding", "Policy", "no", "proves", "unknown", "yes"]
