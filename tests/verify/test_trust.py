"""Where trust comes from, how old it is, and what is no trust root at all."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from sigstore.models import ClientTrustConfig, TrustedRoot

from insider import NOW, Insider, raw, snapshot
from skillwarrant_devstack import Devstack
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import TrustError, Unavailable, UsageError
from skillwarrant_format.strict_json import canonical
from skillwarrant_verify import trust
from skillwarrant_verify.proof import embedded, tuf_repository
from skillwarrant_verify.proof.signature import verify
from skillwarrant_verify.trust import TrustRoot
from tuf_world import Repository, dripping, serving, silent


@pytest.fixture(scope="module")
def insider() -> Insider:
    return Insider()


@pytest.fixture
def document(insider: Insider) -> dict[str, Any]:
    return insider.root()


# Files


def test_a_file_says_its_source_and_its_age(tmp_path: Path, document: dict[str, Any]) -> None:
    path = tmp_path / "trusted_root.json"
    path.write_bytes(raw(document))
    written = datetime(2026, 11, 1, tzinfo=UTC)
    os.utime(path, (written.timestamp(),) * 2)
    found = trust.from_file(path)
    assert (found.source, found.retrieved_at) == (f"file {path}", written)
    assert found.digest == Digest.of(path.read_bytes())
    assert found.age(NOW) == NOW - written
    assert str(found) == f"file {path}, retrieved 2026-11-01T00:00:00Z"
    assert found.used().digest == found.digest


def test_a_client_trust_config_is_as_good_as_its_trusted_root(tmp_path: Path) -> None:
    with Devstack(tmp_path / "d") as stack:
        config, root = trust.from_file(stack.trust_config), trust.from_file(stack.trusted_root)
    assert config.root == root.root
    assert config.raw == canonical(json.loads(root.raw))


def test_a_devstack_is_never_called_anything_else(tmp_path: Path) -> None:
    with Devstack(tmp_path / "d") as stack:
        found = trust.from_devstack(stack.directory)
    assert found.source == f"devstack {tmp_path / 'd'}, not for production"
    assert found.raw == (tmp_path / "d" / "trusted_root.json").read_bytes()


@pytest.mark.parametrize("make", [trust.from_file, trust.from_devstack])
def test_a_root_that_cannot_be_read_is_no_answer(tmp_path: Path, make: Callable[[Path], TrustRoot]) -> None:
    with pytest.raises(Unavailable, match="cannot read the trust root"):
        make(tmp_path / "nothing")


ODD: dict[str, Callable[[], object]] = {
    "devstack": lambda: trust.from_devstack(5),  # type: ignore[arg-type]
    "devstack, none": lambda: trust.from_devstack(None),  # type: ignore[arg-type]
    "devstack, bytes": lambda: trust.from_devstack(b"d"),  # type: ignore[arg-type]
    "file": lambda: trust.from_file(5),  # type: ignore[arg-type]
    "file's age": lambda: trust.from_file("root.json", max_age=90),  # type: ignore[arg-type]
    "public root's age": lambda: trust.public_good(max_age="90 d"),  # type: ignore[arg-type]
    "public root offline": lambda: trust.public_good(offline="no"),  # type: ignore[arg-type]
    "url": lambda: trust.from_tuf(5, root=Path("root.json")),  # type: ignore[arg-type]
    "first root": lambda: trust.from_tuf("https://tuf.example", root=5),  # type: ignore[arg-type]
    "cache": lambda: trust.from_tuf("https://tuf.example", root=Path("r"), cache=5),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", ODD)
def test_an_argument_of_another_type_is_misuse(case: str) -> None:
    with pytest.raises(UsageError, match=r"has the wrong type: expected .*, found \w+\. Pass "):
        ODD[case]()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "mediaType is missing"),
        (b'{"mediaType": "text/plain"}', "not a Sigstore trusted root"),
        (b'{"mediaType": 1, "mediaType": 2}', "twice"),
        (b"[" * 100_000, "too deeply"),
        (b'{"mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"}', "trustedRoot is missing"),
        (b" " * (9 * 1024 * 1024), "too large"),
    ],
)
def test_a_file_that_is_no_trust_root_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "root.json"
    path.write_bytes(data)
    with pytest.raises(TrustError, match=words):
        trust.from_file(path)


@pytest.mark.parametrize("key", ["tlogs", "ctlogs", "certificateAuthorities"])
def test_a_root_without_which_nothing_could_be_verified_is_refused(
    insider: Insider, document: dict[str, Any], key: str
) -> None:
    document[key] = []
    with pytest.raises(TrustError, match=key):
        insider.trust(document)
    del document[key]
    with pytest.raises(TrustError, match=key):
        insider.trust(document)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: root["tlogs"][0]["publicKey"]["validFor"].update(start="yesterday"), "not a time"),
        (lambda root: root["tlogs"][0]["publicKey"]["validFor"].update(end="2026-01-01T00:00:00"), "not a time"),
        (lambda root: root["tlogs"][0]["publicKey"].update(validFor=None), "validFor"),
        (lambda root: root["tlogs"][0]["logId"].update(keyId="?"), "base64"),
        (lambda root: root["certificateAuthorities"][0]["certChain"].update(certificates=[]), "certificates"),
        (lambda root: root.update(mediaType="application/vnd.dev.sigstore.trustedroot.v9+json"), "not a Sigstore"),
    ],
)
def test_a_malformed_root_is_refused_at_once(
    insider: Insider, document: dict[str, Any], change: Callable[[dict[str, Any]], None], words: str
) -> None:
    change(document)
    with pytest.raises(TrustError, match=words):
        insider.trust(document)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: root["tlogs"][0]["publicKey"].update(rawBytes="AAAA"),
        lambda root: root["tlogs"][0]["publicKey"].update(keyDetails="PKIX_SOMETHING_NEW"),
        lambda root: root["tlogs"][0].update(surprise=1),
        lambda root: root["certificateAuthorities"][0]["certChain"]["certificates"][0].update(rawBytes="AAAA"),
        lambda root: root["ctlogs"][0]["publicKey"].update(rawBytes="AAAA"),
    ],
)
def test_a_root_whose_keys_cannot_be_used_verifies_nothing(
    insider: Insider, document: dict[str, Any], change: Callable[[dict[str, Any]], None]
) -> None:
    change(document)
    with pytest.raises(TrustError):
        verify(snapshot(), raw(insider.bundle()), insider.trust(document), now=NOW)


def test_a_key_of_a_kind_to_come_hinders_nobody_who_does_not_need_it(
    insider: Insider, document: dict[str, Any]
) -> None:
    new = deepcopy(document["tlogs"][0])
    new["publicKey"] |= {"rawBytes": "AAAA", "keyDetails": "PKIX_SOMETHING_NEW"}
    new["logId"] = {"keyId": "AAAA"}
    document["tlogs"].insert(0, new)
    verify(snapshot(), raw(insider.bundle()), insider.trust(document), now=NOW)


# Age


def test_without_a_limit_a_root_is_never_stale(insider: Insider) -> None:
    insider.trust().require_fresh(NOW + timedelta(days=10_000))


@pytest.mark.parametrize(
    ("days", "words"),
    [(31, "31 days old.*Refresh"), (-1, "1 days in the future.*clock")],
)
def test_a_stale_root_says_age_limit_and_remedy(insider: Insider, days: int, words: str) -> None:
    root = insider.trust(max_age=timedelta(days=30))
    root.require_fresh(NOW + timedelta(days=30))
    root.require_fresh(NOW - timedelta(minutes=1))
    with pytest.raises(TrustError, match=f"within 30 days, found {words}"):
        root.require_fresh(NOW + timedelta(days=days))


# The public instance


def test_the_shipped_root_is_the_one_that_sigstore_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract of `embedded`: sigstore reads it through a cache, which is empty here."""
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    theirs = ClientTrustConfig.production(offline=True).trusted_root
    path = tmp_path / "ours.json"
    path.write_bytes(trust.public_good().raw)
    assert TrustedRoot.from_file(str(path))._inner == theirs._inner


