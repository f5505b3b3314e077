"""The identity provider: a login that asks for no password, and the token endpoint that CI jobs have.

OpenID Connect Core 1.0 section 3.1 (authorization code) with PKCE (RFC 7636); the CI endpoint is GitHub's
`ACTIONS_ID_TOKEN_REQUEST_URL`. It knows nothing of certificates.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from skillwarrant_devstack.http import RequestRefusedError, Route, json_reply
from skillwarrant_devstack.tokens import AUDIENCE, ID_LIFETIME, Tokens
from skillwarrant_devstack.workflow import SERVER, Workflow
from skillwarrant_format.errors import UsageError

__all__ = ["DEFAULT_USER", "Provider"]

DEFAULT_USER: Final = "devstack-user@example.com"
CODE_LIFETIME: Final = timedelta(minutes=1)
REQUEST_LIFETIME: Final = timedelta(hours=24)  # of the token that a CI job asks for identity tokens with
MAX_PENDING_CODES: Final = 1000
_OUT_OF_BAND: Final = "urn:ietf:wg:oauth:2.0:oob"
_LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_EMAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+", re.ASCII)
_REQUEST_AUDIENCE: Final = "ci-token-request"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Login:
    email: str
    challenge: str
    redirect_uri: str
    expires: datetime


class Provider:
    """The issuer at `tokens.issuer`."""

    def __init__(self, tokens: Tokens, clock: Callable[[], datetime]) -> None:
        self._tokens = tokens
        self._clock = clock
        self._lock = threading.Lock()
        self._logins: dict[str, _Login] = {}
        self._request_issuer = f"{tokens.issuer}/ci"  # so that a request token is never an identity token

    def routes(self, prefix: str) -> list[Route]:
        """The endpoints under a path prefix."""
        return [
            Route("GET", f"{prefix}/.well-known/openid-configuration", self._discover),
            Route("GET", f"{prefix}/keys", self._keys),
            Route("GET", f"{prefix}/authorize", self._authorize),
            Route("POST", f"{prefix}/token", self._exchange),
            Route("GET", f"{prefix}/ci/token", self._ci),
        ]

    def user_token(self, email: str) -> str:
        """An identity token for a user.

        Raises:
            UsageError: when that is no e-mail address.
        """
        if not _EMAIL.fullmatch(email):
            raise UsageError("that is no e-mail address", expected="something like user@example.com", found=email)
        return self._tokens.identity({"sub": email, "email": email, "email_verified": True})

    def ci_token(self, workflow: Workflow) -> str:
        """An identity token for one run of a workflow."""
        return self._tokens.identity(workflow.claims(_run_id()))

    def ci_environment(self, workflow: Workflow) -> dict[str, str]:
        """The environment of one run: the request token fixes the claims, so a job cannot ask for others'."""
        run_id = _run_id()
        request_token = self._tokens.mint(
            workflow.claims(run_id),
            issuer=self._request_issuer,
            audience=_REQUEST_AUDIENCE,
            lifetime=REQUEST_LIFETIME,
        )
        return {
            **workflow.variables(run_id),
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": request_token,
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self._tokens.issuer}/ci/token",
        }

    def _discover(self, _request: Request) -> Response:
        issuer = self._tokens.issuer
        return json_reply(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "jwks_uri": f"{issuer}/keys",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    def _keys(self, _request: Request) -> Response:
        return json_reply(self._tokens.key_set())

    def _authorize(self, request: Request) -> Response:
        asked = request.args
        redirect_uri = asked.get("redirect_uri", "")
        _require(asked.get("client_id") == AUDIENCE, f"client_id must be {AUDIENCE!r}")
        _require(_is_loopback(redirect_uri), f"redirect_uri must be on this machine, not {redirect_uri!r}")
        _require(asked.get("response_type") == "code", "response_type must be 'code'")
        _require("openid" in asked.get("scope", "").split(), "scope must contain 'openid'")
        _require(asked.get("code_challenge_method") == "S256", "code_challenge_method must be 'S256'")
        _require(bool(asked.get("code_challenge")), "code_challenge is missing")
        email = asked.get("login_hint", DEFAULT_USER)
        _require(bool(_EMAIL.fullmatch(email)), f"login_hint is no e-mail address: {email!r}")
        code = self._remember(email, asked["code_challenge"], redirect_uri)
        if redirect_uri == _OUT_OF_BAND:
            return Response(f"{code}\n", mimetype="text/plain")
        return redirect(f"{redirect_uri}?{urlencode({'code': code, 'state': asked.get('state', '')})}")

    def _remember(self, email: str, challenge: str, redirect_uri: str) -> str:
        code = secrets.token_urlsafe(24)
        now = self._clock()
        login = _Login(email=email, challenge=challenge, redirect_uri=redirect_uri, expires=now + CODE_LIFETIME)
        with self._lock:
            self._logins = {key: old for key, old in self._logins.items() if old.expires > now}
            if len(self._logins) >= MAX_PENDING_CODES:
                raise RequestRefusedError(429, "too many logins are pending; try again in a minute")
            self._logins[code] = login
        return code

    def _exchange(self, request: Request) -> Response:
        asked = request.form
        client = request.authorization.username if request.authorization else asked.get("client_id")
        _require(client == AUDIENCE, f"the client must be {AUDIENCE!r}", status=401)
        _require(asked.get("grant_type") == "authorization_code", "grant_type must be 'authorization_code'")
        with self._lock:
            login = self._logins.pop(asked.get("code", ""), None)  # a code is good once, even for a failure
        if login is None or login.expires <= self._clock():
            raise RequestRefusedError(400, "the code is unknown, used or expired")
        _require(asked.get("redirect_uri") == login.redirect_uri, "redirect_uri is not the one of the login")
        verifier = asked.get("code_verifier", "")
        _require(hmac.compare_digest(_challenge(verifier), login.challenge), "code_verifier does not match")
        token = self.user_token(login.email)
        # sigstore-python uses access_token as the identity token.
        return json_reply(
            {
                "access_token": token,
                "id_token": token,
                "token_type": "Bearer",
                "expires_in": int(ID_LIFETIME.total_seconds()),
            }
        )

    def _ci(self, request: Request) -> Response:
        scheme, _, raw = request.headers.get("Authorization", "").partition(" ")
        _require(scheme.lower() == "bearer" and bool(raw), "the request token is missing", status=401)
        claims = self._tokens.check(raw, issuer=self._request_issuer, audience=_REQUEST_AUDIENCE)
        audience = request.args.get("audience") or f"{SERVER}/{claims['repository_owner']}"  # GitHub's default
        return json_reply({"value": self._tokens.identity(claims, audience=audience)})


def _run_id() -> int:
    return secrets.randbelow(10**10) + 10**10


def _require(condition: Any, message: str, *, status: int = 400) -> None:
    if not condition:
        raise RequestRefusedError(status, message)


def _is_loopback(uri: str) -> bool:
    parts = urlsplit(uri)
    return uri == _OUT_OF_BAND or (parts.scheme == "http" and parts.hostname in _LOOPBACK_NAMES and not parts.query)


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
