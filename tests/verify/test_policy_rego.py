"""Rego beside the native rules: real modules on the real engine, and a real HTTP server. It only ever adds."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from builders import facts, manifest
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import PolicyError
from skillwarrant_verify import Context
from skillwarrant_verify.deciding.decide import decide, decide_document
from skillwarrant_verify.deciding.decision_input import FIELDS, for_record, to_document
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.rego.modules import INPUT_FIELDS, RegoModules
from test_policy import GOOD

REGION = """package skillwarrant.region

deny contains {"code": "acme.region", "msg": "wrong region", "details": {"wanted": data.config.name}} if {
    object.get(input.context, "region", "none") != "eu"
}

warn contains "large adapter" if input.adapter.bytes > 10
"""
EU = Context(environment="production", region="eu")


def text(source: str, extra: str = "") -> str:
    table = f'[[rego]]\nfile = "own.rego"\nsha256 = "{Digest.of(source.encode()).hex}"\n'
    return GOOD.replace("revision = 3", f"revision = 3\n{extra}") + table


def policy(source: str, extra: str = "") -> Policy:
    return Policy.parse(text(source, extra).encode(), files=lambda _: source.encode())


@pytest.fixture(scope="module")
def region() -> Policy:
    return policy(REGION)


def test_rego_adds_denials_and_warnings_and_says_that_it_was_asked(region: Policy) -> None:
    allowed = decide(region, facts(context=EU))
    assert allowed.outcome == "allow"
    assert [(warning.code, warning.message) for warning in allowed.warnings] == [("rego.warn", "large adapter")]
    assert "data.skillwarrant.region.deny" in next(
        finding.message for finding in allowed.checked if finding.code == "rego.evaluated"
    )
    denied = decide(region, facts())
    (reason,) = denied.reasons
    assert (reason.code, reason.path) == ("acme.region", "data.skillwarrant.region.deny")
    assert reason.found == '{"wanted": "acme-production"}'
    assert str(reason.asked_by).startswith("own.rego:3")


def test_rego_can_allow_nothing_that_is_denied(region: Policy) -> None:
    decision = decide(region, facts(manifest(policy_class="medical"), context=EU))
    assert [reason.code for reason in decision.reasons] == ["class.allowed"]


def test_the_record_says_which_engines_decided(region: Policy) -> None:
    assert region.used().engine == "native/v1 + rego/v1 (gordon-to-regorus 0.13.0)"
    assert [file.name for file in region.files] == ["own.rego"]


def test_a_documents_decision_is_the_same(region: Policy) -> None:
    for found in (facts(), facts(context=EU)):
        assert decide_document(region, to_document(found)).checked == decide(region, found).checked


def test_a_text_where_a_list_is_meant_passes_rego_and_not_the_input_document() -> None:
    """`count("abc")` is 3, so that Rego alone lets it through: what refuses it is that the document has types."""
    source = "package skillwarrant\ndefault allow := false\nallow if count(input.adapter.files) > 0\n"
    document = to_document(facts())
    assert decide_document(policy(source), document).outcome == "allow"
    for files, alone in ((["abc"], []), ("abc", []), ([], ["rego.allow"]), ("", ["rego.allow"])):
        wrong = {**document, "adapter": {**document["adapter"], "files": files}}  # type: ignore[dict-item]
        with RegoModules.load({"own.rego": source.encode()}) as modules:
            assert [finding.code for finding in modules.evaluate(wrong, {}).denials] == alone
        decision = decide_document(policy(source), wrong)
        if isinstance(files, str):
            assert [reason.code for reason in decision.reasons] == ["input.malformed"]


def test_a_document_whose_names_were_taken_out_is_not_judged_by_rego(region: Policy) -> None:
    named = facts(context=Context(environment="production", region="eu", operator="acme-ops"))
    assert decide(region, named).outcome == "allow"
    assert decide_document(region, for_record(to_document(named))).outcome == "undecided"


def test_every_field_of_the_input_is_known_to_rego_and_no_other() -> None:
    assert INPUT_FIELDS == FIELDS


def test_a_policy_in_warn_mode_makes_rego_warn_but_never_of_an_engine_that_failed() -> None:
    warned = decide(policy(REGION, 'mode = "warn"'), facts())
    assert warned.outcome == "allow"
    assert [warning.code for warning in warned.warnings] == ["acme.region", "rego.warn"]
    broken = policy(
        'package skillwarrant\n\ndeny contains "x" if 1 / (input.adapter.bytes - input.adapter.bytes) > 0',
        'mode = "warn"',
    )
    decision = decide(broken, facts())
    assert decision.outcome == "deny"
    assert [reason.code for reason in decision.reasons] == ["rego.error"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('package other\n\ndeny contains "x" if false', "skillwarrant"),
        ("package skillwarrant\n\nx := 1", "nothing reads the rule x"),
        ('package skillwarrant\n\ndeny contains "x" if inptu.now', "inptu|compile"),
        ('package skillwarrant\n\ndeny contains "x" if input.signer == 1', "signer"),
        ('package skillwarrant\n\ndenny contains "x" if input.now == 1', "denny|deny"),
        ("not rego", "compile"),
    ],
)
def test_a_module_that_can_deny_nothing_is_refused(source: str, expected: str) -> None:
    with pytest.raises(PolicyError, match=expected):
        policy(source)


def test_a_module_with_another_digest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(text(REGION))
    (tmp_path / "own.rego").write_text(REGION.replace('"eu"', '"us"'))
    with pytest.raises(PolicyError, match="is not the file that the policy names"):
        Policy.load(tmp_path / "policy.toml")


@contextmanager
def opa(reply: Any, status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """Something that answers on this machine, as an OPA server does or does not."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(
                (self.path, self.headers.get("Authorization"), self.rfile.read(int(self.headers["Content-Length"])))
            )
            body = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def asking(url: str, more: str = "") -> Policy:
    return Policy.parse(f'{GOOD}\n[opa]\nurl = "{url}"\n{more}'.encode())


