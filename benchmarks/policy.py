"""Deciding: a native policy of 60 lines on an input of 5 KB, against the same policy in Rego.

Three ways lead to a decision. A gate has facts: native decides of them, and an engine must be given their document.
A test has a parsed document: native reads it strictly first, every field of it; an engine takes it as it is. A
service has JSON text: native parses it strictly and reads it strictly; an engine is given the text.

Two policies in Rego, in each engine's own quickest way of being given them:

* policies/policy.rego, as one would write it: it trusts its input, and answers with words;
* tests/policies/differential, the policy that differential fuzzing holds to native's own answers, for the same
  requirements: it refuses what is malformed too. Only that one does the same work, and only regorus runs it.

Engines, all in this process: regorus (the pinned engine of the extra `rego`), another build of regorus
(celine-regorus), OPA itself (opa-golib-python-bindings, OPA's own Go library), and rego-cpp (regopy). What is not
installed is put into a directory of its own on first use; what does not decide as it should is left out by name.
hobofan-regorus 0.2.5 and opa-eval 0.1.1 cannot evaluate this policy's glob.match, lakera-regorus 0.1.0 gives no
rule's value, and the readers of OPA's WebAssembly need OPA's own compiler: none of those can run it.

Times are interleaved. `cpu` is processor time of the process for each decision, which others on the machine hardly
change; ratios are of it. Wall time, of all threads together, is in the decisions a second.

    python -m benchmarks.policy [--json FILE] [--rounds N]
"""

from __future__ import annotations

import argparse
import copy
import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from benchmarks.harness import ROOT, Figure, compare, report

HERE: Final = ROOT / "benchmarks" / "policies"
STRICT: Final = ROOT / "tests" / "policies" / "differential"
OTHERS: Final = ROOT / ".cache" / "bench" / "policy"
PACKAGES: Final = (
    "celine-regorus==0.9.1.post20260227075446",
    "opa-golib-python-bindings==0.4.4",
    "regopy==1.5.2",
)
CASES: Final = 100
STRICTEST: Final = "regorus, strict"
SAME: Final = "the same work"
WAYS: Final = {"facts": "from facts", "document": "from a parsed document", "text": "from JSON text"}

Decide = Callable[[], bool]
"""One decision of the input of this benchmark: whether it is allowed."""
Maker = Callable[[str, Any], Decide]
"""From a way and an input document to a ready engine: a policy loaded, a module compiled."""


def document() -> Any:
    """The input of the differential tests without its evidence, of which this policy asks nothing."""
    found = json.loads((STRICT / "input.json").read_text())
    return {**found, "evidence": []}


def trusting() -> dict[str, str]:
    return {"policy.rego": (HERE / "policy.rego").read_text()}


def strict() -> dict[str, str]:
    return {file.name: file.read_text() for file in sorted(STRICT.glob("*.rego"))}


def config() -> Any:
    from skillwarrant_verify.policy import Policy

    return Policy.load(HERE / "policy.toml").document


def native(way: str, given: Any) -> Decide:
    from skillwarrant_format.strict_json import loads
    from skillwarrant_verify.deciding.decide import decide, decide_document
    from skillwarrant_verify.deciding.decision_input import from_document
    from skillwarrant_verify.policy import Policy

    policy = Policy.load(HERE / "policy.toml")
    if way == "facts":
        facts = from_document(given)
        return lambda: decide(policy, facts).outcome == "allow"
    if way == "document":
        return lambda: decide_document(policy, given).outcome == "allow"
    text = json.dumps(given).encode()
    return lambda: decide_document(policy, loads(text, what="input")).outcome == "allow"


def worker(way: str, given: Any) -> Decide:
    """The product's own adapter: the pinned engine in a process of its own, and what it gives read strictly."""
    from skillwarrant_verify.rego.modules import RegoModules

    modules = RegoModules.load({name: text.encode() for name, text in trusting().items()})
    given_config = config()
    return fed(way, given, lambda found: not modules.evaluate(found, given_config).denials, json.loads)


def regorus(modules: Callable[[], Mapping[str, str]], load: Callable[[], ModuleType]) -> Maker:
    """A build of regorus itself."""

    def made(way: str, given: Any) -> Decide:
        engine: Any = load().Engine()
        for name, text in modules().items():
            engine.add_policy(name, text)
        engine.add_data_json(json.dumps({"config": config()}))

        def ask(give: Callable[[Any], None], found: Any) -> bool:
            give(found)
            return bool(json.loads(engine.eval_rule_as_json("data.skillwarrant.deny")) == [])

        if way == "text":
            text = json.dumps(given)
            return lambda: ask(engine.set_input_json, text)
        return fed(way, given, lambda found: ask(engine.set_input, found), json.loads)

    return made


def pinned() -> ModuleType:
    return importlib.import_module("regorus")


