"""A signed policy: what is taken, and for each demand somebody who tries to pass another policy off as it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from builders import ISSUER, facts
from insider import FILES as ADAPTER
from insider import NOW, SIGNED, Insider, snapshot
from insider import statement as manifest_statement
from mutate import mutated
from publisher import END, TEAM, Team, document, write
from skillwarrant_audit.recorder import Recorder
from skillwarrant_format.bundle import RawBundle
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import (
    AuditError,
    DigestMismatch,
    FilesMismatch,
    FormatError,
    NotLogged,
    PolicyDenied,
    PolicyError,
    PolicyRefused,
    SignatureInvalid,
    SkillwarrantError,
    TrustError,
    UsageError,
    WrongPredicate,
)
from skillwarrant_format.observation import Observation
from skillwarrant_format.policy_bundle import PolicyBundle
from skillwarrant_format.policy_files import POLICY_BUNDLE_NAME, PolicyFiles
from skillwarrant_format.policy_pack import pack, unpack
from skillwarrant_format.statement import Statement, Subject
from skillwarrant_format.strict_json import canonical
from skillwarrant_verify.deciding.decide import decide
from skillwarrant_verify.policy import API_VERSION
from skillwarrant_verify.proof.signature import verify
from skillwarrant_verify.signed_policy.revisions import REVISIONS_NAME, Mark, RevisionStore

REGO = {"rego/region.rego": b"package skillwarrant.region\n", "rego/size.rego": b"package skillwarrant.size\n"}
MORE = {"policy.toml": document(), **REGO, "README.md": b"# Ours\n"}


@pytest.fixture(scope="module")
def insider() -> Insider:
    return Insider()


@pytest.fixture
def team(tmp_path: Path, insider: Insider) -> Team:
    return Team(tmp_path / "policy", insider)


def refused(team: Team, error: type[SkillwarrantError], words: str, **options: Any) -> None:
    """Refused with exactly this error, and nothing is remembered of it."""
    before = (team.directory.parent / "log" / REVISIONS_NAME).exists()
    with pytest.raises(error, match=words) as caught:
        team.load(**options)
    assert type(caught.value) is error
    assert (team.directory.parent / "log" / REVISIONS_NAME).exists() == before


# What is taken


def test_a_signed_policy_decides_and_says_whose_it_is(team: Team) -> None:
    team.publish()
    policy = team.load()
    assert (policy.name, policy.revision, policy.digest) == ("acme-production", 7, Digest.of(document()))
    origin = policy.origin
    assert origin is not None
    assert (origin.identity, origin.issuer, origin.not_after) == (TEAM, ISSUER, END)
    assert origin.bundle == Digest.of((team.directory / POLICY_BUNDLE_NAME).read_bytes())
    decision = decide(policy, facts())
    assert decision.outcome == "allow"
    assert decision.policy.origin == origin


def test_every_file_of_the_directory_is_signed_with_it(team: Team) -> None:
    assert team.publish(MORE).is_dir()
    assert team.load().revision == 7


def test_a_pack_is_as_good_as_the_directory(team: Team, tmp_path: Path) -> None:
    directory = team.publish(MORE)
    packed = tmp_path / "acme.policy.json"
    packed.write_bytes(pack(PolicyFiles.read(directory)))
    assert team.load(path=packed) == team.load()


def test_a_policy_in_json_is_one(team: Team) -> None:
    team.publish({"policy.json": json.dumps(tomllib.loads(document().decode())).encode()})
    assert team.load().revision == 7


def test_the_bytes_that_were_verified_are_the_bytes_that_are_parsed(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is swapped as soon as it has been read."""
    team.publish()
    real = PolicyFiles.read.__func__  # type: ignore[attr-defined]

    def read_then_swap(cls: type[PolicyFiles], directory: Path) -> PolicyFiles:
        found: PolicyFiles = real(cls, directory)
        write(team.directory, {"policy.toml": document(more='allow_hazards = ["non-finite"]')}, None)
        return found

    monkeypatch.setattr(PolicyFiles, "read", classmethod(read_then_swap))
    assert team.load().allow_hazards == ()


