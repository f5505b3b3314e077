"""`skillwarrant certify`: put a name to what came out of testing a release, where a policy asks for that."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from skillwarrant_cli import output, progress
from skillwarrant_cli.endorsing import Endorsed, Release
from skillwarrant_cli.options import FILE, PATH, json_option
from skillwarrant_cli.signing import SigningChoice, signing_options
from skillwarrant_format.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from skillwarrant_format.digest import Digest
    from skillwarrant_format.endorsement import Certification, Result

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("certified",)
FIELDS: Final = {
    "path": "the certification's bundle",
    "bundle": "`sha256:` of that file",
    "statementDigest": "`sha256:` of what is signed: what `revocations.manifests` of a policy names",
    "manifest": "`sha256:` of the manifest's bundle, which is what is certified",
    "skill": "`name` and `version`",
    "signer": "`identity` and `issuer` of who certifies, as the certificate has them",
    "certification": "what was signed: `skill`, `suite`, `result`, and where given `report` and `expiresAt`",
}
_SUFFIX: Final = ".certification.sigstore.json"
_TIMES: Final = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ")


@click.command("certify")
@click.argument("directory", metavar="DIR", type=PATH)
@click.option(
    "--suite", metavar="TEXT", required=True, help="Which tests, and their version, in one line: 'safety 3'."
)
@click.option(
    "--result",
    type=click.Choice(["passed", "failed"]),
    required=True,
    help="What came out. A policy is content with passed only.",
)
@click.option("--report", metavar="FILE", type=FILE, help="The report: its digest is signed, not its text.")
@click.option(
    "--expires",
    metavar="TIME",
    type=click.DateTime(_TIMES),
    help="From then on it proves nothing: 2027-06-30, or 2027-06-30T12:00:00Z. UTC. Default: no end of its own; it "
    "counts for as long as a policy's max_age_days lets it, for ever where there is none.",
)
@click.option("--out", metavar="FILE", type=FILE, help=f"Where to write it. Default: DIR{_SUFFIX}, beside DIR.")
@signing_options
@json_option
def command(
    *,
    directory: Path,
    suite: str,
    result: Result,
    report: Path | None,
    expires: datetime | None,
    out: Path | None,
    signing: SigningChoice,
    as_json: bool,
) -> None:
    """Certify a release: sign what came out of testing its behaviour.

    The tests are yours: this runs none, and says with your identity what came out. DIR is an adapter with its
    manifest, signed by its publisher. That its files are the signed ones is checked here; who signed them is not:
    `skillwarrant verify` does that. What you sign is about this very bundle. Give the file to the gate as evidence.
    """
    from skillwarrant_format.endorsement import Certification

    ends = _end(expires)
    release = Release.load(directory, out, _SUFFIX)
    skill = release.read.manifest.skill
    certification = Certification(
        skill=skill.name,
        version=skill.version,
        suite=suite,
        result=result,
        report=_digest_of(report),
        expires_at=ends,
    )
    done = release.sign(certification, signing, doing="certifying", as_json=as_json)
    fields = {**done.fields(), "certification": certification.to_json()}
    output.answer(_text(done, certification), fields, code=CODES[0], as_json=as_json)


def _end(expires: datetime | None) -> datetime | None:
    if expires is None:
        return None
    ends = expires.replace(tzinfo=UTC)
    if ends <= datetime.now(UTC):
        raise UsageError(
            "the certification would be expired before anybody reads it",
            expected="--expires in the future",
            found=ends.isoformat(),
        )
    return ends


def _digest_of(report: Path | None) -> Digest | None:
    from skillwarrant_format.digest import Digest

    if report is None:
        return None
    import hashlib

    try:
        with progress.waiting("reading the report"), report.open("rb") as file:
            return Digest(hashlib.file_digest(file, "sha256").hexdigest())
    except FileNotFoundError:
        raise UsageError("there is no such report", expected="a file", found=str(report)) from None
    except OSError as error:
        raise Unavailable(f"cannot read the report {report}", found=error.strerror) from error


def _text(done: Endorsed, certification: Certification) -> str:
    use = (
        ("A gate takes it as evidence, and so does:", f"  skillwarrant verify … --evidence {_quoted(done)}")
        if certification.result == "passed"
        else ("No policy is content with tests that failed: this is for who wants to know.",)
    )
    return "\n".join(
        (
            f"{output.good('certified')}  {done.release.skill}: {certification.suite} {certification.result}",
            "",
            output.facts(_rows(done, certification)),
            "",
            *use,
        )
    )


def _quoted(done: Endorsed) -> str:
    return shlex.quote(str(done.release.out))


def _rows(done: Endorsed, certification: Certification) -> Iterator[tuple[str, str]]:
    from skillwarrant_format.fields import format_time

    yield "certified by", done.credential.identity
    if certification.report is not None:
        yield "report", str(certification.report)
    ends = certification.expires_at
    yield "until", "a policy's max_age_days, if it has one" if ends is None else format_time(ends)
    yield from done.rows()
