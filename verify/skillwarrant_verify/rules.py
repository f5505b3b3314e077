"""What a policy's own module of rules imports: nothing else of skillwarrant is promised to it. See `user_rules`."""

from __future__ import annotations

from skillwarrant_verify.decision import Finding
from skillwarrant_verify.facts import Facts
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.requirement import no, proves, unknown, yes

__all__ = ["Facts", "Finding", "Policy", "no", "proves", "unknown", "yes"]