def other_build() -> ModuleType:
    """celine-regorus: a module of the same name, so by its place."""
    place = OTHERS / "regorus" / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        "celine_regorus", place, submodule_search_locations=[str(place.parent)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(str(place))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def opa(way: str, given: Any) -> Decide:
    """OPA's library, which keeps the prepared query."""
    from opa_bindings import OpaEngine

    engine = OpaEngine()
    for name, text in trusting().items():
        engine.add_policy(name, text)
    engine.add_data(config(), path="config")
    return fed(way, given, lambda found: engine.eval_document("skillwarrant.deny", found) == [], json.loads)


def rego_cpp(way: str, given: Any) -> Decide:
    """rego-cpp; interpreted anew at each query."""
    from regopy import Interpreter

    engine = Interpreter()
    for name, text in trusting().items():
        engine.add_module(name, text)
    engine.add_data({"config": config()})

    def ask(found: Any) -> bool:
        engine.set_input(found)
        return bool(json.loads(str(engine.query("data.skillwarrant.deny")))["expressions"] == [[]])

    return fed(way, given, ask, json.loads)


def fed(way: str, given: Any, ask: Callable[[Any], bool], parse: Callable[[str], Any]) -> Decide:
    """An engine that takes a parsed document: facts are written as one first, and text is parsed."""
    if way == "document":
        return lambda: ask(given)
    if way == "text":
        text = json.dumps(given)
        return lambda: ask(parse(text))
    from skillwarrant_verify.deciding.decision_input import from_document, to_document

    facts = from_document(given)
    return lambda: ask(to_document(facts))


def engines() -> dict[str, Maker]:
    """Native, and the Rego engines that run here and decide as they should."""
    for package in PACKAGES:  # each by itself: what one of them lacks does not keep the other away
        name = package.partition("==")[0].replace("-", "_")
        if not any(OTHERS.glob(f"{name}-*.dist-info")):
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-requires-python"]
            subprocess.run([*command, "--target", OTHERS, package], check=False)
    sys.path.append(str(OTHERS))
    check("native", native)
    check("the Rego worker", worker)
    found: dict[str, Maker] = {"native": native}
    for name, make in (
        ("regorus", regorus(trusting, pinned)),
        ("regorus (celine)", regorus(trusting, other_build)),
        ("OPA", opa),
        ("rego-cpp", rego_cpp),
        (STRICTEST, regorus(strict, pinned)),
    ):
        try:
            check(name, make)
        except (ImportError, OSError, AssertionError) as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
        else:
            found[name] = make
    return found


def wrong() -> Iterator[tuple[str, Any]]:
    """Inputs that every engine must deny."""
    for path, value in (
        (("warrant", "signer", "identity"), "https://github.com/mallory/skills/.github/workflows/release.yml@v1"),
        (("context", "environment"), "development"),
        (("adapter", "rank"), 65),
        (("base", "fingerprint", "digest", "sha256"), "0" * 64),
        (("now",), "2029-01-01T00:00:00Z"),
        (("weight",), 1.5),
    ):
        changed = copy.deepcopy(document())
        inside = changed
        for step in path[:-1]:
            inside = inside[step]
        inside[path[-1]] = value
        yield ".".join(path), changed


def check(name: str, make: Maker) -> None:
    """It decides as it should, however it is given the input."""
    for way in WAYS:
        assert make(way, document())(), f"{name} denies the input"
        for what, given in wrong():
            assert not make(way, given)(), f"{name} allows a wrong {what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One engine, one way, so many threads. Times are milliseconds.

    Args:
        wall: of one decision, all threads together.
        cpu: processor time of one decision.
        first: of the first decision of a loaded policy, processor time.
    """

    engine: str
    way: str
    threads: int
    wall: float
    cpu: float
    first: float


def measure(makers: Mapping[str, Maker], way: str, threads: int, rounds: int) -> list[Row]:
    """All engines in turn, round after round, each thread with an engine of its own; medians."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in makers}
    counts = {name: max(1, int(0.02 / seconds(make, way))) for name, make in makers.items()}
    works = {name: shared(threads, make, way) for name, make in makers.items()}
    with ThreadPoolExecutor(threads) as pool:
        for turn in range(rounds + 1):
            for name, work in works.items():
                count = counts[name]
                wall, cpu = spent(partial(work, pool, count))
                if turn:  # the first makes the engines
                    times[name].append((wall / count / threads, cpu / count / threads))
    firsts = {name: statistics.median(first(make, way) for _ in range(5)) for name, make in makers.items()}
    return [
        Row(
            engine=name,
            way=way,
            threads=threads,
            wall=statistics.median(wall for wall, _ in found),
            cpu=statistics.median(cpu for _, cpu in found),
            first=firsts[name],
        )
        for name, found in times.items()
    ]


def shared(threads: int, make: Maker, way: str) -> Callable[[ThreadPoolExecutor, int], None]:
    """So many decisions in each thread of a pool, with an engine of its own, which ends where it began."""
    own, together = threading.local(), threading.Barrier(threads)

    def some(count: int) -> None:
        together.wait()  # so that each thread takes one share
        if not hasattr(own, "decide"):
            own.decide = make(way, document())
        for _ in range(count):
            assert own.decide()

    def all_of_them(pool: ThreadPoolExecutor, count: int) -> None:
        for done in [pool.submit(some, count) for _ in range(threads)]:
            done.result()

    return all_of_them


def spent(work: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of wall and of processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000


def seconds(make: Maker, way: str) -> float:
    """About what one decision takes."""
    decide = make(way, document())
    decide()
    return min(spent(decide)[0] for _ in range(3)) / 1000


def first(make: Maker, way: str) -> float:
    decide = make(way, document())
    return spent(decide)[1]


def table(rows: list[Row]) -> None:
    """For people: how many times as fast as each engine native is, by processor time."""
    print(f"{'':<24} {'engine':<18} {'threads':>7} {'decisions/s':>12} {'cpu us':>8} {'first us':>9}  native is")
    for row in rows:
        ours = next(one for one in rows if (one.engine, one.way, one.threads) == ("native", row.way, row.threads))
        ratio = "" if row is ours else f"{row.cpu / ours.cpu:.2f} x as fast"
        title = WAYS[row.way] if row is ours else ""
        print(
            f"{title:<24} {row.engine:<18} {row.threads:>7} {1000 / row.wall:>12.0f} {row.cpu * 1000:>8.0f}"
            f" {row.first * 1000:>9.0f}  {ratio}"
        )


def ratios(rows: list[Row], rounds: int) -> Iterator[Figure]:
    """Native against the fastest engine that trusts its input, and against the one that reads it strictly."""
    for ours in (row for row in rows if row.engine == "native"):
        others = [
            row for row in rows if (row.way, row.threads) == (ours.way, ours.threads) and row.engine != "native"
        ]
        strictest = [row for row in others if row.engine == STRICTEST]
        fastest = min(others, key=lambda row: row.cpu)
        for their, told in ((fastest, "the fastest engine"), *((row, SAME) for row in strictest)):
            yield Figure(
                name=f"native, {WAYS[ours.way]}, threads: {ours.threads}",
                baseline=f"{their.engine}, {told}",
                ours_value=ours.cpu * 1000,
                baseline_value=their.cpu * 1000,
                ratio=ours.cpu / their.cpu,
                unit="us",
                rounds=rounds,
                aim=1 / 3 if ours.threads == 1 and (ours.way == "facts" or their.engine == STRICTEST) else None,
            )


def started(makers: Mapping[str, Maker], rounds: int) -> Figure:
    """From the text of the policy to the first decision of a document."""
    return compare(
        "native, policy read and first decision",
        "regorus, module read and first decision",
        ours=lambda: check_once(makers["native"]),
        theirs=lambda: check_once(makers["regorus"]),
        rounds=rounds,
    )


def check_once(make: Maker) -> None:
    assert make("document", document())()


@contextmanager
def hundred_cases() -> Iterator[Path]:
    """A policy's directory with a hundred cases."""
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory)
        (target / "policy.toml").write_bytes((HERE / "policy.toml").read_bytes())
        (target / "cases").mkdir()
        denied = [(what, given) for what, given in wrong()]
        codes = {
            "warrant.signer.identity": ["publisher.trusted"],
            "context.environment": ["environment.allowed"],
            "adapter.rank": ["adapter.rank"],
            "base.fingerprint.digest.sha256": ["base.matches", "base.allowed", "base.quantization"],
            "now": ["manifest.age", "operator.verified", "time.window"],
            "weight": ["composition.weights"],
        }
        for number in range(CASES):
            what, given = denied[number % len(denied)] if number % 2 else ("", document())
            case = {"name": f"{number} {what}", "input": given, "deny": codes.get(what, [])}
            (target / "cases" / f"{number:03}.json").write_text(json.dumps(case))
        yield target


def cold(directory: Path) -> None:
    """`skillwarrant policy test` as a person or a CI job runs it."""
    command = [str(Path(sys.executable).with_name("skillwarrant")), "policy", "test", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or f"{CASES} cases" not in done.stdout:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def whole_process(rounds: int) -> Figure:
    """`policy test` of a hundred cases, cold."""
    with hundred_cases() as directory:
        figure = compare(
            f"skillwarrant policy test, {CASES} cases, whole process",
            "a Python that does nothing (aim: 1 s)",
            ours=lambda: cold(directory),
            theirs=lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
            rounds=rounds,
        )
    return replace(figure, aim=1000 / figure.baseline_value)  # 1 s, as a ratio of this very run


def load() -> str:
    return " ".join(f"{one:.2f}" for one in os.getloadavg())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    before, makers = load(), engines()
    rows = [row for threads in (1, 2) for way in WAYS for row in measure(makers, way, threads, given.rounds)]
    figures = [*ratios(rows, given.rounds), started(makers, given.rounds), whole_process(given.rounds)]
    table(rows)
    size = len(json.dumps(document(), separators=(",", ":")))
    lines = len((HERE / "policy.toml").read_text().splitlines())
    report(f"Deciding: a policy of {lines} lines on an input of {size} bytes", figures, given.json)
    print(f"load of this machine ({os.cpu_count()} processors): {before} before, {load()} after")


if __name__ == "__main__":
    main()