def test_an_opa_server_is_asked_with_the_input_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_OPA_TOKEN", "s3cret")
    with opa({"result": {"deny": [{"code": "acme.no", "msg": "not today"}], "warn": []}}) as (url, asked):
        wanted = asking(url, 'token_env = "ACME_OPA_TOKEN"\npath = "acme/decision"')
        decision = decide(wanted, facts())
    assert [(reason.code, reason.message) for reason in decision.reasons] == [("acme.no", "not today")]
    ((path, token, body),) = asked
    assert (path, token) == ("/v1/data/acme/decision", "Bearer s3cret")
    assert json.loads(body)["input"] == json.loads(json.dumps(to_document(facts())))
    assert "s3cret" not in wanted.used().engine
    assert wanted.used().engine == f"native/v1 + OPA at {url}/v1/data/acme/decision"


@pytest.mark.parametrize(
    ("reply", "status", "outcome"),
    [
        ({"result": {"deny": [], "warn": ["x"]}}, 200, "allow"),
        ({}, 200, "deny"),
        ({"result": True}, 200, "deny"),
        ({"result": {"allow": True}}, 200, "allow"),
        ({"result": {"allow": False}}, 200, "deny"),
        ({"result": {"denny": []}}, 200, "deny"),
        ({"result": {"deny": []}}, 500, "undecided"),
        ([], 200, "undecided"),
    ],
)
def test_an_answer_that_is_none_allows_nothing(reply: Any, status: int, outcome: str) -> None:
    with opa(reply, status) as (url, _):
        assert decide(asking(url), facts()).outcome == outcome


def test_a_server_that_is_not_there_leaves_it_undecided() -> None:
    decision = decide(asking("http://127.0.0.1:9"), facts())
    assert decision.outcome == "undecided"
    assert [reason.code for reason in decision.reasons] == ["rego.evaluated"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('url = "http://opa.example"', "cannot be used"),
        ('url = "ftp://127.0.0.1"', "cannot be used"),
        ("path = 'x'", "url is missing"),
        ('url = "https://opa.example"\npath = "../x"', "path"),
        ('url = "https://opa.example"\ntoken_env = "ACME_NOT_SET"', "not set"),
        ('url = "https://opa.example"\ntimeout_seconds = 0', "out of range"),
        ('url = "https://opa.example"\ntimeout_seconds = 3600', "out of range"),
        ('url = "https://opa.example"\ntokn_env = "X"', "Did you mean 'token_env'"),
    ],
)
def test_a_server_that_cannot_be_asked_so_is_refused(text: str, expected: str) -> None:
    with pytest.raises(PolicyError, match=expected):
        Policy.parse(f"{GOOD}\n[opa]\n{text}".encode())
