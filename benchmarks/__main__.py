"""Every benchmark, one after the other, each in a process of its own: `make bench`, or `python -m benchmarks`."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.harness import ROOT

ALL = ("start", "verify", "fingerprint", "load", "gate", "swap", "growth", "policy")


def main() -> int:
    """Run them all; exits with 1 if one of them could not run. A missed aim is a figure and no failure."""
    # torch's threads spin while they wait for each other, which on few cores slows whatever runs beside them.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    failed = [
        name
        for name in ALL
        if subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], cwd=ROOT, env=environment, check=False
        ).returncode
    ]
    for name in failed:
        print(f"benchmarks.{name} could not run", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
