"""The identity provider: unmodified clients can log in, and nobody gets a token that was not theirs to ask for."""

from __future__ import annotations

import base64
import hashlib
import threading
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests
from sigstore.oidc import IdentityError, IdentityToken, Issuer, detect_credential

from skillwarrant_devstack import Devstack
from skillwarrant_format.errors import UsageError

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
REDIRECT = "http://localhost:9/auth/callback"


def ask(stack: Devstack, http: requests.Session, **changed: str | None) -> requests.Response:
    """The authorization request of sigstore-python, with changes."""
    asked: dict[str, str | None] = {
        "response_type": "code",
        "client_id": "sigstore",
        "scope": "openid email",
        "redirect_uri": REDIRECT,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "state": "s-1",
    } | changed
    return http.get(f"{stack.issuer}/authorize", params=asked, allow_redirects=False)


def exchange(stack: Devstack, http: requests.Session, code: str, **changed: str) -> requests.Response:
    form = {
        "grant_type": "authorization_code",
        "redirect_uri": REDIRECT,
        "code": code,
        "code_verifier": VERIFIER,
    } | changed
    return http.post(f"{stack.issuer}/token", data=form, auth=("sigstore", ""))


def code_of(response: requests.Response) -> str:
    return parse_qs(urlsplit(response.headers["Location"]).query)["code"][0]


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def test_a_user_token_verifies_with_the_published_keys(stack: Devstack, http: requests.Session) -> None:
    found = http.get(f"{stack.issuer}/.well-known/openid-configuration").json()
    (published,) = jwt.PyJWKSet.from_dict(http.get(found["jwks_uri"]).json()).keys
    token = stack.user_token("dev@acme.example")
    claims = jwt.decode(token, published.key, algorithms=["ES256"], audience="sigstore", issuer=found["issuer"])
    assert (claims["email"], claims["email_verified"]) == ("dev@acme.example", True)
    assert jwt.get_unverified_header(token)["kid"] == published.key_id


@pytest.mark.parametrize("email", ["", "nobody", "a@b", "a b@c.example", "a@b.example\nx@y.example"])
def test_a_user_needs_an_email_address(stack: Devstack, email: str) -> None:
    with pytest.raises(UsageError, match="no e-mail address"):
        stack.user_token(email)


def test_the_browser_flow_of_sigstore_python_works_without_a_browser(
    stack: Devstack, http: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def open_browser(url: str) -> bool:
        threads.append(threading.Thread(target=lambda: http.get(url, timeout=10)))
        threads[0].start()
        return True

    monkeypatch.setattr("webbrowser.open", open_browser)
    token = Issuer(stack.issuer).identity_token()
    threads[0].join()
    assert token.issuer == stack.issuer
    assert claims_of(str(token))["email"] == "devstack-user@example.com"


def test_the_login_can_name_the_user(stack: Devstack, http: requests.Session) -> None:
    redirected = ask(stack, http, login_hint="other@acme.example")
    assert redirected.status_code == 302
    assert redirected.headers["Location"].startswith(f"{REDIRECT}?")
    assert parse_qs(urlsplit(redirected.headers["Location"]).query)["state"] == ["s-1"]
    token = exchange(stack, http, code_of(redirected)).json()["access_token"]
    assert claims_of(token)["email"] == "other@acme.example"


def test_the_code_can_be_copied_by_hand(stack: Devstack, http: requests.Session) -> None:
    out_of_band = "urn:ietf:wg:oauth:2.0:oob"
    page = ask(stack, http, redirect_uri=out_of_band)
    assert exchange(stack, http, page.text.strip(), redirect_uri=out_of_band).status_code == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"redirect_uri": "http://evil.example/auth/callback"},
        {"redirect_uri": "https://localhost/auth/callback"},
        {"redirect_uri": "http://localhost@evil.example/"},
        {"redirect_uri": "http://localhost:9/callback?leak=1"},
        {"redirect_uri": None},
        {"client_id": "other"},
        {"response_type": "token"},
        {"scope": "email"},
        {"code_challenge_method": "plain"},
        {"code_challenge": None},
        {"login_hint": "not an address"},
    ],
    ids=lambda changed: " ".join(f"{name}={value}" for name, value in changed.items()),
)
def test_a_bad_authorization_request_is_not_redirected_anywhere(
    stack: Devstack, http: requests.Session, changed: dict[str, str | None]
) -> None:
    answer = ask(stack, http, **changed)
    assert answer.status_code == 400
    assert next(iter(changed)).split("_")[0] in answer.json()["message"]
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    "changed",
    [{"code_verifier": "w" * 43}, {"redirect_uri": "http://localhost:8/auth/callback"}, {"code_verifier": ""}],
)
def test_a_stolen_code_is_of_no_use_and_is_then_spent(
    stack: Devstack, http: requests.Session, changed: dict[str, str]
) -> None:
    code = code_of(ask(stack, http))
    assert exchange(stack, http, code, **changed).status_code == 400
    assert exchange(stack, http, code).status_code == 400


