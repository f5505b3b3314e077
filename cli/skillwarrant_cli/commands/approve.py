"""`skillwarrant approve`: agree to a release that somebody else has signed, where a policy asks for two persons."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import click

from skillwarrant_cli import output
from skillwarrant_cli.endorsing import Endorsed, Release
from skillwarrant_cli.options import FILE, PATH, json_option
from skillwarrant_cli.signing import SigningChoice, signing_options

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("approved",)
FIELDS: Final = {
    "path": "the approval's bundle",
    "bundle": "`sha256:` of that file",
    "statementDigest": "`sha256:` of what is signed: what `revocations.manifests` of a policy names",
    "manifest": "`sha256:` of the manifest's bundle, which is what is approved",
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
    from skillwarrant_format.endorsement import Approval

    release = Release.load(directory, out, _SUFFIX)
    skill = release.read.manifest.skill
    approval = Approval(skill=skill.name, version=skill.version, comment=comment)
    done = release.sign(approval, signing, doing="approving", as_json=as_json)
    output.answer(_text(done), done.fields(), code=CODES[0], as_json=as_json)


def _text(done: Endorsed) -> str:
    path = done.release.out
    return "\n".join(
        (
            f"{output.good('approved')}  {done.release.skill}",
            "",
            output.facts((("approved by", done.credential.identity), *done.rows())),
            "",
            "A gate takes it as evidence, and so does:",
            f"  skillwarrant verify … --evidence {shlex.quote(str(path))}",
        )
    )
