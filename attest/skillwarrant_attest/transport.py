"""How long a signing service may take, what may be asked again, and whose fault a failure is.

sigstore-python's clients for Fulcio and Rekor have no time-out and no retry, and lose what a service says when it
refuses. They all speak through `requests`, so this module is an adapter of `requests` that has these three, mounted
on each client's session. It knows nothing of signatures.
"""

from __future__ import annotations

import io
import ipaddress
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util.retry import Retry

from skillwarrant_attest.timing import Deadline
from skillwarrant_format import limits
from skillwarrant_format.errors import FormatError, SigningRefused, SkillwarrantError, Unavailable
from skillwarrant_format.strict_json import loads_object
from skillwarrant_format.waiting import within

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

__all__ = ["Service"]

_CHUNK: Final = 64 * limits.KIB
# "Not now" was said before anything was done; a gateway's failure says nothing about what was done behind it.
_NOT_NOW: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_GATEWAY: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})


class Service(HTTPAdapter):
    """One signing service, as a transport: it answers 2xx in time, or an error of ours is raised.

    Args:
        name: what messages call it: `Fulcio`.
        deadline: of the whole signing.
        repeatable: asking twice does no harm. Otherwise it is asked again only where it surely was not done.
        unsure: what to tell somebody who cannot know whether it was done.
    """

    def __init__(self, name: str, deadline: Deadline, *, repeatable: bool, unsure: str | None = None) -> None:
        self._name = name
        self._deadline = deadline
        self._unsure = unsure
        super().__init__(
            max_retries=Retry(
                connect=2,
                read=0,
                other=0,
                status=2,
                status_forcelist=_NOT_NOW | _GATEWAY if repeatable else _NOT_NOW,
                allowed_methods=None,
                backoff_factor=0.5,
                raise_on_status=False,
                respect_retry_after_header=False,
            )
        )

    def mount(self, session: requests.Session) -> None:
        """Send everything of a session through here."""
        session.mount("https://", self)
        session.mount("http://", self)

    def send(  # noqa: PLR0917  # the signature of requests
        self,
        request: PreparedRequest,
        stream: bool = False,  # noqa: ARG002  # the body is always read here, and bounded
        timeout: Any = None,  # noqa: ARG002  # ours holds, whatever the client asks for
        verify: bool | str = True,
        cert: Any = None,
        proxies: dict[str, str] | None = None,
    ) -> Response:
        """One exchange, its body read. See `requests.adapters.HTTPAdapter.send`.

        Raises:
            SigningRefused: the service answered 4xx: what it said.
            Unavailable: no whole answer in time, or the service's own failure (429, 5xx).
        """
        place = f"{self._name} ({request.url})"
        self._deadline.asked = place
        timeouts = self._deadline.timeouts
        seconds = self._deadline.left(timeouts.answer)
        direct = {} if _is_loopback(request.url) else proxies

        def exchange() -> Response:
            response = super(Service, self).send(
                request, stream=True, timeout=(timeouts.connect, seconds), verify=verify, cert=cert, proxies=direct
            )
            return _read(response)

        try:
            response = within(seconds, exchange)
        except TimeoutError:
            raise self._unavailable(place, f"no whole answer within {seconds:.3g} seconds") from None
        except (requests.RequestException, HTTPError, OSError) as error:
            raise self._unavailable(place, _why(error)) from error
        if not HTTPStatus.OK <= response.status_code < HTTPStatus.MULTIPLE_CHOICES:
            raise self._refusal(place, response)
        return response

    def _unavailable(self, place: str, what: str) -> Unavailable:
        return Unavailable(f"{place} did not answer", found=what, fix=self._unsure)

    def _refusal(self, place: str, response: Response) -> SkillwarrantError:
        status = f"{response.status_code} {response.reason or ''}".strip()
        said = f"{status}: {_said(response.content)}"
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status_code in _NOT_NOW:
            return Unavailable(f"{place} failed", found=said, fix=self._unsure)
        if response.is_redirect:
            return Unavailable(f"{place} is elsewhere", found=f"{status} to {response.headers['location']}")
        return SigningRefused(f"{place} refused", found=said)


def _read(response: Response) -> Response:
    """Read the body here, where it is bounded, and leave it where `requests` looks for it."""
    try:
        body = response.raw.read(limits.MAX_BUNDLE_BYTES + 1, decode_content=True)
    finally:
        response.close()
    if len(body) > limits.MAX_BUNDLE_BYTES:
        raise OSError(f"an answer of more than {limits.MAX_BUNDLE_BYTES} bytes")
    response.raw = io.BytesIO(body)
    return response


def _said(body: bytes) -> str:
    """The sentence in an error's body: `message` of Google's JSON errors, else the text."""
    with suppress(FormatError):
        document = loads_object(body, what="the answer", limit=_CHUNK)
        for key in ("message", "error_description", "error"):
            if isinstance(text := document.get(key), str):
                return text
    return body[:_CHUNK].decode("utf-8", "replace").strip() or "nothing more"


def _why(error: BaseException) -> str:
    """The innermost reason of a network error, in the system's words."""
    text = str(error)
    seen = error
    while True:
        inner = seen.__cause__ or seen.__context__ or getattr(seen, "reason", None)
        if not isinstance(inner, BaseException):
            return text
        seen = inner
        text = str(inner) or text


def _is_loopback(url: str | None) -> bool:
    """A proxy from the environment must not get what is meant for this machine."""
    host = urlsplit(url or "").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