def test_the_same_revision_may_be_loaded_again_and_a_newer_one_taken(team: Team) -> None:
    team.revision(7)
    assert [team.load().revision for _ in range(3)] == [7, 7, 7]
    team.revision(9)
    assert team.load().revision == 9


def test_the_same_policy_may_be_signed_again_with_a_later_end(team: Team) -> None:
    team.publish()
    team.load()
    team.publish(signed=SIGNED + timedelta(days=1), not_after=END + timedelta(days=60))
    assert team.load().not_after == END + timedelta(days=60)


def test_the_earlier_end_counts_and_the_later_beginning(team: Team) -> None:
    early = NOW + timedelta(days=1)
    team.publish({"policy.toml": document(more=f"not_after = {early:%Y-%m-%dT%H:%M:%SZ}")})
    assert team.load().not_after == early
    team.revision(8, "not_after = 2099-01-01T00:00:00Z")
    assert team.load().not_after == END


# What a policy names

RULES = b"""
from pathlib import Path
from skillwarrant_verify.rules import Facts, Finding, Policy, proves, yes

Path({marker!r}).touch()

@proves("acme.seen")
def seen(policy: Policy, facts: Facts) -> Finding:
    return yes("acme.seen", "it ran", "now")
"""


def with_rules(marker: Path, revision: int = 7) -> dict[str, bytes]:
    """A policy whose own rules leave a trace when they are run, and which asks a Rego module too."""
    rules = RULES.replace(b"{marker!r}", repr(str(marker)).encode())
    rego = b'package skillwarrant.acme\n\ndeny contains "no" if input.context.environment == "nowhere"\n'
    tables = (
        f'[[rules]]\nmodule = "own/rules.py"\nsha256 = "{Digest.of(rules).hex}"\n'
        f'[[rego]]\nfile = "rego/acme.rego"\nsha256 = "{Digest.of(rego).hex}"\n'
    )
    data = document(revision=revision) + tables.encode()
    return {"policy.toml": data, "own/rules.py": rules, "rego/acme.rego": rego}


