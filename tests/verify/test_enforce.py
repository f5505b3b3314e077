"""Enforcement: no door is open but the gate's, whoever holds it, in this process and in those it starts.

What would leak out of a test is played in processes of its own (`enforced.py`); in this one only functions of these
tests are closed.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skillwarrant_devstack import Devstack
from skillwarrant_format.errors import NotWarranted, Unavailable
from skillwarrant_verify.enforcing.guard import close
from skillwarrant_verify.enforcing.late_import import AfterImport
from skillwarrant_verify.passage import passage
from tiny import llama, write_lora
from world import World, phases

HERE = Path(__file__).parent
SCENES = HERE / "enforced.py"
PAGE = HERE.parents[1] / "docs" / "how-to" / "enforce.md"
METHODS = 45


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("SKILLWARRANT_")}
    return subprocess.run(
        [sys.executable, *command],
        env={**known, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )


def play(scene: str, *arguments: object, **environment: str) -> Any:
    done = run(str(SCENES), scene, *map(str, arguments), **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# --- every method of PEFT, every door --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return play("matrix", tmp_path_factory.mktemp("matrix"))


def test_no_method_of_peft_gets_onto_a_model_by_any_door_and_the_model_is_as_it_was(matrix: Any) -> None:
    assert len(matrix["enforced"]) == METHODS
    open_doors = {
        (method, door, told)
        for method, doors in matrix["enforced"].items()
        for door, told in doors.items()
        if told != "refused"
    }
    assert not open_doors
    assert sum(map(len, matrix["enforced"].values())) > 400


def test_the_same_doors_are_open_without_enforcement(matrix: Any) -> None:
    """Otherwise the test above would prove nothing. PEFT itself refuses some, for reasons of its own."""
    opened = {
        door: {method for method, doors in matrix["free"].items() if doors.get(door) == "opened"}
        for door in next(iter(matrix["free"].values()))
    }
    everything = set(matrix["free"])
    for door in ("get_peft_model", "from_pretrained", "PeftModel", "state_dict"):
        assert opened[door] == everything, door
    for door in ("load_adapter", "add_adapter"):
        assert everything - opened[door] == {"XLORA"}, door
    assert everything - opened["tuner"] == {
        "CARTRIDGE",
        "CPT",
        "MULTITASK_PROMPT_TUNING",
        "P_TUNING",
        "PREFIX_TUNING",
        "PROMPT_TUNING",
    }
    assert len(opened["inject_adapter_in_model"]) >= 30
    assert len(opened["inject_adapter"]) >= 36


# --- the other doors -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return play("others", tmp_path_factory.mktemp("others"))


def test_transformers_hotswap_combinations_references_and_subclasses_are_refused(others: Any) -> None:
    doors = others["doors"]
    assert {name: told for name, told in doors.items() if told != "refused"} == {}
    assert len(doors) >= 28


def test_a_tuner_that_leaves_out_all_of_pefts_own_doors_works_without_enforcement(others: Any) -> None:
    assert others["sly before"] == "opened"


def test_what_is_written_past_every_door_is_found_by_measuring_but_not_what_a_forward_calls(others: Any) -> None:
    assert others["written"] == {
        "load_state_dict": "measured",
        "data": "measured",
        "a module of one's own": "measured",
        "a hook": "seen",
        "a forward": "seen",
        "a parametrization": "measured",
        "a class": "seen",
        "what a forward calls": "unseen",
    }


def test_diffusers_doors_are_closed_and_every_door_that_we_know_is_there(tmp_path: Path) -> None:
    told = play("images", tmp_path)
    assert set(told["free"].values()) == {"opened"}
    assert {name: each for name, each in told["enforced"].items() if each != "refused"} == {}
    assert told["awaited"] == []


# --- the gate --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("world")
    with Devstack(root / "sigstore") as stack:
        yield World(root, stack)


@pytest.fixture(scope="module")
def gate(world: World) -> Any:
    world.signed("adapter")
    world.signed("second", seed=2)
    (world.root / "policy.toml").write_text(world.policy_text())
    return play("gate", world.root)


def test_importing_everything_of_ours_patches_nothing_until_enforce_is_called(gate: Any) -> None:
    functions, imported, enforced = gate["functions"]
    assert functions > 2000
    assert imported == 0
    assert enforced > 60


def test_the_gate_loads_as_before_and_nothing_gets_in_beside_it(world: World, gate: Any) -> None:
    told = {name: each for name, each in gate.items() if name not in {"functions", "gate", "findings"}}
    past = told.pop("past the gate")
    assert past.pop("an unsigned one at the gate").startswith("ManifestMissing")
    assert set(past.values()) == {"refused"}, past
    assert told.pop("two") == ["default", "second"]
    assert set(told.values()) == {True}, told
    assert {"activated", "refused"} <= set(phases(world.root / "log"))


def test_every_operation_of_the_gate_works(gate: Any) -> None:
    assert gate["gate"] == ["adapter", "mix", "second", "LlamaForCausalLM"]


def test_what_is_written_onto_a_gates_model_is_found_by_its_check(gate: Any) -> None:
    assert gate["findings"] == {
        "nothing": [],
        "the base": ["base.unchanged"],
        "the adapter": ["adapter.unchanged"],
        "a hook": ["base.unaltered"],
        "a layer's parts": ["adapter.not-revoked", "adapters.known"],
    }


# --- a program that knows nothing of us ------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The sitecustomize of the documentation."""
    recipe = re.compile(r"cat > site/sitecustomize.py <<'EOF'\n(.*?)^EOF$", re.MULTILINE | re.DOTALL)
    found = recipe.search(PAGE.read_text())
    assert found
    directory = tmp_path / "site"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(found[1])
    return directory


