"""Lint of policies: each remark is made where it belongs, at its line, and not of what is in order."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_format.endorsement import CERTIFICATION_TYPE
from skillwarrant_format.errors import Unavailable
from skillwarrant_format.names import matches
from skillwarrant_format.semver import SemVer, SemVerRange
from skillwarrant_verify.identity import IdentityPattern
from skillwarrant_verify.review.lint_never import RANKLESS
from skillwarrant_verify.review.policy_lint import RULES, Found, check
from skillwarrant_verify.review.policy_overlap import (
    Identities,
    Names,
    covers_identity,
    covers_name,
    identities_may_meet,
    names_meet,
    range_is_empty,
    semver_candidates,
)

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
GITHUB = "https://token.actions.githubusercontent.com"
RELEASE = "https://github.com/acme/skills/.github/workflows/release.yml@refs/tags/v*"
LEFT = "environments.never"
HEAD = """\
api_version = "skillwarrant.dev/policy/v1"
name = "test"
revision = 1
environments = ["production"]
policy_classes = ["general"]
"""


def publisher(identity: str = RELEASE, skills: str = '["acme/*"]', issuer: str = GITHUB, more: str = "") -> str:
    return f'\n[[publishers]]\nissuer = "{issuer}"\nidentity = "{identity}"\nskills = {skills}\n{more}\n'


def look(tmp_path: Path, document: str) -> tuple[Found, ...]:
    path = tmp_path / "policy.toml"
    path.write_text(document)
    return check(path, NOW)


def codes(tmp_path: Path, document: str) -> list[str]:
    """Of what is told; but that nothing is left to be allowed, which `TestNever` looks at."""
    return [one.code for one in look(tmp_path, document) if one.code != LEFT]


def test_a_policy_in_order_has_no_remark(tmp_path: Path) -> None:
    assert look(tmp_path, HEAD + publisher()) == ()


class TestIdentities:
    @pytest.mark.parametrize(
        ("identity", "code"),
        [
            ("https://github.com/acme/**", "identity.over-wide"),
            ("https://github.com/acme/skills/**", "identity.over-wide"),
            ("https://github.com/acme/skills/.github/workflows/release.yml@*", "identity.over-wide"),
            ("https://github.com/acme/skills/.github/workflows/release.yml@refs/*", "identity.over-wide"),
            ("https://github.com/acme/skills/.github/workflows/release.yml@refs/**", "identity.over-wide"),
            ("https://github.com/acme/skills/.github/workflows/release.yml@refs/heads/*", "identity.any-branch"),
            ("https://github.com/acme/skills/.github/workflows/release.yml@refs/heads/**", "identity.any-branch"),
            ("https://github.com/acme/skills/.github/workflows/release.yml@refs/pull/**", "identity.pull-request"),
            ("https://github.com/acme/skills/.github/workflows/release.yml", "identity.never"),
            ("https://gitlab.com/acme/skills//.gitlab-ci.yml@refs/tags/v*", "identity.never"),
            ("release@acme.example", "identity.never"),
        ],
    )
    def test_a_pattern_that_covers_too_much_or_nothing_is_told_at_its_line(
        self, tmp_path: Path, identity: str, code: str
    ) -> None:
        (found,) = (one for one in look(tmp_path, HEAD + publisher(identity)) if one.code != LEFT)
        assert (found.code, found.level, found.line) == (code, "warning", 9)
        assert found.key == "publishers[0].identity"
        assert found.fix

    @pytest.mark.parametrize(
        "identity",
        [
            RELEASE,
            "https://github.com/acme/skills/.github/workflows/release.yml@refs/tags/*",
            "https://github.com/acme/skills/.github/workflows/release.yml@refs/heads/main",
            "https://github.com/acme/skills/.github/workflows/release.yml@refs/heads/release-*",
        ],
    )
    def test_a_pinned_workflow_is_in_order(self, tmp_path: Path, identity: str) -> None:
        assert look(tmp_path, HEAD + publisher(identity)) == ()

    def test_operators_and_signers_of_evidence_are_looked_at_too(self, tmp_path: Path) -> None:
        more = """
[operators]
require = "verified"
[[operators.issuers]]
issuer = "https://idp.example"
audience = "a"
subjects = ["spiffe://acme.example/serving/eu", "spiffe://acme.example/all/**"]
[[operators.issuers]]
issuer = "https://token.actions.githubusercontent.com"
audience = "a"
subjects = ["repo:acme/serving:environment:production"] # as its tokens have it, and no certificate

