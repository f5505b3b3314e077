"""Further attestations, attacked: by who is revoked or counts twice, what is about another thing or was undone."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from builders import IDENTITY, ISSUER, NOW, evidence, facts
from insider import NOW as SIGNING_NOW
from insider import Insider, raw, snapshot, statement
from skillwarrant_format.digest import Digest
from skillwarrant_format.endorsement import APPROVAL_TYPE, CERTIFICATION_TYPE
from skillwarrant_format.errors import FormatError, PolicyError
from skillwarrant_verify.deciding.decide import decide
from skillwarrant_verify.deciding.evidence_seen import EvidenceSeen
from skillwarrant_verify.deciding.rules_versions import revoked_release
from skillwarrant_verify.document.policy_evidence import person
from skillwarrant_verify.identity import kind_of_name
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.proof.certificate import Signer
from skillwarrant_verify.proof.signature import verify

SSO = "https://sso.acme.example"
OTHER = "https://accounts.example.com"
ANN, BOB = "ann@acme.example", "bob@acme.example"
REVIEWS = "https://github.com/acme/reviews/.github/workflows/approve.yml@"
SKILL = {"skill": {"name": "acme/support-lora", "version": "1.0.0"}}


def asking(kind: str, *signers: tuple[str, str], more: str = "", rest: str = "") -> Policy:
    listed = ", ".join(f'{{ issuer = "{issuer}", identity = "{identity}" }}' for issuer, identity in signers)
    return Policy.parse(
        f"""