def test_a_code_is_good_once(stack: Devstack, http: requests.Session) -> None:
    code = code_of(ask(stack, http))
    assert exchange(stack, http, code).status_code == 200
    assert exchange(stack, http, code).json()["message"] == "the code is unknown, used or expired"


def test_a_code_expires(running: Devstack, http: requests.Session, clock: Any) -> None:
    code = code_of(ask(running, http))
    clock.ahead = timedelta(seconds=61)
    assert exchange(running, http, code).status_code == 400


def test_another_client_or_grant_gets_no_token(stack: Devstack, http: requests.Session) -> None:
    form = {"grant_type": "password"}
    assert http.post(f"{stack.issuer}/token", data=form, auth=("sigstore", "")).status_code == 400
    assert http.post(f"{stack.issuer}/token", data=form, auth=("other", "")).status_code == 401
    assert http.post(f"{stack.issuer}/token", data=form).status_code == 401


def test_the_ambient_credential_is_found_by_the_unmodified_client(
    stack: Devstack, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"repository": "acme/other", "ref": "refs/heads/main", "sha": "a" * 40, "event": "push"}
    environment = stack.ci_environment(**asked)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    raw = detect_credential()
    assert raw is not None
    token, claims = IdentityToken(raw), claims_of(raw)
    assert token.issuer == stack.issuer
    assert token.identity == "repo:acme/other:ref:refs/heads/main"
    assert {name: claims[name] for name in ("repository", "ref", "sha", "event_name", "run_id")} == {
        "repository": "acme/other",
        "ref": "refs/heads/main",
        "sha": "a" * 40,
        "event_name": "push",
        "run_id": environment["GITHUB_RUN_ID"],
    }
    assert claims["job_workflow_ref"] == "acme/other/.github/workflows/release.yml@refs/heads/main"
    assert stack.ci_identity(**asked) == "https://github.com/" + claims["job_workflow_ref"]


def ambient(stack: Devstack, http: requests.Session, token: str | None, **params: str) -> requests.Response:
    headers = {"Authorization": f"bearer {token}"} if token else {}
    return http.get(f"{stack.issuer}/ci/token", params=params, headers=headers)


def test_the_ambient_endpoint_gives_the_audience_that_was_asked_for(
    stack: Devstack, http: requests.Session
) -> None:
    token = stack.ci_environment()["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    asked = ambient(stack, http, token, audience="somewhere").json()["value"]
    assert claims_of(asked)["aud"] == "somewhere"
    assert claims_of(ambient(stack, http, token).json()["value"])["aud"] == "https://github.com/acme"


def test_the_ambient_endpoint_refuses_who_has_no_request_token(
    stack: Devstack, http: requests.Session, running: Devstack
) -> None:
    for token in (None, "x", stack.user_token("a@b.example"), stack.ci_token()):
        assert ambient(stack, http, token, audience="sigstore").status_code == 401
    foreign = running.ci_environment()["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    assert ambient(stack, http, foreign, audience="sigstore").status_code == 401


def test_an_identity_token_cannot_be_asked_for_as_a_request_token(stack: Devstack, http: requests.Session) -> None:
    token = stack.ci_environment()["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    forged = ambient(stack, http, token, audience=claims_of(token)["aud"]).json()["value"]
    assert ambient(stack, http, forged, audience="sigstore").status_code == 401


def test_a_request_token_cannot_be_bent_to_another_workflow(stack: Devstack, http: requests.Session) -> None:
    token = stack.ci_environment()["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    bent = jwt.encode(claims_of(token) | {"repository": "victim/skills"}, "k" * 32, "HS256")
    header, _, signature = token.split(".")
    spliced = ".".join([header, bent.split(".")[1], signature])
    unsigned = jwt.encode(claims_of(token), None, "none")
    for attempt in (bent, spliced, unsigned):
        assert ambient(stack, http, attempt, audience="sigstore").status_code == 401


def test_a_request_token_expires(running: Devstack, http: requests.Session, clock: Any) -> None:
    token = running.ci_environment()["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    clock.ahead = timedelta(hours=25)
    assert "expired" in ambient(running, http, token, audience="sigstore").json()["message"]


def test_the_client_refuses_a_token_from_the_past(running: Devstack, clock: Any) -> None:
    clock.ahead = timedelta(hours=-1)
    with pytest.raises(IdentityError):
        IdentityToken(running.user_token("dev@acme.example"))


@pytest.mark.parametrize(
    "asked",
    [
        {"repository": "acme"},
        {"repository": "acme/skills/x"},
        {"workflow": "release.yml"},
        {"ref": "main"},
        {"ref": "refs/tags/v1 @evil"},
        {"sha": "A" * 40},
        {"event": "release; rm"},
    ],
)
def test_a_workflow_that_github_would_not_state_is_refused(stack: Devstack, asked: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="malformed"):
        stack.ci_token(**asked)  # type: ignore[arg-type]
