"""A thousand small adapters in turn on one base, through the gate: what a swap takes and keeps, as the count grows.

Each turn takes the next adapter: read, hashed, verified, decided, recorded, loaded, proved, and taken off again, on
record too. The baseline does what PEFT does for the same files: `load_adapter` and `delete_adapter`. Both keep one
further adapter on the model all the time, so that neither wraps and unwraps the base. Also a stack of four.

    python -m benchmarks.swap [--json FILE] [--adapters N]
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gate import POLICY, SKILL
from benchmarks.harness import Figure, compare, report, resident
from benchmarks.load import base_model, write_adapter

ADAPTERS = 1_000
PART = 100
RANK = 2  # 2.4 MB
NAME = "swap"
STACKABLE = b"composition = { stackable = true }\n"


def prepare(root: Path, count: int, model: Any = None) -> Any:
    """Signed adapters `root/0`, `root/1`, …, each with weights of its own.

    Args:
        model: what they are for; the usual one if none is given.

    Returns:
        The model.
    """
    from skillwarrant_attest import Credential, SkillToml, base_from_facts, build, read_adapter, sign, write_bundle
    from skillwarrant_devstack import Devstack
    from skillwarrant_verify.base import measure

    model = model or base_model()
    measured = measure(model)
    base = base_from_facts(measured.fingerprint, measured.facts, name="bench/base")
    write_adapter(model, root / "0", RANK)
    with Devstack(root / "devstack") as stack:
        (root / "policy.toml").write_text(POLICY.format(issuer=stack.issuer, identity=stack.ci_identity()))
        for number in range(count):
            directory = root / str(number)
            if number:
                _vary(root / "0", directory, number)
            skill = SKILL.replace(b"bench/skill", b"bench/skill-%d" % number) + STACKABLE
            statement = build(read_adapter(directory), SkillToml.parse(skill), (base,))
            credential = Credential.from_token(stack.ci_token())
            write_bundle(directory, sign(statement, credential=credential, trust_config=stack.trust_config))
    return model


def _vary(source: Path, target: Path, number: int) -> None:
    """The same adapter with its first weights changed: other bytes, another digest."""
    target.mkdir()
    (target / "adapter_config.json").write_bytes((source / "adapter_config.json").read_bytes())
    weights = bytearray((source / "adapter_model.safetensors").read_bytes())
    start = 8 + int.from_bytes(weights[:8], "little")
    weights[start : start + 2] = number.to_bytes(2, "little")
    (target / "adapter_model.safetensors").write_bytes(weights)


class Bench:
    """One model with adapter 0 on it, and a gate."""

    def __init__(self, root: Path, model: Any) -> None:
        from skillwarrant_audit.recorder import Recorder
        from skillwarrant_verify import Context, Gate, Policy
        from skillwarrant_verify.trust import from_devstack

        self.root = root
        self.context = Context(environment="production")
        self.gate = Gate(
            policy=Policy.load(root / "policy.toml"),
            trust_root=from_devstack(root / "devstack"),
            recorder=Recorder.open(root / "log"),
        )
        self.model: Any = self.gate.activate(model, root / "0", context=self.context)

    def ours(self, number: int) -> float:
        """Milliseconds until the adapter was active."""
        from skillwarrant_verify import LoadOptions

        options, begin = LoadOptions(adapter_name=NAME), time.perf_counter()
        self.gate.activate(self.model, self.root / str(number), context=self.context, options=options)
        active = (time.perf_counter() - begin) * 1000
        self.gate.deactivate(self.model, NAME, context=self.context)
        return active

    def theirs(self, number: int) -> float:
        """The same of PEFT."""
        begin = time.perf_counter()
        self.model.load_adapter(str(self.root / str(number)), adapter_name=NAME)
        active = (time.perf_counter() - begin) * 1000
        self.model.delete_adapter(NAME)
        return active

    def stack(self, numbers: range) -> None:
        from skillwarrant_verify import StackItem

        items = [StackItem(adapter=self.root / str(number), adapter_name=f"s{number}") for number in numbers]
        self.gate.activate_stack(self.model, items, context=self.context)
        for item in items:
            self.gate.deactivate(self.model, item.adapter_name, context=self.context)

    def their_stack(self, numbers: range) -> None:
        for number in numbers:
            self.model.load_adapter(str(self.root / str(number)), adapter_name=f"s{number}")
        self.model.base_model.set_adapter([f"s{number}" for number in numbers])
        for number in numbers:
            self.model.delete_adapter(f"s{number}")


def grown(bench: Bench, count: int) -> list[Figure]:
    """The last hundred against the first hundred, and each hundred against PEFT's: flat means a ratio of 1."""
    mine, other, memory = [], [], []
    for start in range(1, count, PART):
        numbers = range(start, min(start + PART, count))
        mine.append(_each(bench.ours, numbers))
        memory.append(resident())
        other.append(_each(bench.theirs, numbers[:20]))
    print("gated activations a second, by hundreds:", " ".join(f"{1000 / active:.2f}" for active, _ in mine))
    print("ms a swap, by hundreds:                 ", " ".join(f"{swap:.0f}" for _, swap in mine))
    print("resident MB, by hundreds:               ", " ".join(f"{value / 1e6:.0f}" for value in memory))
    first, held = "the first hundred", [value / 1e6 for value in memory]
    return [
        _figure("one gated activation among small adapters", "PEFT's load_adapter", *_medians(mine, other, 0)),
        _figure("one gated swap, on and off", "PEFT's load_adapter and delete_adapter", *_medians(mine, other, 1)),
        _figure("the last hundred swaps", first, mine[-1][1], mine[0][1], aim=1.1),
        _figure(
            "resident memory after the last",
            f"after {first}",
            held[-1],
            held[0],
            aim=1.1,
            unit="MB",
        ),
    ]


def _medians(mine: list[tuple[float, float]], other: list[tuple[float, float]], place: int) -> tuple[float, float]:
    return statistics.median(part[place] for part in mine), statistics.median(part[place] for part in other)


def _each(work: Callable[[int], float], numbers: range) -> tuple[float, float]:
    """Medians in milliseconds: of the activations alone, and of the whole swaps."""
    active, whole = [], []
    for number in numbers:
        begin = time.perf_counter()
        active.append(work(number))
        whole.append((time.perf_counter() - begin) * 1000)
    return statistics.median(active), statistics.median(whole)


def _figure(
    name: str, baseline: str, ours: float, theirs: float, *, aim: float | None = None, unit: str = "ms"
) -> Figure:
    return Figure(
        name=name,
        baseline=baseline,
        ours_value=ours,
        baseline_value=theirs,
        ratio=ours / theirs,
        unit=unit,
        rounds=PART,
        aim=aim,
    )


def figures(count: int = ADAPTERS) -> list[Figure]:
    """Swaps, and a stack of four."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        bench = Bench(root, prepare(root, count))
        bench.ours(1)
        bench.theirs(1)
        gc.collect()
        gc.freeze()  # what is there now is not looked through again in some turns and not in others
        found = grown(bench, count)
        found.append(
            compare(
                "a stack of four, gated, on and off",
                "PEFT's load_adapter four times, set_adapter of all, delete_adapter four times",
                ours=lambda: bench.stack(range(1, 5)),
                theirs=lambda: bench.their_stack(range(1, 5)),
            )
        )
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, help="not used: every adapter is swapped in once")
    parser.add_argument("--adapters", type=int, default=ADAPTERS)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    report("Swapping", figures(given.adapters), given.json)


if __name__ == "__main__":
    main()
