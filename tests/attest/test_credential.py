"""A token is read, and refused with words, before any service hears of it."""

from __future__ import annotations

import base64
import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_attest import Credential
from skillwarrant_devstack import Devstack
from skillwarrant_format.errors import Unavailable, UsageError

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TIME = int(NOW.timestamp())
CLAIMS = {"iss": "https://issuer.example", "sub": "s", "aud": "sigstore", "iat": TIME, "exp": TIME + 600}


def jwt(claims: Any, *, raw: bytes | None = None) -> str:
    parts = (b'{"alg": "ES256"}', raw if raw is not None else json.dumps(claims).encode(), b"signature")
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def read(**changes: Any) -> Credential:
    return Credential.from_token(jwt(CLAIMS | changes), now=NOW)


def test_a_token_says_who_signs_and_until_when() -> None:
    credential = read(email="ada@example.com")
    assert credential.identity == "ada@example.com"
    assert credential.issuer == "https://issuer.example"
    assert credential.expires == datetime(2026, 1, 1, 12, 10, tzinfo=UTC)


def test_the_preview_is_the_identity_that_a_real_certificate_carries(stack: Devstack) -> None:
    assert Credential.from_token(stack.ci_token()).identity == stack.ci_identity()
    assert Credential.from_token(stack.user_token("a@b.example")).identity == "a@b.example"


def test_a_login_behind_a_login_shows_the_issuer_behind() -> None:
    federated = {"connector_id": "https://accounts.example", "user_id": "1"}
    assert read(federated_claims=federated).issuer == "https://accounts.example"


def test_the_secret_is_in_no_repr() -> None:
    credential = read()
    assert credential.token not in repr(credential)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"aud": "other"}, "for another audience: expected sigstore, found other"),
        ({"aud": ["x", "y"]}, "for another audience"),
        ({"aud": None}, "aud is missing"),
        ({"exp": TIME}, "has expired: expected one that is good at 2026-01-01T12:00:00Z"),
        ({"exp": TIME - 86400}, "ended at 2025-12-31T12:00:00Z"),
        ({"exp": "soon"}, "expected a number"),
        ({"exp": 1e300}, "exp is no time"),
        ({"exp": None}, "exp is missing"),
        ({"nbf": TIME + 60}, "not valid yet"),
        ({"iat": TIME + 60}, "not valid yet"),
        ({"iat": None}, "iat is missing"),
        ({"iss": None}, "iss is missing"),
        ({"iss": "a\nb"}, "control characters"),
        ({"sub": 7}, "expected a string"),
        ({"email": "\x1b[31m"}, "control characters"),
        ({"federated_claims": "x"}, "expected an object"),
    ],
)
def test_a_token_that_cannot_sign_is_a_misuse_that_says_why(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(**changes)
    assert complaint in str(refused.value)
    assert refused.value.exit_code == 2


def test_several_audiences_with_ours_among_them_are_fine() -> None:
    assert read(aud=["other", "sigstore"]).identity == "s"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c.d",
        "a.%%%.c",
        "a.e30.c",
        jwt(None, raw=b"[]"),
        jwt(None, raw=b"{"),
        jwt(None, raw=b'{"aud": "sigstore", "aud": "sigstore"}'),
        jwt(None, raw=b"[" * 10_000),
        jwt(CLAIMS) + "A" * 100_000,
        "ä.ö.ü",
    ],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(UsageError):
        Credential.from_token(token, now=NOW)


@given(st.text(max_size=200))
def test_any_text_is_a_credential_or_a_misuse(text: str) -> None:
    with pytest.raises(UsageError):
        Credential.from_token(text, now=NOW)


@given(
    st.dictionaries(
        st.sampled_from([*CLAIMS, "nbf", "email", "job_workflow_ref", "federated_claims"]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(allow_nan=False),
            st.text(),
            st.lists(st.text(), max_size=2),
        ),
    )
)
def test_claims_of_any_type_never_escape_as_another_error(changes: dict[str, Any]) -> None:
    with contextlib.suppress(UsageError):
        assert read(**changes).expires > NOW


def test_a_token_file_may_end_in_a_newline(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(jwt(CLAIMS) + "\n")
    assert Credential.from_file(tmp_path / "token", now=NOW).source == str(tmp_path / "token")


def test_a_missing_token_file_is_a_misuse_and_an_unreadable_one_is_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such token file"):
        Credential.from_file(tmp_path / "none")
    with pytest.raises(Unavailable, match="cannot read the token file"):
        Credential.from_file(tmp_path)


def test_a_huge_token_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "token").open("wb") as file:
        file.truncate(1 << 34)
    with pytest.raises(UsageError):
        Credential.from_file(tmp_path / "token")
