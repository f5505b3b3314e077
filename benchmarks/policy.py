"""Deciding: a native policy of 60 lines on an input of 5 KB, against the same policy in Rego.

policies/policy.rego says what policies/policy.toml does, as one would write it for a Rego engine: it trusts its
input, and answers with words. Ours looks after all of its requirements, and says of each why, what was found,
and which line asks for it. Engines, all in this process: regorus (the pinned engine of the extra `rego`, asked
directly), OPA itself (opa-golib-python-bindings, which wraps OPA's own Go library), and rego-cpp (regopy). The
baseline is the fastest one that decides as it should. OPA and rego-cpp are installed into a directory of their
own on first use; what is left out is named.

Two ways lead to a decision. A gate has facts: ours decides of them, and an engine is given the document of
them. A test, or a service, has a document: ours reads it strictly first, every field of it, and an engine takes
it as it is.

    python -m benchmarks.policy [--json FILE] [--rounds N]
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import ROOT, Figure, compare, report

HERE: Final = ROOT / "benchmarks" / "policies"
OTHERS: Final = ROOT / ".cache" / "bench" / "policy"
PACKAGES: Final = ("opa-golib-python-bindings==0.4.4", "regopy==1.5.2")
BATCH: Final = 100  # decisions of one timing
CASES: Final = 100

Decide = Callable[[], bool]
"""One decision of the input of this benchmark: whether it is allowed."""
Maker = Callable[[Any], Decide]
"""From an input document to a ready engine: a policy loaded, a module compiled."""


def document() -> Any:
    """The input of the differential tests without its evidence, of which this policy asks nothing."""
    found = json.loads((ROOT / "tests" / "policies" / "differential" / "input.json").read_text())
    return {**found, "evidence": []}


def rego_text() -> str:
    return (HERE / "policy.rego").read_text()


def config() -> Any:
    from skillwarrant_verify.policy import Policy

    return Policy.load(HERE / "policy.toml").document


def native(given: Any) -> Decide:
    """A document is read, then decided."""
    from skillwarrant_verify.deciding.decide import decide_document
    from skillwarrant_verify.policy import Policy

    policy = Policy.load(HERE / "policy.toml")
    return lambda: decide_document(policy, given).outcome == "allow"


def native_of_facts(given: Any) -> Decide:
    """As a gate decides."""
    from skillwarrant_verify.deciding.decide import decide
    from skillwarrant_verify.deciding.decision_input import from_document
    from skillwarrant_verify.policy import Policy

    policy, facts = Policy.load(HERE / "policy.toml"), from_document(given)
    return lambda: decide(policy, facts).outcome == "allow"


def worker(given: Any) -> Decide:
    """The product's own adapter: the pinned engine in a process of its own, and what it gives read strictly."""
    from skillwarrant_verify.rego.modules import RegoModules

    modules, given_config = RegoModules.load({"policy.rego": rego_text().encode()}), config()
    return lambda: not modules.evaluate(given, given_config).denials


def regorus(given: Any) -> Decide:
    """The pinned engine itself."""
    import regorus as library

    engine = library.Engine()
    engine.add_policy("policy.rego", rego_text())
    engine.add_data_json(json.dumps({"config": config()}))

    def decide() -> bool:
        engine.set_input_json(json.dumps(given))
        return bool(json.loads(engine.eval_rule_as_json("data.skillwarrant.deny")) == [])

    return decide


def opa(given: Any) -> Decide:
    """OPA's library, which keeps the prepared query."""
    from opa_bindings import OpaEngine

    engine = OpaEngine()
    engine.add_policy("policy.rego", rego_text())
    engine.add_data(config(), path="config")
    return lambda: bool(engine.eval_document("skillwarrant.deny", given) == [])


def rego_cpp(given: Any) -> Decide:
    """rego-cpp; interpreted anew at each query."""
    from regopy import Interpreter

    engine = Interpreter()
    engine.add_module("policy.rego", rego_text())
    engine.add_data({"config": config()})

    def decide() -> bool:
        engine.set_input(given)
        return bool(json.loads(str(engine.query("data.skillwarrant.deny")))["expressions"] == [[]])

    return decide


