"""A ratio against a named baseline, taken in one run: what a figure on another machine can be compared with.

Times are interleaved (A B A B …), so that what else the machine does hits both, and medians are compared. Memory is
the growth of the process's peak during the work, each in a fresh process.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["Figure", "compare", "compare_peaks", "peak_growth", "report", "resident"]

Work = Callable[[], Any]
ROOT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One comparison. `ratio` is ours / baseline; `aim` is the most it should be, where there is an aim."""

    name: str
    baseline: str
    ours_value: float
    baseline_value: float
    ratio: float
    unit: str
    rounds: int
    aim: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the aim is met, for people."""
        return "-" if self.aim is None else "met" if self.ratio <= self.aim else "MISSED"


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection meanwhile, as in `timeit`.

    A full one takes longer here than what is timed, and in which turn it falls is chance: half a million objects of
    torch and transformers are looked through.
    """
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def compare(
    name: str,
    baseline: str,
    *,
    ours: Work,
    theirs: Work,
    after: Callable[[Any], object] | None = None,
    rounds: int = 9,
    aim: float | None = None,
) -> Figure:
    """Run both alternately and compare the median times.

    Args:
        ours, theirs: what is timed; each runs once untimed before.
        after: cleans up after each run, untimed; it is given what the run returned.
    """
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for turn in range(rounds + 1):
        for who, work in (("ours", ours), ("theirs", theirs)):
            with uncollected():
                begin = time.perf_counter()
                result = work()
                elapsed = time.perf_counter() - begin
            if after is not None:
                after(result)
            del result
            if turn:
                times[who].append(elapsed)
    mine, other = (statistics.median(times[who]) * 1000 for who in ("ours", "theirs"))
    return Figure(
        name=name,
        baseline=baseline,
        ours_value=mine,
        baseline_value=other,
        ratio=mine / other,
        unit="ms",
        rounds=rounds,
        aim=aim,
    )


def compare_peaks(
    name: str,
    baseline: str,
    *,
    module: str,
    ours: str,
    theirs: str,
    more: Sequence[str] = (),
    rounds: int = 3,
    aim: float | None = None,
) -> Figure:
    """Run `python -m <module> --peak <case> <more>` alternately for both cases, each a fresh process that prints
    the bytes of `peak_growth`."""
    peaks: dict[str, list[float]] = {ours: [], theirs: []}
    for _ in range(rounds):
        for case in (ours, theirs):
            command = [sys.executable, "-m", module, "--peak", case, *more]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            peaks[case].append(float(done.stdout.split()[-1]) / 1e6)
    mine, other = statistics.median(peaks[ours]), statistics.median(peaks[theirs])
    return Figure(
        name=name,
        baseline=baseline,
        ours_value=mine,
        baseline_value=other,
        ratio=mine / other,
        unit="MB",
        rounds=rounds,
        aim=aim,
    )


def peak_growth(work: Work) -> int:
    """Bytes by which the resident memory of this process peaks above where it stood (Linux)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not be there to be used again
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak
    kept = work()
    peak = _status("VmHWM")
    del kept
    return peak - before


def resident() -> int:
    """Bytes of memory that this process holds now (Linux)."""
    gc.collect()
    return _status("VmRSS")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def report(title: str, figures: Sequence[Figure], output: Path | None = None) -> None:
    """Print a table, and write JSON where `output` names a file."""
    print(f"\n{title}")
    print(f"{'what':<52} {'ours':>10} {'baseline':>10} {'ratio':>7} {'aim':>6}  verdict")
    for figure in figures:
        aim = "-" if figure.aim is None else f"{figure.aim:.2f}"
        values = f"{figure.ours_value:>7.1f} {figure.unit} {figure.baseline_value:>7.1f} {figure.unit}"
        print(f"{figure.name:<52} {values} {figure.ratio:>7.2f} {aim:>6}  {figure.verdict}")
        print(f"    against {figure.baseline}")
    if output is not None:
        machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "machine": platform.machine()}
        body = [{**asdict(figure), "verdict": figure.verdict} for figure in figures]
        output.write_text(json.dumps({"title": title, "machine": machine, "figures": body}, indent=2) + "\n")