def test_the_shipped_root_says_which_sigstore_it_came_with() -> None:
    found = trust.public_good(max_age=timedelta(days=1))
    assert found.source == f"public-good Sigstore, as shipped in sigstore {embedded.sigstore_version()}"
    assert found.max_age == timedelta(days=1)
    assert found.retrieved_at <= datetime.now(UTC)


def test_a_sigstore_that_ships_no_root_is_a_trust_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrustError, match=r"holds no trusted_root\.json"):
        embedded.embedded("trusted_root.json", "https://nobody.example")


def test_the_shipped_tuf_root_vouches_for_no_other_repository(tmp_path: Path, insider: Insider) -> None:
    Repository(tmp_path / "repo", insider.trust().raw)
    first = tmp_path / "root.json"
    first.write_bytes(embedded.embedded("root.json"))
    with serving(tmp_path / "repo") as url, pytest.raises(TrustError, match=r"does not verify|has expired"):
        trust.from_tuf(url, root=first, cache=tmp_path / "cache")


def test_refreshing_the_public_root_starts_from_the_shipped_tuf_root(
    repository: Repository, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the instance's address and shipped root replaced, as nothing but loopback can be asked here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(trust, "PUBLIC_GOOD", url)
    monkeypatch.setattr(trust, "embedded", {"root.json": repository.first_root.read_bytes()}.__getitem__)
    found = trust.public_good(offline=False)
    assert found.source == f"TUF {url}"
    assert (tmp_path / "home" / "skillwarrant" / "tuf").is_dir()


# A private TUF repository


@pytest.fixture
def repository(tmp_path: Path, insider: Insider) -> Repository:
    return Repository(tmp_path / "repo", insider.trust().raw)


@pytest.fixture
def url(repository: Repository) -> Iterator[str]:
    with serving(repository.directory) as found:
        yield found


@pytest.fixture
def fetch(repository: Repository, url: str, tmp_path: Path) -> Callable[..., TrustRoot]:
    def run(**options: Any) -> TrustRoot:
        return trust.from_tuf(url, root=repository.first_root, cache=tmp_path / "cache", **options)

    return run


def test_a_private_repository_gives_a_root_that_verifies(
    fetch: Callable[..., TrustRoot], url: str, insider: Insider
) -> None:
    found = fetch(max_age=timedelta(days=1))
    assert found.raw == insider.trust().raw
    assert found.source == f"TUF {url}"
    assert abs(found.age(datetime.now(UTC))) < timedelta(minutes=1)
    verify(snapshot(), raw(insider.bundle()), found, now=datetime.now(UTC))


def test_a_new_root_is_found_and_the_cache_stays_current(
    fetch: Callable[..., TrustRoot], repository: Repository
) -> None:
    fetch()
    newer = Insider().trust().raw
    repository.put(newer)
    repository.publish()
    assert fetch().raw == newer
    assert fetch(offline=True).raw == newer


def test_a_proxy_in_the_environment_does_not_capture_loopback(
    fetch: Callable[..., TrustRoot], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    fetch()


def test_offline_gives_what_the_last_refresh_left_with_its_age(
    fetch: Callable[..., TrustRoot], repository: Repository
) -> None:
    online = fetch()
    (repository.directory / "timestamp.json").unlink()  # nobody is asked
    offline = fetch(offline=True)
    assert offline.raw == online.raw
    assert offline.retrieved_at == online.retrieved_at
    assert offline.source.endswith("as last refreshed")


def test_offline_without_a_refresh_is_no_answer(fetch: Callable[..., TrustRoot]) -> None:
    with pytest.raises(Unavailable, match="no usable cached root"):
        fetch(offline=True)


def test_a_cached_file_that_was_changed_is_no_answer(fetch: Callable[..., TrustRoot], tmp_path: Path) -> None:
    fetch()
    (cached,) = tmp_path.glob("cache/*/targets/trusted_root.json")
    cached.write_bytes(Insider().trust().raw)
    with pytest.raises(Unavailable, match="another file than was retrieved"):
        fetch(offline=True)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_expired_metadata_is_a_trust_error(
    fetch: Callable[..., TrustRoot], repository: Repository, role: str
) -> None:
    getattr(repository, role).expires = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
    repository.publish()
    with pytest.raises(TrustError, match="has expired"):
        fetch()


def test_an_expired_root_role_is_a_trust_error(tmp_path: Path, insider: Insider) -> None:
    old = Repository(tmp_path / "old", insider.trust().raw, expires=timedelta(seconds=-1))
    with serving(old.directory) as url, pytest.raises(TrustError, match="has expired"):
        trust.from_tuf(url, root=old.first_root, cache=tmp_path / "cache")


def test_going_back_to_older_metadata_is_a_trust_error(
    fetch: Callable[..., TrustRoot], repository: Repository
) -> None:
    names = ("timestamp.json", "snapshot.json", "targets.json")
    before = {name: (repository.directory / name).read_bytes() for name in names}
    repository.publish()
    fetch()
    for name, data in before.items():
        (repository.directory / name).write_bytes(data)
    with pytest.raises(TrustError, match="older version"):
        fetch()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_metadata_that_a_stranger_signed_is_a_trust_error(
    fetch: Callable[..., TrustRoot], repository: Repository, role: str
) -> None:
    repository.publish(**{role: CryptoSigner.generate_ed25519()})
    with pytest.raises(TrustError, match="does not verify"):
        fetch()


def test_a_target_that_was_swapped_is_a_trust_error(
    fetch: Callable[..., TrustRoot], repository: Repository
) -> None:
    target = repository.directory / "targets" / "trusted_root.json"
    target.write_bytes(target.read_bytes().replace(b"2026", b"2027", 1))
    with pytest.raises(TrustError, match="does not verify"):
        fetch()


def test_metadata_that_is_no_metadata_is_a_trust_error(
    fetch: Callable[..., TrustRoot], repository: Repository
) -> None:
    for data in (b"", b"{}", b"[]", b'{"signed": 1}', b"\xff"):
        (repository.directory / "timestamp.json").write_bytes(data)
        with pytest.raises(TrustError):
            fetch()


def test_a_repository_without_the_target_is_a_trust_error(tmp_path: Path) -> None:
    empty = Repository(tmp_path / "empty", None)
    with serving(empty.directory) as url, pytest.raises(TrustError, match=r"has no trusted_root\.json"):
        trust.from_tuf(url, root=empty.first_root, cache=tmp_path / "cache")


def test_another_repositorys_root_does_not_vouch(
    repository: Repository, url: str, tmp_path: Path, insider: Insider
) -> None:
    other = Repository(tmp_path / "other", insider.trust().raw)
    with pytest.raises(TrustError, match="does not verify"):
        trust.from_tuf(url, root=other.first_root, cache=tmp_path / "cache")


def test_a_failed_refresh_does_not_fall_back_to_the_cache(
    fetch: Callable[..., TrustRoot], repository: Repository
) -> None:
    fetch()
    (repository.directory / "timestamp.json").unlink()
    with pytest.raises(Unavailable, match="404"):
        fetch()


def test_a_repository_that_nobody_serves_is_unavailable_at_once(repository: Repository, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(Unavailable, match="could not be asked"):
            trust.from_tuf(url, root=repository.first_root, cache=tmp_path / "cache")
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("server", [dripping, silent])
def test_a_server_that_never_finishes_is_unavailable_in_bounded_time(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Any
) -> None:
    monkeypatch.setattr(tuf_repository, "_TOTAL", 0.5)
    with server() as url:
        started = time.monotonic()
        with pytest.raises(Unavailable, match=r"no answer within|could not be asked"):
            trust.from_tuf(url, root=repository.first_root, cache=tmp_path / "cache")
        assert time.monotonic() - started < 2


@pytest.mark.parametrize("url", ["file:///etc", "ftp://x.example", "x.example", "https://", ""])
def test_only_http_is_asked(repository: Repository, tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError):
        trust.from_tuf(url, root=repository.first_root, cache=tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_unavailable(repository: Repository, url: str, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(Unavailable, match="cache"):
        trust.from_tuf(url, root=repository.first_root, cache=blocked)