def of_facts(make: Maker) -> Maker:
    """An engine that is given the document of facts, as a gate would."""

    def made(given: Any) -> Decide:
        from skillwarrant_verify.deciding.decision_input import from_document, to_document

        facts, written = from_document(given), copy.deepcopy(given)
        decide = make(written)

        def work() -> bool:
            written.update(to_document(facts))
            return decide()

        return work

    return made


def others() -> dict[str, Maker]:
    """The Rego engines that run here, and decide as they should."""
    if not OTHERS.exists():
        for package in PACKAGES:  # each by itself: what one of them lacks does not keep the other away
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-requires-python"]
            subprocess.run([*command, "--target", OTHERS, package], check=False)
    sys.path.append(str(OTHERS))
    found: dict[str, Maker] = {}
    for name, make in (("regorus", regorus), ("OPA", opa), ("rego-cpp", rego_cpp)):
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
    """It decides as the native one does."""
    assert make(document())(), f"{name} denies the input"
    for what, given in wrong():
        assert not make(given)(), f"{name} allows a wrong {what}"


@contextmanager
def batch(make: Maker, threads: int = 1) -> Iterator[Callable[[], None]]:
    """So many decisions: each thread has its share of them, and an engine of its own, which ends where it began."""
    local = threading.local()

    def some(count: int) -> None:
        if not hasattr(local, "decide"):
            local.decide = make(document())
        for _ in range(count):
            assert local.decide()

    def work() -> None:
        for done in [pool.submit(some, BATCH // threads) for _ in range(threads)]:
            done.result()

    with ThreadPoolExecutor(threads) as pool:
        yield work


def once(make: Maker) -> Callable[[], None]:
    """From the text of the policy to the first decision."""
    given = document()

    def work() -> None:
        assert make(given)()

    return work


def seconds(make: Maker) -> float:
    """The fastest of some batches."""
    times = []
    with batch(make) as work:
        for _ in range(5):
            begin = time.perf_counter()
            work()
            times.append(time.perf_counter() - begin)
    return min(times)


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


def figures(rounds: int) -> list[Figure]:
    check("native", native)
    check("the Rego worker", worker)
    engines = others()
    times = {name: seconds(make) for name, make in engines.items()}
    for name, taken in sorted(times.items(), key=lambda item: item[1]):
        print(f"{name}: {BATCH / taken:.0f} decisions a second")
    fastest = min(times, key=lambda name: times[name])
    theirs = engines[fastest]
    found = []
    for threads, so_many in ((1, "one thread"), (2, "two threads")):
        for name, mine, baseline, other, aim in (
            ("native, from facts", native_of_facts, f"{fastest}, from facts", of_facts(theirs), 1 / 3),
            ("native, from a document", native, fastest, theirs, None),
            ("Rego worker, from a document", worker, fastest, theirs, None),
        ):
            with batch(mine, threads) as ours, batch(other, threads) as baseline_work:
                figure = compare(
                    f"{name}, {BATCH} times, {so_many}",
                    f"{baseline}, the fastest Rego engine here, {so_many}",
                    ours=ours,
                    theirs=baseline_work,
                    rounds=rounds,
                    aim=aim if threads == 1 else None,
                )
            print(f"{figure.name}: {BATCH * 1000 / figure.ours_value:.0f} decisions a second")
            found.append(figure)
    for name, mine in (("native", native), ("Rego worker", worker)):
        what, baseline = f"{name}, policy read and first decision", f"{fastest}, module read and first decision"
        found.append(compare(what, baseline, ours=once(mine), theirs=once(theirs), rounds=rounds))
    return [*found, whole_process(rounds)]


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
    return in_a_second(figure)


def in_a_second(figure: Figure) -> Figure:
    """1 s, as a ratio of this very run."""
    return replace(figure, aim=1000 / figure.baseline_value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    size = len(json.dumps(document(), separators=(",", ":")))
    lines = len((HERE / "policy.toml").read_text().splitlines())
    report(f"Deciding: a policy of {lines} lines on an input of {size} bytes", figures(given.rounds), given.json)


if __name__ == "__main__":
    main()
