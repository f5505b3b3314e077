"""The decision of a user's OPA: what it says is added, what it does not say refuses. Against a real HTTP server."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modules import codes, files, judged
from skillwarrant_format.errors import FormatError, Unavailable, UsageError
from skillwarrant_verify.rego.http_post import MAX_ANSWER_BYTES, _Call
from skillwarrant_verify.rego.modules import RegoAnswer, RegoModules
from skillwarrant_verify.rego.opa_http import OpaServer

PATH = "/v1/data/skillwarrant/decision"


class Opa(ThreadingHTTPServer):
    """Answers `POST` as a test says: a result, a status and a body, or a function that writes by itself."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = says({"result": {"deny": []}})

    def evaluate(self, **options: Any) -> RegoAnswer:
        return OpaServer(self.url, **options).evaluate({"now": "x"})


class _Answers(BaseHTTPRequestHandler):
    server: Opa

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, dict(self.headers), json.loads(body)))
        self.server.answer(self)

    def log_message(self, *_: Any) -> None:
        """Quietly."""


def raw(data: bytes, status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def write(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(data)

    return write


def says(document: Any, status: int = 200) -> Callable[[BaseHTTPRequestHandler], None]:
    return raw(json.dumps(document).encode(), status)


@pytest.fixture
def opa() -> Iterator[Opa]:
    server = Opa()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_the_input_is_posted_to_the_rule(opa: Opa) -> None:
    opa.evaluate(token="secret-token")
    ((path, headers, body),) = opa.asked
    assert path == PATH
    assert body == {"input": {"now": "x"}}
    assert headers["Authorization"] == "Bearer secret-token"
    assert headers["Content-Type"] == "application/json"


def test_messages_become_findings_as_in_process(opa: Opa) -> None:
    result = {
        "deny": ["no", {"code": "acme.7", "msg": "no", "details": {"a": 1}}],
        "violation_x": [{"msg": "wrong"}],
        "warn": ["hm"],
        "allow": False,
    }
    opa.answer = says({"result": result, "decision_id": "4ca636c1", "metrics": {"x": 1}})
    found = opa.evaluate()
    assert [finding.code for finding in found.denials] == ["rego.deny", "acme.7", "rego.violation_x", "rego.allow"]
    assert [finding.message for finding in found.warnings] == ["hm"]
    assert found.denials[0].rule == "data.skillwarrant.decision.deny"
    assert found.decision_id == "4ca636c1"
    assert len(found.evaluated) == 4


@pytest.mark.parametrize("result", [{"deny": []}, {"violation": [], "warn": []}, {"allow": True}])
def test_a_decision_without_messages_denies_nothing(opa: Opa, result: Any) -> None:
    opa.answer = says({"result": result})
    assert opa.evaluate().denials == ()


@pytest.mark.parametrize(
    "beside",
    [
        {"warning": {"code": "api_usage_warning", "message": "'input' key missing from the request"}},
        {"code": "internal_error", "errors": [{"code": "eval_conflict_error"}]},
        {"errors": []},
        {"code": ""},
        {"Result": {"deny": ["no"]}},
        {"deny": ["no"]},
    ],
    ids=",".join,
)
def test_a_result_that_the_server_itself_doubts_denies(opa: Opa, beside: dict[str, Any]) -> None:
    for result in ({"result": {"deny": [], "warn": ["hm"]}}, {}):
        opa.answer = says({**result, **beside, "decision_id": "abc"})
        found = opa.evaluate()
        assert codes(found) == ["rego.malformed"]
        assert min(beside) in found.denials[0].message
        assert found.denials[0].details == beside
        assert found.decision_id == "abc"


def test_an_undefined_rule_denies(opa: Opa) -> None:
    opa.answer = says({"decision_id": "abc"})
    found = opa.evaluate()
    assert codes(found) == ["rego.undefined"]
    assert "data.skillwarrant.decision is undefined on http://127.0.0.1" in found.denials[0].message
    assert found.decision_id == "abc"


@pytest.mark.parametrize(
    "result",
    [
        None,
        True,
        False,
        1,
        "allow",
        [],
        [{"deny": []}],
        {},
        {"warn": []},
        {"denny": ["no"], "deny": []},
        {"deny": [], "helper": 1},
        {"deny": [], "sub": {"deny": ["no"]}},
        {"deny": [], "result": {"deny": ["no"]}},
        {"deny": [], "Deny": ["no"]},
        {"deny": [], "exception": []},
        {"deny": None},
        {"deny": False},
        {"deny": "no"},
        {"deny": {"no": True}},
        {"deny": {}},
        {"deny": [1]},
        {"deny": [""]},
        {"deny": [], "warn": {}},
        {"allow": "true"},
        {"allow": 1},
        {"allow": None},
        {"allow": [True]},
    ],
    ids=json.dumps,
)
def test_a_decision_that_is_not_as_documented_denies(opa: Opa, result: Any) -> None:
    opa.answer = says({"result": result})
    found = codes(opa.evaluate())
    assert found
    assert set(found) <= {"rego.malformed", "rego.allow"}


@pytest.mark.parametrize("identifier", [None, 5, "", ["a"]])
def test_an_id_that_is_no_text_is_not_recorded(opa: Opa, identifier: Any) -> None:
    opa.answer = says({"result": {"deny": []}, "decision_id": identifier})
    assert opa.evaluate().decision_id is None


def test_a_hostile_id_is_made_safe_and_cut(opa: Opa) -> None:
    opa.answer = says({"result": {"deny": []}, "decision_id": "\x1b[2J\n" + "x" * 5000})
    found = opa.evaluate().decision_id
    assert found is not None
    assert found.isprintable()
    assert len(found) <= 201


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"code": "invalid_parameter", "message": "bad\nrequest"}),
        (401, {"code": "unauthorized", "message": "request rejected by administrative policy"}),
        (404, {"result": {"deny": []}}),
        (500, {"code": "internal_error", "message": "object insert conflict", "result": {"deny": []}}),
        (201, {"result": {"deny": []}}),
        (204, {"result": {"deny": []}}),
        (503, {"result": {"allow": True}}),
    ],
)
def test_another_status_than_200_is_no_answer(opa: Opa, status: int, body: Any) -> None:
    opa.answer = says(body, status)
    with pytest.raises(Unavailable, match=rf"HTTP status {status}") as caught:
        opa.evaluate()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"allow"',
        b"{",
        b'{"result": {"deny": []}} {"result": {"deny": ["no"]}}',
        b'{"result": {"deny": ["no"]}, "result": {"deny": []}}',
        b'{"result": {"deny": ["no"], "deny": []}}',
        b'{"result": {"deny": []}, "x": NaN}',
        b'{"result": {"deny": []}, "x": 18446744073709551616}',
        b'{"result": {"deny": []}, "x": "\\ud800"}',
        b'{"result": {"deny": []}, "x": "\\u0000"}',
        b'\xef\xbb\xbf{"result": {"deny": []}}',
        b'\xff{"result": {"deny": []}}',
        b'{"result":' + b"[" * 100 + b"]" * 100 + b"}",
        b"<html>sign in</html>",
    ],
)
def test_what_two_readers_could_read_differently_is_no_answer(opa: Opa, data: bytes) -> None:
    opa.answer = raw(data)
    with pytest.raises(Unavailable, match="could not be asked for its decision"):
        opa.evaluate()


