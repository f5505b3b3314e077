"""A policy that changes under a gate: as a whole or not at all, and every observation says which one decided."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import facts
from insider import NOW, Insider
from publisher import END, TEAM, Team, document, write
from skillwarrant_audit.recorder import Recorder
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import (
    DigestMismatch,
    FilesMismatch,
    FormatError,
    PolicyDenied,
    PolicyError,
    PolicyRefused,
    SkillwarrantError,
    Unavailable,
    UsageError,
)
from skillwarrant_format.policy_files import PolicyFiles
from skillwarrant_format.policy_pack import pack
from skillwarrant_verify import Gate, Policy, ReloadingPolicy, SignedPolicy, verify_and_load
from skillwarrant_verify.deciding.decide import decide
from skillwarrant_verify.signed_policy import policy_source
from skillwarrant_verify.signed_policy.revisions import RevisionStore
from world import PRODUCTION, World, llama, observed, untouched

LATER = datetime(2099, 1, 1, tzinfo=UTC)
LAX = 'allow_hazards = ["non-finite"]'


@pytest.fixture(scope="module")
def insider() -> Insider:
    return Insider()


@pytest.fixture
def team(tmp_path: Path, insider: Insider) -> Team:
    return Team(tmp_path / "policy", insider)


class Clock:
    """The host's time, which a test turns."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reloading(team: Team, clock: Clock) -> ReloadingPolicy:
    """In force: revision 7. It looks at the files each time that it is asked."""
    team.revision(7)
    return source(team, clock)


def source(team: Team, clock: Callable[[], datetime], **options: Any) -> ReloadingPolicy:
    given = {"trust_root": team.insider.trust(), "seen": team.seen, "clock": clock, "every": 0, **options}
    return ReloadingPolicy(team.demand(), **given)


# A good one


def test_a_new_revision_is_taken_without_being_asked_to(team: Team, reloading: ReloadingPolicy) -> None:
    assert reloading.current().revision == 7
    team.revision(8)
    assert reloading.current().revision == 8
    assert reloading.current().notice is None


