"""The HTTP side that all services share: a refusal, a JSON reply, one router, one loopback server.

It knows nothing of what the services do.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from skillwarrant_format import limits
from skillwarrant_format.errors import AuditError, FormatError, Unavailable, UsageError
from skillwarrant_format.fields import Fields
from skillwarrant_format.strict_json import loads

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["LOOPBACK", "Application", "RequestRefusedError", "Route", "Server", "bind", "body_fields", "json_reply"]

LOOPBACK: Final = "127.0.0.1"
IDLE_TIMEOUT: Final = 30  # seconds a connection may be silent
POLL_INTERVAL: Final = 0.05  # seconds until a stop is noticed

_log = logging.getLogger("skillwarrant_devstack")


class RequestRefusedError(Exception):
    """A client's request is refused: an HTTP status and a sentence that says why."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint; `handler(request, **path_arguments)` returns the reply or raises RequestRefusedError."""

    method: str
    path: str
    handler: Callable[..., Response]


class _Request(Request):
    max_content_length = limits.MAX_JSON_BYTES


class _Handler(WSGIRequestHandler):
    timeout = IDLE_TIMEOUT
    disable_nagle_algorithm = True  # headers and body go out in two writes

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Not a line a request on somebody's terminal."""
        _log.debug("%s %s: %s, %s bytes", self.command, self.path, code, size)


class Application:
    """The WSGI application over all routes; it answers only for the given Host headers."""

    def __init__(self, routes: Iterable[Route], hosts: frozenset[str]) -> None:
        self._map = Map(
            [Rule(route.path, methods=[route.method], endpoint=route.handler) for route in routes],
            merge_slashes=False,
        )
        self._hosts = hosts

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._reply(_Request(environ))(environ, start_response)

    def _reply(self, request: Request) -> Response:
        try:
            response = self._handle(request)
        except RequestRefusedError as refused:
            response = json_reply({"code": refused.status, "message": refused.message}, refused.status)
            response.headers.extend(refused.headers)
        except FormatError as error:
            response = json_reply({"code": 400, "message": str(error)}, 400)
        except (Unavailable, AuditError) as error:
            _log.error("%s", error)
            response = json_reply({"code": 503, "message": str(error)}, 503)
        except HTTPException as error:
            response = json_reply({"code": error.code, "message": error.name}, error.code or 500)
        return response

    def _handle(self, request: Request) -> Response:
        # A web page must not reach us through a name of its own (DNS rebinding).
        if request.host not in self._hosts:
            raise RequestRefusedError(421, f"this server is not {request.host!r}")
        handler, arguments = self._map.bind_to_environ(request.environ).match()
        response: Response = handler(request, **arguments)
        return response


class Server:
    """One threaded server over an already bound socket."""

    def __init__(self, listener: socket.socket, routes: Iterable[Route]) -> None:
        port = listener.getsockname()[1]
        hosts = frozenset({f"{LOOPBACK}:{port}", f"localhost:{port}"})
        self._server: BaseWSGIServer = make_server(
            LOOPBACK,
            port,
            Application(routes, hosts),
            threaded=True,
            request_handler=_Handler,
            fd=listener.fileno(),
        )
        listener.close()  # make_server has its own duplicate
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_INTERVAL,), name="devstack", daemon=True
        )

    def start(self) -> None:
        """Serve on a thread of its own."""
        self._thread.start()

    def wait(self) -> None:
        """Return when the server has stopped."""
        self._thread.join()

    def stop(self) -> None:
        """Take no more requests; those being answered go on. Werkzeug closes a connection after each."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 lets the system choose.

    Raises:
        UsageError: for an address that other machines can reach.
        Unavailable: when the port is taken.
    """
    if not ipaddress.ip_address(host).is_loopback:
        raise UsageError("the devstack serves this machine only", expected="a loopback address", found=host)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"cannot serve on {host}:{port}", found=str(error), fix="Choose another port, or 0 for any."
        ) from error
    return listener


def json_reply(value: Any, status: int = 200) -> Response:
    """A JSON response."""
    return Response(json.dumps(value), status=status, mimetype="application/json")


def body_fields(request: Request) -> Fields:
    """The request's JSON object.

    Raises:
        FormatError: for anything else; the client is told.
    """
    return Fields(loads(request.get_data(), what="request body"), "request")