def test_an_answer_beyond_measure_is_no_answer(opa: Opa) -> None:
    padded = b'{"result": {"deny": []}, "x": "' + b"x" * MAX_ANSWER_BYTES + b'"}'
    opa.answer = raw(padded)
    with pytest.raises(Unavailable, match="more than 1048576 bytes"):
        opa.evaluate()


def test_an_answer_that_unpacks_beyond_measure_is_no_answer(opa: Opa) -> None:
    opa.answer = raw(gzip.compress(b" " * 200_000_000, 1), Content_Encoding="gzip")
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="more than 1048576 bytes"):
        opa.evaluate()
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_an_answer_that_is_not_packed_as_it_says_is_no_answer(opa: Opa, encoding: str) -> None:
    opa.answer = raw(b'{"result": {"deny": []}}', Content_Encoding=encoding)
    with pytest.raises(Unavailable):
        opa.evaluate()


def test_an_answer_that_ends_too_early_is_no_answer(opa: Opa) -> None:
    opa.answer = raw(b'{"result": {"deny": []}}', Content_Length="1000")
    with pytest.raises(Unavailable):
        opa.evaluate()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(opa: Opa, status: int) -> None:
    opa.answer = raw(b'{"result": {"deny": []}}', status, Location=f"{opa.url}/v1/data/other")
    with pytest.raises(Unavailable, match=f"HTTP status {status}"):
        opa.evaluate(token="secret")
    assert len(opa.asked) == 1


