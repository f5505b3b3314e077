"""A gate takes no policy from inside an adapter: whoever made the adapter would say what is demanded of it.

The policy is read first, and then hidden from the adapter's files, so that neither its bytes nor an unsigned file
give it away: what refuses is where it came from.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from skillwarrant_attest import Credential, build_policy, sign, write_policy_bundle
from skillwarrant_format.errors import PolicyRefused
from skillwarrant_format.policy_files import PolicyFiles
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_verify import (
    Gate,
    IdentityPattern,
    Policy,
    ReloadingPolicy,
    RevisionStore,
    SignedPolicy,
    StackItem,
)
from world import PRODUCTION, World, llama, observed, phases, untouched


@pytest.fixture
def adapter(world: World, tmp_path: Path) -> Path:
    return world.copy(tmp_path / "adapter")


def put(world: World, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(world.policy_text())
    return path


def hide(policy: Path, adapter: Path) -> None:
    """Take it away again, and every directory that was made for it: the adapter is as it was signed."""
    real = Path(os.path.realpath(policy))
    real.unlink()
    for above in real.parents:
        if above == adapter:
            break
        above.rmdir()


def refused(gate: Gate, adapter: Path | Snapshot, log: Path) -> str:
    model = llama()
    with pytest.raises(PolicyRefused, match="the policy lies inside the adapter") as caught:
        gate.activate(model, adapter, context=PRODUCTION)
    assert untouched(model)
    assert phases(log) == ["refused"]
    assert observed(log)[-1].checks[-1].code == "policy.refused"
    return str(caught.value)


def beside(adapter: Path) -> Path:
    return adapter / "policy.toml"


def below(adapter: Path) -> Path:
    return adapter / "for" / "hosts" / "policy.toml"


def through_a_link(adapter: Path) -> Path:
    link = adapter.parent / "host-policy.toml"
    link.symlink_to(adapter / "policy.toml")
    return link


def through_a_linked_directory(adapter: Path) -> Path:
    (adapter / "hosts").mkdir()
    (adapter.parent / "etc").symlink_to(adapter / "hosts", target_is_directory=True)
    return adapter.parent / "etc" / "policy.toml"


def by_dots(adapter: Path) -> Path:
    return adapter.parent / "adapter" / ".." / "adapter" / "policy.toml"


PLACES = [beside, below, through_a_link, through_a_linked_directory, by_dots]


@pytest.mark.parametrize("place", PLACES)
def test_a_policy_that_was_read_inside_the_adapter_is_refused(
    world: World, adapter: Path, log: Path, place: Callable[[Path], Path]
) -> None:
    path = put(world, place(adapter))
    policy = Policy.load(path)
    hide(path, adapter)
    message = refused(world.gate(log, policy=policy), adapter, log)
    assert f"expected a policy outside of {adapter}" in message


def test_under_whatever_name_the_adapter_is_given(world: World, adapter: Path, log: Path) -> None:
    path = put(world, below(adapter))
    policy = Policy.load(path)
    hide(path, adapter)
    link = adapter.parent / "current"
    link.symlink_to(adapter, target_is_directory=True)
    refused(world.gate(log, policy=policy), link, log)


def test_a_relative_path_means_what_it_meant_when_it_was_read(
    world: World, adapter: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(world, beside(adapter))
    monkeypatch.chdir(adapter)
    policy = Policy.load(Path("policy.toml"))
    hide(path, adapter)
    monkeypatch.chdir(adapter.parent)
    refused(world.gate(log, policy=policy), adapter, log)


def test_a_policy_that_is_reloaded_is_refused_too(world: World, adapter: Path, log: Path) -> None:
    path = put(world, beside(adapter))
    policies = ReloadingPolicy(path)
    gate = world.gate(log, policy=policies)
    hide(path, adapter)
    assert policies.reload().outcome == "kept"
    refused(gate, adapter, log)


def test_a_signed_policy_inside_the_adapter_is_refused_whoever_signed_it(
    world: World, adapter: Path, log: Path, tmp_path: Path
) -> None:
    path = put(world, below(adapter))
    statement = build_policy(PolicyFiles.read(path.parent), not_after=datetime.now(UTC) + timedelta(days=1))
    credential = Credential.from_token(world.stack.ci_token())
    write_policy_bundle(path.parent, sign(statement, credential=credential, trust_config=world.stack.trust_config))
    signer = IdentityPattern(issuer=world.stack.issuer, identity=world.stack.ci_identity())
    demand = SignedPolicy(path=path.parent, name="test", signer=signer)
    for given in (demand, ReloadingPolicy(demand, trust_root=world.trust, seen=RevisionStore(tmp_path / "seen"))):
        own = log.with_name(f"log-{type(given).__name__}")
        refused(world.gate(own, policy=given), adapter, own)


def test_in_a_stack_each_adapter_is_looked_at(world: World, adapter: Path, log: Path) -> None:
    other = world.copy(adapter.parent / "other")
    path = put(world, beside(other))
    policy = Policy.load(path)
    hide(path, other)
    items = [StackItem(adapter=one, adapter_name=one.name) for one in (adapter, other)]
    model = llama()
    with pytest.raises(PolicyRefused, match="the policy lies inside the adapter"):
        world.gate(log, policy=policy).activate_stack(model, items, context=PRODUCTION)
    assert untouched(model)
    assert phases(log) == ["refused"]


@pytest.mark.parametrize("name", ["policy.toml", "adapter-policy/policy.toml", "adapter.policy.toml"])
def test_a_policy_beside_the_adapter_is_the_hosts(world: World, adapter: Path, log: Path, name: str) -> None:
    policy = Policy.load(put(world, adapter.parent / name))
    world.gate(log, policy=policy).activate(llama(), adapter, context=PRODUCTION)
    assert phases(log) == ["intent", "activated"]


def test_of_what_came_as_bytes_no_place_is_known(world: World, adapter: Path, log: Path) -> None:
    """What is left then is the content: no file of the adapter is the policy."""
    path = put(world, beside(adapter))
    by_place, by_bytes = Policy.load(path), Policy.parse(path.read_bytes())
    assert by_place == by_bytes, "where a policy lies is no part of what it says"
    hide(path, adapter)
    snapshot: Any = Snapshot.read(adapter)
    world.gate(log, policy=by_place).activate(llama(), snapshot, context=PRODUCTION)
    world.gate(log, policy=replace(by_place, place=None)).activate(llama(), adapter, context=PRODUCTION)
