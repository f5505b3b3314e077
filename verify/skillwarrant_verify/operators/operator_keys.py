"""`OperatorKeys`: an issuer's keys, asked of the issuer itself (OpenID Connect Discovery 1.0, section 4).

https, or http on this very machine. Everything is bounded: time, size, age, and how often a stranger's token can
make us ask. Where newer keys cannot be had, keys that are too old are not used either: that is "could not check".
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from skillwarrant_format.errors import FormatError, TrustError, Unavailable, UsageError
from skillwarrant_format.fields import Fields
from skillwarrant_format.limits import MAX_URI_CHARS
from skillwarrant_format.strict_json import loads_object
from skillwarrant_format.waiting import within
from skillwarrant_verify.arguments import check_callable, check_kind, check_span
from skillwarrant_verify.operators.issuer_keys import MAX_KEYS_BYTES, KeySet
from skillwarrant_verify.proof.loopback import is_loopback

__all__ = ["OperatorKeys"]

_TOTAL: Final = 10.0  # seconds for discovery document and keys together
_QUIET: Final = 5.0  # seconds without a byte
_PAUSE: Final = 10.0  # seconds between two times of asking, whatever tokens say and however it went


class OperatorKeys:
    """The keys of one issuer; kept, and shared by threads. Make one and keep it.

    Args:
        issuer: its URL, exactly as tokens name it.
        max_age: how long its keys are used before it is asked again.
        clock: seconds that only grow.

    Raises:
        UsageError: no https URL (or http on this machine), or one with a user, query or fragment.
    """

    def __init__(
        self,
        issuer: str,
        *,
        max_age: timedelta = timedelta(hours=1),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_kind("issuer", issuer, str, "a URL")
        check_span("max_age", max_age)
        check_callable("clock", clock)
        if (why := _objection(issuer, plain=True)) is not None or urlsplit(issuer).query:
            raise UsageError("the issuer's URL cannot be used", expected="https://host/path", found=why or issuer)
        if max_age <= timedelta():
            raise UsageError("max_age is no age", expected="more than 0", found=str(max_age))
        self.issuer = issuer
        self._max_age = max_age.total_seconds()
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._kept_at = self._asked_at = float("-inf")
        self._failure: Unavailable | TrustError | None = None

    def current(self, key_id: str) -> KeySet:
        """The issuer's keys, asked for again where they are too old or have no key of this id.

        Raises:
            Unavailable: the issuer cannot be asked, and what is kept is not enough to answer.
            TrustError: what it answers cannot be used.
        """
        with self._lock:
            now = self._clock()
            kept = self._keys if now - self._kept_at < self._max_age else None
            if kept is not None and key_id in kept:
                return kept
            if now - self._asked_at >= _PAUSE:
                kept = self._ask(now)
            elif self._failure is not None:
                raise self._failure.with_traceback(None)
            if kept is None:  # only where max_age is shorter than the pause
                raise _unreachable(self.issuer, f"asked less than {_PAUSE:.0f} s ago")
            return kept

    def _ask(self, now: float) -> KeySet:
        self._asked_at, self._failure = now, None
        try:
            self._keys = within(_TOTAL, lambda: _discovered(self.issuer))
        except TimeoutError:
            self._failure = _unreachable(self.issuer, f"no answer within {_TOTAL:.0f} s")
            raise self._failure from None
        except (Unavailable, TrustError) as error:
            self._failure = error
            raise
        self._kept_at = now
        return self._keys


def _discovered(issuer: str) -> KeySet:
    what = f"the discovery document of {issuer}"
    try:
        data = _get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        document = Fields(loads_object(data, what=what), what)
        named, uri = document.text("issuer", limit=MAX_URI_CHARS), document.text("jwks_uri", limit=MAX_URI_CHARS)
    except FormatError as error:
        raise TrustError(error.message, expected=error.expected, found=error.found) from None
    if named != issuer:
        raise TrustError(f"{what} is another issuer's", expected=issuer, found=named)
    if (why := _objection(uri, plain=is_loopback(urlsplit(issuer).hostname))) is not None:
        raise TrustError(f"{what} names keys that cannot be asked for", expected="an https URL", found=why)
    return KeySet.parse(_get(uri), what=uri)


def _objection(url: str, *, plain: bool) -> str | None:
    """Why a URL is not asked; `plain`: http will do on this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return str(error)
    if not host or parts.username is not None or parts.fragment or not url.isprintable():
        return url
    if parts.scheme == "https" or (parts.scheme == "http" and plain and is_loopback(host)):
        return None
    return url


def _get(url: str) -> bytes:
    """One small document. No redirect is followed: the issuer's own URL is what is trusted."""
    import requests

    headers = {"Accept": "application/json"}
    try:
        with requests.Session() as session:
            session.trust_env = not is_loopback(urlsplit(url).hostname)  # no proxy on the way to this machine
            with session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=_QUIET) as answer:
                if answer.status_code != 200:
                    raise _unreachable(url, f"HTTP status {answer.status_code}")
                found = b""
                for part in answer.iter_content(8192):
                    found += part
                    if len(found) > MAX_KEYS_BYTES:
                        raise TrustError(f"the answer of {url} is too large", expected=f"{MAX_KEYS_BYTES} bytes")
                return found
    except (requests.RequestException, OSError, ValueError) as error:
        raise _unreachable(url, str(error) or type(error).__name__) from None


def _unreachable(url: str, reason: str) -> Unavailable:
    return Unavailable(
        f"{url} could not be asked for the issuer's keys",
        found=reason,
        fix="Check the URL and the network, or give the key set as bytes.",
    )
