"""Arguments of the wrong type, over the whole public surface: our `UsageError`, never a foreign exception, and
nothing is recorded or loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import skillwarrant_verify
from skillwarrant_audit.recorder import Recorder
from skillwarrant_devstack import Devstack
from skillwarrant_format.errors import UsageError
from skillwarrant_verify import (
    Combination,
    Context,
    Gate,
    IdentityPattern,
    LoadOptions,
    OperatorKeys,
    Policy,
    ReloadingPolicy,
    RevisionStore,
    SignedPolicy,
    StackItem,
    verify_and_load,
    verify_operator,
)
from skillwarrant_verify.arguments import check_kind
from skillwarrant_verify.rego.opa_http import OpaServer
from world import PRODUCTION, World, llama, phases, untouched


class Odd:
    """Of no type that anybody asks for; equal to nothing; what asks it anything fails in a way of its own."""

    def __str__(self) -> str:
        return "odd"


ODD: tuple[Any, ...] = (5, 5.5, True, b"bytes", [], {}, Odd(), Odd, "")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("world")
    with Devstack(root / "sigstore") as stack:
        yield World(root, stack)


@pytest.fixture(scope="module")
def active(world: World) -> tuple[Gate, Any, Path]:
    """A gate and a model with two adapters on it, and the gate's log. No test changes them."""
    log = world.root / "log"
    gate = world.gate(log)
    items = [StackItem(adapter=world.adapter, adapter_name=name) for name in ("one", "two")]
    return gate, gate.activate_stack(llama(), items, context=PRODUCTION), log


def but(known: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**known, name: value}


def wrong(values: tuple[Any, ...], *right: type) -> list[Any]:
    """Those that are of none of these types: True is an int only where one asks Python."""
    return [one for one in values if type(one) not in right]


