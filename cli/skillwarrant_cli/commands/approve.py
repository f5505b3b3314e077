"""`skillwarrant approve`: agree to a release that somebody else has signed, where a policy asks for two persons."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from skillwarrant_cli import output, progress
from skillwarrant_cli.options import FILE, PATH, json_option
from skillwarrant_cli.signing import SigningChoice, signing_options
from skillwarrant_format.errors import UsageError

if TYPE_CHECKING:
    from skillwarrant_attest import Credential
    from skillwarrant_cli.bundle_file import ReadBundle
    from skillwarrant_format.strict_json import JsonObject

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("approved",)
FIELDS: Final = {
    "path": "the approval's bundle",
    "bundle": "`sha256:` of that file",
    "approves": "`sha256:` of the manifest's bundle",
    "skill": "`name` and `version`",
    "signer": "`identity` and `issuer` of who approves, as the certificate has them",
}
_SUFFIX: Final = ".approval.sigstore.json"


@click.command("approve")
@click.argument("directory", metavar="DIR", type=PATH)
@click.option("--comment", metavar="TEXT", help="What you want to say with it.")
@click.option("--out", metavar="FILE", type=FILE, help=f"Where to write it. Default: DIR{_SUFFIX}, beside DIR.")
@signing_options
@json_option
def command(
    *, directory: Path, comment: str | None, out: Path | None, signing: SigningChoice, as_json: bool
) -> None:
    """Agree to a release: sign that you have looked at it.

    DIR is an adapter with its manifest, signed by somebody else. That its files are the signed ones is checked
    here; who signed them is not: `skillwarrant verify` does that. What you sign is about this very bundle. Give the
    file to the gate as evidence.
    """
    from skillwarrant_attest.files import create
    from skillwarrant_cli.bundle_file import ReadBundle
    from skillwarrant_format.endorsement import Approval

    path = out or directory.resolve().with_name(directory.resolve().name + _SUFFIX)
    if path.exists():
        raise UsageError(f"{path} is already there", fix="Delete it, or name another with --out.")
    read = ReadBundle.read(directory)
    _check_files(directory, read)
    skill = read.manifest.skill
    statement = Approval(skill=skill.name, version=skill.version, comment=comment).to_statement(read.bundle.digest)
    credential = signing.credential()
    if not as_json:
        output.note(_announcement(read, credential, signing))
    bundle = signing.sign(statement, credential)
    create(path, bundle)
    _report(read, path, bundle, credential, as_json=as_json)


def _check_files(directory: Path, read: ReadBundle) -> None:
    """Nobody approves other files than those that are signed."""
    from skillwarrant_format.signed_files import check_files
    from skillwarrant_format.snapshot import Snapshot

    if not directory.is_dir():
        raise UsageError(
            "an adapter is approved, not a bundle alone", expected="its directory", found=str(directory)
        )
    with progress.hashing("reading the adapter") as callback:
        snapshot = Snapshot.read(directory, progress=callback)
    found = {name: file.digest for name, file in snapshot.files.items()}
    check_files(read.statement.subjects, found, what="adapter")


def _announcement(read: ReadBundle, credential: Credential, signing: SigningChoice) -> str:
    skill = read.manifest.skill
    rows = (
        ("approving", f"{skill.name} {skill.version}"),
        ("signed by", f"{read.signer.identity}, it says"),
        ("as", f"{credential.identity} ({credential.issuer})"),
        ("with", signing.instance),
    )
    return output.facts(rows, indent="") + "\n"


def _report(read: ReadBundle, path: Path, bundle: bytes, credential: Credential, *, as_json: bool) -> None:
    from skillwarrant_format.digest import Digest

    skill = read.manifest.skill
    fields: JsonObject = {
        "path": str(path),
        "bundle": str(Digest.of(bundle)),
        "approves": str(read.bundle.digest),
        "skill": {"name": skill.name, "version": skill.version},
        "signer": {"identity": credential.identity, "issuer": credential.issuer},
    }
    text = "\n".join(
        (
            f"{output.good('approved')}  {skill.name} {skill.version}",
            "",
            output.facts((("approved by", credential.identity), ("bundle", str(path)))),
            "",
            "A gate takes it as evidence, and so does:",
            f"  skillwarrant verify … --evidence {shlex.quote(str(path))}",
        )
    )
    output.answer(text, fields, code="approved", as_json=as_json)
