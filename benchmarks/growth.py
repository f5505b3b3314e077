"""How the cost grows: of measuring a base with its size and number of tensors, and of a gated activation with both.

Every point is taken beside a baseline over the same bytes: bare hashlib on two threads for a measurement in full,
and PEFT's own `load_adapter` for an activation. With `--markdown` it prints the charts of docs/benchmarks.md.

    python -m benchmarks.growth [--json FILE] [--rounds N] [--markdown]
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fingerprint import SLICE, bare
from benchmarks.harness import Figure, report, uncollected

SIZES = (2, 6, 12, 20)  # layers of 88 MB each
COUNTS = (25, 50, 100, 200)  # layers, each a share of the same 270 MB
MODES = ("hashlib alone", "every-load", "sampled, first", "sampled, again", "once-verified, again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One chart: what grows, and the milliseconds of each line at each point."""

    title: str
    axis: str
    points: tuple[str, ...]
    lines: dict[str, tuple[float, ...]]

    def markdown(self) -> str:
        """A Mermaid chart and the same numbers as a table."""
        top = max(value for line in self.lines.values() for value in line)
        chart = [
            "```mermaid",
            "xychart-beta",
            f'    title "{self.title}"',
            f'    x-axis "{self.axis}" [{", ".join(self.points)}]',
            f'    y-axis "ms" 0 --> {top * 1.1:.0f}',
            *(f'    line "{name}" [{_numbers(line)}]' for name, line in self.lines.items()),
            "```",
        ]
        head = f"| {self.axis} | " + " | ".join(self.lines) + " |"
        rows = [
            f"| {point} | " + " | ".join(_short(line[place]) for line in self.lines.values()) + " |"
            for place, point in enumerate(self.points)
        ]
        return "\n".join([*chart, "", head, "|---" * (len(self.lines) + 1) + "|", *rows, ""])


def _numbers(line: Sequence[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in line)


def _short(value: float) -> str:
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


def dense_model(layers: int, width: int) -> Any:
    """A Llama in bfloat16 with random bits, and almost no vocabulary, so that the layers are all there is."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=width * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=2,
        vocab_size=64,
        dtype="bfloat16",
    )
    with torch.device("meta"):
        model: Any = LlamaForCausalLM(config)
        model.to(torch.bfloat16)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.view(torch.int16).random_(-20_000, 20_000)
    return model.eval()


def measured(points: Sequence[tuple[int, int]], rounds: int) -> tuple[list[str], list[str], dict[str, list[float]]]:
    """Each base: its GB, its number of tensors, and milliseconds in full, again, sampled, and of bare hashlib."""
    from skillwarrant_verify.base import measure

    gigabytes, tensors = [], []
    lines: dict[str, list[float]] = {name: [] for name in MODES}
    for layers, width in points:
        model = dense_model(layers, width)
        size = sum(parameter.nbytes for parameter in model.parameters())
        gigabytes.append(f"{size / 1e9:.2f}")
        tensors.append(str(sum(1 for _ in model.parameters())))
        buffer = memoryview(bytearray(size - size % SLICE))
        # In this order: a measurement in full keeps no blocks, so that sampling begins with another in full.
        ways: tuple[Callable[[], Any], ...] = (
            partial(bare, buffer),
            partial(measure, model),
            partial(measure, model, reuse="sampled"),
            partial(measure, model, reuse="sampled"),
            partial(measure, model, reuse="once-verified"),
        )
        for name, median in _medians(dict(zip(MODES, ways, strict=True)), rounds).items():
            lines[name].append(median)
    return gigabytes, tensors, lines


def _medians(work: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, run in work.items():
            with uncollected():
                begin = time.perf_counter()
                run()
                elapsed = (time.perf_counter() - begin) * 1000
            if turn:
                times[name].append(elapsed)
    return {name: statistics.median(values) for name, values in times.items()}


def activations(rounds: int) -> Series:
    """A gated activation, the base revalidated, against PEFT's, over adapters with more and more tensors."""
    from benchmarks.swap import Bench, prepare

    tensors, ours, theirs = [], [], []
    for layers in COUNTS[:3]:
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            bench = Bench(root, prepare(root, 2, dense_model(layers, 256)))
            medians = _medians({"ours": partial(bench.ours, 1), "theirs": partial(bench.theirs, 1)}, rounds)
            tensors.append(str(layers * 14))
            ours.append(medians["ours"])
            theirs.append(medians["theirs"])
    return Series(
        title="A small adapter on and off again, the base revalidated",
        axis="tensors of the adapter",
        points=tuple(tensors),
        lines={"PEFT alone": tuple(theirs), "gated": tuple(ours)},
    )


def series(rounds: int = 5) -> list[Series]:
    """Size, number of tensors, activations."""
    gigabytes, _, by_size = measured([(layers, 2048) for layers in SIZES], rounds)
    _, tensors, by_count = measured([(layers, _width(layers)) for layers in COUNTS], rounds)
    return [
        Series(title="Measuring a base model", axis="GB", points=tuple(gigabytes), lines=_frozen(by_size)),
        Series(
            title="The same bytes in more tensors", axis="tensors", points=tuple(tensors), lines=_frozen(by_count)
        ),
        activations(rounds),
    ]


def _width(layers: int) -> int:
    """So that the whole has about the same size, in whole attention heads."""
    return 64 * round(math.sqrt(270e6 / 2 / layers / 10.75) / 64)


def _frozen(lines: dict[str, list[float]]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(values) for name, values in lines.items()}


def figures(charts: Sequence[Series], rounds: int) -> list[Figure]:
    """The ratio to the baseline at both ends of each line: linear growth keeps it."""
    found = []
    for chart in charts:
        (baseline, theirs), *rest = chart.lines.items()
        for name, line in rest:
            for place in (0, -1):
                found.append(
                    Figure(
                        name=f"{chart.title}: {name}, {chart.points[place]} {chart.axis}",
                        baseline=baseline,
                        ours_value=line[place],
                        baseline_value=theirs[place],
                        ratio=line[place] / theirs[place],
                        unit="ms",
                        rounds=rounds,
                    )
                )
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    charts = series(given.rounds)
    report("Growth", figures(charts, given.rounds), given.json)
    if given.markdown:
        print(*("\n" + chart.markdown() for chart in charts))


if __name__ == "__main__":
    main()
