"""`skillwarrant verify`: an adapter on disk against its manifest and what the caller demands. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from skillwarrant_cli import output, progress
from skillwarrant_cli.operator_choice import OperatorChoice, operator_options
from skillwarrant_cli.options import FILE, PATH, TrustChoice, json_option, trust_options
from skillwarrant_cli.policy_choice import PolicyChoice, policy_options
from skillwarrant_format.errors import FormatError, Unavailable, UsageError
from skillwarrant_format.fields import format_time

if TYPE_CHECKING:
    from skillwarrant_cli.demand import Demand, Given, Judgement
    from skillwarrant_format.fingerprint import Fingerprint
    from skillwarrant_format.strict_json import JsonObject
    from skillwarrant_verify.context import Context
    from skillwarrant_verify.facts import AuthorisedBase
    from skillwarrant_verify.trust import TrustRoot

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("verified",)
FIELDS: Final = {
    "skill": "`name` and `version`",
    "bundle": "`sha256:` of the bundle file",
    "signer": "`identity` and `issuer`, proven",
    "signedAt": "the earliest proven time of the signature",
    "log": "`origin`, `logId`, `index`, `integratedTime` of the entry",
    "files": "the signed files: `name` and `digest`",
    "base": "the manifest's entry for the base that was given, and its `form` (empty, or which cast), or null",
    "policy": "`name`, `revision`, `digest`, `engine`, of a signed one `origin`; or null where none was given",
    "trust": "`source`, `digest`, `retrievedAt` of the trust root",
    "checks": "each requirement: `code`, `outcome` (`proved`), `message`",
    "notChecked": "in words, what the answer does not cover",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the adapter is to be used, as the command line says."""

    environment: str | None
    region: str | None
    operator: OperatorChoice
    system_prompt: Path | None

    def context(self) -> Context | None:
        """None where nothing was said.

        Raises:
            UsageError: a place without an environment.
            OperatorInvalid, TrustError, Unavailable: as `OperatorChoice.load`; the prompt cannot be read.
        """
        from skillwarrant_verify.context import Context

        if self.environment is None:
            if self.region or self.operator or self.system_prompt:
                raise UsageError("a place without an environment is given", expected="--environment as well")
            return None
        prompt = None if self.system_prompt is None else _text_of(self.system_prompt)
        return Context(
            environment=self.environment, region=self.region, operator=self.operator.load(), system_prompt=prompt
        )


@click.command("verify")
@click.argument("directory", metavar="DIR", type=PATH)
@click.option("--bundle", metavar="FILE", type=FILE, help="Default: skillwarrant.sigstore.json in DIR.")
@policy_options
@click.option(
    "--identity", metavar="WHO", help="Without a policy: the signer, exact, or with * in its last part or ref."
)
@click.option("--issuer", metavar="URL", help="Without a policy: the OIDC issuer that vouches for the signer.")
@click.option("--base", metavar="DIR", type=PATH, help="The base model: measured, and compared.")
@click.option("--base-fingerprint", metavar="TEXT", help="What the base model measures, if you know it already.")
@click.option(
    "--evidence",
    metavar="FILE",
    type=FILE,
    multiple=True,
    help="A further attestation that the policy asks for: an approval, a certification."
)
@click.option("--environment", metavar="NAME", help="Where it is to be used: production, staging, …")
@click.option("--region", metavar="NAME", help="In which region.")
@operator_options
@click.option("--system-prompt", metavar="FILE", type=FILE, help="Under which system prompt.")
@click.option(
    "--package",
    "packages",
    metavar="NAME=VERSION",
    multiple=True,
    help="A version in your deployment, for the manifest's `requires`. Default: what is installed here.",
)
@trust_options
@json_option
def command(
    *,
    directory: Path,
    bundle: Path | None,
    policy: PolicyChoice,
    identity: str | None,
    issuer: str | None,
    base: Path | None,
    base_fingerprint: str | None,
    packages: tuple[str, ...],
    evidence: tuple[Path, ...],
    trust: TrustChoice,
    as_json: bool,
    **place: str | Path | OperatorChoice | None,
) -> None:
    """Check an adapter against its manifest and your policy.

    Signature, certificate, transparency log, every file, then all that the policy requires of signer, base model,
    place and time. Without --policy, name the signer with --identity and --issuer; the answer then says what was
    not checked. A signed policy comes with who must have signed it, and no older revision is taken afterwards.
    """
    root = cache(trust.load)
    ask = _question(policy, identity, issuer, Place(**place))  # type: ignore[arg-type]  # click has typed them
    versions = _versions(packages)
    known_base = _known_base(base, base_fingerprint)
    demand = ask(directory, root)
    given = _gather(directory, bundle, root, known_base or base, versions=versions, evidence=evidence)
    judgement = demand.judge(given)
    output.answer(_text(given, judgement), _fields(given, judgement), code="verified", as_json=as_json)


def _question(
    policy: PolicyChoice, identity: str | None, issuer: str | None, place: Place
) -> Callable[[Path, Callable[[], TrustRoot]], Demand]:
    """Everything that can be wrong with the question, before anything is read."""
    from skillwarrant_cli.demand import PolicyDemand, SignerDemand
    from skillwarrant_verify.identity import IdentityPattern

    context = place.context()
    if (path := policy.policy) is not None:
        if identity or issuer:
            raise UsageError("a policy and a signer are given", expected="--policy, or --identity and --issuer")
        if context is None:
            raise UsageError("a policy is for a place", expected="--environment NAME with --policy")
        return lambda adapter, root: PolicyDemand(policy=policy.load(path, adapter, root), context=context)
    if not identity or not issuer:
        raise UsageError(
            "a signature says nothing unless you say whose it must be",
            expected="--policy FILE, or --identity WHO and --issuer URL",
            found=f"only {'--identity' if identity else '--issuer'}" if identity or issuer else "neither",
        )
    demand = SignerDemand(signer=IdentityPattern(issuer=issuer, identity=identity), context=context)
    return lambda *_: demand


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for package in packages:
        name, _, version = package.partition("=")
        if not name or not version:
            raise UsageError("a package has no version", expected="--package NAME=VERSION", found=package)
        found[_normal(name)] = version
    return found