def test_rules_and_rego_are_taken_from_the_verified_bytes(
    team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything on disk is gone as soon as it has been read."""
    team.publish(with_rules(tmp_path / "ran"))
    real = PolicyFiles.read.__func__  # type: ignore[attr-defined]

    def read_then_remove(cls: type[PolicyFiles], directory: Path) -> PolicyFiles:
        found: PolicyFiles = real(cls, directory)
        write(team.directory, {}, None)
        return found

    monkeypatch.setattr(PolicyFiles, "read", classmethod(read_then_remove))
    decision = decide(team.load(), facts())
    assert decision.outcome == "allow"
    assert "acme.seen" in {finding.code for finding in decision.checked}
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("how", ["unsigned", "another", "tampered", "expired", "renamed", "gone back", "below"])
def test_code_of_a_policy_that_is_refused_never_runs(team: Team, tmp_path: Path, how: str) -> None:
    marker = tmp_path / "ran"
    files = with_rules(marker, revision=6)
    now, demand = NOW, dict[str, Any]()
    if how == "gone back":
        team.revision(7)
        team.load()
    elif how == "expired":
        now = END
    elif how == "renamed":
        demand["name"] = "acme-staging"
    elif how == "below":
        demand["least_revision"] = 7
    team.publish(files, identity=TEAM + "-evil" if how == "another" else TEAM)
    if how == "unsigned":
        write(team.directory, files, None)
    elif how == "tampered":
        (team.directory / "own" / "rules.py").write_bytes(files["own/rules.py"] + b"# more\n")
    with pytest.raises((PolicyRefused, DigestMismatch)):
        team.load(now, **demand)
    assert not marker.exists()


def test_a_module_of_another_digest_than_the_document_names_is_refused_though_it_is_signed(
    team: Team, tmp_path: Path
) -> None:
    files = with_rules(tmp_path / "ran")
    team.publish({**files, "own/rules.py": files["own/rules.py"] + b"# more\n"})
    with pytest.raises(PolicyError, match="not the file that the policy names"):
        team.load()
    assert not (tmp_path / "ran").exists()


# Another signer


@pytest.mark.parametrize(
    "identity",
    [
        "https://github.com/mallory/policies/.github/workflows/release.yml@refs/heads/main",
        TEAM + "-evil",
        TEAM.replace("acme", "ACME"),
        TEAM.replace("github.com", "github.com.evil.example"),
        TEAM.replace("refs/heads/main", "refs/heads/main2"),
        TEAM.replace("refs/heads/main", "refs/pull/7/merge"),
        "prefix." + TEAM,
    ],
)
def test_another_or_a_lookalike_identity_is_refused(team: Team, identity: str) -> None:
    team.publish(identity=identity)
    refused(team, PolicyRefused, "signed by somebody else")


def test_another_issuer_with_the_same_identity_is_refused(team: Team) -> None:
    team.publish(issuer="https://issuer.evil.example")
    refused(team, PolicyRefused, "signed by somebody else")


def test_another_instances_signature_is_none(team: Team, insider: Insider) -> None:
    other = Team(team.directory, Insider())
    other.publish()
    with pytest.raises((SignatureInvalid, TrustError, NotLogged)):
        team.load()


def test_a_policy_without_a_signature_is_refused(team: Team) -> None:
    write(team.directory, {"policy.toml": document()}, None)
    refused(team, PolicyRefused, "is not signed")


@pytest.mark.parametrize("bundle", [b"", b"{}", b"[]", b"\xff", b"null"])
def test_a_bundle_that_is_none_is_refused(team: Team, bundle: bytes) -> None:
    write(team.directory, {"policy.toml": document()}, bundle)
    refused(team, FormatError, "bundle")


def test_an_identity_must_be_demanded_and_so_must_a_name(team: Team) -> None:
    for changes in ({"signer": None}, {"name": ""}, {"least_revision": 0}):
        with pytest.raises(UsageError):
            team.demand(**changes)


# Other files


def test_a_changed_document_is_refused(team: Team) -> None:
    directory = team.publish()
    (directory / "policy.toml").write_bytes(document(more='allow_hazards = ["non-finite"]'))
    refused(team, DigestMismatch, "not the file that was signed")


def test_one_space_more_is_refused(team: Team) -> None:
    directory = team.publish()
    (directory / "policy.toml").write_bytes(document() + b" ")
    refused(team, DigestMismatch, "not the file that was signed")


@pytest.mark.parametrize("name", ["rego/allow_all.rego", "rules.py", "cases.toml", "LICENSE"])
def test_a_file_that_nobody_signed_is_refused(team: Team, name: str) -> None:
    directory = team.publish(MORE)
    (directory / name).write_bytes(b"")
    refused(team, FilesMismatch, "nobody signed")


def test_a_missing_file_is_refused(team: Team) -> None:
    (team.publish(MORE) / "rego" / "size.rego").unlink()
    refused(team, FilesMismatch, "signed files are missing")


def test_two_files_that_changed_names_are_refused(team: Team) -> None:
    directory = team.publish(MORE) / "rego"
    one, two = directory / "region.rego", directory / "size.rego"
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)
    refused(team, DigestMismatch, "not the file that was signed")


def test_a_second_document_in_the_other_language_is_refused(team: Team) -> None:
    (team.publish() / "policy.json").write_bytes(b"{}")
    refused(team, FilesMismatch, "not one policy")


def test_a_symlink_to_the_very_file_is_refused(team: Team, tmp_path: Path) -> None:
    directory = team.publish()
    (tmp_path / "elsewhere.toml").write_bytes(document())
    (directory / "policy.toml").unlink()
    (directory / "policy.toml").symlink_to(tmp_path / "elsewhere.toml")
    refused(team, FilesMismatch, "symlink")


def test_a_huge_file_is_refused_before_it_is_read(team: Team) -> None:
    with (team.publish() / "huge.toml").open("wb") as file:
        file.truncate(2**40)
    refused(team, FormatError, "too large")


def test_a_bundle_beside_other_files_that_are_signed_elsewhere_is_refused(team: Team) -> None:
    """Each is genuine; together they are nobody's."""
    laxer = {"policy.toml": document("acme-development", 1, 'allow_hazards = ["non-finite"]')}
    write(team.directory, laxer, team.bundle())
    refused(team, DigestMismatch, "not the file that was signed")


def test_no_mutant_of_a_bundle_or_pack_is_taken_for_another_policy(team: Team) -> None:
    """What is still taken is the very policy; what is not is refused in our own words."""
    files = {"policy.toml": document(), "policy/note.md": b"more"}
    honest, other = json.loads(team.bundle(files)), json.loads(team.bundle({"policy.toml": document("other", 9)}))
    genuine, random = pack(PolicyFiles.of(files, bundle=team.bundle(files))), Random(7)  # noqa: S311
    taken = refusals = 0
    for number in range(600):
        try:
            if number % 2:
                mutant = PolicyFiles.of(files, bundle=mutated(honest, other, random))
            else:
                mutant = unpack(changed_bytes(genuine, random))
            policy = team.demand().verify(mutant, trust_root=team.insider.trust(), seen=team.seen, now=NOW)
        except SkillwarrantError:
            refusals += 1
        else:
            assert (dict(mutant.files), policy.revision) == (files, 7)
            taken += 1
    assert taken < refusals


def changed_bytes(data: bytes, random: Random) -> bytes:
    """A few bytes replaced, anywhere: in a file, in the bundle, between them."""
    found = bytearray(data)
    for _ in range(random.randint(1, 3)):
        found[random.randrange(len(found))] = random.choice(b'aZ09+/="{}[]:, \\')
    return bytes(found)


# Another kind of bundle


def test_a_skill_manifest_is_no_policy(team: Team) -> None:
    bundle = team.bundle(statement=manifest_statement())
    write(team.directory, {"policy.toml": document()}, bundle)
    refused(team, WrongPredicate, "signs something else")


def test_a_policy_bundle_is_no_skill_manifest(team: Team, insider: Insider) -> None:
    with pytest.raises(WrongPredicate, match="signs something else"):
        verify(snapshot(), team.bundle(), insider.trust(), now=NOW)


def test_a_skill_manifest_that_lists_policy_files_is_no_policy(team: Team) -> None:
    """Its publisher may sign skills; the subjects are even the policy's."""
    files = PolicyFiles.of({"policy.toml": document()})
    genuine = manifest_statement()
    mixed = Statement.build(
        subjects=files.subjects, predicate_type=genuine.predicate_type, predicate=genuine.predicate
    )
    write(team.directory, dict(files.files), team.bundle(statement=mixed))
    refused(team, WrongPredicate, "signs something else")


def test_a_policy_bundle_over_an_adapters_files_is_no_manifest(team: Team, insider: Insider) -> None:
    with pytest.raises(FilesMismatch):
        PolicyBundle(
            name="a", revision=1, api_version=API_VERSION, document="policy.toml", not_after=END
        ).to_statement(manifest_statement().subjects)
    predicate = PolicyBundle(
        name="a", revision=1, api_version=API_VERSION, document="policy.toml", not_after=END
    ).to_json()
    odd = Statement.build(
        subjects=manifest_statement().subjects,
        predicate_type="https://skillwarrant.dev/policy-bundle/v1",
        predicate=predicate,
    )
    with pytest.raises(WrongPredicate):
        verify(snapshot(ADAPTER), team.bundle(statement=odd), insider.trust(), now=NOW)


def test_the_predicate_of_a_policy_under_the_type_of_a_manifest_is_neither(team: Team, insider: Insider) -> None:
    genuine = manifest_statement()
    predicate = {**genuine.predicate, **PolicyBundle.read(_payload(team))[1].to_json()}
    both = Statement.build(
        subjects=PolicyFiles.of({"policy.toml": document()}).subjects,
        predicate_type=genuine.predicate_type,
        predicate=predicate,
    )
    write(team.directory, {"policy.toml": document()}, team.bundle(statement=both))
    refused(team, WrongPredicate, "signs something else")


def _payload(team: Team) -> bytes:
    return RawBundle.parse(team.bundle()).envelope.payload


def test_a_payload_of_another_type_is_refused(team: Team) -> None:
    write(team.directory, {"policy.toml": document()}, team.bundle(payload_type="text/plain"))
    refused(team, WrongPredicate, "signs no statement")


# Another policy


def test_another_policy_of_the_same_signer_is_refused(team: Team) -> None:
    team.publish({"policy.toml": document("acme-development", 99)})
    refused(team, PolicyRefused, "another policy of its signer")


@pytest.mark.parametrize("change", [{"name": "acme-production2"}, {"revision": 8}, {"api_version": "other/v1"}])
def test_a_bundle_that_says_another_than_its_document_is_refused(team: Team, change: dict[str, Any]) -> None:
    files = PolicyFiles.of({"policy.toml": document()})
    genuine = PolicyBundle.read(_payload(team))[1]
    lie = replace(genuine, **change).to_statement(files.subjects)
    write(team.directory, dict(files.files), team.bundle(statement=lie))
    refused(team, PolicyRefused, "not what its bundle says", name=change.get("name", "acme-production"))


def test_a_signed_document_that_no_policy_can_be_is_refused(team: Team) -> None:
    data = document().replace(b'["general"]', b"[]")
    team.publish({"policy.toml": data})
    refused(team, PolicyError, "policy_classes")


# Time


@pytest.mark.parametrize("late", [timedelta(), timedelta(seconds=1), timedelta(days=4000)])
def test_an_expired_policy_is_refused(team: Team, late: timedelta) -> None:
    team.publish()
    refused(team, PolicyRefused, "has expired", now=END + late)


def test_a_policy_is_good_until_its_last_second(team: Team) -> None:
    team.publish()
    assert team.load(now=END - timedelta(seconds=1))


def test_a_policy_that_is_not_in_force_yet_is_refused(team: Team) -> None:
    start = NOW + timedelta(days=1)
    team.publish({"policy.toml": document(more=f"not_before = {start:%Y-%m-%dT%H:%M:%SZ}")})
    refused(team, PolicyRefused, "not in force yet")
    assert team.load(now=start)


def test_a_policy_that_was_signed_after_now_is_refused(team: Team) -> None:
    """A clock that was set back, say, to make an expired policy good again."""
    team.publish()
    refused(team, PolicyRefused, "signed in the future", now=SIGNED - timedelta(minutes=10))


def test_a_policy_that_expires_while_it_is_in_use_allows_nothing_any_more(team: Team) -> None:
    team.publish()
    policy = team.load()
    with pytest.raises(PolicyDenied, match=r"policy\.in-force"):
        decide(policy, facts(now=END)).require()


# Going back


def test_an_older_revision_is_refused_for_good(team: Team) -> None:
    team.revision(7)
    team.load()
    team.revision(6)
    refused(team, PolicyRefused, "has gone back.*revision 7 or later")
    refused(team, PolicyRefused, "has gone back", now=NOW + timedelta(days=30))


def test_another_policy_of_the_same_revision_is_refused(team: Team) -> None:
    team.revision(7)
    team.load()
    team.revision(7, 'allow_hazards = ["non-finite"]')
    refused(team, PolicyRefused, "two policies 'acme-production' of revision 7")


def test_a_host_without_a_memory_can_demand_a_revision(team: Team) -> None:
    team.revision(6)
    refused(team, PolicyRefused, "older than is demanded", least_revision=7)
    assert team.load(least_revision=6)


def test_looking_takes_nothing(team: Team) -> None:
    team.revision(9)
    found = team.demand().load(trust_root=team.insider.trust(), seen=team.seen, now=NOW, take=False)
    assert found.revision == 9
    team.revision(8)
    assert team.load().revision == 8
    team.revision(7)
    with pytest.raises(PolicyRefused, match="has gone back"):
        team.demand().load(trust_root=team.insider.trust(), seen=team.seen, now=NOW, take=False)


def test_what_is_refused_for_another_reason_raises_no_mark(team: Team) -> None:
    team.revision(7)
    team.load()
    team.revision(1000, identity=TEAM + "-evil")
    refused(team, PolicyRefused, "somebody else")
    team.revision(8)
    assert team.load().revision == 8


def test_policies_of_two_names_are_remembered_apart(team: Team) -> None:
    team.revision(7)
    team.load()
    team.publish({"policy.toml": document("acme-staging", 2)})
    assert team.load(name="acme-staging").revision == 2


# The store


def mark(revision: int, *, at: datetime = NOW, name: str = "acme-production", text: bytes = b"") -> Mark:
    return Mark(name=name, revision=revision, digest=Digest.of(text or b"%d" % revision), time=at)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "log" / REVISIONS_NAME


def test_a_mark_is_on_disk_in_a_file_for_its_owner_alone(store: Path) -> None:
    RevisionStore(store.parent).take(mark(7))
    assert store.stat().st_mode & 0o777 == 0o600
    with pytest.raises(PolicyRefused, match="has gone back"):
        RevisionStore(store.parent).take(mark(6))


def test_taking_the_same_again_writes_nothing(store: Path) -> None:
    RevisionStore(store.parent).take(mark(7))
    before = store.read_bytes()
    RevisionStore(store.parent).take(mark(7))
    assert store.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b'"revision":7', b'"revision":1'),
        lambda data: data.replace(b"acme-production", b"acme-Production"),
        lambda data: data.splitlines(keepends=True)[-1],
        lambda data: b"".join(reversed(data.splitlines(keepends=True))),
        lambda data: data + data,
        lambda data: data[:40] + b"\n" + data[40:],
        lambda data: b"\n" + data,
        lambda _: b"garbage\n",
        lambda data: bytes(len(data)) + b"\n",
        lambda data: data + b'{"name": "acme-production"}\n',
        lambda data: data + b" " * (5 * 1024 * 1024) + b"\n",
    ],
)
def test_a_damaged_store_is_no_fresh_one(store: Path, damage: Any) -> None:
    for revision in (7, 8, 9):
        RevisionStore(store.parent).take(mark(revision))
    store.write_bytes(damage(store.read_bytes()))
    for attempt in (RevisionStore(store.parent).take, RevisionStore(store.parent).check):
        with pytest.raises(AuditError, match="is damaged"):
            attempt(mark(10))


