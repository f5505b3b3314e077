"""A stranger's policy runs none of its code and contacts nobody, unless that is said on the command line."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from skillwarrant_format.digest import Digest
from skillwarrant_verify.review.policy_cases import read_cases

HOSTILE = """\
from __future__ import annotations
from pathlib import Path
from skillwarrant_verify.rules import Facts, Finding, Policy, proves, yes

Path({trace!r}).write_text("it ran")

@proves("mallory.helpful")
def helpful(policy: Policy, facts: Facts) -> Finding:
    Path({trace!r}).write_text("it ran")
    return yes("mallory.helpful", "all is well", "now")
"""


class Server(ThreadingHTTPServer):
    """Somebody's OPA, which remembers what it was sent; a connection is enough to be remembered."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Takes)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.connections = 0
        self.sent: list[tuple[str | None, Any]] = []

    def verify_request(self, *_: Any) -> bool:
        self.connections += 1
        return True


class _Takes(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.sent.append((self.headers["Authorization"], body))
        answer = b'{"result": {"deny": []}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Quietly."""


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield one
    one.shutdown()
    one.server_close()


@pytest.fixture
def policy(new_policy: Path) -> Path:
    path = new_policy / "policy.toml"
    document: Any = read_cases(path)[0].document
    Path("input.json").write_text(json.dumps(document))
    return path


@pytest.fixture
def with_rules(policy: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The policy, and the file that is written if its code runs."""
    trace = tmp_path / "trace"
    module = HOSTILE.format(trace=str(trace))
    policy.with_name("helpful.py").write_text(module)
    digest = Digest.of(module.encode()).hex
    with policy.open("a") as file:
        file.write(f'\n[[rules]]\nmodule = "helpful.py"\nsha256 = "{digest}"\n')
    return policy, trace


@pytest.fixture
def with_opa(policy: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLOUD_SECRET", "s3cret")
    with policy.open("a") as file:
        file.write(f'\n[opa]\nurl = "{server.url}"\ntoken_env = "CLOUD_SECRET"\n')
    return policy


def deciding(policy: Path, log: Path) -> dict[str, tuple[Any, ...]]:
    return {
        "test": ("policy", "test", policy),
        "explain": ("policy", "explain", policy, "--input", "input.json"),
        "diff old": ("policy", "diff", policy, policy, "--over", log),
    }


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A gate's log in which nothing was decided yet is enough: the policies are read first."""
    return tmp_path / "log"


@pytest.mark.parametrize("which", ["test", "explain", "diff old"])
def test_a_policys_own_python_does_not_run_unless_that_is_said(
    run: Any, with_rules: tuple[Path, Path], log: Path, which: str
) -> None:
    policy, trace = with_rules
    result = run(*deciding(policy, log)[which])
    assert result.exit_code == 3
    assert "decides by Python of its own" in result.stderr
    assert "helpful.py" in result.stderr
    assert "--run-rules" in result.stderr
    assert not trace.exists()


@pytest.mark.parametrize("which", ["test", "explain", "diff old"])
def test_a_server_that_the_policy_names_hears_nothing_unless_that_is_said(
    run: Any, with_opa: Path, server: Server, log: Path, which: str
) -> None:
    result = run(*deciding(with_opa, log)[which])
    assert result.exit_code == 3
    assert "what is in $CLOUD_SECRET as a token" in result.stderr
    assert server.url in result.stderr
    assert "--contact-opa" in result.stderr
    assert server.connections == 0


@pytest.mark.parametrize("allowed", ["--contact-opa", "--run-rules"])
def test_one_is_not_the_other(
    run: Any, with_rules: tuple[Path, Path], with_opa: Path, server: Server, *, allowed: str
) -> None:
    """Both in one policy; the fixtures add to the same file."""
    policy, trace = with_rules
    assert with_opa == policy
    assert run("policy", "test", policy, allowed).exit_code == 3
    assert server.connections == 0
    assert trace.exists() == (allowed == "--run-rules")


READING: dict[str, Callable[[Path], tuple[Any, ...]]] = {
    "check": lambda policy: ("policy", "check", policy, "--strict"),
    "explain what it asks": lambda policy: ("policy", "explain", policy),
    "sign --dry-run": lambda policy: ("policy", "sign", policy.parent, "--dry-run"),
}


@pytest.mark.parametrize("which", READING)
def test_who_only_reads_a_policy_runs_nothing_and_contacts_nobody(
    run: Any, with_rules: tuple[Path, Path], with_opa: Path, server: Server, which: str
) -> None:
    policy, trace = with_rules
    result = run(*READING[which](policy))
    assert result.exit_code == 0, result.stderr
    if which == "explain what it asks":
        assert "mallory.helpful" in result.stdout
    assert not trace.exists()
    assert server.connections == 0
    assert with_opa == policy


def test_to_check_a_policy_its_token_need_not_be_there(
    run: Any, with_opa: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLOUD_SECRET")
    assert run("policy", "check", with_opa, "--strict").exit_code == 0
    refused = run("policy", "test", with_opa, "--contact-opa")
    assert refused.exit_code == 2
    assert "a variable that is not set" in refused.stderr


def test_with_run_rules_they_run(run: Any, with_rules: tuple[Path, Path]) -> None:
    policy, trace = with_rules
    result = run("policy", "test", policy, "--run-rules")
    assert result.exit_code == 0, result.stdout
    assert trace.read_text() == "it ran"
    assert run("policy", "explain", policy, "--input", "input.json", "--run-rules").exit_code == 0


def test_with_contact_opa_it_is_asked(run: Any, with_opa: Path, server: Server) -> None:
    result = run("policy", "explain", with_opa, "--input", "input.json", "--contact-opa")
    assert result.exit_code == 0, result.stderr
    ((token, body),) = server.sent
    assert token == "Bearer s3cret"
    assert body["input"] == json.loads(Path("input.json").read_text())


@pytest.fixture
def signed_pack(run: Any, world: Any, with_rules: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path, Path]:
    """A pack of the policy with its own Python, which its team signed; an input; and the trace."""
    policy, trace = with_rules
    assert run("policy", "sign", policy.parent, *world.signs).exit_code == 0
    assert run("policy", "pack", policy.parent, tmp_path / "p.policy.json").exit_code == 0
    assert not trace.exists()
    return tmp_path / "p.policy.json", Path("input.json"), trace


def of_the_team(world: Any, **changes: str) -> tuple[str, ...]:
    said = {"name": "p", "identity": world.stack.ci_identity(), "issuer": world.stack.issuer, **changes}
    return tuple(word for key, value in said.items() for word in (f"--policy-{key}", value))


def test_the_signed_policy_of_who_is_named_acts_without_more_words(
    run: Any, world: Any, signed_pack: tuple[Path, Path, Path]
) -> None:
    pack, given, trace = signed_pack
    result = run("policy", "explain", pack, "--input", given, *world.trust, *of_the_team(world))
    assert result.exit_code == 0, result.stderr
    assert trace.exists()


LOOKING: dict[str, tuple[tuple[str, ...], str]] = {
    "verify": (("policy", "verify"), "--"),
    "explain what it asks": (("policy", "explain"), "--policy-"),
}


@pytest.mark.parametrize("which", LOOKING)
def test_who_only_looks_at_a_signed_policy_runs_nothing_and_contacts_nobody(
    run: Any,
    world: Any,
    *,
    with_rules: tuple[Path, Path],
    with_opa: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    which: str,
) -> None:
    """Also where its token is not there: it is not looked up."""
    policy, trace = with_rules
    assert with_opa == policy
    assert run("policy", "sign", policy.parent, *world.signs).exit_code == 0
    monkeypatch.delenv("CLOUD_SECRET")
    command, prefix = LOOKING[which]
    who = [word.replace("--policy-", prefix) for word in of_the_team(world)]
    result = run(*command, policy.parent, *world.trust, *who)
    assert result.exit_code == 0, result.stderr
    assert ("mallory.helpful" in result.stdout) == (which != "verify")
    assert not trace.exists()
    assert server.connections == 0


@pytest.mark.parametrize(
    "other", [{"identity": "mallory@example.com"}, {"name": "q"}, {"issuer": "https://x.example"}]
)
def test_of_anybody_else_it_does_not_act(
    run: Any, world: Any, signed_pack: tuple[Path, Path, Path], other: dict[str, str]
) -> None:
    pack, given, trace = signed_pack
    result = run("policy", "explain", pack, "--input", given, *world.trust, *of_the_team(world, **other))
    assert result.exit_code == 1
    assert not trace.exists()


def test_nor_where_a_file_of_it_was_changed_or_half_of_it_is_named(
    run: Any, world: Any, with_rules: tuple[Path, Path], signed_pack: tuple[Path, Path, Path]
) -> None:
    policy, trace = with_rules
    half = run("policy", "explain", policy.parent, "--input", "input.json", "--policy-name", "p")
    assert (half.exit_code, "only half named" in half.stderr) == (2, True)
    policy.write_text(policy.read_text() + "# more\n")
    changed = run("policy", "explain", policy.parent, "--input", "input.json", *world.trust, *of_the_team(world))
    assert changed.exit_code == 1
    assert not trace.exists()


def test_a_policy_inside_the_adapter_does_not_run_before_it_is_refused(
    run: Any, world: Any, with_rules: tuple[Path, Path]
) -> None:
    policy, trace = with_rules
    for file in policy.parent.iterdir():
        (world.adapter / file.name).write_bytes(file.read_bytes())
    place = ("--environment", "production", "--run-rules")
    result = run("policy", "explain", world.adapter / "policy.toml", world.adapter, *world.trust, *place)
    assert result.exit_code == 1
    assert "the policy lies inside the adapter" in result.stderr
    assert not trace.exists()


@pytest.mark.parametrize("command", ["test", "diff", "explain"])
def test_help_says_what_deciding_does(run: Any, command: str) -> None:
    text = " ".join(run("policy", command, "--help").stdout.split())
    assert "--run-rules" in text
    assert "--contact-opa" in text
    assert "Python rules of its own" in text
