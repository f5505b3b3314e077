"""A publisher whom the policy trusts, and whose release is not what this consumer accepts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attack import attack
from builders import IDENTITY, ISSUER
from lab import Forged

GROUP = "terms"
WORDS = """\
A publisher whom the policy trusts, who signs a release beyond the consumer's limits, without what the consumer asks
of its training data, or withdrawn. A replay of an old release is one of these."""

DATA = {"name": "tickets", "licence": "CC-BY-4.0", "rights": "owned"}


def term(name: str, code: str, says: str, rule: str, change: Callable[[Forged], Any] = lambda _: None) -> None:
    """The policy has a section more, which the honest release meets or does not speak of."""

    @attack(GROUP, name, setup=Forged, refused_by=code, says=says)
    def _(attempt: Forged) -> None:
        attempt.rule = rule
        change(attempt)


def data(**changes: str) -> Callable[[Forged], None]:
    return lambda attempt: attempt.predicate(trainingData=[{**DATA, **changes}])


def release(version: str) -> Callable[[Forged], None]:
    return lambda attempt: attempt.statement(lambda found: found["predicate"]["skill"].update(version=version))


term("the method is not one that the consumer runs", "adapter.method", "LORA", '[limits]\nmethods = ["IA3"]')
term("the rank is beyond the limit", "adapter.rank", "rank", "[limits]\nmax_rank = 2")
term("the scaling is beyond the limit", "adapter.scaling", "alpha over rank", "[limits]\nmax_alpha_over_rank = 1")
term("the weights are beyond the limit", "adapter.parameters", "parameters", "[limits]\nmax_parameters = 10")
term("the files are beyond the limit", "adapter.bytes", "bytes", "[limits]\nmax_adapter_bytes = 100")


FLOOR = '[[versions.floors]]\nskill = "acme/*"\nleast = '
term("an older release is delivered, below the floor", "version.floor", "1.0.0", f'{FLOOR}"1.0.1"')
term("a preview of the floor is delivered", "version.floor", "1.0.0-rc.1", f'{FLOOR}"1.0.0"', release("1.0.0-rc.1"))
term("a release without a number is delivered", "version.floor", "0.0.0", f'{FLOOR}"0.0.1"', release("0.0.0"))


WITHDRAWN = '[[revocations.skills]]\nname = "acme/*"\nversions = ">=1.0.0, <1.1.0"'
STOLEN = f'[[revocations.signers]]\nissuer = "{ISSUER}"\nidentity = "{IDENTITY}"\nsince = 2026-11-01T00:00:00Z'
STALE = "[revocations]\nvalid_until = 2026-11-22T00:00:00Z"
term("a withdrawn version is delivered", "manifest.not-revoked", "revoked", WITHDRAWN)
term("a release of a stolen identity is delivered", "manifest.not-revoked", "revoked", STOLEN)
term("a release is delivered after the list of withdrawn ones ran out", "revocations.fresh", "stale", STALE)

LICENCES = '[training_data]\nlicences = ["CC-BY-4.0"]'
RIGHTS = '[training_data]\nrights = ["owned"]'
term("nothing is said of the training data", "data.declared", "training", "[training_data]\ndeclared = true")
term("the data's licence is another", "data.licences", "GPL-3.0", LICENCES, data(licence="GPL-3.0"))
term(
    "the data's licence is in small letters",
    "data.licences",
    "cc-by",
    LICENCES,
    data(licence="cc-by-4.0"),
)
term("the rights to the data are others", "data.rights", "scraped", RIGHTS, data(rights="scraped"))
term("a package that the consumer needs is older", "dependencies.met", "peft", '[dependencies]\npeft = ">=99"')


def unproved(what: str, code: str, kind: str) -> None:
    rule = f'[[evidence]]\npredicate_type = "{kind}"\n[[evidence.signers]]\nissuer = "{ISSUER}"\nidentity = "x"'
    term(f"{what} is asked for, and there is none", code, "the policy asks for", rule)


unproved("provenance", "evidence.present", "https://slsa.dev/provenance/v1")
unproved("a certificate of behaviour", "behaviour.certified", "certification")
unproved("somebody's approval", "release.approved", "approval")


@attack(
    GROUP,
    "the base is not quantised as the consumer has it",
    setup=Forged,
    refused_by="base.quantization",
    says="none",
)
def _(attempt: Forged) -> None:
    attempt.extra = 'quantizations = ["nf4"]'