def test_a_write_that_a_crash_cut_off_is_cut_away(store: Path) -> None:
    RevisionStore(store.parent).take(mark(7))
    whole = store.read_bytes()
    store.write_bytes(whole + b'{"digest":{"sha256":"60')
    RevisionStore(store.parent).check(mark(7))
    RevisionStore(store.parent).take(mark(8))
    assert store.read_bytes().startswith(whole)
    with pytest.raises(PolicyRefused):
        RevisionStore(store.parent).take(mark(7))


def test_a_store_from_the_future_is_a_clock_that_went_back(store: Path) -> None:
    RevisionStore(store.parent).take(mark(7, at=NOW + timedelta(days=400)))
    with pytest.raises(TrustError, match="clock is behind"):
        RevisionStore(store.parent).take(mark(8))
    with pytest.raises(TrustError, match="clock is behind"):
        RevisionStore(store.parent).take(mark(7))


def test_a_clock_may_be_a_little_behind(store: Path) -> None:
    RevisionStore(store.parent).take(mark(7))
    RevisionStore(store.parent).take(mark(8, at=NOW - timedelta(minutes=4)))


@pytest.mark.parametrize("kind", ["symlink", "directory", "fifo"])
def test_a_store_that_is_no_regular_file_is_not_used(store: Path, kind: str) -> None:
    store.parent.mkdir()
    if kind == "symlink":
        (store.parent / "elsewhere").touch()
        store.symlink_to("elsewhere")
    elif kind == "directory":
        store.mkdir()
    else:
        os.mkfifo(store)
    with pytest.raises(AuditError):
        RevisionStore(store.parent).take(mark(7))