def test_nothing_is_read_while_no_file_changes(reloading: ReloadingPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = reloading.current()  # the first took its revision, and so wrote into what is looked at
    monkeypatch.setattr(SignedPolicy, "load", None)
    assert all(reloading.current() is policy for _ in range(100))


def test_a_touched_file_is_read_again_and_is_the_same_policy(team: Team, reloading: ReloadingPolicy) -> None:
    before = reloading.current()
    (team.directory / "policy.toml").touch()
    assert reloading.current() == before
    found = reloading.reload()
    assert (found.outcome, found.error) == ("unchanged", None)


def test_a_reload_says_what_came_of_it(team: Team, clock: Clock) -> None:
    team.revision(7)
    policies = source(team, clock, every=3600)
    team.revision(8)
    assert policies.current().revision == 7
    found = policies.reload()
    assert (found.outcome, found.policy.revision, found.error) == ("taken", 8, None)
    assert policies.current() is found.policy


def test_a_pack_is_put_in_place_by_one_rename(team: Team, clock: Clock, tmp_path: Path) -> None:
    place = tmp_path / "acme.policy.json"
    put(team, place, 7)
    demand = team.demand(path=place)
    policies = ReloadingPolicy(demand, trust_root=team.insider.trust(), seen=team.seen, clock=clock, every=0)
    put(team, place, 8)
    assert policies.current().revision == 8


def put(team: Team, place: Path, revision: int, more: str = "", **options: Any) -> None:
    data = pack(PolicyFiles.read(team.revision(revision, more, **options)))
    new = place.with_suffix(".new")
    new.write_bytes(data)
    new.replace(place)


def test_the_first_policy_must_be_good(team: Team, clock: Clock) -> None:
    team.revision(7, identity=TEAM + "-evil")
    with pytest.raises(PolicyRefused):
        source(team, clock)
    with pytest.raises(UsageError, match="interval"):
        source(team, clock, every=-1)


# A bad one


def tampered(team: Team) -> None:
    (team.revision(8) / "policy.toml").write_bytes(document(revision=8, more=LAX))


def half_written(team: Team) -> None:
    (team.revision(8) / "policy.toml").write_bytes(document(revision=8)[:100])


def extra(team: Team) -> None:
    (team.revision(8) / "allow.rego").write_bytes(b"package skillwarrant\n")


def unsigned(team: Team) -> None:
    write(team.directory, {"policy.toml": document(revision=8)}, None)


def gone(team: Team) -> None:
    team.directory.rename(team.directory.with_name("moved"))


def hidden(team: Team) -> None:
    team.directory.rename(team.directory.with_name("moved"))
    team.directory.symlink_to("loop", target_is_directory=True)
    team.directory.with_name("loop").symlink_to("policy", target_is_directory=True)


BAD: dict[str, tuple[Callable[[Team], object], type[SkillwarrantError]]] = {
    "tampered": (tampered, DigestMismatch),
    "half written": (half_written, DigestMismatch),
    "with a rule that nobody signed": (extra, FilesMismatch),
    "unsigned": (unsigned, PolicyRefused),
    "by another": (lambda team: team.revision(8, identity=TEAM + "-evil"), PolicyRefused),
    "rolled back": (lambda team: team.revision(6), PolicyRefused),
    "another of the same revision": (lambda team: team.revision(7, LAX), PolicyRefused),
    "expired": (lambda team: team.revision(8, not_after=NOW), PolicyRefused),
    "of another name": (lambda team: team.publish({"policy.toml": document("acme-dev", 9)}), PolicyRefused),
    "broken": (lambda team: team.revision(8, "environmentz = []"), PolicyError),
    "gone": (gone, UsageError),
    "a loop of links": (hidden, SkillwarrantError),
    "no bundle": (lambda team: write(team.directory, {"policy.toml": document()}, b"{}"), FormatError),
}


@pytest.mark.parametrize("kind", BAD)
def test_the_old_one_stays_in_force_and_says_so(
    team: Team, reloading: ReloadingPolicy, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    spoil, error = BAD[kind]
    before = reloading.current()
    spoil(team)
    with caplog.at_level(logging.WARNING, "skillwarrant.policy"):
        kept = reloading.current()
        reloading.current()
    assert (kept.revision, kept.digest, kept.origin) == (7, before.digest, before.origin)
    assert kept.allow_hazards == ()
    assert kept.notice is not None
    assert kept.notice.startswith("revision 7 stays in force, and what was to take its place does not: ")
    assert decide(kept, facts()).policy.notice == kept.notice
    (warning,) = caplog.records  # once, and not at every operation
    assert "revision 7 stays in force" in warning.getMessage()
    found = reloading.reload()
    assert found.outcome == "kept"
    assert isinstance(found.error, error)
    assert found.policy == kept


def test_a_repaired_policy_is_taken_at_once_and_nothing_is_said_any_more(
    team: Team, reloading: ReloadingPolicy
) -> None:
    tampered(team)
    assert reloading.current().notice
    team.revision(8)
    assert (reloading.current().revision, reloading.current().notice) == (8, None)


def test_the_old_one_put_back_is_the_old_one_again(team: Team, reloading: ReloadingPolicy) -> None:
    before = reloading.current()
    old = {path.name: path.read_bytes() for path in team.directory.iterdir()}
    unsigned(team)
    assert reloading.current().notice
    write(team.directory, old, None)
    assert reloading.current() == before


def test_what_comes_into_force_later_is_taken_then_though_no_file_changes(
    team: Team, clock: Clock, reloading: ReloadingPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = NOW + timedelta(hours=1)
    team.revision(8, f"not_before = {start:%Y-%m-%dT%H:%M:%SZ}")
    assert "not in force yet" in (reloading.current().notice or "")
    clock.now = start
    assert reloading.current().revision == 7  # what was refused is not read again each time
    wait = time.monotonic() + policy_source.RETRY_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: wait)
    assert (reloading.current().revision, reloading.current().notice) == (8, None)


def test_an_old_one_that_expires_allows_nothing_though_no_new_one_is_good(
    team: Team, clock: Clock, reloading: ReloadingPolicy
) -> None:
    unsigned(team)
    clock.now = END
    assert reloading.current().revision == 7
    with pytest.raises(PolicyDenied, match=r"policy\.in-force"):
        decide(reloading.current(), facts(now=END)).require()


@pytest.mark.parametrize("error", [RecursionError("deep"), SystemExit("a rule leaves")])
def test_an_error_that_is_none_of_ours_does_not_take_the_policy_away(
    team: Team, reloading: ReloadingPolicy, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def broken(*_: object, **__: object) -> Policy:
        raise error

    team.revision(8)
    monkeypatch.setattr(SignedPolicy, "load", broken)
    assert f"{type(error).__name__}: {error}" in (reloading.current().notice or "")
    assert isinstance(reloading.reload().error, Unavailable)


def test_an_interruption_while_a_policy_is_read_leaves_it_to_be_read_again(
    team: Team, reloading: ReloadingPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> Policy:
        raise KeyboardInterrupt

    team.revision(8)
    with monkeypatch.context() as patched:
        patched.setattr(SignedPolicy, "load", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reloading.current()
    assert reloading.reload().outcome == "taken"
    assert reloading.current().revision == 8


def test_a_very_long_reason_still_fits_into_an_observation(team: Team, reloading: ReloadingPolicy) -> None:
    (team.revision(8) / ("x" * 200 + ".toml")).write_bytes(b"")
    kept = reloading.current()
    assert len(kept.notice or "") <= 1001
    assert kept.used().to_json()


def test_a_revision_that_another_process_took_is_noticed_where_an_older_one_stays(
    team: Team, reloading: ReloadingPolicy, tmp_path: Path
) -> None:
    """Somebody holds the files of this process back, and those of another on the same host not."""
    assert reloading.current().notice is None
    other = Team(tmp_path / "elsewhere", team.insider)
    other.revision(9)
    assert other.load().revision == 9
    kept = reloading.current()
    assert kept.revision == 7
    assert "the policy 'acme-production' has gone back: expected revision 9" in (kept.notice or "")
    assert isinstance(reloading.reload().error, PolicyRefused)
    team.revision(9)
    assert (reloading.current().revision, reloading.current().notice) == (9, None)


def test_a_memory_that_is_lost_while_it_is_in_use_is_begun_anew(team: Team, reloading: ReloadingPolicy) -> None:
    reloading.current()
    team.seen.path.unlink()
    assert (reloading.current().revision, reloading.current().notice) == (7, None)
    assert team.seen.path.exists()


def test_a_memory_that_is_damaged_while_it_is_in_use_is_told(team: Team, reloading: ReloadingPolicy) -> None:
    reloading.current()
    team.seen.path.write_bytes(b"{}\n")
    assert reloading.current().revision == 7
    assert "is damaged" in (reloading.current().notice or "")


# Threads


def test_whoever_asks_while_another_thread_reads_gets_the_old_policy_at_once(
    team: Team, reloading: ReloadingPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go = threading.Event(), threading.Event()
    real = SignedPolicy.load

    def slow(self: SignedPolicy, **given: Any) -> Policy:
        reading.set()
        assert go.wait(20)
        return real(self, **given)

    monkeypatch.setattr(SignedPolicy, "load", slow)
    team.revision(8)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(reloading.current)
        assert reading.wait(20)
        assert reloading.current().revision == 7
        go.set()
        assert first.result(20).revision == 8


def test_many_threads_see_only_whole_policies_and_never_an_older_one(
    team: Team, clock: Clock, tmp_path: Path
) -> None:
    """Even revisions allow, odd ones do not; each decision is by the revision that it names."""
    place, last = tmp_path / "acme.policy.json", 20
    put(team, place, 2, LAX)
    policies = ReloadingPolicy(
        team.demand(path=place), trust_root=team.insider.trust(), seen=team.seen, clock=clock, every=0
    )
    stop = threading.Event()

    def decide_on() -> list[tuple[int, Digest, bool]]:
        found = []
        while not stop.is_set():
            policy = policies.current()
            found.append((policy.revision, policy.used().digest, policy.allow_hazards == ("non-finite",)))
            time.sleep(0.001)
        return found

    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(decide_on) for _ in range(6)]
        for revision in range(3, last + 1):
            put(team, place, revision, LAX if revision % 2 == 0 else "")
            policies.current()
        time.sleep(0.05)
        stop.set()
        results = [one.result(20) for one in running]
    for result in results:
        assert [revision for revision, _, _ in result] == sorted(revision for revision, _, _ in result)
        for revision, digest, lax in set(result):
            more = LAX if revision % 2 == 0 else ""
            assert (digest, lax) == (Digest.of(document(revision=revision, more=more)), revision % 2 == 0)
    assert len({revision for result in results for revision, _, _ in result}) > 5
    assert policies.reload().policy.revision == last


# In a gate


def policy_of(world: World, revision: int, environment: str = "production") -> dict[str, bytes]:
    text = world.policy_text().replace('"test"', '"acme-production"')
    text = text.replace("revision = 1", f"revision = {revision}")
    return {"policy.toml": text.replace('"production"', f'"{environment}"').encode()}


def test_one_activation_is_by_one_policy_from_beginning_to_end(world: World, team: Team, log: Path) -> None:
    """Threads activate while the policy flips between one that allows and one that denies."""
    team.publish(policy_of(world, 1), not_after=LATER)
    policies = source(team, lambda: NOW)
    gate = world.gate(log, policy=policies)
    stop = threading.Event()

    models = [[llama() for _ in range(4)] for _ in range(4)]  # not in the threads: they share one random state

    def activate(number: int) -> None:
        for model in models[number]:
            with suppress(PolicyDenied):
                gate.activate(model, world.adapter, context=PRODUCTION)

    def flip() -> None:
        revision = 1
        while not stop.is_set():
            revision += 1
            files = policy_of(world, revision, "staging" if revision % 2 == 0 else "production")
            team.publish(files, not_after=LATER)
            stop.wait(0.02)

    with ThreadPoolExecutor(5) as pool:
        flipping = pool.submit(flip)
        running = [pool.submit(activate, number) for number in range(4)]
        for one in running:
            one.result(120)
        stop.set()
        flipping.result(20)
    decided: dict[str, set[tuple[int, Digest, str]]] = {}
    for seen in observed(log):
        environment = "staging" if seen.policy.revision % 2 == 0 else "production"
        expected = Digest.of(policy_of(world, seen.policy.revision, environment)["policy.toml"])
        assert seen.policy.digest == expected
        assert seen.policy.origin is not None
        assert seen.policy.origin.identity == TEAM
        assert (seen.phase == "refused") == (environment == "staging"), seen.message
        decided.setdefault(seen.activation, set()).add((seen.policy.revision, seen.policy.digest, environment))
    assert len(decided) == 16
    assert all(len(policies) == 1 for policies in decided.values())
    assert len({environment for policies in decided.values() for _, _, environment in policies}) == 2


def test_a_gate_says_in_each_observation_that_a_newer_policy_was_refused(
    world: World, team: Team, log: Path
) -> None:
    team.publish(policy_of(world, 1), not_after=LATER)
    gate = world.gate(log, policy=source(team, lambda: NOW))
    model = gate.activate(llama(), world.adapter, context=PRODUCTION)
    (team.directory / "policy.toml").write_bytes(policy_of(world, 2)["policy.toml"])
    gate.deactivate(model, "default")
    first, *_, last = observed(log)
    assert first.policy.notice is None
    assert "revision 1 stays in force" in (last.policy.notice or "")
    assert last.phase == "deactivated"


def test_a_gate_takes_a_signed_policy_as_it_is(world: World, team: Team, log: Path) -> None:
    team.publish(policy_of(world, 4), not_after=LATER)
    demand = team.demand()
    gate = Gate(policy=demand, trust_root=team.insider.trust(), recorder=Recorder.open(log), clock=lambda: NOW)
    assert gate._charter.policy.revision == 4
    RevisionStore(log)  # the memory is beside the log
    assert (log / "policy-revisions.log").exists()
    team.publish(policy_of(world, 3), not_after=LATER)
    with pytest.raises(PolicyRefused, match="has gone back"):
        Gate(policy=demand, trust_root=team.insider.trust(), recorder=Recorder.open(log), clock=lambda: NOW)


def test_what_is_no_policy_is_misuse(world: World, log: Path) -> None:
    for odd in (None, "policy.toml", 7, {}):
        with pytest.raises(UsageError, match="this is no policy"):
            world.gate(log, policy=odd)


# Never from inside an adapter


@pytest.fixture
def planted(world: World, tmp_path: Path) -> Path:
    """An adapter that brings its own policy along, signed by its publisher like everything in it."""
    from skillwarrant_attest import Credential, SkillToml, build, measure_bases, read_adapter, sign, write_bundle

    directory = world.copy(tmp_path / "planted")
    (directory / "skillwarrant.sigstore.json").unlink()
    (directory / "policy.toml").write_text(world.policy_text())
    skill = f"""
policy_class = "general"
skill = {{ name = "acme/planted", version = "1.0.0", description = "A test." }}
publisher = {{ name = "Acme" }}
base = [{{ name = "acme/tiny", directory = "{world.base}" }}]
deployment = {{ environments = ["production"] }}
"""
    adapter, toml = read_adapter(directory), SkillToml.parse(skill.encode(), directory=world.root)
    credential = Credential.from_token(world.stack.ci_token())
    statement = build(adapter, toml, measure_bases(toml))
    write_bundle(directory, sign(statement, credential=credential, trust_config=world.stack.trust_config))
    return directory


def linked(planted: Path, kind: str) -> Path:
    """A path of the policy that is, one way or the other, the adapter's."""
    inside = planted / "policy.toml"
    outside = planted.parent / "mine.toml"
    if kind == "inside":
        return inside
    if kind == "relative":
        return planted.parent / "planted" / ".." / "planted" / "policy.toml"
    if kind == "symlink":
        outside.symlink_to(inside)
    elif kind == "linked directory":
        (planted.parent / "link").symlink_to(planted, target_is_directory=True)
        return planted.parent / "link" / "policy.toml"
    elif kind == "hard link":
        outside.hardlink_to(inside)
    elif kind == "copy":
        outside.write_bytes(inside.read_bytes())
    return outside


KINDS = ("inside", "relative", "symlink", "linked directory", "hard link", "copy")


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_that_the_adapter_brought_along_is_refused(
    world: World, planted: Path, log: Path, kind: str
) -> None:
    model = llama()
    with pytest.raises(PolicyRefused, match=r"lies inside the adapter|is a file of the adapter"):
        verify_and_load(
            model,
            planted,
            policy=linked(planted, kind),
            context=PRODUCTION,
            trust_root=world.trust,
            log=log,
        )
    assert untouched(model)


def test_a_policy_in_memory_that_the_adapter_brought_along_is_refused(
    world: World, planted: Path, log: Path
) -> None:
    gate = world.gate(log, policy=Policy.parse((planted / "policy.toml").read_bytes()))
    model = llama()
    with pytest.raises(PolicyRefused, match="is a file of the adapter"):
        gate.activate(model, planted, context=PRODUCTION)
    (refusal,) = observed(log)
    assert refusal.checks[-1].code == "policy.refused"
    assert untouched(model)


def test_a_policy_named_through_the_adapter_is_refused_though_it_lies_elsewhere(
    world: World, tmp_path: Path, log: Path
) -> None:
    """Whoever made the adapter chose where that link leads."""
    adapter = world.copy(tmp_path / "adapter")
    (tmp_path / "mine.toml").write_text(world.policy_text())
    (adapter / "policy.toml").symlink_to(tmp_path / "mine.toml")
    with pytest.raises(PolicyRefused, match="lies inside the adapter"):
        verify_and_load(llama(), adapter, policy=adapter / "policy.toml", context=PRODUCTION, log=log)


def test_a_policy_in_a_corner_of_the_adapter_that_is_never_signed_is_refused(
    world: World, tmp_path: Path, log: Path
) -> None:
    adapter = world.copy(tmp_path / "adapter")
    corner = adapter / ".cache" / "huggingface" / "policy.toml"
    corner.parent.mkdir(parents=True)
    corner.write_text(world.policy_text())
    with pytest.raises(PolicyRefused, match="lies inside the adapter"):
        verify_and_load(llama(), adapter, policy=corner, context=PRODUCTION, log=log)


def test_a_signed_policy_inside_the_adapter_is_refused_too(
    world: World, team: Team, tmp_path: Path, log: Path
) -> None:
    adapter = world.copy(tmp_path / "adapter")
    inside = Team(adapter / "policy", team.insider)
    inside.publish(policy_of(world, 1), not_after=LATER)
    with pytest.raises(PolicyRefused, match="lies inside the adapter"):
        verify_and_load(llama(), adapter, policy=inside.demand(), context=PRODUCTION, log=log)


def test_a_policy_beside_the_adapter_is_not_inside_it(world: World, tmp_path: Path, log: Path) -> None:
    adapter = world.copy(tmp_path / "adapter")
    (tmp_path / "adapter.policy.toml").write_text(world.policy_text())
    assert verify_and_load(
        llama(),
        adapter,
        policy=tmp_path / "adapter.policy.toml",
        context=PRODUCTION,
        trust_root=world.trust,
        log=log,
    )
