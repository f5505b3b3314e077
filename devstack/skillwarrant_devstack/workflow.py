"""A CI workflow run and its claims, as GitHub's identity tokens state them.

Source: GitHub, "OpenID Connect reference" (the token's claims). It knows nothing of tokens or certificates.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, fields
from typing import Any, Final, TypedDict

from skillwarrant_format.errors import UsageError

__all__ = ["SERVER", "Workflow", "WorkflowArguments"]

SERVER: Final = "https://github.com"

_PATTERNS: Final = {
    "repository": re.compile(r"[\w.-]+/[\w.-]+", re.ASCII),
    "workflow": re.compile(r"\.github/workflows/[\w./-]+\.ya?ml", re.ASCII),
    "ref": re.compile(r"refs/[\w./+-]+", re.ASCII),
    "sha": re.compile(r"[0-9a-f]{40}"),
    "event": re.compile(r"[a-z_]+"),
}


class WorkflowArguments(TypedDict, total=False):
    """The keywords that name a workflow run; `Workflow` has the defaults."""

    repository: str
    workflow: str
    ref: str
    sha: str
    event: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """One workflow at one commit.

    Raises:
        UsageError: for a value that GitHub would never state.
    """

    repository: str = "acme/skills"
    workflow: str = ".github/workflows/release.yml"
    ref: str = "refs/tags/v1.0.0"
    sha: str = "9f4c3b6c1f4f0b0e2a7d5c8b1e6a3d2f7c0b9a84"
    event: str = "release"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not _PATTERNS[field.name].fullmatch(value):
                raise UsageError(
                    f"{field.name} is malformed", expected=_PATTERNS[field.name].pattern, found=str(value)
                )

    @property
    def workflow_ref(self) -> str:
        """`owner/repository/.github/workflows/file.yml@ref`."""
        return f"{self.repository}/{self.workflow}@{self.ref}"

    @property
    def identity(self) -> str:
        """The URI that a certificate for this workflow has as its subject alternative name."""
        return f"{SERVER}/{self.workflow_ref}"

    def claims(self, run_id: int) -> dict[str, Any]:
        """The claims of one run; numbers that GitHub assigns are derived from the names."""
        owner = self.repository.partition("/")[0]
        return {
            "sub": f"repo:{self.repository}:ref:{self.ref}",
            "repository": self.repository,
            "repository_id": _number(self.repository),
            "repository_owner": owner,
            "repository_owner_id": _number(owner),
            "repository_visibility": "public",
            "workflow": self.workflow.rpartition("/")[2].partition(".")[0],
            "workflow_ref": self.workflow_ref,
            "workflow_sha": self.sha,
            "job_workflow_ref": self.workflow_ref,
            "job_workflow_sha": self.sha,
            "ref": self.ref,
            "ref_type": "tag" if self.ref.startswith("refs/tags/") else "branch",
            "sha": self.sha,
            "event_name": self.event,
            "actor": owner,
            "run_id": str(run_id),
            "run_number": "1",
            "run_attempt": "1",
            "runner_environment": "github-hosted",
        }

    def variables(self, run_id: int) -> dict[str, str]:
        """The environment variables of such a run that tools read."""
        return {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": self.event,
            "GITHUB_REF": self.ref,
            "GITHUB_REPOSITORY": self.repository,
            "GITHUB_RUN_ID": str(run_id),
            "GITHUB_SERVER_URL": SERVER,
            "GITHUB_SHA": self.sha,
            "GITHUB_WORKFLOW_REF": self.workflow_ref,
        }


def _number(name: str) -> str:
    return str(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))
