"""A security team that signs its policies: real keys of a real instance, and whatever time a test wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509

from builders import ISSUER
from insider import NOW, SIGNED, Insider, raw
from skillwarrant_attest.policy import build_policy
from skillwarrant_format.policy_files import POLICY_BUNDLE_NAME, PolicyFiles
from skillwarrant_format.statement import Statement
from skillwarrant_verify.identity import IdentityPattern
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.signed_policy.policy_verify import SignedPolicy
from skillwarrant_verify.signed_policy.revisions import RevisionStore

TEAM = "https://github.com/acme/policies/.github/workflows/release.yml@refs/heads/main"
END = NOW + timedelta(days=60)
DOCUMENT = """\
api_version = "skillwarrant.dev/policy/v1"
name = "{name}"
revision = {revision}
environments = ["production"]
policy_classes = ["general"]
{more}

[[publishers]]
issuer = "https://token.actions.githubusercontent.com"
identity = "https://github.com/acme/skills/.github/workflows/release.yml@refs/tags/v*"
skills = ["acme/*"]
"""


def document(name: str = "acme-production", revision: int = 7, more: str = "") -> bytes:
    return DOCUMENT.format(name=name, revision=revision, more=more).encode()


def write(directory: Path, files: Mapping[str, bytes], bundle: bytes | None) -> Path:
    """Exactly these files, and the bundle where there is one."""
    for old in directory.rglob("*") if directory.exists() else ():
        if old.is_file() or old.is_symlink():
            old.unlink()
    everything = files if bundle is None else {**files, POLICY_BUNDLE_NAME: bundle}
    for name, data in everything.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    return directory


@dataclass
class Team:
    """Signs as `TEAM`, unless it is told otherwise; by default `acme-production` revision 7."""

    directory: Path
    insider: Insider = field(default_factory=Insider)

    def bundle(
        self,
        files: Mapping[str, bytes] | None = None,
        *,
        identity: str = TEAM,
        issuer: str = ISSUER,
        signed: datetime = SIGNED,
        not_after: datetime = END,
        statement: Statement | None = None,
        payload_type: str | None = None,
    ) -> bytes:
        """A bundle of these files, in which everything verifies."""
        files = {"policy.toml": document()} if files is None else files
        statement = statement or build_policy(PolicyFiles.of(files), not_after=not_after)
        certificate = self.insider.certificate(
            names=[x509.UniformResourceIdentifier(identity)], extensions={1: issuer.encode()}, begin=signed
        )
        options: Any = {} if payload_type is None else {"payload_type": payload_type}
        at = signed + timedelta(seconds=5)
        return raw(self.insider.bundle(statement.raw, certificate=certificate, at=at, **options))

    def publish(self, files: Mapping[str, bytes] | None = None, **options: Any) -> Path:
        """The directory with these files, signed."""
        files = {"policy.toml": document()} if files is None else files
        return write(self.directory, files, self.bundle(files, **options))

    def revision(self, number: int, more: str = "", **options: Any) -> Path:
        return self.publish({"policy.toml": document(revision=number, more=more)}, **options)

    def demand(self, **changes: Any) -> SignedPolicy:
        given = {
            "path": self.directory,
            "name": "acme-production",
            "signer": IdentityPattern(issuer=ISSUER, identity=TEAM),
            **changes,
        }
        return SignedPolicy(**given)

    @property
    def seen(self) -> RevisionStore:
        """What the one host of a test remembers."""
        return RevisionStore(self.directory.parent / "log")

    def load(self, now: datetime = NOW, **demand: Any) -> Policy:
        return self.demand(**demand).load(trust_root=self.insider.trust(), seen=self.seen, now=now)
