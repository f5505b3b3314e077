"""The one policy that an argument means, a document or its directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skillwarrant_format.errors import UsageError

if TYPE_CHECKING:
    from skillwarrant_verify.document.policy_reach import Reach
    from skillwarrant_verify.policy import Policy

__all__ = ["one_policy"]


def one_policy(path: Path, reach: Reach) -> Policy:
    """Read it.

    Args:
        reach: what of it may act.

    Raises:
        UsageError: there is none, or more than one.
        PolicyError: it cannot be used.
        Unavailable: it, or what it needs, cannot be read, or `reach` says no.
    """
    from skillwarrant_verify.policy import Policy
    from skillwarrant_verify.review.policy_cases import find_policies

    found = find_policies(path)
    if len(found) > 1:
        raise UsageError(f"{path} holds several policies", expected="one", found=f"{len(found)}, below it")
    return Policy.load(found[0], reach=reach)
