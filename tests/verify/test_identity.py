"""Whom a pattern means: exactly, or by an anchored glob that cannot be widened by accident."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_format.errors import PolicyError
from skillwarrant_verify.identity import IdentityPattern, Kind

ISSUER = "https://token.actions.githubusercontent.com"
WORKFLOW = "https://github.com/acme/skills/.github/workflows/release.yml"


@dataclass
class Someone:
    identity: str
    issuer: str = ISSUER
    kind: Kind = "uri"


def covers(pattern: str, identity: str, kind: Kind = "uri") -> bool:
    return IdentityPattern(issuer=ISSUER, identity=pattern).matches(Someone(identity, kind=kind))


@pytest.mark.parametrize(
    ("pattern", "identity"),
    [
        (f"{WORKFLOW}@refs/heads/main", f"{WORKFLOW}@refs/heads/main"),
        (f"{WORKFLOW}@refs/tags/*", f"{WORKFLOW}@refs/tags/v1.2.3"),
        (f"{WORKFLOW}@refs/tags/v*", f"{WORKFLOW}@refs/tags/v1"),
        (f"{WORKFLOW}@refs/tags/v1.*", f"{WORKFLOW}@refs/tags/v1.9"),
        (f"{WORKFLOW}@refs/heads/*/stable", f"{WORKFLOW}@refs/heads/2026/stable"),
        (f"{WORKFLOW}@refs/tags/v*-final", f"{WORKFLOW}@refs/tags/v1-final"),
        (f"{WORKFLOW}@*", f"{WORKFLOW}@0123abcd"),
        (f"{WORKFLOW}@refs/**", f"{WORKFLOW}@refs/pull/1/merge"),
        ("https://github.com/acme/**", f"{WORKFLOW}@refs/heads/main"),
        ("https://gitlab.com/acme/**", "https://gitlab.com/acme/skills//.gitlab-ci.yml@refs/heads/main"),
        ("spiffe://acme.example/ns/*", "spiffe://acme.example/ns/trainer"),
    ],
)
def test_these_are_meant(pattern: str, identity: str) -> None:
    assert covers(pattern, identity)


@pytest.mark.parametrize(
    ("pattern", "identity"),
    [
        # neither anchor can be left
        (f"{WORKFLOW}@refs/heads/main", f"{WORKFLOW}@refs/heads/main2"),
        (f"{WORKFLOW}@refs/heads/main", f"https://evil.example/?{WORKFLOW}@refs/heads/main"),
        (f"{WORKFLOW}@refs/tags/v*", f"https://evil.example/{WORKFLOW}@refs/tags/v1"),
        ("https://github.com/acme/**", "https://github.com/acme-evil/skills/x"),
        ("https://github.com/acme/**", "https://github.com.evil.example/acme/x"),
        # a wildcard stands for something, and for nothing beyond its segment
        (f"{WORKFLOW}@refs/tags/*", f"{WORKFLOW}@refs/tags/"),
        (f"{WORKFLOW}@refs/tags/v*", f"{WORKFLOW}@refs/tags/v"),
        (f"{WORKFLOW}@refs/tags/*", f"{WORKFLOW}@refs/tags/v1/evil"),
        (f"{WORKFLOW}@refs/tags/*", f"{WORKFLOW}@refs/heads/main"),
        (f"{WORKFLOW}@refs/heads/*/stable", f"{WORKFLOW}@refs/heads/a/b/stable"),
        (f"{WORKFLOW}@refs/heads/ab*ba", f"{WORKFLOW}@refs/heads/aba"),
        ("https://github.com/acme/**", "https://github.com/acme/"),
        ("https://github.com/acme/**", "https://github.com/acme"),
        ("https://github.com/acme/**", "https://github.com/acme//"),
        # no way up
        ("https://github.com/acme/**", "https://github.com/acme/../evil/x@refs/heads/main"),
        ("https://github.com/acme/**", "https://github.com/acme/x/./y"),
        ("https://github.com/acme/*", "https://github.com/acme/.."),
        # case and spelling count
        (f"{WORKFLOW}@refs/heads/main", f"{WORKFLOW}@refs/heads/Main"),
        ("https://github.com/acme/**", "https://github.com/Acme/x"),
        ("https://github.com/acme/**", "HTTPS://github.com/acme/x"),
        ("https://github.com/acme/**", "https://github.com/%61cme/x"),
    ],
)
def test_these_are_not_meant(pattern: str, identity: str) -> None:
    assert not covers(pattern, identity)


def test_the_issuer_is_exact() -> None:
    pattern = IdentityPattern(issuer=ISSUER, identity="https://github.com/acme/**")
    for issuer in (ISSUER + "/", ISSUER.upper(), "https://token.actions.githubusercontent.com.evil.example", ""):
        assert not pattern.matches(Someone(f"{WORKFLOW}@refs/heads/main", issuer))


def test_a_name_of_another_kind_is_somebody_else() -> None:
    assert covers("release@acme.example", "release@acme.example", "email")
    assert not covers("release@acme.example", "release@acme.example", "uri")
    assert not covers("release@acme.example", "release@acme.example", "other")
    assert covers("release!acme.example", "release!acme.example", "other")
    assert not covers(f"{WORKFLOW}@refs/heads/main", f"{WORKFLOW}@refs/heads/main", "email")


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ("*", "only a URI"),
        ("**", "only a URI"),
        ("*@acme.example", "only a URI"),
        ("https://*", "host"),
        ("https://*.example/acme/x", "host"),
        ("https://github.com*/acme/x", "host"),
        ("https://github.com/**", "organisation open"),
        ("https://github.com/*/skills", "organisation open"),
        ("https://github.com/acme*/**", "organisation open"),
        ("https://github.com//**", "organisation open"),
        ("https://github.com/acme**", "organisation open"),
        ("https://github.com/acme/*/release.yml@refs/heads/main", "middle of the path"),
        ("https://github.com/acme/**/release.yml@refs/heads/main", "more than one wildcard"),
        ("https://github.com/acme/sk*ills/x", "middle of the path"),
        (f"{WORKFLOW}@refs/*/v**", "more than one wildcard"),
        (f"{WORKFLOW}@refs/**/v1", "more than one wildcard"),
        (f"{WORKFLOW}@refs/tags/*v*", "more than one wildcard"),
        (f"{WORKFLOW}@refs/tags/***", "more than one wildcard"),
        (f"^{WORKFLOW}$", "regular expression"),
        (f"{WORKFLOW}@refs/tags/v[0-9]", "regular expression"),
        (f"{WORKFLOW}@refs/tags/(v1|v2)", "regular expression"),
        (r"https://github\.com/acme/skills", "regular expression"),
        ("https://githu\uff42.com/acme/skills", "NFC|host"),
        ("https://g\u0456thub.com/acme/skills", "host"),
        ("https://github.com@evil.example/acme/skills", "host"),
        ("https:///acme/skills", "host"),
        ("https://github.com/acme/cafe\u0301", "NFC"),
        ("https://github.com/acme/skills\n", "control characters"),
        ("https://github.com/acme/\u202eskills", "control characters"),
        (" https://github.com/acme/skills", "spaces"),
        ("", "empty"),
        ("https://github.com/acme/" + "a" * 2100, "too long"),
    ],
)
def test_what_could_be_misread_is_refused(identity: str, words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        IdentityPattern(issuer=ISSUER, identity=identity)


@pytest.mark.parametrize(
    "issuer",
    ["", "*", "https://*", "accounts.example.com", "https://accounts.example.com/*", "https://\u0430ccounts.com"],
)
def test_an_issuer_that_is_no_exact_url_is_refused(issuer: str) -> None:
    with pytest.raises(PolicyError):
        IdentityPattern(issuer=issuer, identity="release@acme.example")


def test_a_pattern_says_what_it_means() -> None:
    assert str(IdentityPattern(issuer=ISSUER, identity="a@b.example")) == f"a@b.example ({ISSUER})"


REF = st.text("abv1.*@/-", max_size=12)


@given(pattern=REF, identity=REF)
def test_a_match_always_begins_with_everything_before_the_first_wildcard(pattern: str, identity: str) -> None:
    text = f"{WORKFLOW}@refs/{pattern}"
    try:
        made = IdentityPattern(issuer=ISSUER, identity=text)
    except PolicyError:
        return
    found = f"{WORKFLOW}@refs/{identity}"
    if made.matches(Someone(found)):
        head, star, tail = text.partition("*")
        assert found.startswith(head)
        assert found.count("/") == text.count("/") or text.endswith("**")
        assert star or found == text
        assert found.endswith(tail.rpartition("*")[2])


@given(st.text(max_size=60))
def test_any_text_is_a_pattern_or_a_policy_error(text: str) -> None:
    try:
        pattern = IdentityPattern(issuer=ISSUER, identity=text)
    except PolicyError:
        return
    assert "*" in text or pattern.matches(Someone(text, kind=pattern.kind))