def test_a_store_that_cannot_be_written_takes_no_policy(team: Team) -> None:
    team.publish()
    (team.directory.parent / "log").write_text("a file where the directory should be")
    with pytest.raises(AuditError):
        team.load()


def test_a_locked_store_is_no_answer(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skillwarrant_audit.log_file.LOCK_SECONDS", 0.05)
    RevisionStore(store.parent).take(mark(7))
    with store.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(AuditError, match="is locked"):
            RevisionStore(store.parent).take(mark(8))


def test_a_store_that_was_removed_is_made_again_from_the_log(team: Team, store: Path) -> None:
    team.revision(7)
    observe(store.parent, team.load())
    store.unlink()
    team.revision(6)
    with pytest.raises(PolicyRefused, match="has gone back"):
        team.load()
    team.revision(8)
    assert team.load().revision == 8
    assert store.read_bytes().count(b"\n") == 2


def test_an_emptied_store_is_made_again_from_the_log(team: Team, store: Path) -> None:
    team.revision(7)
    observe(store.parent, team.load())
    store.write_bytes(b"")
    team.revision(7, "max_age_days = 3650")
    with pytest.raises(PolicyRefused, match="two policies"):
        team.load()


def test_a_store_is_not_made_again_from_a_log_that_is_damaged(team: Team, store: Path) -> None:
    team.revision(7)
    observe(store.parent, team.load())
    store.unlink()
    log = store.parent / "observations.log"
    log.write_bytes(log.read_bytes().replace(b"e", b"f"))
    with pytest.raises(AuditError):
        team.load()


def test_decisions_of_unsigned_policies_are_no_marks(team: Team, store: Path) -> None:
    team.revision(99)
    unsigned = replace(team.load(), origin=None)
    store.unlink()
    observe(store.parent, unsigned)
    team.revision(7)
    assert team.load().revision == 7


def observe(log: Path, policy: Any) -> None:
    """One real observation in which this policy decided."""
    found = Observation(
        phase="refused",
        activation="0" * 32,
        time=NOW,
        message="a test",
        adapters=("a",),
        checks=(),
        skills=(),
        policy=policy.used(),
        inputs=None,
        base=None,
        trust=None,
        context={},
        runtime={},
    )
    Recorder.open(log).record(found, (Subject(name="request", digest=Digest.of(b"")),))


def test_threads_take_revisions_in_order_or_are_refused(store: Path) -> None:
    def take(revision: int) -> bool:
        try:
            RevisionStore(store.parent).take(mark(revision))
        except PolicyRefused:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(take, [*range(1, 30), *range(29, 0, -1)]))
    lines = store.read_bytes().count(b"\n")
    assert taken[28]
    assert lines <= sum(taken)
    with pytest.raises(PolicyRefused):
        RevisionStore(store.parent).take(mark(28))
    RevisionStore(store.parent).take(mark(29))


