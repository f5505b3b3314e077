"""`skillwarrant sign`: build the manifest, sign it keylessly, log it, and leave the bundle beside the adapter."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
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
    from skillwarrant_format.manifest import SkillManifest
    from skillwarrant_format.statement import Statement
    from skillwarrant_format.strict_json import JsonObject

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("signed", "not-signed")
FIELDS: Final = {
    "path": "the bundle",
    "bundle": "`sha256:` of the bundle file",
    "statementDigest": "`sha256:` of what is signed: what `revocations.manifests` of a policy names",
    "skill": "`name` and `version`",
    "signer": "`identity` and `issuer`, as the certificate has them",
    "log": "`origin`, `logId` and `index` of the entry",
    "files": "the signed files: `name` and `digest`",
    "statement": "with --dry-run, and then alone with `digest`: what would be signed",
    "digest": "with --dry-run: `sha256:` of the statement's bytes",
}


@click.command("sign")
@click.argument("directory", metavar="DIR", type=PATH)
@click.option("--skill", metavar="FILE", type=FILE, help="What you vouch for. Default: DIR.skill.toml, beside DIR.")
@click.option("--base", metavar="DIR", type=PATH, help="The base model, to be measured, where skill.toml has one.")
@signing_options
@click.option("--dry-run", is_flag=True, help="Print the statement and sign nothing.")
@json_option
def command(
    *,
    directory: Path,
    skill: Path | None,
    base: Path | None,
    signing: SigningChoice,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Vouch for an adapter: sign its manifest and log it.

    Measures the adapter and its base, adds what skill.toml says, signs with your identity, and writes
    skillwarrant.sigstore.json into DIR. Identity and digests go into a transparency log; a public one keeps them
    for everybody and for ever.
    """
    from skillwarrant_attest import write_bundle
    from skillwarrant_format.manifest import SkillManifest

    statement = _statement(directory, skill, base)
    if dry_run:
        _show(statement, as_json=as_json)
        return
    credential = signing.credential()
    if not as_json:
        output.note(_announcement(SkillManifest.parse(statement), credential, signing))
    bundle = signing.sign(statement, credential)
    with progress.hashing("reading the adapter again") as callback:
        path = write_bundle(directory, bundle, progress=callback)
    _report(directory, path, bundle, signing.trust_config, as_json=as_json)


def _statement(directory: Path, skill_path: Path | None, base: Path | None) -> Statement:
    from skillwarrant_attest import SkillToml, build, default_path, measure_bases, read_adapter

    with progress.hashing("reading the adapter") as callback:
        adapter = read_adapter(directory, progress=callback)
    skill = SkillToml.load(skill_path or default_path(directory))
    _check_window(skill.deployment.not_after)
    with progress.hashing("measuring the base model") as callback:
        bases = measure_bases(skill, directory=base, progress=callback)
    return build(adapter, skill, bases)


def _check_window(not_after: datetime | None) -> None:
    if not_after is not None and not_after <= datetime.now(UTC):
        raise UsageError(
            "the manifest would be expired before anybody reads it",
            expected="deployment.not_after in the future",
            found=not_after.isoformat(),
        )


def _announcement(manifest: SkillManifest, credential: Credential, signing: SigningChoice) -> str:
    rows = (
        ("signing", f"{manifest.skill.name} {manifest.skill.version}"),
        ("as", f"{credential.identity} ({credential.issuer})"),
        ("for base", ", ".join(base.name for base in manifest.base_models)),
        ("with", signing.instance),
    )
    return output.facts(rows, indent="") + "\n"


def _show(statement: Statement, *, as_json: bool) -> None:
    from skillwarrant_format.digest import Digest
    from skillwarrant_format.strict_json import loads

    document = loads(statement.raw, what="statement")
    fields: JsonObject = {"statement": document, "digest": str(Digest.of(statement.raw))}
    output.answer(json.dumps(document, indent=2), fields, code="not-signed", as_json=as_json)


def _report(directory: Path, path: Path, bundle: bytes, trust_config: Path | None, *, as_json: bool) -> None:
    from skillwarrant_cli.bundle_file import ReadBundle

    read = ReadBundle.parse(bundle)
    skill, signer, entry = read.manifest.skill, read.signer, read.bundle.entry
    fields: JsonObject = {
        "path": str(path),
        "bundle": str(read.bundle.digest),
        "statementDigest": str(read.statement_digest),
        "skill": {"name": skill.name, "version": skill.version},
        "signer": {"identity": signer.identity, "issuer": signer.issuer},
        "log": {"origin": entry.origin, "logId": entry.log_id, "index": entry.index},
        "files": [subject.to_json() for subject in read.statement.subjects],
    }
    trust = () if trust_config is None else (f"    --trust-config {shlex.quote(str(trust_config))} \\",)
    text = "\n".join(
        (
            f"{output.good('signed')}  {skill.name} {skill.version}",
            "",
            output.facts(_rows(read, path)),
            "",
            "Anybody can check it now:",
            f"  skillwarrant verify {shlex.quote(str(directory))} \\",
            *trust,
            f"    --identity {shlex.quote(signer.identity)} \\",
            f"    --issuer {shlex.quote(signer.issuer)}",
        )
    )
    output.answer(text, fields, code="signed", as_json=as_json)


def _rows(read: ReadBundle, path: Path) -> Iterator[tuple[str, str]]:
    yield "signed by", read.signer.identity
    yield "issuer", read.signer.issuer
    yield "files", str(len(read.statement.subjects))
    for number, base in enumerate(read.manifest.base_models):
        yield ("" if number else "for base"), f"{base.name} ({base.fingerprint.digest.short}…)"
        yield from (("", f"  cast to {cast.dtype}, {cast.kind}") for cast in base.casts)
    yield "log entry", f"{read.bundle.entry.index} of {read.bundle.entry.origin}"
    yield "bundle", str(path)
    yield "statement", str(read.statement_digest)
