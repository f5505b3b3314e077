"""What `approve` and `certify` share: a statement of somebody else about one signed release, in a file of its own.

Who signed the release is not verified here: `skillwarrant verify` does that. That its files are the signed ones is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from skillwarrant_cli import output, progress
from skillwarrant_cli.signing import SigningChoice
from skillwarrant_format.errors import FormatError, UsageError

if TYPE_CHECKING:
    from skillwarrant_attest import Credential
    from skillwarrant_cli.bundle_file import ReadBundle
    from skillwarrant_format.digest import Digest
    from skillwarrant_format.endorsement import Approval, Certification
    from skillwarrant_format.statement import Statement
    from skillwarrant_format.strict_json import JsonObject

__all__ = ["Endorsed", "Release"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A signed release, and where a statement about it will be.

    Args:
        out: a file that is not there yet, outside of the adapter.
    """

    read: ReadBundle
    out: Path

    @classmethod
    def load(cls, directory: Path, out: Path | None, suffix: str) -> Self:
        """Read an adapter with its manifest.

        Args:
            out: None: beside the adapter, named after it with the suffix.

        Raises:
            UsageError: no directory, or `out` is taken or lies inside the adapter.
            DigestMismatch: its files are not those that are signed.
            SkillwarrantError: as `ReadBundle.read` and `Snapshot.read`.
        """
        from skillwarrant_cli.bundle_file import ReadBundle

        path = out or directory.resolve().with_name(directory.resolve().name + suffix)
        if path.exists():
            raise UsageError(f"{path} is already there", fix="Delete it, or name another with --out.")
        if directory.resolve() in path.resolve().parents:
            raise UsageError(
                "--out lies inside the adapter: one more file there makes its manifest void",
                expected="a file elsewhere",
                found=str(path),
            )
        read = ReadBundle.read(directory)
        _check_files(directory, read)
        return cls(read=read, out=path)

    @property
    def skill(self) -> str:
        """For people."""
        return f"{self.read.manifest.skill.name} {self.read.manifest.skill.version}"

    def sign(
        self, said: Approval | Certification, signing: SigningChoice, *, doing: str, as_json: bool
    ) -> Endorsed:
        """Announce, sign and write.

        Args:
            doing: `approving`.

        Raises:
            UsageError: what is said is not what a reader would take.
            SkillwarrantError: as `SigningChoice.sign`; nothing is written then.
        """
        from skillwarrant_attest.files import create

        statement = _statement(said, self.read.bundle.digest)
        credential = signing.credential()
        if not as_json:
            output.note(self._announcement(credential, signing, doing))
        bundle = signing.sign(statement, credential)
        create(self.out, bundle)
        return Endorsed(release=self, statement=statement, bundle=bundle, credential=credential)

    def _announcement(self, credential: Credential, signing: SigningChoice, doing: str) -> str:
        rows = (
            (doing, self.skill),
            ("signed by", f"{self.read.signer.identity}, it says"),
            ("as", f"{credential.identity} ({credential.issuer})"),
            ("with", signing.instance),
        )
        return output.facts(rows, indent="") + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsed:
    """A statement that is signed and written."""

    release: Release
    statement: Statement
    bundle: bytes
    credential: Credential

    @property
    def digest(self) -> Digest:
        """SHA-256 of the statement: what a policy's revocations name."""
        from skillwarrant_format.digest import Digest

        return Digest.of(self.statement.raw)

    def rows(self) -> tuple[tuple[str, str], ...]:
        """For people: where it is, and how it is called when it is taken back."""
        return (("bundle", str(self.release.out)), ("statement", str(self.digest)))

    def fields(self) -> JsonObject:
        """For scripts."""
        from skillwarrant_format.digest import Digest

        skill = self.release.read.manifest.skill
        return {
            "path": str(self.release.out),
            "bundle": str(Digest.of(self.bundle)),
            "statementDigest": str(self.digest),
            "manifest": str(self.release.read.bundle.digest),
            "skill": {"name": skill.name, "version": skill.version},
            "signer": {"identity": self.credential.identity, "issuer": self.credential.issuer},
        }


def _statement(said: Approval | Certification, bundle: Digest) -> Statement:
    """What is signed, and nothing that a reader would refuse: it stays in the log."""
    from skillwarrant_format.fields import Fields

    try:
        type(said).parse(Fields(said.to_json(), "the statement"))
    except FormatError as error:
        what = f"this cannot be signed: {error.message}"
        raise UsageError(what, expected=error.expected, found=error.found) from None
    return said.to_statement(bundle)


def _check_files(directory: Path, read: ReadBundle) -> None:
    """Nobody vouches for other files than those that are signed."""
    from skillwarrant_format.signed_files import check_files
    from skillwarrant_format.snapshot import Snapshot

    if not directory.is_dir():
        raise UsageError(
            "an adapter's directory is needed, not a bundle alone: its files are compared with the signed ones",
            expected="a directory",
            found=str(directory),
        )
    with progress.hashing("reading the adapter") as callback:
        snapshot = Snapshot.read(directory, progress=callback)
    found = {name: file.digest for name, file in snapshot.files.items()}
    check_files(read.statement.subjects, found, what="adapter")
