"""The long run of the differential fuzzing, whose result stands in FUZZ.md.

    python tests/policies/fuzz_policies.py OUT --mutants 100000 --seed 1 [--processes N] [--opa]

In pieces of 1,000 mutants, each with a seed of its own and a line of OUT when it is done; what is in OUT already is
not done again. Then every fact of the input is taken out, retyped and emptied. `--opa` asks OPA instead of the
pinned engine, through opa-golib-python-bindings, which need not be there for anything else.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import mutants
from both_engines import HERE, Tally, document, native_codes, rego_codes, rego_files, requirement
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.rego.modules import RegoModules

PIECE = 1_000
Asked = Callable[[Any], frozenset[str]]


@cache
def policy() -> Policy:
    return Policy.load(HERE / "policy.toml")


@cache
def ours() -> Asked:
    modules = RegoModules.load(rego_files())
    return lambda given: rego_codes(modules, policy(), given)


@cache
def opa() -> Asked:
    from opa_bindings import OpaEngine, OpaError  # type: ignore[import-not-found]

    engine = OpaEngine()
    for name, text in rego_files().items():
        engine.add_policy(name, text.decode())
    engine.add_data(json.loads(json.dumps(policy().document)), path="config")

    def codes(given: Any) -> frozenset[str]:
        try:
            denials = engine.eval_document("skillwarrant.deny", given)
        except OpaError as error:
            return frozenset({f"opa.{error.code}"})
        return frozenset(requirement(denial["code"]) for denial in denials)

    return codes


def piece(task: tuple[str, int, bool]) -> dict[str, Any]:
    """One piece, decided both ways."""
    what, seed, with_opa = task
    asked, tally, begin = opa() if with_opa else ours(), Tally(), time.process_time()
    plain = document()
    if what == "broken":
        given = [
            (f"{'/'.join(map(str, path))}: {how}", changed)
            for path in mutants.paths(plain)
            for how, changed in mutants.broken(plain, path)
        ]
    else:
        given = list(mutants.first(PIECE, plain, seed))
    for name, changed in given:
        tally.add(name, changed, native_codes(policy(), changed), asked(changed))
    return {
        "piece": what,
        "seed": seed,
        "mutants": tally.mutants,
        "allowed": tally.allowed,
        "malformed": tally.malformed,
        "codes": dict(tally.codes),
        "kinds": dict(tally.kinds) if what == "random" else {},
        "disagree": [(name, sorted(one), sorted(other), changed) for name, changed, one, other in tally.disagree],
        "otherwise": [(name, sorted(one), sorted(other), changed) for name, changed, one, other in tally.otherwise],
        "cpu": round(time.process_time() - begin, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--opa", action="store_true")
    given = parser.parse_args()
    done = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    seen = {(one["piece"], one["seed"]) for one in done}
    tasks = [("random", given.seed + number, given.opa) for number in range(-(-given.mutants // PIECE))]
    tasks.append(("broken", 0, given.opa))
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool, given.out.open("a") as out:
        for one in pool.imap_unordered(piece, [task for task in tasks if task[:2] not in seen]):
            out.write(json.dumps(one) + "\n")
            out.flush()
            done.append(one)
    return summary(done)


def summary(done: list[dict[str, Any]]) -> int:
    """What came of it; 1 where they disagree."""
    codes: Counter[str] = Counter()
    for one in done:
        codes.update(one["codes"])
    for key in ("mutants", "allowed", "malformed", "cpu"):
        print(f"{key:<10} {sum(one[key] for one in done)}")
    print(f"codes      {len(codes)}: {dict(codes.most_common())}")
    disagree, otherwise = ([case for one in done for case in one[key]] for key in ("disagree", "otherwise"))
    print(f"disagree   {len(disagree)}\notherwise  {len(otherwise)}")
    for name, native, rego, _ in [*disagree, *otherwise][:20]:
        print(f"    {name}: native {native}, Rego {rego}")
    return 1 if disagree else 0


if __name__ == "__main__":
    sys.exit(main())
