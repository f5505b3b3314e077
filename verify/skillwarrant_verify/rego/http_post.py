"""One POST of JSON to a server that need not mean well: bounded in time and in size, and without a trace after it.

https, or http to this very machine. No redirect is followed. It knows nothing of what is asked or answered.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import urlsplit

from skillwarrant_format.errors import Unavailable, shown
from skillwarrant_format.limits import MIB
from skillwarrant_format.waiting import within
from skillwarrant_verify.proof.loopback import is_loopback

if TYPE_CHECKING:
    from requests import PreparedRequest, Response, Session

__all__ = ["MAX_ANSWER_BYTES", "post", "unreachable"]

MAX_ANSWER_BYTES: Final = 1 * MIB
_QUIET: Final = 5.0  # seconds without a byte


def post(url: str, body: bytes, *, token: str | None, total: float) -> bytes:
    """Post JSON, and read what comes back.

    Args:
        token: sent as bearer token, where there is one.
        total: seconds for all of it, however the server dawdles; after it the connection is shut.

    Raises:
        Unavailable: no answer in time, a larger one, or another status than 200.
    """
    call = _Call(url)
    try:
        return within(total, lambda: call.post(body, token))
    except TimeoutError:
        call.end()
        unreachable(url, f"no answer within {total:g} s")


def unreachable(url: str, reason: str) -> NoReturn:
    """Raises Unavailable."""
    raise Unavailable(
        f"{url} could not be asked for its decision",
        found=reason,
        fix="Check the URL, the token and the server; nothing is loaded without its answer.",
    ) from None


class _Call:
    """One request, which another thread can end: one who drips would keep a thread and a socket for days."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._ended = False

    def end(self) -> None:
        """Shut the connection, so that the thread that reads it gets an error. What connects yet is shut then."""
        with self._lock:
            self._ended = True
            for one in self._sockets:
                with suppress(OSError):  # it is closed already
                    one.shutdown(socket.SHUT_RDWR)

    def _connected(self, one: socket.socket) -> None:
        with self._lock:
            self._sockets.append(one)
        if self._ended:
            self.end()

    def post(self, body: bytes, token: str | None) -> bytes:
        import requests

        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
        }
        try:
            with self._session() as session:
                session.trust_env = not is_loopback(urlsplit(self._url).hostname)  # no proxy to this machine
                with session.post(
                    self._url,
                    data=body,
                    headers=headers,
                    auth=_bearer(token),
                    stream=True,
                    allow_redirects=False,
                    timeout=_QUIET,
                ) as reply:
                    data = self._bounded(reply)
        except (requests.RequestException, OSError, ValueError) as error:
            unreachable(self._url, str(error) or type(error).__name__)
        if reply.status_code != 200:
            said = shown(data.decode(errors="replace"), 200)
            unreachable(self._url, f"HTTP status {reply.status_code}: {said}")
        return data

    def _session(self) -> Session:
        """One that tells of its sockets: a session that is closed does not close one that is being read."""
        from requests import Session
        from requests.adapters import HTTPAdapter

        told = self._connected

        class Adapter(HTTPAdapter):
            def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
                pool = super().get_connection_with_tls_context(*args, **options)
                pool.ConnectionCls = _telling(pool.ConnectionCls, told)  # type: ignore[assignment]
                return pool

        session = Session()
        for scheme in ("https://", "http://"):
            session.mount(scheme, Adapter())
        return session

    def _bounded(self, reply: Response) -> bytes:
        found = b""
        for part in reply.iter_content(8192):
            found += part
            if len(found) > MAX_ANSWER_BYTES:
                unreachable(self._url, f"an answer of more than {MAX_ANSWER_BYTES} bytes")
        return found


def _telling(kind: Callable[..., Any], told: Callable[[socket.socket], None]) -> Callable[..., Any]:
    """Connections of a kind that hand on their socket once they have it."""

    def make(*args: Any, **options: Any) -> Any:
        connection = kind(*args, **options)
        dial = connection.connect

        def connect() -> None:
            dial()
            told(connection.sock)

        connection.connect = connect
        return connection

    return make


def _bearer(token: str | None) -> Callable[[PreparedRequest], PreparedRequest]:
    """Always given, so that requests looks for no other credential of this host in the user's .netrc."""

    def sign(request: PreparedRequest) -> PreparedRequest:
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    return sign
