"""`skillwarrant policy sign`: a policy's files, signed keylessly and logged, the bundle beside them."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from skillwarrant_cli import output
from skillwarrant_cli.options import PATH, json_option
from skillwarrant_cli.signing import SigningChoice, signing_options
from skillwarrant_format.errors import UsageError

if TYPE_CHECKING:
    from skillwarrant_attest import Credential
    from skillwarrant_format.policy_bundle import PolicyBundle
    from skillwarrant_format.policy_files import PolicyFiles
    from skillwarrant_format.statement import Statement
    from skillwarrant_format.strict_json import JsonObject

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("signed", "not-signed")
FIELDS: Final = {
    "path": "the bundle",
    "bundle": "`sha256:` of the bundle file",
    "policy": "`name`, `revision`, `apiVersion`, `document`, `notBefore` where there is one, and `notAfter`",
    "signer": "`identity` and `issuer`, as the certificate has them",
    "log": "`origin`, `logId` and `index` of the entry",
    "files": "the signed files: `name` and `digest`",
    "statement": "with --dry-run, and then alone with `digest`: what would be signed",
    "digest": "with --dry-run: `sha256:` of the statement's bytes",
}


@click.command("sign")
@click.argument("directory", metavar="DIR", type=PATH)
@click.option(
    "--days",
    metavar="DAYS",
    type=click.IntRange(min=1, max=3650),
    default=90,
    help="How long it may be used: 90, and no longer than the policy itself says.",
)
@signing_options
@click.option("--dry-run", is_flag=True, help="Print the statement and sign nothing.")
@json_option
def command(*, directory: Path, days: int, signing: SigningChoice, dry_run: bool, as_json: bool) -> None:
    """Sign a policy's directory: every file in it, for a while.

    DIR holds policy.toml or policy.json and all that belongs to it. It is read as a gate would read it, but that
    rules in Python are not run; signed with your identity; and gets policy.sigstore.json. Identity and digests go
    into a transparency log; a public one keeps them for everybody and for ever.
    """
    from skillwarrant_attest import build_policy, write_policy_bundle
    from skillwarrant_format.policy_bundle import PolicyBundle
    from skillwarrant_format.policy_files import PolicyFiles

    files = PolicyFiles.read(directory)
    now = datetime.now(UTC)
    _check(files, now)
    statement = build_policy(files, not_after=now + timedelta(days=days))
    if dry_run:
        _show(statement, as_json=as_json)
        return
    credential = signing.credential()
    if not as_json:
        output.note(_announcement(PolicyBundle.parse(statement), credential, signing))
    bundle = signing.sign(statement, credential)
    path = write_policy_bundle(directory, bundle)
    _report(path, bundle, signing.trust_config, as_json=as_json)


def _check(files: PolicyFiles, now: datetime) -> None:
    """Whatever a gate would refuse is not signed, nor what a reader would take for a rule and no gate for one."""
    from skillwarrant_verify.document.named_files import files_of
    from skillwarrant_verify.document.policy_reach import NONE
    from skillwarrant_verify.policy import Policy

    policy = Policy.parse(files.files[files.document], name=files.document, files=files_of(files.files), reach=NONE)
    if policy.not_after is not None and policy.not_after <= now:
        raise UsageError(
            "the policy would be expired before anybody reads it",
            expected="not_after in the future",
            found=policy.not_after.isoformat(),
        )
    named = {file.name for file in policy.files}
    unnamed = [
        name
        for name in files.files
        if name.endswith((".py", ".rego")) and not name.endswith("_test.rego") and name not in named
    ]
    if unnamed:
        raise UsageError(
            "there are rules that the policy does not name, and no gate would ask them",
            expected=f"only those that {files.document} names",
            found=", ".join(unnamed),
            fix="Name them with their SHA-256, or delete them.",
        )


def _announcement(bundle: PolicyBundle, credential: Credential, signing: SigningChoice) -> str:
    rows = (
        ("signing", f"{bundle.name} revision {bundle.revision}"),
        ("until", f"{bundle.not_after:%Y-%m-%d %H:%M} UTC"),
        ("as", f"{credential.identity} ({credential.issuer})"),
        ("with", signing.instance),
    )
    return output.facts(rows, indent="") + "\n"


def _show(statement: Statement, *, as_json: bool) -> None:
    from skillwarrant_format.digest import Digest
    from skillwarrant_format.strict_json import loads

    document = loads(statement.raw, what="statement")
    fields: JsonObject = {"statement": document, "digest": str(Digest.of(statement.raw))}
    output.answer(json.dumps(document, indent=2), fields, code=CODES[1], as_json=as_json)


def _report(path: Path, raw: bytes, trust_config: Path | None, *, as_json: bool) -> None:
    from skillwarrant_format.bundle import RawBundle
    from skillwarrant_format.policy_bundle import PolicyBundle
    from skillwarrant_verify.proof.certificate import parse_certificate, read_signer

    bundle = RawBundle.parse(raw)
    statement, policy = PolicyBundle.read(bundle.envelope.payload)
    signer, entry = read_signer(parse_certificate(bundle.certificate)), bundle.entry
    fields: JsonObject = {
        "path": str(path),
        "bundle": str(bundle.digest),
        "policy": policy.to_json(),
        "signer": {"identity": signer.identity, "issuer": signer.issuer},
        "log": {"origin": entry.origin, "logId": entry.log_id, "index": entry.index},
        "files": [subject.to_json() for subject in statement.subjects],
    }
    rows = (
        ("signed by", signer.identity),
        ("issuer", signer.issuer),
        ("until", f"{policy.not_after:%Y-%m-%d %H:%M} UTC"),
        ("files", str(len(statement.subjects))),
        ("log entry", f"{entry.index} of {entry.origin}"),
        ("bundle", output.place(path)),
    )
    trust = () if trust_config is None else (f"    --trust-config {shlex.quote(str(trust_config))} \\",)
    text = "\n".join(
        (
            f"{output.good('signed')}  {policy.name} revision {policy.revision}",
            "",
            output.facts(rows),
            "",
            "Any host can check it now:",
            f"  skillwarrant policy verify {shlex.quote(str(path.parent))} --name {shlex.quote(policy.name)} \\",
            *trust,
            f"    --identity {shlex.quote(signer.identity)} \\",
            f"    --issuer {shlex.quote(signer.issuer)}",
        )
    )
    output.answer(text, fields, code=CODES[0], as_json=as_json)
