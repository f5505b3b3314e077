"""Signing against a whole Sigstore instance: what comes out verifies, and what cannot be is refused in time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skillwarrant_attest import Credential, Timeouts, ambient_credential, sign
from skillwarrant_attest.instance import Instance
from skillwarrant_attest.sign import _checked as checked
from skillwarrant_attest.timing import Deadline
from skillwarrant_attest.transport import Service
from skillwarrant_devstack import Devstack
from skillwarrant_format.bundle import RawBundle
from skillwarrant_format.errors import SigningRefused, TrustError, Unavailable, UsageError
from skillwarrant_format.statement import Statement

World = Any  # the fixture of conftest.py, which cannot be imported from here


@pytest.mark.parametrize(("version", "kind", "grown"), [(1, "dsse", (1, 0)), (2, "hashedrekord", (0, 1))])
def test_a_bundle_verifies_with_sigstore_and_holds_the_exact_statement(
    world: World, version: int, kind: str, grown: tuple[int, int]
) -> None:
    before = world.logged()
    bundle = world.sign(world.config(version))
    assert world.verified(bundle) == world.statement.raw
    assert RawBundle.parse(bundle).entry.kind == kind
    assert json.loads(bundle)["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    assert tuple(b - a for a, b in zip(before, world.logged(), strict=True)) == grown


def test_a_ci_job_signs_as_its_workflow(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in world.stack.ci_environment(repository="acme/support", ref="refs/tags/v3").items():
        monkeypatch.setenv(name, value)
    credential = ambient_credential()
    assert credential.identity == world.stack.ci_identity(repository="acme/support", ref="refs/tags/v3")
    bundle = world.sign(world.stack.trust_config, credential=credential)
    assert world.verified(bundle, credential.identity) == world.statement.raw


def test_a_token_file_signs(world: World, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(world.stack.user_token("ada@example.com") + "\n")
    credential = Credential.from_file(tmp_path / "token")
    bundle = world.sign(world.stack.trust_config, credential=credential)
    assert world.verified(bundle) == world.statement.raw


def test_a_proxy_in_the_environment_does_not_get_what_is_meant_for_this_machine(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", world.nobody())
    assert world.sign(world.stack.trust_config)


@pytest.mark.parametrize("version", [1, 2])
def test_every_client_of_sigstore_speaks_through_our_transport(world: World, version: int) -> None:
    """The contract with what sigstore keeps private: a release that moves a session fails here."""
    context = Instance.load(world.config(version), Deadline(Timeouts())).context()
    sessions = [context._fulcio.session, context._rekor._session, *(tsa._session for tsa in context._tsa_clients)]
    assert len(sessions) == 3
    for session in sessions:
        assert {type(adapter) for adapter in session.adapters.values()} == {Service}


# --- what is wrong before anything is asked


def test_a_token_that_expired_after_it_was_read_asks_nobody(world: World) -> None:
    server = world.peer(lambda _: None)
    old = Credential(
        token=world.user.token,
        identity=world.user.identity,
        issuer=world.user.issuer,
        source="a test",
        expires=world.user.expires.replace(year=2020),
    )
    with pytest.raises(UsageError, match="has expired"):
        world.sign(world.config(fulcio=server.url, rekor=server.url, tsa=server.url), credential=old)
    assert server.requests == []


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b"[" * 10_000_000, "is too large"),
        (b"[" * 1_000_000, "nested too deeply|is not JSON"),
        (b'{"mediaType": "a", "mediaType": "b"}', "twice"),
        (b"{}", "cannot be used to sign"),
        (b'{"mediaType": "x", "trustedRoot": 7, "signingConfig": []}', "cannot be used to sign"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_a_trust_config_that_cannot_be_read_is_a_trust_error(
    world: World, tmp_path: Path, data: bytes, complaint: str
) -> None:
    (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(TrustError, match=complaint) as refused:
        world.sign(tmp_path / "config.json")
    assert "config.json" in str(refused.value)


@pytest.mark.parametrize("name", ["mediaType", "trustedRoot", "signingConfig"])
def test_a_trust_config_of_another_kind_is_a_trust_error(world: World, tmp_path: Path, name: str) -> None:
    document = json.loads(world.stack.trust_config.read_bytes())
    if name == "mediaType":
        document["signingConfig"]["mediaType"] = "application/vnd.dev.sigstore.signingconfig.v9+json"
    else:
        document[name]["mediaType"] = "application/json"
    (tmp_path / "config.json").write_text(json.dumps(document))
    with pytest.raises(TrustError, match=r"config\.json cannot be used to sign"):
        world.sign(tmp_path / "config.json")


def test_a_missing_trust_config_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match=r"there is no such trust config.*nowhere"):
        world.sign(tmp_path / "nowhere.json")


@pytest.mark.parametrize("missing", ["fulcio", "rekor"])
def test_a_signing_config_without_a_service_is_refused(world: World, missing: str) -> None:
    with pytest.raises(TrustError, match="(?i)no valid .*" + missing):
        world.sign(world.config(**{missing: None}))


def test_rekor_v2_without_a_timestamp_authority_is_refused_before_it_logs(world: World) -> None:
    before = world.logged()
    with pytest.raises(TrustError, match="Rekor v2 and no timestamp authority"):
        world.sign(world.config(2, tsa=None))
    assert world.logged() == before


def test_rekor_v1_without_a_timestamp_authority_signs(world: World) -> None:
    bundle = world.sign(world.config(tsa=None))
    assert world.verified(bundle) == world.statement.raw


# --- the timestamp authority: found out before Fulcio and Rekor hear of anything


def test_a_timestamp_authority_that_is_down_is_found_before_anything_else_is_asked(world: World) -> None:
    other = world.peer(lambda _: None)
    path = world.config(fulcio=other.url, rekor=other.url, tsa=f"{world.nobody()}/timestamp")
    with pytest.raises(Unavailable, match=r"the timestamp authority \(http.*/timestamp\).*refused") as down:
        world.sign(path)
    assert down.value.exit_code == 3
    assert other.requests == []


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("body", [b"", b"rubbish", b"\x30\x03\x02\x01\x02", b'{"message": "hello"}'])
def test_a_timestamp_that_is_none_stops_before_the_log(world: World, version: int, body: bytes) -> None:
    before = world.logged()
    path = world.config(version, tsa=world.peer(lambda _: world.saying(200, body)).url)
    with pytest.raises(Unavailable, match=r"answer of the timestamp authority .* cannot be used"):
        world.sign(path)
    assert world.logged() == before


def test_a_timestamp_authority_of_another_instance_is_found_before_the_log(
    world: World, other_stack: Devstack
) -> None:
    before = world.logged()
    path = world.config(tsa=f"{other_stack.url}/tsa/api/v1/timestamp")
    with pytest.raises(TrustError, match=r"timestamp authority .* is not one that .* trusts"):
        world.sign(path)
    assert world.logged() == before


@pytest.mark.parametrize("version", [1, 2])
def test_a_timestamp_authority_that_dies_after_the_first_question_leaves_nothing_in_the_log(
    world: World, version: int
) -> None:
    before = world.logged()
    real = world.forward(f"{world.stack.url}/tsa")
    server = world.peer(
        lambda asked: real(asked) if len(server.requests) == 1 else world.saying(500, "out of paper")
    )
    with pytest.raises(Unavailable, match=r"the timestamp authority .* failed.*500 Said: out of paper"):
        world.sign(world.config(version, tsa=f"{server.url}/api/v1/timestamp"))
    assert len(server.requests) == 2
    assert world.logged() == before


# --- Fulcio


def test_what_fulcio_says_when_it_refuses_is_shown(world: World, other_stack: Devstack) -> None:
    before = world.logged()
    stranger = Credential.from_token(other_stack.user_token("ada@example.com"))
    with pytest.raises(
        SigningRefused, match=r"Fulcio \(http.*/api/v2/signingCert\) refused.*401.*token is refused"
    ) as no:
        world.sign(world.stack.trust_config, credential=stranger)
    assert no.value.exit_code == 1
    assert world.logged() == before


def test_the_token_is_in_no_message(world: World, other_stack: Devstack) -> None:
    stranger = Credential.from_token(other_stack.user_token("ada@example.com"))
    with pytest.raises(SigningRefused) as refused:
        world.sign(world.stack.trust_config, credential=stranger)
    assert stranger.token not in str(refused.value)
    assert stranger.token not in repr(stranger)


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (
            400,
            '{"code": 3, "message": "There was an error processing the identity token"}',
            "processing the identity",
        ),
        (403, "plain words", "plain words"),
        (404, "", "nothing more"),
        (400, "\x1b[31mred\x07", r"\x1b[31mred\x07"),
        (400, '{"message": "a", "message": "b"}', "message"),
    ],
)
def test_a_refusal_of_any_shape_is_told_in_words(world: World, status: int, body: str, shown: str) -> None:
    path = world.config(fulcio=world.peer(lambda _: world.saying(status, body)).url)
    with pytest.raises(SigningRefused, match=str(status)) as refused:
        world.sign(path)
    assert shown in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_fulcio_that_is_down_is_told_apart_from_fulcio_that_refuses(world: World) -> None:
    with pytest.raises(Unavailable, match=r"Fulcio .* did not answer.*Connection refused"):
        world.sign(world.config(fulcio=world.nobody()))


def test_a_service_that_says_not_now_is_asked_again(world: World) -> None:
    real = world.forward(world.stack.url)
    server = world.peer(lambda asked: real(asked) if len(server.requests) == 2 else world.saying(503, "busy"))
    bundle = world.sign(world.config(fulcio=server.url))
    assert len(server.requests) == 2
    assert world.verified(bundle) == world.statement.raw


def test_a_redirect_is_not_followed_with_the_token(world: World) -> None:
    thief = world.peer(lambda _: world.saying(200, "{}"))
    server = world.peer(lambda _: world.saying(307, "", headers=f"Location: {thief.url}/\r\n"))
    with pytest.raises(Unavailable, match=r"Fulcio .* is elsewhere"):
        world.sign(world.config(fulcio=server.url))
    assert thief.requests == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "7",
        "null",
        "{}",
        '{"signedCertificateEmbeddedSct": {"chain": {"certificates": []}}}',
        '{"signedCertificateEmbeddedSct": {"chain": {"certificates": ["a", "b"]}}}',
        '{"signedCertificateEmbeddedSct": {"chain": {"certificates": [1, 2]}}}',
    ],
)
def test_a_senseless_answer_of_fulcio_is_named_as_such(world: World, body: str) -> None:
    before = world.logged()
    with pytest.raises(Unavailable, match=r"answer of Fulcio .* cannot be used"):
        world.sign(world.config(fulcio=world.peer(lambda _: world.saying(201, body)).url))
    assert world.logged() == before


def test_a_certificate_of_another_instance_is_found_before_the_log(world: World, other_stack: Devstack) -> None:
    before = world.logged()
    stranger = Credential.from_token(other_stack.user_token("ada@example.com"))
    with pytest.raises(TrustError, match=r"answer of Fulcio .* does not verify"):
        world.sign(world.config(fulcio=other_stack.url), credential=stranger)
    assert world.logged() == before


# --- Rekor


def test_a_rekor_that_fails_is_asked_once_since_the_entry_may_be_in(world: World) -> None:
    server = world.peer(lambda _: world.saying(502, '{"code": 502, "message": "lost my database"}'))
    with pytest.raises(Unavailable, match=r"Rekor .* failed.*lost my database.*may be in the log"):
        world.sign(world.config(rekor=server.url))
    assert len(server.requests) == 1


def test_an_entry_that_rekor_has_already_is_a_refusal(world: World) -> None:
    server = world.peer(
        lambda _: world.saying(409, '{"code": 409, "message": "an equivalent entry already exists"}')
    )
    with pytest.raises(SigningRefused, match="already exists"):
        world.sign(world.config(rekor=server.url))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("body", ["", "[]", "{}", '{"a": {}}', '{"a": {"body": "x"}}', '{"logIndex": "x"}', "[1]"])
def test_a_senseless_answer_of_rekor_is_named_as_such(world: World, version: int, body: str) -> None:
    path = world.config(version, rekor=world.peer(lambda _: world.saying(201, body)).url)
    with pytest.raises(Unavailable, match=r"answer of Rekor .* cannot be used"):
        world.sign(path)


def test_a_rekor_that_answers_with_somebody_elses_entry_is_found_out(world: World) -> None:
    real = world.forward(f"{world.stack.url}/rekor-v1")
    seen: list[bytes] = []

    def replay(asked: Any) -> bytes:
        seen.append(real(asked) if not seen else seen[0])
        return seen[0]

    path = world.config(rekor=world.peer(replay).url)
    world.sign(path)
    with pytest.raises(TrustError, match=r"does not verify .* thrown away"):
        world.sign(path)


def test_a_log_that_the_root_does_not_know_is_found_out(world: World, other_stack: Devstack) -> None:
    with pytest.raises(TrustError, match="does not verify"):
        world.sign(world.config(rekor=f"{other_stack.url}/rekor-v1"))


def test_a_bundle_of_another_statement_is_never_returned(world: World, adapter_dir: Path) -> None:
    """Not to be had from sigstore as it is; if a release mixed two signings up, this is what stands in the way."""
    from sigstore.models import Bundle

    other = Statement.build(
        subjects=world.statement.subjects, predicate_type="https://example.com/other", predicate={"a": 1}
    )
    instance = Instance.load(world.stack.trust_config, Deadline(Timeouts()))
    bundle = Bundle.from_json(world.sign())
    assert checked(bundle, world.statement, instance)
    with pytest.raises(TrustError, match="holds another statement"):
        checked(bundle, other, instance)


# --- time


def trickle(head: bytes) -> Callable[[Any], Iterator[bytes]]:
    """A byte every now and then, for ever: no read ever times out."""

    def answer(_: Any) -> Iterator[bytes]:
        yield head
        while True:
            time.sleep(0.1)
            yield b" "

    return answer


@pytest.mark.parametrize("name", ["tsa", "fulcio", "rekor"])
@pytest.mark.parametrize(
    "answer",
    [
        lambda _: None,
        trickle(b"HTTP/1.1 201 Created\r\nContent-Length: 100000\r\n\r\n"),
        trickle(b"HTTP/1.1 201 Created\r\nX-Slow: "),
    ],
    ids=["silent", "slow body", "slow headers"],
)
def test_a_service_that_hangs_is_given_up_in_time_and_named(
    world: World, quick: Timeouts, name: str, answer: Any
) -> None:
    server = world.peer(answer)
    words = {"tsa": "the timestamp authority", "fulcio": "Fulcio", "rekor": "Rekor"}[name]
    begin = time.monotonic()
    with pytest.raises(Unavailable, match=rf"{words} .* did not answer.*(within|timed out)"):
        world.sign(world.config(**{name: server.url}), timeouts=quick)
    assert time.monotonic() - begin < quick.answer + 3
    assert len(server.requests) == 1


def test_the_time_in_all_is_bounded_even_if_each_service_is_just_in_time(world: World) -> None:
    real = world.forward(f"{world.stack.url}/tsa")

    def late(asked: Any) -> bytes:
        time.sleep(0.4)
        return real(asked)

    timeouts = Timeouts(answer=10, total=0.6)
    begin = time.monotonic()
    with pytest.raises(Unavailable, match="did not answer"):
        world.sign(world.config(tsa=f"{world.peer(late).url}/api/v1/timestamp"), timeouts=timeouts)
    assert time.monotonic() - begin < 5


def test_an_endless_answer_is_cut_off(world: World) -> None:
    def endless(_: Any) -> Iterator[bytes]:
        yield b"HTTP/1.1 201 Created\r\n\r\n"
        while True:
            yield bytes(1 << 20)

    with pytest.raises(Unavailable, match=r"Fulcio .*an answer of more than"):
        world.sign(world.config(fulcio=world.peer(endless).url))


def test_the_public_instance_out_of_reach_is_said_so(
    world: World, monkeypatch: pytest.MonkeyPatch, quick: Timeouts
) -> None:
    monkeypatch.setenv("https_proxy", world.nobody())  # whatever network the test runs in, this leads nowhere
    with pytest.raises(Unavailable, match="the public Sigstore instance's trust root cannot be refreshed"):
        sign(world.statement, credential=world.user, timeouts=quick)