def _normal(name: str) -> str:
    """One package, one spelling (PEP 503), as in a manifest: by another, what is installed here would count."""
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)


def _known_base(base: Path | None, base_fingerprint: str | None) -> Fingerprint | None:
    from skillwarrant_format.fingerprint import Fingerprint

    if base_fingerprint is None:
        return None
    if base is not None:
        raise UsageError("a base model is given twice", expected="--base or --base-fingerprint")
    try:
        return Fingerprint.from_text(base_fingerprint)
    except FormatError as error:
        raise UsageError(
            f"--base-fingerprint: {error.message}",
            expected=error.expected,
            found=error.found,
            fix="`skillwarrant fingerprint DIR` prints it.",
        ) from None


def _gather(
    directory: Path,
    bundle: Path | None,
    trust: Callable[[], TrustRoot],
    base: Fingerprint | Path | None,
    *,
    versions: dict[str, str],
    evidence: tuple[Path, ...],
) -> Given:
    from skillwarrant_cli.demand import Given
    from skillwarrant_format.adapter_config import AdapterConfig
    from skillwarrant_verify.adapter_seen import AdapterSeen
    from skillwarrant_verify.attestations import verify_evidence
    from skillwarrant_verify.fetch import fetch, manifest_bytes
    from skillwarrant_verify.signature import verify

    with progress.hashing("reading the adapter") as callback:
        snapshot = fetch(directory, progress=callback)
    manifest = manifest_bytes(snapshot, bundle)
    root = trust()
    now = datetime.now(UTC)
    verified = verify(snapshot, manifest, root, now=now)
    measured = _measure(base) if isinstance(base, Path) else base
    return Given(
        verified=verified,
        adapter=AdapterSeen.of(snapshot, AdapterConfig.parse(snapshot.config.data)),
        base=measured,
        now=now,
        packages=versions,
        evidence=verify_evidence(evidence, verified, root, now=now),
    )


def _measure(directory: Path) -> Fingerprint:
    from skillwarrant_format.base_directory import fingerprint_directory

    with progress.hashing("measuring the base model") as callback:
        return fingerprint_directory(directory, callback).fingerprint


def _text_of(path: Path) -> str:
    from skillwarrant_format.limits import MAX_JSON_BYTES

    try:
        with path.open("rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
        if len(data) > MAX_JSON_BYTES:  # never a part of it: its beginning is another prompt
            raise UsageError("the system prompt is too large", expected=f"at most {MAX_JSON_BYTES} bytes")
        return data.decode()
    except UnicodeDecodeError:
        raise UsageError("the system prompt is not UTF-8", found=str(path)) from None
    except OSError as error:
        raise Unavailable(f"cannot read the system prompt {path}", found=error.strerror) from None


def _text(given: Given, judgement: Judgement) -> str:
    skill = given.verified.manifest.skill
    lines = [f"{output.good('verified')}  {skill.name} {skill.version}", "", output.facts(_rows(given, judgement))]
    if judgement.unchecked:
        lines += ["", output.loud("not checked:"), *(f"  {line}" for line in judgement.unchecked)]
    return "\n".join(lines)


def _rows(given: Given, judgement: Judgement) -> Iterator[tuple[str, str]]:
    verified = given.verified
    yield "signed by", verified.signer.identity
    yield "issuer", verified.signer.issuer
    yield "signed at", format_time(verified.signed_at)
    yield "log entry", f"{verified.log.index} of {verified.log.origin}"
    yield "files", f"{len(verified.statement.subjects)}, all as signed"
    if given.base is not None and (base := _base(given)):
        yield "base", f"{base} ({given.base.digest.short}…)"
    if judgement.policy is not None:
        used = judgement.policy
        yield "policy", f"{used.name} revision {used.revision}: {_proved(judgement)}"
        yield from (("warning", str(finding)) for finding in judgement.checked if finding.tolerated)
    yield "trust root", f"{verified.trust.source}, retrieved {format_time(verified.trust.retrieved_at)}"


def _proved(judgement: Judgement) -> str:
    tolerated, count = sum(finding.tolerated for finding in judgement.checked), len(judgement.checked)
    if tolerated:
        return f"{count - tolerated} of {count} requirements proved, {tolerated} not proved and tolerated"
    return f"all {count} requirements proved"


def _base(given: Given) -> AuthorisedBase | None:
    from skillwarrant_verify.facts import AuthorisedBase

    return None if given.base is None else AuthorisedBase.find(given.verified.manifest.base_models, given.base)


def _fields(given: Given, judgement: Judgement) -> JsonObject:
    verified, base = given.verified, _base(given)
    return {
        "skill": {"name": verified.manifest.skill.name, "version": verified.manifest.skill.version},
        "bundle": str(verified.bundle),
        "signer": {"identity": verified.signer.identity, "issuer": verified.signer.issuer},
        "signedAt": format_time(verified.signed_at),
        "log": verified.log.to_json(),
        "files": [subject.to_json() for subject in verified.statement.subjects],
        "base": None if base is None else {**base.base.to_json(), "form": base.form},
        "policy": None if judgement.policy is None else judgement.policy.to_json(),
        "trust": verified.trust.to_json(),
        "checks": [finding.check().to_json() for finding in judgement.checked],
        "notChecked": list(judgement.unchecked),
    }
