"""`skillwarrant verify`: an adapter on disk against its manifest and what the caller demands. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from skillwarrant_cli import output
from skillwarrant_cli.adapter_choice import AdapterChoice, PlaceChoice, adapter_options, place_options
from skillwarrant_cli.options import PATH, TrustChoice, json_option, trust_options
from skillwarrant_cli.policy_choice import PolicyChoice, policy_options
from skillwarrant_format.errors import UsageError
from skillwarrant_format.fields import format_time

if TYPE_CHECKING:
    from skillwarrant_cli.demand import Demand, Given, Judgement
    from skillwarrant_format.strict_json import JsonObject
    from skillwarrant_verify.deciding.facts import AuthorisedBase
    from skillwarrant_verify.trust import TrustRoot

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("verified",)
FIELDS: Final = {
    "skill": "`name` and `version`",
    "bundle": "`sha256:` of the bundle file",
    "statementDigest": "`sha256:` of what is signed: what `revocations.manifests` of a policy names",
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


@click.command("verify")
@click.argument("directory", metavar="DIR", type=PATH)
@policy_options
@click.option(
    "--identity", metavar="WHO", help="Without a policy: the signer, exact, or with * in its last part or ref."
)
@click.option("--issuer", metavar="URL", help="Without a policy: the OIDC issuer that vouches for the signer.")
@adapter_options
@place_options
@trust_options
@json_option
def command(
    *,
    directory: Path,
    policy: PolicyChoice,
    identity: str | None,
    issuer: str | None,
    about: AdapterChoice,
    place: PlaceChoice,
    trust: TrustChoice,
    as_json: bool,
) -> None:
    """Check an adapter against its manifest and your policy.

    Signature, certificate, transparency log, every file, then all that the policy requires of signer, base model,
    place and time. Without --policy, name the signer with --identity and --issuer; the answer then says what was
    not checked. A signed policy comes with who must have signed it, and no older revision is taken afterwards.
    """
    root = cache(trust.load)
    ask = _question(policy, identity, issuer, place)
    about.check()
    demand = ask(directory, root)
    given = about.gather(directory, root)
    judgement = demand.judge(given)
    output.answer(_text(given, judgement), _fields(given, judgement), code="verified", as_json=as_json)


def _question(
    policy: PolicyChoice, identity: str | None, issuer: str | None, place: PlaceChoice
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
    yield "statement", str(verified.statement_digest)
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
    from skillwarrant_verify.deciding.facts import AuthorisedBase

    return None if given.base is None else AuthorisedBase.find(given.verified.manifest.base_models, given.base)


def _fields(given: Given, judgement: Judgement) -> JsonObject:
    verified, base = given.verified, _base(given)
    return {
        "skill": {"name": verified.manifest.skill.name, "version": verified.manifest.skill.version},
        "bundle": str(verified.bundle),
        "statementDigest": str(verified.statement_digest),
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
