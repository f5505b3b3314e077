"""An issuer's keys, asked of the issuer: bounded in time, size, age and number, and never anywhere else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from idp import ISSUER, check, key_set, mint, public
from skillwarrant_devstack import Devstack
from skillwarrant_format.errors import OperatorInvalid, SkillwarrantError, TrustError, Unavailable, UsageError
from skillwarrant_verify import OperatorKeys, VerifiedOperator, verify_operator
from skillwarrant_verify.operators import operator_keys
from skillwarrant_verify.operators.issuer_keys import MAX_KEYS_BYTES


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devstack]:
    with Devstack(tmp_path_factory.mktemp("stack") / "d") as stack:
        yield stack


def now() -> datetime:
    return datetime.now(UTC)


def of_stack(stack: Devstack, token: str, keys: bytes | OperatorKeys | None = None) -> VerifiedOperator:
    asked = keys or OperatorKeys(stack.issuer)
    return verify_operator(token, issuer=stack.issuer, audience="sigstore", keys=asked, now=now())


def test_a_users_token_of_a_running_issuer_verifies_through_discovery(stack: Devstack) -> None:
    operator = of_stack(stack, stack.user_token("ops@acme.example"))
    assert operator.subject == operator.claims["email"] == "ops@acme.example"
    assert timedelta() < operator.expires_at - now() <= timedelta(minutes=10)


def test_a_ci_jobs_token_verifies_with_keys_that_were_carried_over(stack: Devstack) -> None:
    keys = requests.get(f"{stack.issuer}/keys", timeout=5, proxies={"http": ""}).content
    operator = of_stack(stack, stack.ci_token(), keys)
    assert operator.kind == "other"
    assert operator.subject.startswith("repo:")


def test_a_token_of_another_instance_with_the_same_name_does_not_verify(stack: Devstack, tmp_path: Path) -> None:
    with Devstack(tmp_path / "d") as other:
        token = other.user_token("ops@acme.example")
        keys = requests.get(f"{stack.issuer}/keys", timeout=5, proxies={"http": ""}).content
        with pytest.raises(OperatorInvalid):
            verify_operator(token, issuer=other.issuer, audience="sigstore", keys=keys, now=now())


class Issuer(ThreadingHTTPServer):
    """A server that answers as a test says: path -> (status, body), or a function that writes by itself."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[str] = []
        self.answers: dict[str, Any] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.tell(jwks_uri=f"{self.url}/keys")
        self.answers["/keys"] = (200, key_set())

    def tell(self, **document: Any) -> None:
        self.answers["/.well-known/openid-configuration"] = (
            200,
            json.dumps({"issuer": self.url, **document}).encode(),
        )

    def asked_for_keys(self) -> int:
        return self.asked.count("/keys")


class _Answers(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:  # the library's name
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path, (404, b""))
        if callable(answer):
            answer(self)
            return
        status, body = answer
        self.send_response(status)
        if status in {301, 302, 307}:
            self.send_header("Location", body.decode())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Issuer]:
    with Issuer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Ticks:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ask(server: Issuer, keys: OperatorKeys, token: str | None = None) -> VerifiedOperator:
    return check(token or mint(iss=server.url), keys, issuer=server.url)


def test_keys_are_asked_for_once_and_again_when_they_are_old(server: Issuer) -> None:
    ticks = Ticks()
    keys = OperatorKeys(server.url, max_age=timedelta(minutes=5), clock=ticks)
    for seconds, asked in ((0, 1), (299, 1), (1, 2), (299, 2), (1, 3)):
        ticks.now += seconds
        ask(server, keys)
        assert server.asked_for_keys() == asked


def test_a_new_key_is_found_without_waiting_for_the_old_ones_to_age(server: Issuer) -> None:
    ticks = Ticks()
    keys = OperatorKeys(server.url, clock=ticks)
    ask(server, keys)
    server.answers["/keys"] = (200, key_set(public("ec-new")))
    ticks.now += 10
    assert ask(server, keys, mint("ec-new", iss=server.url)).key_id == "ec-new"


def test_a_key_that_was_taken_back_is_believed_no_longer_than_max_age(server: Issuer) -> None:
    ticks = Ticks()
    keys = OperatorKeys(server.url, max_age=timedelta(minutes=5), clock=ticks)
    ask(server, keys)
    server.answers["/keys"] = (200, key_set(public("ec-new")))
    ticks.now += 300
    with pytest.raises(OperatorInvalid, match="does not publish"):
        ask(server, keys)


def test_tokens_with_made_up_key_ids_cannot_make_us_ask_all_the_time(server: Issuer) -> None:
    ticks = Ticks()
    keys = OperatorKeys(server.url, clock=ticks)
    for number in range(50):
        with pytest.raises(OperatorInvalid, match="does not publish"):
            ask(server, keys, mint(iss=server.url, header={"kid": f"made-up-{number}"}))
        ticks.now += 1
    assert server.asked_for_keys() == 5
    assert ask(server, keys)