def refused(ask: Callable[[], object]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        ask()
    assert str(caught.value)
    return caught.value


def recorded(log: Path) -> bool:
    """Whether anything is in a log."""
    return any(True for _ in Recorder.open(log).records())


# Name of the argument -> types that it may have after all, of those in ODD.
ACTIVATE: Mapping[str, tuple[type, ...]] = {
    "model": (),
    "adapter": (str,),
    "context": (),
    "manifest": (bytes, str),
    "evidence": (list,),
    "options": (),
}


@pytest.mark.parametrize("argument", ACTIVATE)
def test_activate(world: World, active: tuple[Gate, Any, Path], argument: str) -> None:
    gate, _, log = active
    before, model = phases(log), llama()
    right = ACTIVATE[argument]
    for value in [*wrong(ODD, *right), *([[5]] if argument == "evidence" else [])]:
        given = but({"model": model, "adapter": world.adapter, "context": PRODUCTION}, argument, value)
        refused(lambda given=given: gate.activate(given.pop("model"), given.pop("adapter"), **given))
    assert phases(log) == before
    assert untouched(model)


STACK: Mapping[str, tuple[type, ...]] = {"model": (), "items": (), "context": (), "options": (), "combine": ()}


@pytest.mark.parametrize("argument", STACK)
def test_activate_stack(world: World, active: tuple[Gate, Any, Path], argument: str) -> None:
    gate, _, log = active
    before, model = phases(log), llama()
    items = [StackItem(adapter=world.adapter, adapter_name="one")]
    for value in wrong((*ODD, [5], [None]), *STACK[argument]):
        given = but({"model": model, "items": items, "context": PRODUCTION}, argument, value)
        refused(lambda given=given: gate.activate_stack(given.pop("model"), given.pop("items"), **given))
    assert phases(log) == before
    assert untouched(model)


@pytest.mark.parametrize("argument", ["model", "adapter_name", "context"])
def test_deactivate(active: tuple[Gate, Any, Path], argument: str) -> None:
    gate, model, log = active
    before = phases(log)
    for value in (*ODD, [[]], None) if argument != "context" else ODD:
        given = but({"model": model, "adapter_name": "one"}, argument, value)
        refused(lambda given=given: gate.deactivate(**given))
    assert phases(log) == before
    gate.check(model).require()


MIX: Mapping[str, Any] = {"adapters": ["one", "two"], "weights": [0.5, 0.5], "adapter_name": "mix"}
MIXING: Mapping[str, tuple[type, ...]] = {
    "model": (),
    "adapters": (),
    "weights": (),
    "adapter_name": (str,),  # the empty one is refused, on record, with all other names that PEFT cannot have
    "combination_type": (),
    "context": (),
    "svd_rank": (int,),
    "svd_clamp": (),
    "svd_full_matrices": (bool,),
    "svd_driver": (),
    "density": (),
    "majority_sign_method": (),
}


@pytest.mark.parametrize("argument", MIXING)
def test_add_weighted_adapter(active: tuple[Gate, Any, Path], argument: str) -> None:
    gate, model, log = active
    before = phases(log)
    for value in wrong((*ODD, [[], []], [5, 5], ["one", 5]), *MIXING[argument]):
        if argument == "weights" and value == [5, 5]:
            continue
        given = but({"model": model, **MIX, "context": PRODUCTION}, argument, value)
        refused(lambda given=given: gate.add_weighted_adapter(**given))
    assert phases(log) == before
    gate.check(model).require()


@pytest.mark.parametrize("argument", ["model", "context", "safe_merge", "adapter_names"])
def test_merge_and_unload(active: tuple[Gate, Any, Path], argument: str) -> None:
    gate, model, log = active
    before = phases(log)
    for value in wrong((*ODD, [[]], [5], "one"), *([bool] if argument == "safe_merge" else [])):
        given = but({"model": model, "context": PRODUCTION}, argument, value)
        refused(lambda given=given: gate.merge_and_unload(**given))
    assert phases(log) == before
    gate.check(model).require()


@pytest.mark.parametrize("argument", ["model", "context"])
def test_check(active: tuple[Gate, Any, Path], argument: str) -> None:
    gate, model, log = active
    before = phases(log)
    for value in ODD:
        refused(lambda value=value: gate.check(**but({"model": model}, argument, value)))
    assert phases(log) == before


@pytest.mark.parametrize("argument", ["policy", "trust_root", "recorder", "clock"])
def test_gate(world: World, argument: str, tmp_path: Path) -> None:
    known = {"policy": world.policy(), "trust_root": world.trust, "recorder": Recorder.open(tmp_path / "log")}
    for value in [one for one in ODD if not (argument == "clock" and one is Odd)]:
        refused(lambda value=value: Gate(**but(known, argument, value)))


@pytest.mark.parametrize("told", [5, None, "now", datetime(2026, 11, 22)], ids=str)  # noqa: DTZ001
def test_a_clock_that_tells_no_time(world: World, tmp_path: Path, told: Any) -> None:
    gate, model = world.gate(tmp_path / "log", clock=lambda: told), llama()
    assert "time zone" in str(refused(lambda: gate.activate(model, world.adapter, context=PRODUCTION)))
    assert not recorded(tmp_path / "log")
    assert untouched(model)


WHOLE: Mapping[str, tuple[type, ...]] = {
    "model": (),
    "adapter": (str,),
    "policy": (),
    "context": (),
    "manifest": (bytes, str),
    "evidence": (list,),
    "trust_root": (),
    "log": (),
    "adapter_name": (str,),  # the empty one is refused, on record
    "is_trainable": (bool,),
    "torch_device": (str,),
    "autocast_adapter_dtype": (bool,),
    "low_cpu_mem_usage": (bool,),
}


@pytest.mark.parametrize("argument", WHOLE)
def test_verify_and_load(world: World, tmp_path: Path, argument: str) -> None:
    model = llama()
    known = {
        "model": model,
        "adapter": world.adapter,
        "policy": world.policy(),
        "context": PRODUCTION,
        "trust_root": world.trust,
        "log": tmp_path / "log",
    }
    for value in wrong(ODD, *WHOLE[argument]):
        refused(lambda value=value: verify_and_load(**but(known, argument, value)))
    assert not recorded(tmp_path / "log")
    assert untouched(model)


def of_class(make: Any, known: Mapping[str, Any], **right: tuple[type, ...]) -> Any:
    return pytest.param(make, known, right, id=getattr(make, "__name__", str(make)))


TOKEN = {
    "token": "a.b.c",
    "issuer": "https://idp.example",
    "audience": "me",
    "keys": b"{}",
    "now": datetime.now(UTC),
}
CLASSES = [
    of_class(
        LoadOptions,
        {},
        adapter_name=(str,),
        is_trainable=(bool,),
        torch_device=(str,),
        autocast_adapter_dtype=(bool,),
        low_cpu_mem_usage=(bool,),
    ),
    of_class(
        StackItem,
        {"adapter": "there", "adapter_name": "one"},
        adapter=(str,),
        adapter_name=(str,),
        manifest=(bytes, str),
        evidence=(list,),
    ),
    of_class(
        Combination,
        {"adapter_name": "mix"},
        adapter_name=(str,),
        combination_type=(),
        svd_rank=(int,),
        svd_clamp=(),
        svd_full_matrices=(bool,),
        svd_driver=(),
        density=(),
        majority_sign_method=(),
    ),
    of_class(
        Context,
        {"environment": "production"},
        environment=(),
        region=(),
        operator=(),
        system_prompt=(str,),
        policy_class=(),
        session=(dict,),
    ),
    of_class(IdentityPattern, {"issuer": "https://idp.example", "identity": "a@b.example"}, issuer=(), identity=()),
    of_class(
        SignedPolicy,
        {
            "path": "there",
            "name": "it",
            "signer": IdentityPattern(issuer="https://idp.example", identity="a@b.example"),
        },
        path=(),
        name=(),
        signer=(),
        least_revision=(int,),
    ),
    of_class(OperatorKeys, {"issuer": "https://idp.example"}, issuer=(), max_age=(), clock=(type,)),
    of_class(RevisionStore, {"directory": "there"}, directory=()),
    of_class(
        ReloadingPolicy, {"demand": "there"}, demand=(), trust_root=(), seen=(), clock=(type,), every=(int, float)
    ),
    of_class(Policy.load, {"path": "there"}, path=()),
    of_class(Policy.parse, {"data": b""}, data=(bytes,), name=(str,)),
    of_class(
        verify_operator, TOKEN, issuer=(str,), audience=(str,), keys=(bytes,), now=(), leeway=(), max_lifetime=()
    ),
]


@pytest.mark.parametrize("kinds", [int, float, (int, float), (str, int)])
def test_true_is_a_number_only_where_it_is_asked_for(kinds: Any) -> None:
    for value in (True, False):
        assert "wrong type" in str(refused(lambda value=value: check_kind("it", value, kinds, "a number")))
        check_kind("it", value, bool, "a truth")
        check_kind("it", value, (int, bool), "a number or a truth")


def test_true_is_no_time_to_wait_for_an_answer() -> None:
    refused(lambda: OpaServer("https://opa.example", total=True))


@pytest.mark.parametrize(("make", "known", "right"), CLASSES)
def test_what_is_made_by_hand(make: Any, known: Mapping[str, Any], right: Mapping[str, tuple[type, ...]]) -> None:
    for argument, types in right.items():
        for value in wrong((*ODD, timedelta), *types):
            refused(lambda argument=argument, value=value: make(**but(known, argument, value)))


def test_every_public_name_that_takes_arguments_is_in_these_tables() -> None:
    told = {"CheckReport", "VerifiedOperator", "enforce"}  # given, and not made; and of no arguments
    tested = {getattr(param.values[0], "__qualname__", "").split(".")[0] for param in CLASSES}
    assert set(skillwarrant_verify.__all__) - told == tested | {"Gate", "verify_and_load"}


class Place:
    """A path in a way of its own."""

    def __init__(self, place: Any) -> None:
        self.place = place

    def __fspath__(self) -> Any:
        return self.place

    def __repr__(self) -> str:
        return f"Place({self.place!r})"


@pytest.mark.parametrize("text", ["", "a\0b", "\ud800", Place(b"a"), Place("")], ids=repr)
@pytest.mark.parametrize("argument", ["adapter", "manifest", "evidence"])
def test_what_is_no_path_is_refused_on_record(world: World, tmp_path: Path, argument: str, text: Any) -> None:
    model = llama()
    given = but({"adapter": world.adapter}, argument, [text] if argument == "evidence" else text)
    refused(lambda: world.gate(tmp_path / "log").activate(model, context=PRODUCTION, **given))
    assert phases(tmp_path / "log") == ["refused"]
    assert untouched(model)


def test_the_current_directory_is_no_adapter_of_an_empty_name(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.adapter)
    with pytest.raises(UsageError, match="no path"):
        world.gate(tmp_path / "log").activate(llama(), "", context=PRODUCTION)