def test_a_program_that_knows_nothing_is_enforced_by_its_environment_and_so_are_its_children(
    tmp_path: Path, site: Path
) -> None:
    model = llama(tie_word_embeddings=False)
    model.save_pretrained(tmp_path / "base")
    write_lora(tmp_path / "lora", model)
    config = tmp_path / "lora" / "adapter_config.json"
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": str(tmp_path / "base")})
    )
    told = play("unknowing", tmp_path, PYTHONPATH=f"{site}{os.pathsep}{HERE}", SKILLWARRANT_ENFORCE="1")
    assert told.pop("imported before") == "[]"
    assert set(told) == {"peft", "transformers", "by itself", "child", "fork"}
    assert set(told.values()) == {"refused"}, told


NOTHING = "import sys; print('went on'); sys.exit(bool({'torch', 'peft', 'numpy'} & set(sys.modules)))"
HOOKED = "import sys; print(any('AfterImport' in type(finder).__name__ for finder in sys.meta_path))"


@pytest.mark.parametrize("value", ["", "0"])
def test_no_and_nothing_mean_no(value: str, site: Path) -> None:
    done = run("-c", HOOKED, PYTHONPATH=str(site), SKILLWARRANT_ENFORCE=value)
    assert done.stdout == "False\n", done.stderr
    done = run("-c", f"import skillwarrant_verify; {HOOKED}", SKILLWARRANT_ENFORCE=value)
    assert done.stdout == "False\n", done.stderr


def test_the_environment_is_read_at_the_import_too_and_imports_nothing_heavy(site: Path) -> None:
    assert run("-c", f"import skillwarrant_verify; {HOOKED}", SKILLWARRANT_ENFORCE="1").stdout == "True\n"
    done = run("-c", NOTHING, PYTHONPATH=str(site), SKILLWARRANT_ENFORCE="1")
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr


@pytest.mark.parametrize("value", ["true", "yes", "off", " 1", "2"])
def test_a_value_that_is_not_known_enforces_and_says_so(value: str) -> None:
    code = f"try:\n    import skillwarrant_verify\nexcept Exception as error:\n    print(error)\n{HOOKED}"
    done = run("-c", code, SKILLWARRANT_ENFORCE=value)
    assert "expected 1, 0 or nothing" in done.stdout
    assert done.stdout.endswith("True\n"), done.stderr


def test_python_does_not_start_where_the_environment_cannot_be_met(site: Path) -> None:
    done = run("-c", "print('went on')", PYTHONPATH=str(site), SKILLWARRANT_ENFORCE="yes")
    assert done.returncode != 0
    assert done.stdout == ""
    assert "SKILLWARRANT_ENFORCE cannot be met" in done.stderr
    without_us = run("-I", "-c", f"exec(open({str(site / 'sitecustomize.py')!r}).read())", SKILLWARRANT_ENFORCE="0")
    assert without_us.returncode == 0, without_us.stderr


# --- versions that are not known -------------------------------------------------------------------------------


def write_package(root: Path, **modules: str) -> Path:
    for name, text in modules.items():
        root.mkdir(exist_ok=True)
        (root / f"{name}.py").write_text(text)
    return root