[[evidence]]
predicate_type = "https://slsa.dev/provenance/v1"
signers = [{ issuer = "https://idp.example", identity = "https://ci.example/lab/suite/job@refs/heads/*" }]
"""
        found = look(tmp_path, HEAD + publisher() + more)
        assert [(one.code, one.key, one.line) for one in found] == [
            ("identity.over-wide", "operators.issuers[0].subjects[1]", 18),
            ("identity.any-branch", "evidence[0].signers[0].identity", 26),
        ]


class TestPublishers:
    def test_the_same_one_twice(self, tmp_path: Path) -> None:
        (found,) = look(tmp_path, HEAD + publisher() + publisher())
        assert (found.code, found.line) == ("publisher.duplicate", 13)

    def test_one_that_adds_nothing_is_shadowed(self, tmp_path: Path) -> None:
        exact = RELEASE.replace("*", "1.0.0")
        (found,) = look(tmp_path, HEAD + publisher(exact, '["acme/support"]') + publisher())
        assert (found.code, found.key, found.line) == ("publisher.shadowed", "publishers[0]", 7)
        assert "publishers[1]" in found.message

    @pytest.mark.parametrize(
        "other",
        [
            publisher(RELEASE.replace("v*", "x*")),
            publisher(skills='["acme/*", "globex/*"]', more='base_models = ["acme/base"]'),
            publisher(issuer="https://other.example"),
        ],
    )
    def test_one_that_adds_something_is_not(self, tmp_path: Path, other: str) -> None:
        assert "publisher.shadowed" not in codes(tmp_path, HEAD + publisher() + other)

    def test_a_limit_on_bases_beside_none_is_no_limit(self, tmp_path: Path) -> None:
        limited = publisher(more='base_models = ["acme/base"]')
        assert codes(tmp_path, HEAD + limited + publisher()) == ["publisher.shadowed"]

    def test_one_whose_signatures_are_revoked(self, tmp_path: Path) -> None:
        revoked = f'\n[[revocations.signers]]\nissuer = "{GITHUB}"\nidentity = "https://github.com/acme/**"\n'
        assert codes(tmp_path, HEAD + publisher() + revoked) == ["publisher.revoked"]
        since = revoked + "since = 2026-01-01T00:00:00Z\n"
        assert codes(tmp_path, HEAD + publisher() + since) == []
        assert codes(tmp_path, HEAD + "max_age_days = 400\n" + publisher() + since) == []
        assert codes(tmp_path, HEAD + "max_age_days = 300\n" + publisher() + since) == ["publisher.revoked"]

    @pytest.mark.parametrize(
        ("skills", "code"),
        [
            ('["*/*"]', "skills.over-wide"),
            ('["acme*/support"]', "skills.over-wide"),
            ('["acme/*", "acme/support"]', "skills.redundant"),
            ('["Acme/*"]', "skills.never"),
            ('["acme/a/b"]', "skills.never"),
        ],
    )
    def test_patterns_of_skills(self, tmp_path: Path, skills: str, code: str) -> None:
        assert codes(tmp_path, HEAD + publisher(skills=skills)) == [code]

    def test_approval_by_who_could_have_signed_it_himself(self, tmp_path: Path) -> None:
        approval = '\n[[evidence]]\npredicate_type = "approval"\nsigners = [%s]\n'
        own = f'{{ issuer = "{GITHUB}", identity = "{RELEASE}" }}'
        other = f'{{ issuer = "{GITHUB}", identity = "{RELEASE.replace("skills", "reviews")}" }}'
        assert codes(tmp_path, HEAD + publisher() + approval % own) == ["evidence.never"]
        assert codes(tmp_path, HEAD + publisher() + approval % f"{own}, {other}") == []
        both = approval % f"{own}, {other}" + "distinct = 2\n"
        assert codes(tmp_path, HEAD + publisher() + both) == ["evidence.never"]

    def test_evidence_by_too_few_who_can_ever_sign(self, tmp_path: Path) -> None:
        asked = '\n[[evidence]]\npredicate_type = "https://slsa.dev/provenance/v1"\nsigners = [%s]\n'
        lab = '{ issuer = "https://sso.lab.example", identity = "lab@lab.example" }'
        nobody = f'{{ issuer = "{GITHUB}", identity = "audit@lab.example" }}'
        assert set(codes(tmp_path, HEAD + publisher() + asked % nobody)) == {"evidence.never", "identity.never"}
        assert codes(tmp_path, HEAD + publisher() + asked % f"{lab}, {nobody}") == ["identity.never"]
        revoked = '\n[[revocations.signers]]\nissuer = "https://sso.lab.example"\nidentity = "lab@lab.example"\n'
        assert codes(tmp_path, HEAD + publisher() + asked % lab + revoked) == ["evidence.never"]
        since = revoked + "since = 2026-10-01T00:00:00Z\n"
        assert codes(tmp_path, HEAD + publisher() + asked % lab + since) == []
        both = asked % f"{lab}, {nobody}" + "distinct = 2\n"
        assert set(codes(tmp_path, HEAD + publisher() + both)) == {"evidence.never", "identity.never"}


class TestTimes:
    @pytest.mark.parametrize("kind", ["certification", CERTIFICATION_TYPE])
    def test_a_certification_that_nothing_ends_is_told(self, tmp_path: Path, kind: str) -> None:
        """In a policy whose releases have no age either: a certification is about one signed release."""
        lasting = publisher() + evidence("a@lab.example", more="max_age_days = 90", kind=kind)
        lasting += evidence("b@lab.example", kind=kind)
        (found,) = look(tmp_path, HEAD + lasting)
        assert (found.code, found.level, found.key) == ("evidence.for-ever", "warning", "evidence[1]")
        assert "max_age_days" in (found.fix or "")
        assert look(tmp_path, HEAD + "max_age_days = 400\n" + lasting) == ()

    @pytest.mark.parametrize(
        "demand", [("certification", "max_age_days = 90"), ("approval", ""), ("https://slsa.dev/provenance/v1", "")]
    )
    def test_evidence_with_an_age_or_of_another_kind_is_not(self, tmp_path: Path, demand: tuple[str, str]) -> None:
        kind, more = demand
        assert look(tmp_path, HEAD + publisher() + evidence("a@lab.example", more=more, kind=kind)) == ()

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("not_after = 2026-11-22T12:00:00Z", ["policy.expired"]),
            ("not_after = 2026-12-01T00:00:00Z", ["policy.expires-soon"]),
            ("not_after = 2027-12-01T00:00:00Z", []),
            ("not_before = 2026-11-23T00:00:00Z", ["policy.not-yet"]),
            ("not_before = 2026-11-22T12:00:00Z", []),
            ("revocations.valid_until = 2026-11-22T12:00:00Z", ["revocations.stale"]),
            ("revocations.valid_until = 2026-11-25T12:00:00Z", ["revocations.expires-soon"]),
            ('mode = "warn"', ["mode.warns"]),
            ('mode = "enforce"', []),
            ("effective_on = 2026-11-22T12:00:00Z", ["mode.past"]),
            ("effective_on = 2026-12-22T12:00:00Z", []),
            ('requirements."manifest.age".mode = "warn"', ["mode.warns"]),
            ('requirements."manifest.age".effective_on = 2026-01-01T00:00:00Z', ["mode.past"]),
        ],
    )
    def test_dates_and_modes(self, tmp_path: Path, line: str, expected: list[str]) -> None:
        found = look(tmp_path, f"{HEAD}{line}\n{publisher()}")
        assert [one.code for one in found] == expected
        assert all(one.line == 6 for one in found)


class TestAllowances:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ('allow_hazards = ["regex-targets"]', []),
            ('allow_hazards = ["regex-targets", "imports-modules", "loads-paths"]', ["hazards.code"] * 2),
            ('allow_alterations = ["accelerate-hook"]', []),
            ('allow_alterations = ["global-hook", "patched-forward"]', ["alterations.code"] * 2),
            ('measure = "sampled"', ["measure.weak"]),
            ('measure = "once-verified"', []),
            ('dependencies = { peft = ">=0.21,<0.22" }', []),
            ('dependencies = { peft = ">=0.22,<0.21" }', ["dependencies.never"]),
            ('limits = { methods = ["LORA", "LoHa"] }', ["limits.never"]),
        ],
    )
    def test_what_is_allowed_and_what_nothing_meets(self, tmp_path: Path, line: str, expected: list[str]) -> None:
        assert codes(tmp_path, f"{HEAD}{line}\n{publisher()}") == expected

    def test_samples_are_enough_outside_production(self, tmp_path: Path) -> None:
        document = HEAD.replace("production", "development") + 'measure = "sampled"\n' + publisher()
        assert codes(tmp_path, document) == []

    def test_one_base_under_two_names(self, tmp_path: Path) -> None:
        base = '\n[[bases]]\nname = "%s"\nfingerprint = "skillwarrant-tensors-v1:' + "0" * 64 + '"\n'
        (found,) = look(tmp_path, HEAD + publisher() + base % "one" + base % "two")
        assert (found.code, found.key) == ("base.duplicate", "bases[1]")


def revoked(name: str, versions: str | None = None) -> str:
    table = f'\n[[revocations.skills]]\nname = "{name}"\n'
    return table if versions is None else f'{table}versions = "{versions}"\n'


def floor(skill: str, least: str) -> str:
    return f'\n[[versions.floors]]\nskill = "{skill}"\nleast = "{least}"\n'


class TestNever:
    """What nothing can satisfy; and that of two publishers one is enough."""

    @pytest.mark.parametrize(
        ("more", "expected"),
        [
            (revoked("acme/*"), ["publisher.never"]),
            (revoked("*/*"), ["publisher.never"]),
            (revoked("acme/support"), []),
            (revoked("acme/*", ">=0.0.0-0"), ["publisher.never"]),
            (revoked("acme/*", "<2.0.0") + revoked("acme/*", ">=2.0.0"), ["publisher.never"]),
            (revoked("acme/*", "<2.0.0") + revoked("acme/*", ">2.0.0"), []),
            (revoked("acme/*", "!=2.0.0"), []),
            (revoked("acme/*", "<=2.0.0") + revoked("acme/*", ">2.0.1-0"), []),
            (revoked("acme/*", ">=2.0.0,<2.0.0"), ["revocations.empty"]),
            (revoked("acme/*", ">2.0.0,<2.0.1-0"), ["revocations.empty"]),
            (revoked("acme/*", ">2.0.0,<2.0.1"), []),
            (revoked("acme/*", ">1.0.0-a,<1.0.0-a.0"), ["revocations.empty"]),
            (revoked("acme/*", ">1.0.0-a,<1.0.0-b"), []),
            (floor("globex/tone", "1.0.0"), ["versions.idle"]),
            (floor("acme/support", "1.0.0"), []),
            (floor("*/support", "1.0.0"), []),
            (floor("acme/support", "2.0.0") + revoked("acme/*", ">=2.0.0"), ["versions.never"]),
            (floor("acme/support", "2.0.0") + revoked("acme/support"), ["versions.never"]),
            (floor("acme/support", "2.0.0") + revoked("acme/*", ">2.0.0"), []),
            (floor("acme/support", "2.0.0") + revoked("acme/tone", ">=2.0.0"), []),
            (floor("acme/*", "2.0.0") + revoked("acme/*", ">=2.0.0"), ["publisher.never", "versions.never"]),
        ],
    )
    def test_versions(self, tmp_path: Path, more: str, expected: list[str]) -> None:
        assert codes(tmp_path, HEAD + publisher() + more) == expected

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("limits.max_adapter_bytes = 10", ["limits.never"]),
            ("limits.max_adapter_bytes = 80000000", []),
            ('limits.methods = ["LORRA"]', ["limits.never"]),
            ('limits.methods = ["IA3"]\nlimits.max_rank = 8', ["limits.never"]),
            ('limits.methods = ["LORA"]\nlimits.max_rank = 8', []),
            ('limits.methods = ["IA3"]', []),
            ("composition.max_weight = 0.5", ["composition.only-mixed"]),
            ("composition.max_total_weight = 0.9", ["composition.only-mixed"]),
            ("composition.max_weight = 1", []),
            ('quantizations = ["nf4"]', ["quantizations.never"]),
            ('quantizations = ["bitsandbytes-int8", "none"]', ["quantizations.never"]),
            ('quantizations = ["bitsandbytes nf4", "bitsandbytes nf4 double", "gptq", "none"]', []),
            (
                "not_before = 2026-11-22T00:00:00Z\nrevocations.valid_until = 2026-11-21T00:00:00Z",
                ["revocations.stale", "revocations.never"],
            ),
            ("not_before = 2026-11-22T00:00:00Z\nrevocations.valid_until = 2027-11-21T00:00:00Z", []),
            ("not_after = 2027-11-22T00:00:00Z\neffective_on = 2027-11-22T00:00:00Z", ["mode.never"]),
            ("not_after = 2027-11-22T00:00:00Z\neffective_on = 2027-11-21T00:00:00Z", []),
            (
                'not_after = 2027-11-22T00:00:00Z\nrequirements."manifest.age".effective_on = 2028-01-01T00:00:00Z',
                ["mode.never"],
            ),
        ],
    )
    def test_limits_and_dates(self, tmp_path: Path, line: str, expected: list[str]) -> None:
        assert codes(tmp_path, f"{HEAD}{line}\n{publisher()}") == expected

    LEFT_OVER = (
        (publisher("release@acme.example"), "nobody will ever match"),
        (publisher(skills='["Acme/*"]'), "no skill has a name like"),
        (publisher() + revoked("acme/*"), "is revoked"),
        (publisher("release@acme.example") + publisher(skills='["Acme/*", "ACME/x"]'), "nobody will ever match"),
        ('dependencies = { peft = ">=2,<1" }\n' + publisher(), "no version of peft"),
        ('limits.methods = ["Lora", "LORRA"]\n' + publisher(), "no adapter"),
        ("limits.max_adapter_bytes = 1\n" + publisher(), "bytes or less"),
        (
            publisher() + '\n[[evidence]]\npredicate_type = "certification"\n'
            f'signers = [{{ issuer = "{GITHUB}", identity = "lab@lab.example" }}]\n',
            "can ever sign",
        ),
    )

    @pytest.mark.parametrize(("document", "reason"), LEFT_OVER)
    def test_a_policy_under_which_nothing_is_left_says_so_at_its_environments(
        self, tmp_path: Path, document: str, reason: str
    ) -> None:
        (found,) = (one for one in look(tmp_path, HEAD + document) if one.code == LEFT)
        assert (found.key, found.line) == ("environments", 4)
        assert found.message.startswith("nothing can be allowed in production: ")
        assert reason in found.message

    @pytest.mark.parametrize(
        "document",
        [
            publisher(),
            publisher("release@acme.example") + publisher(),
            publisher(skills='["Acme/*", "acme/*"]'),
            publisher() + publisher(RELEASE.replace("acme", "globex")) + revoked("acme/*", "<2.0.0"),
            'dependencies = { peft = ">=2,<1" }\nrequirements."dependencies.met".mode = "warn"\n' + publisher(),
            'limits.methods = ["Lora", "LORA"]\n' + publisher(),
            "composition.max_weight = 0.5\n" + publisher(),
        ],
    )
    def test_where_something_is_left_it_does_not(self, tmp_path: Path, document: str) -> None:
        assert LEFT not in [one.code for one in look(tmp_path, HEAD + document)]

    def test_a_method_whose_option_names_no_rank_has_none(self) -> None:
        import dataclasses

        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

        without = {
            str(name.value)
            for name, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()
            if "r" not in {field.name for field in dataclasses.fields(config)}
        }
        assert without < RANKLESS
        assert "LORA" not in RANKLESS

    @given(
        st.lists(
            st.sampled_from(("<1.0.0", ">=1.0.0", ">1.0.0", "!=1.0.0", "<=1.0.0-b", ">1.0.0-a")),
            min_size=1,
            max_size=4,
        )
    )
    def test_a_range_that_covers_any_version_covers_one_that_is_tried(self, clauses: list[str]) -> None:
        wanted = SemVerRange.parse(",".join(clauses))
        some = ["0.0.0-0", "0.9.9", "1.0.0-0", "1.0.0-a", "1.0.0-a.0", "1.0.0-aa", "1.0.0-b", "1.0.0-b.1", "1.0.0"]
        some += ["1.0.1-0", "1.0.1", "2.0.0"]
        tried = semver_candidates(bound for _, bound in wanted.clauses)
        if any(wanted.covers(SemVer.parse(text)) for text in some):
            assert any(map(wanted.covers, tried))
        if not all(wanted.covers(SemVer.parse(text)) for text in some):
            assert not all(map(wanted.covers, tried))


def signer(identity: str, since: str = "", issuer: str = GITHUB) -> str:
    table = f'\n[[revocations.signers]]\nissuer = "{issuer}"\nidentity = "{identity}"\n'
    return f"{table}since = {since}\n" if since else table


def evidence(*identities: str, more: str = "", kind: str = "https://slsa.dev/provenance/v1") -> str:
    signers = ", ".join(f'{{ issuer = "https://sso.lab.example", identity = "{one}" }}' for one in identities)
    return f'\n[[evidence]]\npredicate_type = "{kind}"\nsigners = [{signers}]\n{more}\n'


class TestIdle:
    """What changes nothing: most of it is a slip of the pen where somebody relies on it."""

    @pytest.mark.parametrize(
        ("more", "expected"),
        [
            (revoked("amce/*"), ["revocations.idle"]),
            (revoked("-acme/x."), ["revocations.idle"]),
            (revoked("acme/support-"), ["revocations.idle"]),
            (revoked("*/support"), []),
            (revoked("acme/support"), []),
            (revoked("acme/a*", "<2.0.0") + revoked("acme/ab", "<1.0.0"), ["revocations.redundant"]),
            (revoked("acme/ab", "<1.0.0") + revoked("acme/ab"), ["revocations.redundant"]),
            (revoked("acme/a*", "<2.0.0") + revoked("acme/ab", "<=2.0.0"), []),
            (revoked("acme/a", "<2.0.0") + revoked("acme/b", "<2.0.0"), []),
            (revoked("acme/a") + revoked("acme/a"), ["revocations.redundant"]),
            (
                signer(RELEASE.replace("v*", "v12")) + signer(RELEASE.replace("v*", "v1*")),
                ["revocations.redundant"],
            ),
            (
                signer(RELEASE, "2026-10-01T00:00:00Z") + signer(RELEASE, "2026-11-01T00:00:00Z"),
                ["revocations.redundant"],
            ),
            (
                signer(RELEASE.replace("v*", "v12"), "2026-10-01T00:00:00Z")
                + signer(RELEASE.replace("v*", "v1*"), "2026-11-01T00:00:00Z"),
                [],
            ),
            (floor("acme/*", "2.0.0") + floor("acme/a", "1.0.0"), ["versions.redundant"]),
            (floor("acme/*", "1.0.0") + floor("acme/a", "2.0.0"), []),
            (floor("acme/a-", "1.0.0"), ["versions.idle"]),
            (evidence("a@lab.example") + evidence("a@lab.example"), ["evidence.redundant"]),
            (evidence("a@lab.example") + evidence("a@lab.example", "b@lab.example"), ["evidence.redundant"]),
            (evidence("a@lab.example") + evidence("b@lab.example"), []),
            (
                evidence("a@lab.example", more="max_age_days = 9") + evidence("a@lab.example"),
                ["evidence.redundant"],
            ),
            (
                evidence("a@lab.example", more="max_age_days = 9")
                + evidence("a@lab.example", more="independent = true"),
                [],
            ),
        ],
    )
    def test_it_is_told(self, tmp_path: Path, more: str, expected: list[str]) -> None:
        assert codes(tmp_path, HEAD + publisher() + more) == expected

    def test_what_covers_it_is_named(self, tmp_path: Path) -> None:
        (found,) = look(tmp_path, HEAD + publisher() + floor("acme/a", "1.0.0") + floor("acme/*", "2.0.0"))
        assert (found.key, found.message) == (
            "versions.floors[0]",
            "floors[1] asks for that already, or for more",
        )

    def test_a_revoked_signer_whom_nobody_believes_is_a_note(self, tmp_path: Path) -> None:
        other = RELEASE.replace("acme", "globex")
        (found,) = look(tmp_path, HEAD + publisher() + signer(other) + signer(RELEASE.replace("v*", "v1")))
        assert (found.code, found.level, found.key) == ("revocations.idle", "note", "revocations.signers[0]")
        lab = signer("a@lab.example", issuer="https://sso.lab.example", since="2026-10-01T00:00:00Z")
        assert look(tmp_path, HEAD + publisher() + evidence("a@lab.example") + lab) == ()

    @pytest.mark.parametrize("line", ["effective_on = %s", 'requirements."manifest.age".effective_on = %s'])
    def test_a_warning_for_ever_in_other_words(self, tmp_path: Path, line: str) -> None:
        for date, expected in (("9999-12-31T23:59:59Z", ["mode.distant"]), ("2027-11-01T00:00:00Z", [])):
            assert codes(tmp_path, f"{HEAD}{line % date}\n{publisher()}") == expected


class TestSize:
    """The largest policies that there can be."""

    def test_a_thousand_publishers_with_five_skills_each_cost_less_than_two_seconds(self, tmp_path: Path) -> None:
        policy = HEAD + "".join(
            publisher(skills=str([f"acme/s{one}-{other}" for other in range(5)]).replace("'", '"'))
            for one in range(1000)
        )
        policy += "".join(revoked(f"acme/s{one}-0", "<1.0.0") for one in range(1000))
        begun = time.process_time()
        assert look(tmp_path, policy) == ()
        assert time.process_time() - begun < 2

    def test_more_patterns_than_anybody_reads_are_refused(self, tmp_path: Path) -> None:
        skills = str([f"acme/s{one}" for one in range(1000)]).replace("'", '"')
        (found,) = look(tmp_path, HEAD + publisher(skills=skills) * 6)
        assert (found.code, found.level) == ("policy.invalid", "error")
        assert (
            found.message
            == "policy.publishers names too many skills: expected at most 5000 patterns in all, found 6000"
        )

    def test_a_hundred_demands_of_evidence_are_the_most(self, tmp_path: Path) -> None:
        demands = [evidence(f"a{one}@lab.example") for one in range(101)]
        assert codes(tmp_path, HEAD + publisher() + "".join(demands[:100])) == []
        (found,) = look(tmp_path, HEAD + publisher() + "".join(demands))
        assert (found.code, found.key) == ("policy.invalid", "evidence")

    def test_publishers_that_are_the_same_are_each_told_once(self, tmp_path: Path) -> None:
        assert codes(tmp_path, HEAD + publisher() * 300) == ["publisher.duplicate"] * 299


class TestComposition:
    @pytest.mark.parametrize(
        ("section", "expected"),
        [
            ('allowed_pairs = [["acme/*", "acme/*"]]', []),
            ('conflicts = [["acme/mail", "acme/shell"]]', []),
            ('conflicts = [["acme/mail", "globex/*"]]', ["composition.never"]),
            ('allowed_pairs = [["globex/*", "acme/*"]]', ["composition.never"]),
            (
                'allowed_pairs = [["acme/a", "acme/b"]]\nconflicts = [["acme/b*", "acme/*"]]',
                ["composition.contradiction"],
            ),
            ('allowed_pairs = [["acme/*", "acme/*"]]\nconflicts = [["acme/a", "acme/b"]]', []),
            ('max_active = 2\nconflicts = [["acme/a", "acme/b", "acme/c"]]', ["composition.redundant"]),
            ("max_active = 2\nmax_weight = 1.0\nmax_total_weight = 2.0", ["composition.redundant"]),
            ("max_active = 3\nmax_weight = 1.0\nmax_total_weight = 2.0", []),
        ],
    )
    def test_rules_that_cannot_matter(self, tmp_path: Path, section: str, expected: list[str]) -> None:
        assert codes(tmp_path, f"{HEAD}{publisher()}\n[composition]\n{section}\n") == expected


class TestErrors:
    @pytest.mark.parametrize(
        ("document", "line", "word"),
        [
            (HEAD + publisher() + "[composition]\nmax_actve = 1\n", 13, "max_active"),
            (HEAD + publisher("https://github.com/*/x"), 9, "organisation"),
            (HEAD + publisher(skills="[]"), 10, "length"),
            (HEAD + 'allow_hazards = ["regex-targts"]\n' + publisher(), 6, "regex-targts"),
            (HEAD.replace("revision = 1", "revision = 0"), 3, "revision"),
            (HEAD.replace("revision = 1", "revision = "), 3, "TOML"),
            (HEAD, None, "publishers"),
        ],
    )
    def test_what_cannot_be_used_is_an_error_at_its_line(
        self, tmp_path: Path, document: str, line: int | None, word: str
    ) -> None:
        (found,) = look(tmp_path, document)
        assert (found.code, found.level, found.line) == ("policy.invalid", "error", line), found
        assert word in str(found)

    def test_json_is_looked_over_without_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "policy.json"
        path.write_text("{}")
        (found,) = check(path, NOW)
        assert (found.code, found.line) == ("policy.invalid", None)

    def test_what_cannot_be_read_is_no_answer(self, tmp_path: Path) -> None:
        with pytest.raises(Unavailable):
            check(tmp_path / "missing.toml", NOW)


def test_every_code_has_a_meaning_and_only_those_are_used() -> None:
    source = "".join(
        path.read_text()
        for path in (Path(__file__).parents[2] / "verify/skillwarrant_verify/review").glob("*lint*.py")
    )
    assert all(source.count(f'"{code}"') >= 2 for code in RULES)


def test_every_code_is_in_the_reference_with_its_meaning() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/policy-check.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{code}` | {meaning} |" for code, meaning in RULES.items()]


NAMES = st.text("ab/*", min_size=1, max_size=6)


class TestOverlap:
    @given(NAMES, NAMES, st.text("ab/", min_size=1, max_size=6))
    def test_no_name_is_in_two_patterns_that_are_said_not_to_meet(self, one: str, other: str, name: str) -> None:
        if matches(one, name) and matches(other, name):
            assert names_meet(one, other)

    @given(NAMES, NAMES, st.text("ab/", min_size=1, max_size=6))
    def test_a_pattern_that_covers_another_covers_its_names(self, wide: str, narrow: str, name: str) -> None:
        if covers_name(wide, narrow) and matches(narrow, name):
            assert matches(wide, name)

    @given(st.lists(NAMES, max_size=4), NAMES)
    def test_many_at_once_are_as_each_by_itself(self, patterns: list[str], one: str) -> None:
        many = Names(patterns)
        assert many.cover(one) == any(covers_name(pattern, one) for pattern in patterns)
        assert many.meet(one) == any(names_meet(pattern, one) for pattern in patterns)

    @given(NAMES, NAMES)
    def test_patterns_that_are_said_to_meet_have_a_name_in_common(self, one: str, other: str) -> None:
        names = (
            ("".join(name) for size in range(9) for name in product("ab/", repeat=size))
            if len(one + other) < 6
            else ()
        )
        common = any(matches(one, name) and matches(other, name) for name in names)
        assert common or len(one + other) >= 6 or not names_meet(one, other)

    def test_identities_at_once_are_as_each_by_itself(self) -> None:
        ends = ("a@v1", "a@v2", "a@v*", "a@v*x", "**", "a@*", "b@v1x")
        known = [IdentityPattern(issuer="https://i.example", identity=f"https://h/o/{end}") for end in ends]
        for split in range(len(known)):
            many = Identities(known[:split])
            for one in known:
                assert many.cover(one) == any(covers_identity(other, one) for other in known[:split])
                assert many.may_meet(one) == any(identities_may_meet(other, one) for other in known[:split])

    def test_long_patterns_are_compared_too(self) -> None:
        assert names_meet("acme/" + "*a" * 250, "acme/" + "b*" * 250)
        assert not names_meet("acme/" + "*a" * 250, "acme/" + "b" * 500)

    @pytest.mark.parametrize(
        ("wide", "narrow", "expected"),
        [
            ("https://h/o/**", "https://h/o/a/b@c", True),
            ("https://h/o/**", "https://h/o/*", True),
            ("https://h/o/*", "https://h/o/**", False),
            ("https://h/o/a@v*", "https://h/o/a@v1*", True),
            ("https://h/o/a@v1*", "https://h/o/a@v*", False),
            ("https://h/o/a", "https://h/o/a", True),
            ("https://h/o/a", "https://h/o/*", False),
        ],
    )
    def test_identities(self, wide: str, narrow: str, expected: bool) -> None:
        one, other = (IdentityPattern(issuer="https://i.example", identity=text) for text in (wide, narrow))
        assert covers_identity(one, other) is expected

    @pytest.mark.parametrize(
        ("specifier", "empty"),
        [
            (">=1,<2", False),
            (">=2,<1", True),
            (">1,<1.0.1", False),
            (">1,<=1", True),
            ("==1.4.*,!=1.4", False),
            ("==1.4,!=1.4", True),
            ("~=1.4.2,<1.4.2", True),
            ("~=1.4,>=1.9", False),
            ("<0.1", False),
            (">=2!1.0", False),
            ("!=1", False),
            ("==1.*.2", True),
        ],
    )
    def test_ranges(self, specifier: str, empty: bool) -> None:
        assert range_is_empty(specifier) is empty
