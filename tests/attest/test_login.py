"""Where credentials come from: CI jobs and browsers, real and broken."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skillwarrant_attest import Timeouts, ambient_credential, browser_credential
from skillwarrant_format.errors import SigningRefused, TrustError, Unavailable, UsageError

World = Any  # the fixture of conftest.py, which cannot be imported from here
BROWSER = "import sys, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(sys.argv[1]).read()"


@pytest.fixture
def job(world: World, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A CI job's environment, real."""
    environment: dict[str, str] = world.stack.ci_environment()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A browser of one user, who clicks on nothing: it fetches the page and follows where that leads."""
    import webbrowser

    script = tmp_path / "browser.py"
    script.write_text(BROWSER)
    before = dict(webbrowser._browsers), webbrowser._tryorder  # type: ignore[attr-defined]
    webbrowser.register(
        "test", None, webbrowser.GenericBrowser([sys.executable, str(script), "%s"]), preferred=True
    )
    yield
    webbrowser._browsers, webbrowser._tryorder = before  # type: ignore[attr-defined]


def test_outside_ci_nobody_is_ambient() -> None:
    with pytest.raises(UsageError, match=r"no CI job that has an identity.*id-token: write"):
        ambient_credential()


def test_a_job_without_the_permission_is_told_which(job: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    with pytest.raises(UsageError, match=r"may not ask for an identity.*id-token: write"):
        ambient_credential()


def test_a_job_whose_request_is_refused_is_told_what_was_said(
    job: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "forged")
    with pytest.raises(SigningRefused, match=r"401.*token is refused"):
        ambient_credential()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", None])
def test_a_job_whose_token_service_fails_is_unavailable_in_time(
    world: World, job: dict[str, str], monkeypatch: pytest.MonkeyPatch, answer: bytes | None
) -> None:
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", world.peer(lambda _: answer).url)
    begin = time.monotonic()
    with pytest.raises(Unavailable, match="identity token cannot be had"):
        ambient_credential(timeouts=Timeouts(answer=0.5))
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("url", ["not a url", "http://[", "gopher://x"])
def test_a_job_with_a_broken_url_is_unavailable(
    job: dict[str, str], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", url)
    with pytest.raises(Unavailable, match="identity token cannot be had"):
        ambient_credential(timeouts=Timeouts(answer=2))


def test_a_gitlab_job_without_its_variable_is_told_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITLAB_CI", "true")
    with pytest.raises(UsageError, match="SIGSTORE_ID_TOKEN"):
        ambient_credential()


def test_a_gitlab_jobs_token_is_checked_like_any_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", world.user.token)
    assert ambient_credential().identity == world.user.identity


@pytest.mark.usefixtures("browser")
def test_a_person_signs_in_with_a_browser_and_then_signs(world: World) -> None:
    credential = browser_credential(world.config())
    assert credential.identity == "devstack-user@example.com"
    assert world.verified(world.sign(credential=credential), credential.identity) == world.statement.raw


@pytest.mark.usefixtures("browser")
def test_a_login_that_nobody_finishes_is_given_up(world: World, quick: Timeouts) -> None:
    page = b'{"authorization_endpoint": "%s", "token_endpoint": "http://127.0.0.1:1/"}'
    server = world.peer(
        lambda asked: world.saying(200, page % server.url.encode() if "openid" in asked.path else "")
    )
    with pytest.raises(Unavailable, match="nobody signed in"):
        browser_credential(world.config(oidc=server.url), timeouts=Timeouts(login=0.5))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"authorization_endpoint": 7}'])
def test_a_provider_that_is_none_is_unavailable(world: World, body: bytes) -> None:
    server = world.peer(lambda _: world.saying(200, body))
    with pytest.raises(Unavailable, match=r"the identity provider \(http"):
        browser_credential(world.config(oidc=server.url))


def test_a_provider_that_is_down_or_hangs_is_unavailable_in_time(world: World, quick: Timeouts) -> None:
    begin = time.monotonic()
    for url in (world.nobody(), world.peer(lambda _: None).url):
        with pytest.raises(Unavailable, match=r"the identity provider \(http"):
            browser_credential(world.config(oidc=url), timeouts=quick)
    assert time.monotonic() - begin < 5


def test_an_instance_without_a_provider_is_a_trust_error(world: World) -> None:
    with pytest.raises(TrustError, match="names no identity provider"):
        browser_credential(world.config(oidc=None))


def test_without_a_browser_and_a_terminal_nobody_waits_for_a_person(world: World) -> None:
    code = (
        "import sys, webbrowser; from pathlib import Path\n"
        "webbrowser.get = lambda: (_ for _ in ()).throw(webbrowser.Error())\n"
        "from skillwarrant_attest import browser_credential\n"
        "browser_credential(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(world.config())]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False
    )
    assert "UsageError: nobody can sign in here" in done.stderr


def test_without_a_browser_the_code_is_asked_for_on_the_terminal(world: World) -> None:
    """On a real terminal: the address is printed, the code that its page shows is typed."""
    import pty
    import re

    import requests

    code = (
        "import sys, webbrowser; from pathlib import Path\n"
        "def none(): raise webbrowser.Error\n"
        "webbrowser.get = none\n"
        "from skillwarrant_attest import browser_credential\n"
        "print('signed in as', browser_credential(Path(sys.argv[1])).identity)"
    )
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", code, str(world.config())]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = ""
        while "verification code:" not in seen:
            seen += os.read(ours, 4096).decode()
        address = re.search(r"http://\S+", seen)
        assert address
        with requests.Session() as session:
            session.trust_env = False
            os.write(ours, session.get(address[0], timeout=5).content)
        while "signed in as devstack-user@example.com" not in seen:
            seen += os.read(ours, 4096).decode()
        assert process.wait(10) == 0
    os.close(ours)


def test_ctrl_c_ends_a_hanging_signing_at_once(world: World, tmp_path: Path) -> None:
    import signal

    server = world.peer(lambda _: None)
    (tmp_path / "token").write_text(world.user.token)
    (tmp_path / "statement").write_bytes(world.statement.raw)
    code = (
        "import sys; from pathlib import Path\n"
        "from skillwarrant_attest import Credential, sign\n"
        "from skillwarrant_format.statement import Statement\n"
        "config, token, statement = map(Path, sys.argv[1:])\n"
        "statement = Statement.parse(statement.read_bytes())\n"
        "sign(statement, credential=Credential.from_file(token), trust_config=config)"
    )
    arguments = [world.config(fulcio=server.url), tmp_path / "token", tmp_path / "statement"]
    with subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stderr=subprocess.PIPE) as process:
        while not server.requests:
            assert process.poll() is None
            time.sleep(0.02)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert b"KeyboardInterrupt" in errors
    assert time.monotonic() - begin < 5
