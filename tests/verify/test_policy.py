"""The policy document: everything that grants trust is required, and nothing unread is accepted."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_format.adapter_config import HAZARDS
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import PolicyError, Unavailable
from skillwarrant_verify.document.policy_sections import ALLOWABLE_HAZARDS, ALTERATIONS
from skillwarrant_verify.policy import Policy

GOOD = """
api_version = "skillwarrant.dev/policy/v1"
name = "acme-production"
revision = 3
environments = ["production"]
policy_classes = ["general"]

[[publishers]]
issuer = "https://token.actions.githubusercontent.com"
identity = "https://github.com/acme/skills/.github/workflows/release.yml@refs/tags/v*"
skills = ["acme/*"]
"""


def parse(text: str) -> Policy:
    return Policy.parse(text.encode())


def test_a_complete_policy_is_read_with_the_digest_of_its_exact_bytes() -> None:
    policy = parse(GOOD)
    assert policy.environments == ("production",)
    assert policy.digest == Digest.of(GOOD.encode())
    assert policy.used().revision == 3
    assert policy.measure == "every-load"


@pytest.mark.parametrize(
    "line",
    [
        'api_version = "skillwarrant.dev/policy/v1"',
        'name = "acme-production"',
        "revision = 3",
        'environments = ["production"]',
        'policy_classes = ["general"]',
        'issuer = "https://token.actions.githubusercontent.com"',
        'identity = "https://github.com/acme/skills/.github/workflows/release.yml@refs/tags/v*"',
        'skills = ["acme/*"]',
    ],
)
def test_a_policy_without_any_one_of_its_required_keys_is_refused(line: str) -> None:
    assert line in GOOD
    with pytest.raises(PolicyError, match="missing"):
        parse(GOOD.replace(line, ""))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('["production"]', "[]", "1 to"),
        ('["general"]', "[]", "1 to"),
        ('["acme/*"]', "[]", "1 to"),
        ('["production"]', '"production"', "a list"),
        ("revision = 3", "revision = 0", "at least 1"),
        ("revision = 3", "revision = true", "whole number"),
        ("revision = 3", 'revision = "3"', "whole number"),
        ("revision = 3", "revision = 3.0", "whole number|too small"),
        ("policy/v1", "policy/v2", "skillwarrant.dev/policy/v1"),
        ("revision = 3", "revision = 3\nmeasure = 'never'", "every-load or once-verified or sampled"),
        ("revision = 3", "revision = 3\nmax_age_days = 0", "at least 1"),
        ("revision = 3", "revision = 3\nmax_age_days = 36501", "max_age_days is too large: expected at most 36500"),
        ("revision = 3", "revision = 3\nmax_age_days = 9007199254740991", "at most 36500"),
        ("revision = 3", "revision = 3\ndescription = { a = 1 }", "policy.description"),
        ("revision = 3", "revision = 3\ndescription = 7", "policy.description"),
        ("revision = 3", 'revision = 3\ndescription = "\\u001b[2J"', "policy.description"),
        ("revision = 3", "revision = 3\nbases = []", "1 to"),
        ("revision = 3", "revision = 3\nnot_after = 2027-01-01T00:00:00", "no UTC instant"),
        ("revision = 3", "revision = 3\nnot_after = 2027-01-01", "no UTC instant"),
        (
            "revision = 3",
            "revision = 3\nnot_before = 2027-01-02T00:00:00Z\nnot_after = 2027-01-01T00:00:00Z",
            "before",
        ),
    ],
)
def test_an_empty_mistyped_or_contradictory_value_is_refused_with_what_was_expected(
    old: str, new: str, expected: str
) -> None:
    with pytest.raises(PolicyError, match=expected):
        parse(GOOD.replace(old, new, 1))


def test_a_misspelt_key_is_refused_and_the_nearest_key_is_suggested() -> None:
    with pytest.raises(PolicyError, match="Did you mean 'max_age_days'"):
        parse(GOOD.replace("revision = 3", "revision = 3\nmax_age_day = 30"))


def test_a_misspelt_key_of_a_publisher_is_refused() -> None:
    with pytest.raises(PolicyError, match="Did you mean 'base_models'"):
        parse(GOOD + 'base_model = ["x"]\n')


def test_an_empty_document_is_no_policy() -> None:
    with pytest.raises(PolicyError):
        parse("")


def test_a_policy_with_no_publisher_cannot_be_built() -> None:
    with pytest.raises(PolicyError, match="publishers is missing"):
        parse(GOOD.partition("[[publishers]]")[0])


def test_a_publisher_with_a_bare_star_identity_is_refused() -> None:
    start = GOOD.index("https://github.com/acme")
    end = GOOD.index('"', start)
    with pytest.raises(PolicyError):
        parse(GOOD[:start] + "*" + GOOD[end:])


def test_deep_nesting_is_refused_and_not_a_crash() -> None:
    with pytest.raises(PolicyError):
        parse(f"a = {'[' * 50_000}{']' * 50_000}")


@pytest.mark.parametrize(
    "line",
    [
        f"revision = {'9' * 5_000}",
        f"revision = 0x{'f' * 20_000}",
        f"{'a.' * 5_000}b = 1",
        "not_after = 0001-01-01T00:00:00+23:59",
    ],
    ids=["digits", "hexadecimal", "dotted", "year"],
)
def test_what_python_itself_gives_up_on_is_refused_and_not_a_crash(line: str) -> None:
    with pytest.raises(PolicyError, match=r"too large|too deeply"):
        parse(line)


def test_a_policy_that_is_not_there_could_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        Policy.load(tmp_path / "none.toml")


def test_a_directory_in_place_of_a_policy_could_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        Policy.load(tmp_path)


@given(st.binary(max_size=300))
def test_no_bytes_make_anything_but_a_policy_or_one_of_our_errors(data: bytes) -> None:
    with contextlib.suppress(PolicyError):
        assert Policy.parse(data).publishers


@given(st.integers(0, len(GOOD) - 1), st.sampled_from(['"', "[", "]", "=", "\n", "\x00", "é", "#", "'"]))
def test_a_policy_damaged_anywhere_is_refused_or_still_demands_a_publisher(index: int, char: str) -> None:
    try:
        policy = parse(GOOD[:index] + char + GOOD[index + 1 :])
    except PolicyError:
        return
    assert policy.publishers
    assert policy.environments
    assert policy.policy_classes


@pytest.mark.parametrize("key", ["environments", "policy_classes", "publishers"])
@pytest.mark.parametrize("value", [(), "production", None, ["production"]])
def test_a_policy_built_by_hand_demands_something_too(key: str, value: object) -> None:
    with pytest.raises(PolicyError, match=f"policy.{key} demands nothing"):
        replace(parse(GOOD), **{key: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [(), "acme/*", None])
def test_a_publisher_built_by_hand_names_its_skills_too(value: object) -> None:
    with pytest.raises(PolicyError, match="names no skill"):
        replace(parse(GOOD).publishers[0], skills=value)  # type: ignore[arg-type]


FULL = """
allow_hazards = ["changes-base", "non-finite", "trigger-tokens"]
allow_alterations = ["accelerate-hook", "forward-hook"]
measure = "sampled"
[composition]
max_active = 3
allowed_pairs = [["acme/*", "acme/*"]]
conflicts = [["acme/a", "acme/b", "acme/*"]]
max_weight = 1
max_total_weight = 1.5
[operators]
require = "verified"
[[operators.issuers]]
issuer = "https://idp.acme.example"
audience = "skillwarrant"
subjects = ["spiffe://acme.example/serving/*", "system:serviceaccount:prod:gate"]
"""


def full(old: str = "", new: str = "") -> Policy:
    head, publishers, rest = GOOD.partition("[[publishers]]")
    assert old in FULL
    return parse(head + FULL.replace(old, new, 1) + publishers + rest)


def test_every_section_is_read() -> None:
    policy = full()
    assert policy.measure == "sampled"
    assert policy.allow_alterations == ("accelerate-hook", "forward-hook")
    assert policy.composition.conflicts == (("acme/a", "acme/b", "acme/*"),)
    assert (policy.composition.max_active, policy.composition.max_total_weight) == (3, 1.5)
    (issuer,) = policy.operators.issuers
    assert [subject.identity for subject in issuer.subjects][1] == "system:serviceaccount:prod:gate"


def test_what_is_not_written_allows_nothing_and_demands_nothing() -> None:
    policy = parse(GOOD)
    assert policy.allow_hazards == policy.allow_alterations == ()
    assert policy.operators.require == "none"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"changes-base"', '"change-base"', "changes-base"),
        ('"changes-base"', '"*"', "something unknown"),
        ('"accelerate-hook"', '"accelerate-hooks"', "accelerate-hook"),
        ('"accelerate-hook"', '"all"', "something unknown"),
        ('"accelerate-hook"', '"forward-hook"', "twice"),
        ('"sampled"', '"once"', "once-verified"),
        ("max_active = 3", "max_active = 0", "at least 1"),
        ("max_active = 3", "max_active = 1", "max_active allows none"),
        ("max_active = 3", "max_skills = 3", "not a known key"),
        ("max_weight = 1", "max_weight = 0", "no weight at all"),
        ("max_weight = 1", "max_weight = -1", "no weight at all"),
        ("max_weight = 1", "max_weight = inf", "a finite number|beyond|NaN|Infinity|acceptable"),
        ("max_weight = 1", "max_weight = nan", "acceptable|NaN"),
        ("max_weight = 1", "max_weight = 2", "no weight could reach"),
        ("max_weight = 1", "max_weight = true", "a number"),
        ('[["acme/*", "acme/*"]]', "[]", "1 to"),
        ('[["acme/*", "acme/*"]]', '["acme/*"]', "two patterns"),
        ('[["acme/*", "acme/*"]]', '[["acme/*"]]', "two patterns"),
        ('[["acme/*", "acme/*"]]', '[["acme/*", "b/*", "c/*"]]', "two patterns"),
        ('[["acme/*", "acme/*"]]', '[["acme/*", 7]]', "a string"),
        ('[["acme/*", "acme/*"]]', '[["acme/*", "ACME/*"]]', "malformed"),
        ('[["acme/a", "acme/b", "acme/*"]]', '[["acme/a"]]', "2 to 8 patterns"),
        ('[["acme/a", "acme/b", "acme/*"]]', f"[{['a/*'] * 9}]", "2 to 8 patterns"),
        ('[["acme/a", "acme/b", "acme/*"]]', '[["acme/*", "acme/*"]]', "allowed and in conflict"),
        ('require = "verified"', 'require = "claimed"', "contradicts itself"),
        ('require = "verified"', 'require = "none"', "contradicts itself"),
        ('require = "verified"', 'require = "Verified"', "none or claimed or verified"),
        ('require = "verified"', "", "require is missing"),
        ('issuer = "https://idp.acme.example"', 'issuer = "idp"', "not a URL"),
        ('issuer = "https://idp.acme.example"', 'issuer = "https://*.acme.example"', "not a URL"),
        ('audience = "skillwarrant"', "", "audience is missing"),
        ('audience = "skillwarrant"', 'audience = ""', "wrong length"),
        ('"spiffe://acme.example/serving/*"', '"*"', "only a URI may hold wildcards"),
        ('"spiffe://acme.example/serving/*"', '"spiffe://acme.example/*"', "leaves the organisation open"),
        ('"spiffe://acme.example/serving/*"', '"system:serviceaccount:*"', "only a URI may hold wildcards"),
        ('"spiffe://acme.example/serving/*"', '"^gate$"', "regular expression"),
        ("subjects =", "subject =", "Did you mean 'subjects'"),
    ],
)
def test_a_section_that_is_empty_misspelt_contradictory_or_too_wide_is_refused(
    old: str, new: str, expected: str
) -> None:
    with pytest.raises(PolicyError, match=expected):
        full(old, new)


def test_a_verified_operator_is_required_of_somebody() -> None:
    with pytest.raises(PolicyError, match="contradicts itself"):
        parse(GOOD + '\n[operators]\nrequire = "verified"\n')


@pytest.mark.parametrize("section", ["composition", "operators"])
def test_a_section_that_says_nothing_is_refused(section: str) -> None:
    with pytest.raises(PolicyError, match=section):
        parse(f"{GOOD}\n[{section}]\n")


def test_a_policy_can_name_every_kind_of_alteration_that_is_looked_for_and_no_other() -> None:
    from skillwarrant_verify.measuring.alterations import KINDS

    assert ALTERATIONS == KINDS


def test_a_policy_can_name_every_hazard_and_no_other() -> None:
    assert set(ALLOWABLE_HAZARDS) == {*HAZARDS, "changes-base", "non-finite"}