def drip(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    for _ in range(600):
        request.wfile.write(b" ")
        request.wfile.flush()
        time.sleep(0.1)


def drip_headers(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(600):
        request.wfile.write(b"X-%d: 1\r\n" % number)
        request.wfile.flush()
        time.sleep(0.1)


def silent(request: BaseHTTPRequestHandler) -> None:
    time.sleep(60)


@pytest.mark.parametrize("answer", [drip, drip_headers, silent])
def test_a_server_that_dawdles_is_given_up(opa: Opa, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
    opa.answer = answer
    begun = time.monotonic()
    with pytest.raises(Unavailable, match=r"no answer within 0\.5 s"):
        opa.evaluate(total=0.5)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("answer", [drip, drip_headers, silent])
def test_a_server_that_was_given_up_keeps_no_thread_and_no_connection(
    opa: Opa, answer: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    """Before, each decision left both behind for as long as the server went on."""
    ended = threading.Semaphore(0)

    def write(request: BaseHTTPRequestHandler) -> None:
        if answer is silent:
            assert request.rfile.read(1) == b""
        else:
            with suppress(OSError):
                answer(request)
        ended.release()

    opa.answer = write
    before = set(threading.enumerate())
    for _ in range(3):
        with pytest.raises(Unavailable):
            opa.evaluate(total=0.2)
    for thread in set(threading.enumerate()) - before:
        if thread.name == "skillwarrant-wait":
            thread.join(2)
            assert not thread.is_alive()
    assert all(ended.acquire(timeout=5) for _ in range(3))


def test_a_connection_that_is_made_too_late_is_shut_at_once() -> None:
    call, (ours, theirs) = _Call("http://127.0.0.1"), socket.socketpair()
    call.end()
    call._connected(ours)
    theirs.settimeout(5)
    assert theirs.recv(1) == b""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc",
    ],
    ids=range(10),
)
def test_what_is_no_http_is_no_answer(opa: Opa, data: bytes) -> None:
    def write(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(data)
        request.close_connection = True

    opa.answer = write
    with pytest.raises(Unavailable):
        opa.evaluate()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(Unavailable, match="could not be asked"):
            OpaServer(url).evaluate({})


def test_no_proxy_stands_on_the_way_to_this_machine(opa: Opa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert opa.evaluate().denials == ()


def test_no_other_credential_is_sent(opa: Opa, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\ndefault login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    opa.evaluate()
    opa.evaluate(token="ours")
    assert [headers.get("Authorization") for _, headers, _ in opa.asked] == [None, "Bearer ours"]


@pytest.mark.parametrize(
    "url",
    [
        "http://opa.example",
        "http://10.0.0.1:8181",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "opa.example",
        "",
        "https://",
        "https://user@opa.example",
        "https://user:secret@opa.example",
        "https://opa.example?x=1",
        "https://opa.example#x",
        "https://opa.example:port",
        "https://opa.example/\n",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "https://[::1",
    ],
)
def test_a_url_that_would_not_be_asked_safely_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="URL cannot be used"):
        OpaServer(url)


@pytest.mark.parametrize(
    "given",
    [
        (5, "x"),
        (None,),
        (b"https://opa.example",),
        ("https://opa.example", 5),
        ("https://opa.example", None),
    ],
)
def test_what_is_no_text_is_misuse(given: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError, match=r"wrong type: expected a string, found (int|NoneType|bytes)\. Pass"):
        OpaServer(*given)


@pytest.mark.parametrize(
    "option", [{"token": 5}, {"total": "5"}, {"total": 0}, {"total": -1}, {"total": float("nan")}]
)
def test_a_token_or_a_time_that_is_none_is_misuse(option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"the OPA server's (token|time)"):
        OpaServer("https://opa.example", **option)


@pytest.mark.parametrize("path", ["", "/", "a//b", "../x", "a/../b", "a?b", "a b", "a/b/", "a#b", "a%2fb", "a\n"])
def test_a_path_that_is_no_rule_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="path of the OPA rule"):
        OpaServer("https://opa.example", path)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "é"])
def test_a_token_that_is_no_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(UsageError, match="no bearer token") as caught:
        OpaServer("https://opa.example", token=token)
    assert caught.value.found is None


def test_a_prefix_is_kept() -> None:
    assert OpaServer("https://opa.example/tenant/", "a/b").url == "https://opa.example/tenant/v1/data/a/b"


def test_an_input_that_json_cannot_say_is_not_sent(opa: Opa) -> None:
    for value in (float("nan"), "\ud800", 2**60, {1: 2}):
        with pytest.raises(FormatError):
            OpaServer(opa.url).evaluate({"now": value})  # type: ignore[dict-item]
    assert opa.asked == []


def test_the_documented_rule_gives_the_documented_answer(opa: Opa) -> None:
    """The rule that is asked for, evaluated for real, answered by a server, gives what the modules give."""
    policy = 'deny contains "no" if input.now == "x"\nwarn contains "hm"\ndecision := {"deny": deny, "warn": warn}'
    with RegoModules.load(files(policy)) as modules:
        frame = modules._workers.ask("evaluate", b"{}", b'{"now":"x"}', b"data.skillwarrant.decision", seconds=1)
    opa.answer = raw(b'{"result":' + frame[0][1:] + b"}")
    there, here = opa.evaluate(), judged(policy, {"now": "x"})
    assert [(item.code, item.message) for item in there.denials] == [
        (item.code, item.message) for item in here.denials
    ]
    assert [item.message for item in there.warnings] == ["hm"]
