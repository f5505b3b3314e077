"""What starting costs: processor time of `skillwarrant --help`, against starting Python and doing nothing.

python -m benchmarks.start [--json FILE] [--rounds N]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import Figure, report

LIMIT = 150.0  # ms of processor time


def cpu(command: list[str]) -> float:
    """Milliseconds of processor time, user and system, of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def figures(rounds: int = 15) -> list[Figure]:
    """Runs in turn; medians."""
    ours, bare = [str(Path(sys.executable).with_name("skillwarrant")), "--help"], [sys.executable, "-c", "pass"]
    times = [(cpu(ours), cpu(bare)) for _ in range(rounds + 1)][1:]
    mine, other = (statistics.median(column) for column in zip(*times, strict=True))
    return [
        Figure(
            name="skillwarrant --help, processor time",
            baseline="python -c pass (aim: 150 ms in all)",
            ours_value=mine,
            baseline_value=other,
            ratio=mine / other,
            unit="ms",
            rounds=rounds,
            aim=LIMIT / other,
        )
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    report("Starting", figures(given.rounds), given.json)


if __name__ == "__main__":
    main()
