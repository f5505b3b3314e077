"""The decision of a user's own OPA server, asked over HTTP: `POST /v1/data/<path>` (OPA, REST API, Data API).

Asked is one rule whose value holds the messages and nothing else, so that nothing that it says is passed over:

    decision := {"deny": deny, "warn": warn}

https, or http on this very machine. Everything is bounded, no redirect is followed, and what cannot be asked is
`Unavailable`: a refusal, but no answer. The server's answer can only add to a native decision.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from skillwarrant_format.errors import FormatError, UsageError, shown
from skillwarrant_format.strict_json import JsonObject, JsonValue, kind_of, loads_object
from skillwarrant_verify.arguments import check_kind
from skillwarrant_verify.proof.loopback import is_loopback
from skillwarrant_verify.rego.answer import RegoAnswer, RegoFinding, answer, refusal
from skillwarrant_verify.rego.document import encode
from skillwarrant_verify.rego.http_post import MAX_ANSWER_BYTES, post, unreachable
from skillwarrant_verify.rego.lint import RegoRule, is_entry

__all__ = ["OpaServer", "SilentOpaServer"]

# What OPA says beside a result (REST API, Data API). Its `errors`, `code` and `warning` make a result doubtful.
_BESIDE: Final = frozenset({"decision_id", "explanation", "metrics", "provenance", "result"})
_PATH: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:/[A-Za-z_][A-Za-z0-9_]*)*")
_MAX_ID: Final = 200  # characters of a decision id
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, section 2.1


class OpaServer:
    """An OPA server and the rule that it is asked for. Keeps no connection; threads may share it.

    Args:
        url: where its REST API is, without `/v1`.
        path: the rule, `skillwarrant/decision`.
        token: sent as bearer token, where there is one.
        total: seconds for one decision, however the server dawdles.

    Raises:
        UsageError: no https URL (or http on this machine), no such path, token or time, or one of another type.
    """

    def __init__(
        self, url: str, path: str = "skillwarrant/decision", *, token: str | None = None, total: float = 10.0
    ) -> None:
        for what, text in (("url", url), ("path", path), ("token", "" if token is None else token)):
            check_kind(f"the OPA server's {what}", text, str, "a string")
        check_kind("the OPA server's time", total, (int, float), "seconds")
        if not 0 < total < math.inf:
            raise UsageError("the OPA server's time cannot be used", expected="seconds above 0", found=str(total))
        if (why := _objection(url)) is not None:
            raise UsageError("the OPA server's URL cannot be used", expected="https://host[/prefix]", found=why)
        if not _PATH.fullmatch(path):
            raise UsageError("the path of the OPA rule cannot be used", expected="package/rule", found=path)
        if token is not None and not _TOKEN.fullmatch(token):
            raise UsageError("the OPA server's token is no bearer token", expected="RFC 6750 characters")
        self.url = f"{url.rstrip('/')}/v1/data/{path}"
        self.path = path
        self._token = token
        self._total = total

    def evaluate(self, document: JsonObject) -> RegoAnswer:
        """The server's decision on one input.

        Returns:
            Its messages; a denial where the rule is undefined or its value is not as documented.

        Raises:
            FormatError: `document` is nothing that JSON can say.
            Unavailable: the server cannot be reached in time, or does not answer as OPA does.
        """
        body = b'{"input":' + encode(document, "input") + b"}"
        data = post(self.url, body, token=self._token, total=self._total)
        try:
            reply = loads_object(data, what=f"the answer of {self.url}", limit=MAX_ANSWER_BYTES)
        except FormatError as error:
            unreachable(self.url, str(error))
        return self._read(reply)

    def _read(self, reply: JsonObject) -> RegoAnswer:
        whole = RegoRule(path="data." + self.path.replace("/", "."), where=())
        found = reply.get("decision_id")
        decision_id = shown(found, _MAX_ID) if isinstance(found, str) and found else None
        if unknown := sorted(reply.keys() - _BESIDE):
            message = f"{self.url} answered with {unknown[0]!r}; expected a result and nothing to say against it"
            doubt = refusal(whole, "rego.malformed", message, {key: reply[key] for key in unknown})
            return answer([whole], [], [doubt], decision_id=decision_id)
        if "result" not in reply:
            undefined = refusal(whole, "rego.undefined", f"{whole.path} is undefined on {self.url}")
            return answer([whole], [], [undefined], decision_id=decision_id)
        if refusals := list(_objections(whole, reply["result"])):
            return answer([whole], [], refusals, decision_id=decision_id)
        results = _rules(whole, reply["result"])
        return answer([rule for rule, _ in results], results, decision_id=decision_id)


class SilentOpaServer(OpaServer):
    """A server that is named and not asked: for whoever only reads a policy."""

    def evaluate(self, document: JsonObject) -> RegoAnswer:  # noqa: ARG002  # it goes nowhere
        """Raises Unavailable."""
        unreachable(self.url, "this policy was only read")


def _objections(whole: RegoRule, result: JsonValue) -> Iterator[RegoFinding]:
    if not isinstance(result, Mapping):
        yield refusal(whole, "rego.malformed", f"{whole.path} is {kind_of(result)}, no object", result)
        return
    for name in result:
        if not is_entry(name):
            message = (
                f"{whole.path} has the field {name!r}; expected deny, violation, warn (with a suffix) or allow"
            )
            yield refusal(whole, "rego.malformed", message)
    if not any(is_entry(name) and not name.startswith("warn") for name in result):
        yield refusal(whole, "rego.malformed", f"{whole.path} has no field that could deny")


def _rules(whole: RegoRule, result: JsonValue) -> list[tuple[RegoRule, JsonValue]]:
    fields = result if isinstance(result, Mapping) else {}
    return [(RegoRule(path=f"{whole.path}.{name}", where=()), value) for name, value in fields.items()]


def _objection(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return str(error)
    if not host or parts.username is not None or parts.query or parts.fragment or not url.isprintable():
        return url
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)):
        return None
    return url