@pytest.mark.parametrize("version", ["0.20.9", "0.22.0", "1.0.0", "0.210.0"])
@pytest.mark.parametrize("order", ["import peft.mapping; {}", "{}; import peft.mapping"])
def test_a_version_of_peft_whose_doors_are_not_known_is_refused(tmp_path: Path, version: str, order: str) -> None:
    package = tmp_path / "peft"
    write_package(package, __init__=f"__version__ = '{version}'", mapping="def inject_adapter_in_model(): pass")
    code = order.format("import skillwarrant_verify.enforcing.enforcement as it; it.enforce()")
    done = run("-c", code, PYTHONPATH=str(tmp_path))
    assert done.returncode != 0
    assert "Unavailable: the doors of this version of PEFT are not known" in done.stderr
    assert f"found {version}" in done.stderr


@pytest.mark.parametrize("text", ["", "inject_adapter_in_model = 5", "class inject_adapter_in_model: pass"])
def test_a_door_that_is_missing_or_is_no_function_is_refused(tmp_path: Path, text: str) -> None:
    write_package(tmp_path / "peft", __init__="__version__ = '0.21.9'", mapping=text)
    code = """
import skillwarrant_verify.enforcing.enforcement as it
it.enforce()
for _ in range(2):
    try:
        import peft.mapping
    except Exception as error:
        print(error)
"""
    done = run("-c", code, PYTHONPATH=str(tmp_path))
    assert done.stdout.count("expected peft.mapping.inject_adapter_in_model") == 2, done.stdout + done.stderr


def test_a_reloaded_module_and_one_imported_anew_are_closed_again(tmp_path: Path) -> None:
    write_package(
        tmp_path / "peft",
        __init__="__version__ = '0.21.9'",
        mapping="def inject_adapter_in_model(): return 'open'",
    )
    code = """
import importlib, sys
import peft.mapping
from skillwarrant_verify import enforce
from skillwarrant_format import NotWarranted
old = peft.mapping.inject_adapter_in_model
def told(function):
    try:
        return function()
    except NotWarranted:
        return "closed"
told_before = told(old)
enforce()
importlib.reload(peft.mapping)
new = peft.mapping.inject_adapter_in_model
del sys.modules["peft.mapping"]
anew = importlib.import_module("peft.mapping").inject_adapter_in_model
print(told_before, told(old), told(new), told(anew), len({old, new, anew}))
"""
    assert run("-c", code, PYTHONPATH=str(tmp_path)).stdout == "open closed closed closed 3\n"


def test_a_module_that_is_half_imported_is_refused(tmp_path: Path) -> None:
    text = (
        "import skillwarrant_verify.enforcing.enforcement as it; it.enforce()\ndef inject_adapter_in_model(): pass"
    )
    write_package(tmp_path / "peft", __init__="__version__ = '0.21.9'", mapping=text)
    done = run("-c", "import peft.mapping", PYTHONPATH=str(tmp_path))
    assert "Unavailable: peft.mapping is half imported" in done.stderr


def test_an_import_that_another_thread_is_at_is_waited_for(tmp_path: Path) -> None:
    text = "import time; time.sleep(0.3)\ndef inject_adapter_in_model(): return 'open'"
    write_package(tmp_path / "peft", __init__="__version__ = '0.21.9'", mapping=text)
    code = """
import sys, threading, time
thread = threading.Thread(target=__import__, args=["peft.mapping"])
thread.start()
while "peft.mapping" not in sys.modules:
    time.sleep(0.01)
from skillwarrant_verify import enforce
print(enforce().doors)
"""
    assert run("-c", code, PYTHONPATH=str(tmp_path)).stdout == "('peft.mapping.inject_adapter_in_model',)\n"


# --- closing a function ----------------------------------------------------------------------------------------


class Base:
    def __init__(self, one: int, *, two: int = 2) -> None:
        self.seen = (one, two)


class Derived(Base):
    def __init__(self, one: int, three: int = 3, *, two: int = 2) -> None:
        super().__init__(one, two=two)
        self.three = three

    @classmethod
    def make(cls, *, args: int, number: int = 7) -> tuple[type, int, int]:
        return cls, args, number


@pytest.fixture
def fresh() -> type[Derived]:
    """Classes of one test's own: what is closed stays closed."""
    code = inspect.getsource(Base) + "\n" + inspect.getsource(Derived)
    names: dict[str, Any] = {}
    exec(f"from __future__ import annotations\n{code}", names)  # noqa: S102
    made: type[Derived] = names["Derived"]
    return made


def test_a_closed_method_refuses_and_in_a_passage_does_what_it_did(fresh: type[Derived]) -> None:
    held = fresh.__init__
    signature = inspect.signature(fresh)
    close("it", fresh.__init__)  # type: ignore[arg-type]
    for attempt in (lambda: fresh(1), lambda: held(object.__new__(fresh), 1), functools.partial(fresh, 1)):
        with pytest.raises(NotWarranted, match="found it") as refused:
            attempt()
        assert "verify_and_load" in str(refused.value.fix)
    with passage():
        made = fresh(1, two=5)
        assert (made.seen, made.three, fresh(one=2, three=9).three) == ((1, 5), 3, 9)
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'one'"):
            fresh()  # type: ignore[call-arg]
    assert inspect.signature(fresh) == signature


