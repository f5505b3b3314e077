"""`skillwarrant policy new`: a first policy and its cases, from a few questions or from flags."""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from skillwarrant_cli import output, progress
from skillwarrant_cli.options import PATH, json_option
from skillwarrant_format.errors import UsageError
from skillwarrant_format.limits import MAX_AGE_DAYS
from skillwarrant_format.names import SKILL_PATTERN, like

if TYPE_CHECKING:
    from skillwarrant_format.fingerprint import Fingerprint
    from skillwarrant_format.strict_json import JsonObject
    from skillwarrant_verify.identity import IdentityPattern
    from skillwarrant_verify.review.policy_template import Answers

__all__ = ["CODES", "FIELDS", "command"]

_SAID: Final = "--publisher-repo and --workflow, or --identity, --issuer and --skill; and --environment"
CODES: Final = ("written",)
FIELDS: Final = {
    "policy": "the policy that was written",
    "cases": "its cases",
    "passed": "how many of them pass",
    "remarks": "what `policy check` says of it, as there",
}


@click.command("new")
@click.argument("directory", metavar="DIR", type=PATH)
@click.option("--publisher-repo", metavar="OWNER/NAME", help="The GitHub repository whose workflow signs.")
@click.option("--workflow", metavar="FILE", help="That workflow's file, release.yml.")
@click.option("--identity", metavar="WHO", help="Instead: the signer, exact, or with * in its last part or ref.")
@click.option("--issuer", metavar="URL", help="And the OIDC issuer that vouches for the signer.")
@click.option("--skill", "skills", metavar="NAME", multiple=True, help="Skills it may vouch for. Default: OWNER/*.")
@click.option("--environment", "environments", metavar="NAME", multiple=True, help="Where it governs: production.")
@click.option(
    "--policy-class", "classes", metavar="NAME", multiple=True, help="Classes of policy it takes. Default: general."
)
@click.option("--base", "bases", metavar="DIR", type=PATH, multiple=True, help="A base model to allow: measured.")
@click.option(
    "--max-age-days",
    metavar="DAYS",
    type=click.IntRange(1, MAX_AGE_DAYS),
    help="Refuse what was signed longer ago.",
)
@click.option("--name", metavar="NAME", help="What records call the policy. Default: DIR's name.")
@json_option
def command(
    *,
    directory: Path,
    publisher_repo: str | None,
    workflow: str | None,
    identity: str | None,
    issuer: str | None,
    skills: tuple[str, ...],
    environments: tuple[str, ...],
    classes: tuple[str, ...],
    bases: tuple[Path, ...],
    max_age_days: int | None,
    name: str | None,
    as_json: bool,
) -> None:
    """Write a policy and its first cases.

    policy.toml and cases.toml, into DIR, with comments. What is not given is asked for on a terminal: who signs,
    and where it is to run. Nothing is overwritten. What is written passes `policy check` and `policy test`.
    """
    from skillwarrant_verify.review.policy_overlap import can_be_a_name
    from skillwarrant_verify.review.policy_template import Answers

    policy, cases = directory / "policy.toml", directory / "cases.toml"
    for path in (policy, cases):
        if path.exists():
            raise UsageError(f"{path} is already there", fix="Edit it, or name another directory.")
    for skill in skills:
        if not can_be_a_name(skill):
            raise UsageError("no skill has such a name", expected=like(SKILL_PATTERN), found=skill)
    signer, owner = _signer(publisher_repo, workflow, identity, issuer)
    answers = Answers(
        name=name or directory.resolve().name or "policy",
        signer=signer,
        skills=skills or (f"{owner}/*" if owner else _ask("Which skills may it vouch for", "--skill", "acme/*"),),
        environments=environments or (_ask("In which environment is this policy to govern", "--environment"),),
        policy_classes=classes or ("general",),
        bases=tuple(map(_base, bases)),
        max_age_days=max_age_days,
        now=datetime.now(UTC),
    )
    _write(answers, policy, cases)
    _tell(policy, cases, as_json=as_json)


def _signer(
    repository: str | None, workflow: str | None, identity: str | None, issuer: str | None
) -> tuple[IdentityPattern, str | None]:
    """Who signs, and for a repository its owner."""
    from skillwarrant_verify.identity import IdentityPattern
    from skillwarrant_verify.review.policy_template import GITHUB, github_identity

    if identity or issuer:
        if repository or workflow or not (identity and issuer):
            raise UsageError("it is not clear who signs", expected="--publisher-repo, or --identity and --issuer")
        return IdentityPattern(issuer=issuer, identity=identity), None
    repository = repository or _ask("Which GitHub repository signs the skills (owner/name)", "--publisher-repo")
    owner, slash, rest = repository.partition("/")
    if not (owner and slash and rest) or "/" in rest or "*" in repository:
        raise UsageError("that is no repository", expected="owner/name", found=repository)
    workflow = workflow or _ask("Which workflow of it signs them", "--workflow", "release.yml")
    pattern = IdentityPattern(issuer=GITHUB, identity=github_identity(repository, workflow))
    return pattern, owner.lower()


def _ask(question: str, option: str, plain: str | None = None) -> str:
    if not sys.stdin.isatty():
        raise UsageError(
            f"{option} is not given, and nobody can be asked",
            expected=_SAID,
            fix="Give these, or run it on a terminal, where it asks.",
        )
    answer: str = click.prompt(question, default=plain, err=True)
    return answer


def _base(directory: Path) -> tuple[str, Fingerprint]:
    from skillwarrant_format.base_directory import fingerprint_directory

    with progress.hashing("measuring the base model") as callback:
        return directory.resolve().name, fingerprint_directory(directory, callback).fingerprint


def _write(answers: Answers, policy: Path, cases: Path) -> None:
    """Only what can be used is written."""
    from skillwarrant_attest.files import create
    from skillwarrant_verify.policy import Policy

    text = answers.policy()
    Policy.parse(text.encode(), name=policy.name)
    policy.parent.mkdir(parents=True, exist_ok=True)
    create(policy, text.encode())
    create(cases, answers.cases().encode())


def _tell(policy: Path, cases: Path, *, as_json: bool) -> None:
    from skillwarrant_verify.policy import Policy
    from skillwarrant_verify.review.policy_cases import read_cases
    from skillwarrant_verify.review.policy_lint import check
    from skillwarrant_verify.review.policy_test import run_cases

    remarks = check(policy, datetime.now(UTC))
    results = run_cases(Policy.load(policy), read_cases(policy))
    passed = sum(not result.complaints for result in results)
    place = output.place(shlex.quote(str(policy.parent)))
    lines = [
        f"{output.good('wrote')}  {output.place(policy)}  {output.place(cases)}",
        *(f"  {output.loud('look at')} line {one.line}: {one}" for one in remarks),
        "",
        f"{passed} of {len(results)} cases pass. Read both files, then:  skillwarrant policy test {place}",
    ]
    fields: JsonObject = {
        "policy": str(policy),
        "cases": str(cases),
        "passed": passed,
        "remarks": [{"code": one.code, "message": str(one), "line": one.line} for one in remarks],
    }
    output.answer("\n".join(lines), fields, code=CODES[0], as_json=as_json)