api_version = "skillwarrant.dev/policy/v1"
name = "p"
revision = 1
environments = ["production"]
policy_classes = ["general"]
[[publishers]]
issuer = "{ISSUER}"
identity = "{IDENTITY}"
skills = ["acme/*"]
[[evidence]]
predicate_type = "{kind}"
signers = [{listed}]
{more}
{rest}
""".encode()
    )


def by(issuer: str, identity: str, **changes: Any) -> EvidenceSeen:
    """An approval of the release."""
    signer = Signer(identity=identity, issuer=issuer, kind=kind_of_name(identity), extensions={})
    plain = evidence(predicate_type=APPROVAL_TYPE, predicate=SKILL, about="manifest", signer=signer)
    return replace(plain, statement=Digest.of(repr((issuer, identity)).encode()), **changes)


def certified(result: str = "passed", *, days: float = 5, suite: str = "safety 3", **changes: Any) -> EvidenceSeen:
    said = {**SKILL, "suite": suite, "result": result}
    signed = NOW - timedelta(days=days)
    return by(SSO, ANN, **{"predicate_type": CERTIFICATION_TYPE, "predicate": said, "signed_at": signed, **changes})


def outcome(policy: Policy, *given: EvidenceSeen) -> tuple[str, str]:
    decision = decide(policy, facts(evidence=given))
    return decision.outcome, " ".join(str(reason) for reason in decision.reasons)


class TestRevoked:
    @pytest.mark.parametrize("since", ["", "since = 2026-11-17T12:00:00Z"])
    def test_a_revoked_signers_approval_counts_for_nothing(self, since: str) -> None:
        rest = f'[[revocations.signers]]\nissuer = "{SSO}"\nidentity = "{ANN}"\n{since}'
        found, why = outcome(asking("approval", (SSO, ANN), rest=rest), by(SSO, ANN))
        assert (found, "revoked: ann@acme.example" in why) == ("deny", True)

    @pytest.mark.parametrize(
        "rest",
        [
            f'[[revocations.signers]]\nissuer = "{SSO}"\nidentity = "{ANN}"\nsince = 2026-11-17T12:00:01Z',
            f'[[revocations.signers]]\nissuer = "{OTHER}"\nidentity = "{ANN}"',
            f'[[revocations.signers]]\nissuer = "{SSO}"\nidentity = "{BOB}"',
            f'[revocations]\nmanifests = ["{by(SSO, ANN).bundle}"]',
        ],
    )
    def test_what_is_signed_before_by_another_or_is_only_the_bundle_still_counts(self, rest: str) -> None:
        assert outcome(asking("approval", (SSO, ANN), rest=rest), by(SSO, ANN))[0] == "allow"

    @pytest.mark.parametrize("kind", ["approval", "certification", "https://slsa.dev/provenance/v1"])
    def test_evidence_of_any_kind_is_revoked_by_its_statement(self, kind: str) -> None:
        given = {
            "approval": by(SSO, ANN),
            "certification": certified(),
            "https://slsa.dev/provenance/v1": by(SSO, ANN, predicate_type="https://slsa.dev/provenance/v1"),
        }[kind]
        assert outcome(asking(kind, (SSO, ANN)), given)[0] == "allow"
        rest = f'[revocations]\nmanifests = ["{given.statement}"]'
        found, why = outcome(asking(kind, (SSO, ANN), rest=rest), given)
        assert (found, "revoked: the statement" in why) == ("deny", True)

    def test_one_good_approval_beside_a_revoked_one_is_enough(self) -> None:
        rest = f'[[revocations.signers]]\nissuer = "{SSO}"\nidentity = "{ANN}"'
        policy = asking("approval", (SSO, ANN), (SSO, BOB), rest=rest)
        assert outcome(policy, by(SSO, ANN), by(SSO, BOB))[0] == "allow"

    def test_a_revoked_release_stays_revoked_however_its_bundle_is_written(self) -> None:
        insider = Insider()
        bundle = raw(insider.bundle(statement().raw))
        spellings = [bundle, bundle + b"\n", json.dumps(json.loads(bundle), indent=1).encode()]
        found = [verify(snapshot(), data, insider.trust(), now=SIGNING_NOW) for data in spellings]
        assert len({one.bundle for one in found}) == len(spellings)
        rest = f'[revocations]\nmanifests = ["{found[0].statement_digest}"]'
        policy = asking("approval", (SSO, ANN), rest=rest)
        assert all(revoked_release(policy, one) is not None for one in found)


class TestDistinct:
    def test_one_address_under_two_issuers_is_one_person(self) -> None:
        policy = asking("approval", (SSO, ANN), (OTHER, ANN), (SSO, BOB), more="distinct = 2")
        assert outcome(policy, by(SSO, ANN), by(OTHER, ANN))[0] == "deny"
        assert outcome(policy, by(SSO, ANN), by(OTHER, ANN), by(SSO, BOB))[0] == "allow"
        assert outcome(policy, by(OTHER, ANN), by(SSO, BOB))[0] == "allow"

    def test_one_workflow_at_two_refs_is_one_person(self) -> None:
        both = ((ISSUER, REVIEWS + "refs/tags/v*"), (ISSUER, REVIEWS + "refs/tags/*"))
        policy = asking("approval", *both, (SSO, BOB), more="distinct = 2")
        refs = [by(ISSUER, f"{REVIEWS}refs/tags/{tag}") for tag in ("v1", "v2")]
        assert outcome(policy, *refs)[0] == "deny"
        assert outcome(policy, *refs, by(SSO, BOB))[0] == "allow"

    def test_overlapping_patterns_count_for_two_persons_if_two_are_there(self) -> None:
        board = ("https://idp.example/board/*", "https://idp.example/board/**")
        policy = asking("approval", *((SSO, one) for one in board), more="distinct = 2")
        seven, eight = (by(SSO, f"https://idp.example/board/{number}") for number in (7, 8))
        assert outcome(policy, seven)[0] == "deny"
        assert outcome(policy, seven, replace(seven, bundle=Digest.of(b"again")))[0] == "deny"
        assert outcome(policy, seven, eight)[0] == "allow"

    @pytest.mark.parametrize(
        "signers",
        [
            ((SSO, ANN), (OTHER, ANN)),
            ((SSO, ANN), (SSO, "Ann@acme.example")),
            ((ISSUER, REVIEWS + "refs/tags/v*"), (ISSUER, REVIEWS + "refs/heads/main")),
        ],
    )
    def test_signers_who_are_one_person_are_refused_where_two_must_be(self, signers: Any) -> None:
        with pytest.raises(PolicyError, match=r"can never be met: expected 1 to 1"):
            asking("approval", *signers, more="distinct = 2")
        assert asking("approval", *signers).evidence[0].distinct == 1

    def test_the_publisher_is_not_another_under_another_issuer_or_ref(self) -> None:
        elsewhere = IDENTITY.replace("v1.0.0", "v9")
        policy = asking("approval", (OTHER, IDENTITY), (ISSUER, elsewhere))
        assert outcome(policy, by(OTHER, IDENTITY))[0] == "deny"
        assert outcome(policy, by(ISSUER, elsewhere))[0] == "deny"

    def test_who_is_who(self) -> None:
        assert person("Ann@Acme.example") == person("ann@acme.example")
        assert person("https://a.example/o/Ann") != person("https://a.example/o/ann")
        assert person(REVIEWS + "refs/heads/a") == person(REVIEWS + "0123abcd")
        assert person("somebody@here@there") == "somebody@here@there"


class TestWhatItIsAbout:
    @pytest.mark.parametrize("kind", ["approval", "certification"])
    def test_our_own_kinds_about_the_files_alone_count_for_no_release(self, kind: str) -> None:
        """The same files are signed again, for other places: what was agreed to is not that."""
        plain = by(SSO, ANN) if kind == "approval" else certified()
        policy = asking(kind, (SSO, ANN))
        for about in ("manifest", "statement"):
            assert outcome(policy, replace(plain, about=about))[0] == "allow"
        found, why = outcome(policy, replace(plain, about="files"))
        assert (found, "about the files, and not about this release" in why) == ("deny", True)

    def test_what_other_tools_attest_of_the_files_counts(self) -> None:
        given = by(SSO, ANN, predicate_type="https://slsa.dev/provenance/v1", about="files")
        assert outcome(asking("https://slsa.dev/provenance/v1", (SSO, ANN)), given)[0] == "allow"


class TestUndone:
    POLICY = asking("certification", (SSO, ANN), (OTHER, ANN), (SSO, BOB))

    @pytest.mark.parametrize(
        "later",
        [
            certified("failed", days=1),
            certified("failed", days=5),  # at once: nobody knows which came first
            certified("failed", days=1, suite="another 1"),
            certified("failed", days=1, about="statement"),
            replace(certified("failed", days=1), signer=by(OTHER, ANN).signer),
        ],
    )
    def test_a_later_failed_certification_undoes_a_passed_one_in_any_order(self, later: EvidenceSeen) -> None:
        for given in ((certified(), later), (later, certified())):
            found, why = outcome(self.POLICY, *given)
            assert (found, "whose later certification failed" in why) == ("deny", True)

    @pytest.mark.parametrize(
        "other",
        [
            certified("failed", days=6),
            replace(certified("failed", days=1), signer=by(SSO, BOB).signer),
            replace(certified("failed", days=1), signer=by("https://nobody.example", ANN).signer),
            certified("failed", days=1, about="files"),
            certified("failed", days=1, predicate={"result": "failed"}),
            certified(
                "failed",
                days=1,
                predicate={
                    "skill": {"name": "acme/support-lora", "version": "2.0.0"},
                    "suite": "safety 3",
                    "result": "failed",
                },
            ),
        ],
    )
    def test_an_earlier_one_or_one_by_another_or_of_another_release_does_not(self, other: EvidenceSeen) -> None:
        assert outcome(self.POLICY, certified(), other)[0] == "allow"

    def test_it_can_pass_again(self) -> None:
        assert outcome(self.POLICY, certified(), certified("failed", days=3), certified(days=1))[0] == "allow"


class TestProhibitions:
    @pytest.mark.parametrize("pattern", ["*", "**", "support-*"])
    @pytest.mark.parametrize(
        "text",
        [
            '[[revocations.skills]]\nname = "{}"',
            '[[versions.floors]]\nskill = "{}"\nleast = "9.0.0"',
            '[composition]\nconflicts = [["acme/*", "{}"]]',
        ],
    )
    def test_a_wildcard_that_covers_no_organisation_is_refused(self, text: str, pattern: str) -> None:
        with pytest.raises(
            (FormatError, PolicyError), match=r"covers no skill that has an organisation"
        ) as refused:
            asking("approval", (SSO, ANN), rest=text.format(pattern))
        assert f"Write */{pattern}" in str(refused.value)
        asking("approval", (SSO, ANN), rest=text.format("*/*"))
        asking("approval", (SSO, ANN), rest=text.format("support"))  # a name, of a skill without an organisation

    def test_everything_can_be_revoked(self) -> None:
        rest = '[[revocations.skills]]\nname = "*/*"'
        assert outcome(asking("approval", (SSO, ANN), rest=rest), by(SSO, ANN))[0] == "deny"