def test_a_classmethods_parameters_may_have_any_name(fresh: type[Derived]) -> None:
    close("it", vars(fresh)["make"].__func__)
    with pytest.raises(NotWarranted):
        fresh.make(args=1)
    with passage():
        assert fresh.make(args=1) == (fresh, 1, 7)


def test_closing_again_does_nothing_and_closes_what_somebody_opened(fresh: type[Derived]) -> None:
    function: Any = vars(fresh)["make"].__func__
    before = function.__code__
    close("it", function)
    guard = function.__code__
    close("it", function)
    assert function.__code__ is guard
    function.__code__ = before
    assert fresh.make(args=1)
    close("it", function)
    with pytest.raises(NotWarranted):
        fresh.make(args=1)
    with passage():
        assert fresh.make(args=2) == (fresh, 2, 7)


def test_many_threads_close_one_function_once(fresh: type[Derived]) -> None:
    function: Any = vars(fresh)["make"].__func__
    threads = [threading.Thread(target=close, args=("it", function)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with passage():
        assert fresh.make(args=1) == (fresh, 1, 7)


def test_a_function_of_another_kind_cannot_be_closed_and_stays_as_it_was() -> None:
    one, two = 1, 2

    def closure() -> int:
        return one + two

    with pytest.raises(Unavailable, match="closure with 2 outer variables"):
        close("closure", closure)  # type: ignore[arg-type]
    assert closure() == 3


def test_a_refusal_is_logged_with_the_place_of_the_caller(
    fresh: type[Derived], caplog: pytest.LogCaptureFixture
) -> None:
    close("the door", vars(fresh)["make"].__func__)
    with pytest.raises(NotWarranted):
        fresh.make(args=1)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("skillwarrant.enforce", "WARNING")
    assert record.getMessage() == "refused past the gate: the door"
    assert record.pathname == __file__


def test_a_passage_is_one_threads_own_and_ends_with_its_block(fresh: type[Derived]) -> None:
    close("it", vars(fresh)["make"].__func__)
    told: list[object] = []

    def elsewhere() -> None:
        try:
            told.append(fresh.make(args=1))
        except NotWarranted as error:
            told.append(error.found)

    with passage():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        with passage():
            assert fresh.make(args=1)
        assert fresh.make(args=1)
    assert told == ["it"]
    with pytest.raises(RuntimeError), passage():
        raise RuntimeError
    with pytest.raises(NotWarranted):
        fresh.make(args=1)


# --- seeing what is imported -----------------------------------------------------------------------------------


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    write_package(tmp_path, sw_watched="value = 1", sw_other="value = 2", sw_broken="raise ZeroDivisionError")
    monkeypatch.syspath_prepend(str(tmp_path))
    seen: list[Any] = []
    hook = AfterImport(lambda name: name in {"sw_watched", "sw_broken", "sw_absent"}, seen.append)
    sys.meta_path.insert(0, hook)
    yield seen
    sys.meta_path.remove(hook)
    for name in ("sw_watched", "sw_other"):
        sys.modules.pop(name, None)


def test_a_watched_module_is_seen_once_whole_and_has_its_own_loader(watched: list[Any]) -> None:
    importlib.import_module("sw_other")
    assert watched == []
    module = importlib.import_module("sw_watched")
    importlib.import_module("sw_watched")
    assert watched == [module]
    assert module.value == 1
    assert type(module.__loader__).__name__ == type(module.__spec__.loader).__name__ == "SourceFileLoader"
    assert inspect.getsource(module).strip() == "value = 1"
    importlib.reload(module)
    assert watched == [module, module]


def test_what_fails_to_import_is_not_seen(watched: list[Any]) -> None:
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("sw_broken")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("sw_absent")
    assert watched == []


def test_what_the_action_raises_the_import_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path, sw_refused="value = 1")
    monkeypatch.syspath_prepend(str(tmp_path))

    def refuse(module: Any) -> None:
        raise Unavailable(module.__name__)

    hook = AfterImport("sw_refused".__eq__, refuse)
    monkeypatch.setattr(sys, "meta_path", [hook, *sys.meta_path])
    with pytest.raises(Unavailable, match="sw_refused"):
        importlib.import_module("sw_refused")
    assert "sw_refused" not in sys.modules