def test_an_issuer_that_is_down_is_no_answer_and_not_asked_for_every_token(server: Issuer) -> None:
    ticks = Ticks()
    keys = OperatorKeys(server.url, max_age=timedelta(minutes=5), clock=ticks)
    ask(server, keys)
    whole, server.answers = server.answers, {}
    ticks.now += 300  # what is kept is too old, however well it would still do
    for _ in range(3):
        with pytest.raises(Unavailable, match="404"):
            ask(server, keys)
    assert len(server.asked) == 3
    server.answers = whole
    ticks.now += 10
    assert ask(server, keys)


def test_while_the_issuer_is_down_its_known_keys_still_verify_and_unknown_ones_are_no_no(server: Issuer) -> None:
    ticks = Ticks()
    keys = OperatorKeys(server.url, clock=ticks)
    ask(server, keys)
    server.answers = {}
    ticks.now += 10
    for _ in range(2):
        with pytest.raises(Unavailable):
            ask(server, keys, mint("ec-new", iss=server.url))
    assert ask(server, keys)


def test_many_threads_ask_once(server: Issuer) -> None:
    keys = OperatorKeys(server.url)
    threads = [threading.Thread(target=ask, args=(server, keys)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.asked_for_keys() == 1


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"issuer": "https://mallory.example"}, TrustError, "another issuer's"),
        ({"jwks_uri": None}, TrustError, "jwks_uri is missing"),
        ({"jwks_uri": "http://mallory.example/keys"}, TrustError, "https URL"),
        ({"jwks_uri": "file:///etc/passwd"}, TrustError, "https URL"),
        ({"jwks_uri": "http://127.0.0.1@mallory.example/keys"}, TrustError, "https URL"),
        ({"jwks_uri": "http://[::1"}, TrustError, "https URL"),
        ({"jwks_uri": "http://127.0.0.1:1/keys"}, Unavailable, "127.0.0.1"),
        ({"jwks_uri": 7}, TrustError, "a string"),
    ],
)
def test_a_discovery_document_leads_nowhere_else(
    server: Issuer, change: dict[str, Any], error: type[SkillwarrantError], reason: str
) -> None:
    server.tell(**{"jwks_uri": f"{server.url}/keys", **change})
    with pytest.raises(error, match=reason):
        ask(server, OperatorKeys(server.url))


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys"])
@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        ((500, b""), Unavailable, "500"),
        ((301, b"/elsewhere"), Unavailable, "301"),
        ((200, b"<html>"), TrustError, "not JSON"),
        ((200, b"x" * (MAX_KEYS_BYTES + 1)), TrustError, "too large"),
        ((200, b'{"issuer":"a","issuer":"b","keys":[],"keys":[]}'), TrustError, "twice"),
    ],
)
def test_an_answer_that_cannot_be_used_is_never_a_no(
    server: Issuer, path: str, answer: tuple[int, bytes], error: type[SkillwarrantError], reason: str
) -> None:
    server.answers[path] = answer
    server.answers["/elsewhere"] = (200, key_set())
    with pytest.raises(error, match=reason) as caught:
        ask(server, OperatorKeys(server.url))
    assert caught.value.exit_code == 3
    assert "/elsewhere" not in server.asked


def test_an_answer_that_drips_is_given_up(server: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_keys, "_TOTAL", 0.5)
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
        while not over.wait(0.05):
            try:
                handler.wfile.write(b"X: y\r\n")
            except OSError:
                return

    server.answers["/keys"] = drip
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="no answer within"):
        ask(server, OperatorKeys(server.url))
    over.set()
    assert time.monotonic() - begun < 5


def test_nobody_listening_is_no_answer() -> None:
    with pytest.raises(Unavailable, match="could not be asked"):
        check(mint(iss="http://127.0.0.1:1"), OperatorKeys("http://127.0.0.1:1"), issuer="http://127.0.0.1:1")


def test_no_proxy_is_asked_for_an_issuer_on_this_machine(server: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert ask(server, OperatorKeys(server.url))


@pytest.mark.parametrize(
    "issuer",
    [
        "http://idp.acme.example",
        "ftp://idp.acme.example",
        "https://",
        "https://user@idp.acme.example",
        "https://idp.acme.example?x=1",
        "https://idp.acme.example#x",
        "idp.acme.example",
        "https://idp.acme.example:port",
        "https://idp.acme.example\n",
    ],
)
def test_an_issuer_that_could_not_be_asked_safely_is_misuse(issuer: str) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        OperatorKeys(issuer)


def test_keys_that_are_never_fresh_are_misuse() -> None:
    with pytest.raises(UsageError, match="max_age"):
        OperatorKeys(ISSUER, max_age=timedelta())