def test_processes_share_one_memory(store: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from datetime import datetime, UTC\n"
        "from skillwarrant_verify.signed_policy.revisions import Mark, RevisionStore\n"
        "from skillwarrant_format import *\n"
        "for number in range(1, 12):\n"
        "    mark = Mark(name='p', revision=number * 2 + int(sys.argv[2]), digest=Digest.of(b''),"
        " time=datetime(2026, 11, 22, tzinfo=UTC))\n"
        "    try: RevisionStore(Path(sys.argv[1])).take(mark)\n"
        "    except PolicyRefused: pass\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(store.parent), str(odd)]) for odd in (0, 1)]
    assert [process.wait(60) for process in running] == [0, 0]
    with pytest.raises(PolicyRefused, match="revision 23 or later"):
        RevisionStore(store.parent).check(mark(22, name="p"))
    RevisionStore(store.parent).check(mark(24, name="p", at=NOW))


def test_the_line_on_the_reference_page_is_one(store: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "policy-bundle.md").read_text(encoding="utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith('{"digest"'))
    store.parent.mkdir()
    store.write_bytes(canonical(json.loads(line)) + b"\n")
    with pytest.raises(PolicyRefused, match="revision 7 or later"):
        RevisionStore(store.parent).take(mark(6))
    RevisionStore(store.parent).take(mark(8))
