"""The native engine and the same policy in Rego decide the same, whatever becomes of the input.

The long run, and another Rego implementation as a third opinion, are in FUZZ.md.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

import mutants
from both_engines import HERE, Tally, compare, document, native_codes, rego_codes, rego_files
from skillwarrant_verify.deciding.catalogue import CATALOGUE
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.rego.modules import RegoModules

MUTANTS = 500
SEED = 20261122

# What a document may be without and still be allowed: what restricts (the publisher's own limits), what only
# describes, and one of several that would do. A closed list: whatever else it has is required. # is any place.
MAY_BE_ABSENT = frozenset(
    {
        *("manifest/adapter/alpha", "manifest/adapter/peftVersion", "manifest/adapter/rank"),
        *("manifest/adapter/targetModules", "manifest/adapter/taskType"),
        *("manifest/baseModels/#/revision", "manifest/composition/allowWith", "manifest/composition/allowWith/#"),
        *("manifest/composition/denyWith", "manifest/composition/maxSkills", "manifest/deployment/environments/#"),
        *("manifest/deployment/notAfter", "manifest/deployment/notBefore", "manifest/deployment/operators"),
        *("manifest/deployment/regions", "manifest/deployment/regions/#", "manifest/deployment/systemPrompts"),
        *("manifest/evidence", "manifest/evidence/#/mediaType", "manifest/publisher/contact", "manifest/requires"),
        *("manifest/requires/peft", "manifest/requires/transformers", "manifest/trainingData/#"),
        *(
            "manifest/trainingData/#/digest",
            "manifest/trainingData/#/uri",
        ),
        *("warrant/log/integratedTime", "warrant/signer/claims", "warrant/signer/claims/runner_environment"),
        *("warrant/signer/claims/source_repository_ref", "adapter/dtypes/#"),
        *("base/alterations/#", "context/policyClass", "context/session"),
        *("context/session/tenant", "context/session/ticket", "companions/#/weight", "history/highest", "weight"),
        *("companions/#/manifest/adapter/alpha", "companions/#/manifest/adapter/rank"),
        *("companions/#/manifest/adapter/taskType", "companions/#/manifest/deployment/environments/#"),
        *("evidence/0/predicate/expiresAt", "evidence/0/predicate/report", "evidence/1/predicate/comment"),
    }
)
# Where nothing is there to be found: an empty list or object says so, and is a fact like another.
MAY_BE_EMPTY = frozenset(
    {
        *("adapter/dtypes", "base/alterations", "context/operator/claims", "history"),
        "evidence/3/predicate",
    }
)
# What an identity provider, and a tool of somebody else's, write as they like: provenance is asked for by its type.
ANYTHING = ("context/operator/claims/", "evidence/3/predicate/")


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.load(HERE / "policy.toml")


@pytest.fixture(scope="module")
def modules() -> Iterator[RegoModules]:
    with RegoModules.load(rego_files()) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def tally(policy: Policy, modules: RegoModules) -> Tally:
    return compare(policy, modules, mutants.first(MUTANTS, document(), SEED))


def place(path: mutants.Path) -> str:
    return "/".join("#" if isinstance(step, int) and path[0] != "evidence" else str(step) for step in path)


def test_both_allow_the_input_as_it_is(policy: Policy, modules: RegoModules) -> None:
    assert native_codes(policy, document()) == frozenset()
    assert rego_codes(modules, policy, document()) == frozenset()


def test_they_agree_on_every_mutant(tally: Tally) -> None:
    assert tally.mutants == MUTANTS
    assert [(name, native, rego) for name, _, native, rego in tally.disagree] == []


SEVEN, EIGHT = "https://idp.acme.example/board/7", "https://idp.acme.example/board/8"
ANN = "ann@acme.example"
IDP, ACCOUNTS = "https://idp.acme.example", "https://accounts.example.com"
REVOKED = {"sha256": "0" * 62 + "ff"}


def evidence(*changes: tuple[int, str, Any], failed: str | None = None) -> Any:
    """The document with other evidence: at a place, a field, its value; and a failed certification, signed then."""
    found = copy.deepcopy(document())
    for place, key, value in changes:
        found["evidence"][place][key] = value
    if failed is not None:
        one = copy.deepcopy(found["evidence"][0])
        one["signedAt"], one["predicate"]["result"] = failed, "failed"
        found["evidence"].append(one)
    return found


def signer(identity: str, issuer: str = IDP) -> Any:
    return {"identity": identity, "issuer": issuer, "kind": "uri" if "://" in identity else "email"}


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        (evidence((0, "about", "files")), {"behaviour.certified"}),
        (evidence((1, "about", "files")), {"release.approved"}),
        (evidence((0, "about", "statement"), (1, "about", "statement")), set()),
        (evidence((0, "statement", REVOKED)), {"behaviour.certified"}),
        (evidence((1, "statement", REVOKED)), {"release.approved"}),
        (evidence((3, "statement", REVOKED)), {"evidence.present"}),
        (evidence((0, "bundle", REVOKED), (1, "bundle", REVOKED), (3, "bundle", REVOKED)), set()),
        (evidence(failed="2026-11-10T00:00:00Z"), {"behaviour.certified"}),
        (evidence(failed="2026-11-11T00:00:00Z"), {"behaviour.certified"}),
        (evidence(failed="2026-11-09T00:00:00Z"), set()),
        (evidence((1, "signer", signer(EIGHT))), set()),
        (evidence((1, "signer", signer(SEVEN))), {"release.approved"}),
        (evidence((1, "signer", signer(SEVEN + "@a")), (2, "signer", signer(SEVEN + "@b"))), {"release.approved"}),
        (evidence((1, "signer", signer(SEVEN + "@a")), (2, "signer", signer(EIGHT + "@a"))), set()),
        (evidence((1, "signer", signer(ANN, ACCOUNTS))), set()),
        (evidence((1, "signer", signer(ANN, ACCOUNTS)), (2, "signer", signer(ANN))), {"release.approved"}),
    ],
)
def test_they_agree_on_evidence_that_does_not_count(
    policy: Policy, modules: RegoModules, given: Any, codes: set[str]
) -> None:
    assert native_codes(policy, given) == codes
    assert rego_codes(modules, policy, given) == codes


def test_they_deny_for_the_same_requirements(tally: Tally) -> None:
    assert [(name, native, rego) for name, _, native, rego in tally.otherwise] == []


def test_the_mutants_are_worth_the_time(tally: Tally) -> None:
    assert tally.allowed > MUTANTS / 20  # some change nothing that counts
    assert tally.malformed < MUTANTS * 0.8  # and the rules get to see many of them
    assert len(tally.codes) >= 15
    assert set(tally.kinds) == set(mutants.KINDS)


def test_every_requirement_is_said_in_rego_too() -> None:
    said = b"".join(rego_files().values()).decode()
    proved_where_the_document_is_made = {"signature.valid", "log.included"}
    assert [code for code in CATALOGUE if f'"{code}"' not in said] == sorted(
        proved_where_the_document_is_made, key=list(CATALOGUE).index
    )


def test_no_required_fact_can_be_taken_out_retyped_or_emptied(policy: Policy, modules: RegoModules) -> None:
    """Whatever of the document is in neither list: without it, with a value of every other type, with an empty one.
    Of what is in a list, nothing of another type. Rego is asked of some here, and of all in the long run."""
    plain, allowed, asked = document(), set(), 0
    for path in mutants.paths(plain):
        where = place(path)
        if where.startswith(ANYTHING):
            continue
        for how, changed in mutants.broken(plain, path):
            codes = native_codes(policy, changed)
            if not codes:
                allowed.add((how, where))
            asked += 1
            if asked % 40 == 0:
                assert rego_codes(modules, policy, changed) == codes, (where, how)
    assert asked > 2_000
    lawful = {("deleted", where) for where in MAY_BE_ABSENT} | {("emptied", where) for where in MAY_BE_EMPTY}
    assert allowed == lawful
