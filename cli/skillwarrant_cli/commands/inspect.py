"""`skillwarrant inspect`: a bundle as a person wants to read it. It verifies nothing and says so first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from skillwarrant_cli import output
from skillwarrant_cli.options import json_option
from skillwarrant_format.errors import shown
from skillwarrant_format.fields import format_time

if TYPE_CHECKING:
    from datetime import datetime

    from skillwarrant_cli.bundle_file import ReadBundle
    from skillwarrant_format.manifest import AdapterFacts, BaseModel, Deployment, SkillManifest
    from skillwarrant_format.strict_json import JsonObject

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("not-verified",)
FIELDS: Final = {
    "verified": "always false",
    "bundle": "`sha256:` of the bundle file",
    "statementDigest": "`sha256:` of what is signed: what `revocations.manifests` of a policy names",
    "signer": "`identity`, `issuer`, `kind`, `extensions`, `notBefore`, `notAfter`, as the certificate says",
    "log": "`origin`, `logId`, `index`, `kind`, `integratedTime`, as the bundle says",
    "files": "the signed files: `name` and `digest`",
    "manifest": "the predicate, as in the manifest's reference",
}

Rows = Iterator[tuple[str, str]]

_WARNING: Final = "NOT VERIFIED: this is what the bundle claims. Nothing was checked."
_MOST_FILES: Final = 12  # listed for people; --json has all


@click.command("inspect")
@click.argument("path", metavar="BUNDLE|DIR", type=click.Path(path_type=Path))
@json_option
def command(path: Path, as_json: bool) -> None:
    """Show what a bundle claims, without verifying it.

    Who signed, what, for which base model, where it is logged, where and until when it may be used. For all of it
    there is only the bundle's word: `skillwarrant verify` checks it.
    """
    from skillwarrant_cli.bundle_file import ReadBundle

    found = ReadBundle.read(path)
    output.answer(_text(found), _fields(found), code="not-verified", as_json=as_json)


def _text(found: ReadBundle) -> str:
    how = "To check it: skillwarrant verify DIR --identity WHO-YOU-EXPECT --issuer THEIR-ISSUER"
    return "\n".join((output.loud(_WARNING), "", output.facts(_rows(found), indent=""), "", how))


def _rows(found: ReadBundle) -> Rows:
    manifest, signer, entry = found.manifest, found.signer, found.bundle.entry
    begin, end = (format_time(moment) for moment in _validity(found))
    contact = f" <{manifest.publisher.contact}>" if manifest.publisher.contact else ""
    yield "skill", f"{manifest.skill.name} {manifest.skill.version}"
    yield "", shown(" ".join(manifest.skill.description.split()), 200)
    yield "publisher", f"{manifest.publisher.name}{contact} (in the publisher's own words)"
    yield "signed by", signer.identity
    yield "issuer", shown(signer.issuer)
    if source := signer.extensions.get("sourceRepositoryURI"):
        yield "source", shown(f"{source}@{signer.extensions.get('sourceRepositoryDigest', 'unknown commit')}")
    if run := signer.extensions.get("runInvocationURI"):
        yield "run", shown(run)
    yield "certificate", f"valid from {begin} until {end}"
    logged = f", {format_time(entry.integrated_time)}" if entry.integrated_time else ""
    yield (
        "log entry",
        f"{entry.index} of {shown(entry.origin)} ({shown(entry.kind)} {shown(entry.version)}{logged})",
    )
    yield "statement", str(found.statement_digest)
    yield "adapter", _adapter(manifest.adapter)
    for number, base in enumerate(manifest.base_models):
        yield ("" if number else "for base"), _base(base)
        yield "", str(base.fingerprint)
        yield from (("", f"cast to {cast.dtype}, {cast.kind}: {cast.fingerprint}") for cast in base.casts)
    yield from _deployment(manifest.deployment)
    yield from _limits(manifest)
    yield from _files(found)


def _validity(found: ReadBundle) -> tuple[datetime, datetime]:
    return found.certificate.not_valid_before_utc, found.certificate.not_valid_after_utc


def _adapter(facts: AdapterFacts) -> str:
    shape = "".join(
        f", {name} {value}" for name, value in (("rank", facts.rank), ("alpha", facts.alpha)) if value is not None
    )
    hazards = f"; {output.loud('hazards')}: {', '.join(facts.hazards)}" if facts.hazards else ""
    changes = f"; {output.loud('changes the base model')}" if facts.changes_base else ""
    size = f"{facts.parameters:,} parameters in {facts.tensors:,} tensors"
    return f"{facts.peft_type}{shape}, {size}{changes}{hazards}"


def _base(base: BaseModel) -> str:
    revision = f"@{base.revision}" if base.revision else ""
    quantized = f", {base.quantization}" if base.quantization else ""
    return f"{base.name}{revision}: {base.architecture}, {base.parameters:,} parameters, {base.dtype}{quantized}"


def _deployment(deployment: Deployment) -> Rows:
    yield "environments", ", ".join(deployment.environments)
    begin = f"from {format_time(deployment.not_before)}" if deployment.not_before else ""
    end = f"until {format_time(deployment.not_after)}" if deployment.not_after else ""
    yield "when", " ".join(filter(None, (begin, end))) or "any time"
    if deployment.regions:
        yield "regions", ", ".join(deployment.regions)
    if deployment.operators:
        yield "operators", ", ".join(deployment.operators)
    if deployment.system_prompts:
        yield "prompts", ", ".join(str(digest) for digest in deployment.system_prompts)


def _limits(manifest: SkillManifest) -> Rows:
    composition = manifest.composition
    stack = "may share a model with other skills" if composition.stackable else "must be alone on its model"
    yield "policy class", manifest.policy_class
    yield "composition", stack
    if manifest.requires:
        yield "requires", ", ".join(f"{name} {versions}" for name, versions in manifest.requires)
    for number, data in enumerate(manifest.training_data):
        yield ("" if number else "trained on"), f"{data.name}: licence {data.licence}, rights {data.rights}"
    for number, item in enumerate(manifest.evidence):
        yield ("" if number else "evidence"), f"{item.name} {item.uri or ''} {item.digest}"


def _files(found: ReadBundle) -> Rows:
    subjects = found.statement.subjects
    for number, subject in enumerate(subjects[:_MOST_FILES]):
        yield ("" if number else "files"), f"{subject.digest.short}…  {subject.name}"
    if len(subjects) > _MOST_FILES:
        yield "", f"and {len(subjects) - _MOST_FILES} more (--json lists all)"


def _fields(found: ReadBundle) -> JsonObject:
    signer, entry = found.signer, found.bundle.entry
    begin, end = (format_time(moment) for moment in _validity(found))
    integrated = format_time(entry.integrated_time) if entry.integrated_time else None
    return {
        "verified": False,
        "bundle": str(found.bundle.digest),
        "statementDigest": str(found.statement_digest),
        "signer": {
            "identity": signer.identity,
            "issuer": signer.issuer,
            "kind": signer.kind,
            "extensions": dict(signer.extensions),
            "notBefore": begin,
            "notAfter": end,
        },
        "log": {
            "origin": entry.origin,
            "logId": entry.log_id,
            "index": entry.index,
            "kind": f"{entry.kind}/{entry.version}",
            "integratedTime": integrated,
        },
        "files": [subject.to_json() for subject in found.statement.subjects],
        "manifest": found.manifest.to_json(),
    }
