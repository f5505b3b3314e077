"""`verify_and_load` as a whole, against `PeftModel.from_pretrained` of the same 80 MB LoRA.

Ours is the whole product: files read and hashed, bundle and log verified, base compared, policy decided, intent and
outcome signed and synced to disk, loaded, proved. With `measure = "once-verified"`, the first activation measures
the base, all of it; the next ones hold that measurement against the model. Both are timed: the first on a base
object that was never measured. The base model is SmolLM2-135M's shape in float32 with random weights; files are in
the page cache for both.

    python -m benchmarks.gate [--json FILE] [--rounds N]
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

from benchmarks.harness import Figure, compare, compare_peaks, peak_growth, report
from benchmarks.load import RANK, base_model, write_adapter

SKILL = b"""
policy_class = "general"
skill = { name = "bench/skill", version = "1.0.0", description = "Eighty megabytes." }
publisher = { name = "Bench" }
base = [{ name = "bench/base" }]
deployment = { environments = ["production"] }
"""
POLICY = """
api_version = "skillwarrant.dev/policy/v1"
name = "bench"
revision = 1
environments = ["production"]
policy_classes = ["general"]
measure = "once-verified"
[[publishers]]
issuer = "{issuer}"
identity = "{identity}"
skills = ["bench/*"]
"""


def prepare(root: Path, rank: int) -> None:
    """An adapter, signed by a devstack, and a policy that trusts its signer."""
    from skillwarrant_attest import Credential, SkillToml, base_from_facts, build, read_adapter, sign, write_bundle
    from skillwarrant_devstack import Devstack
    from skillwarrant_verify.base import measure

    model = base_model()
    write_adapter(model, root / "adapter", rank)
    measured = measure(model)
    with Devstack(root / "devstack") as stack:
        base = base_from_facts(measured.fingerprint, measured.facts, name="bench/base")
        statement = build(read_adapter(root / "adapter"), SkillToml.parse(SKILL), (base,))
        credential = Credential.from_token(stack.ci_token())
        write_bundle(root / "adapter", sign(statement, credential=credential, trust_config=stack.trust_config))
        text = POLICY.format(issuer=stack.issuer, identity=stack.ci_identity())
        (root / "policy.toml").write_text(text)


class Bench:
    """One model, measured, and one signed adapter on disk."""

    def __init__(self, root: Path) -> None:
        from skillwarrant_verify.base import measure

        self.root = root
        self.model = base_model()
        measure(self.model)

    def ours(self) -> Any:
        from skillwarrant_verify import Context, verify_and_load
        from skillwarrant_verify.trust import from_devstack

        return verify_and_load(
            self.model,
            self.root / "adapter",
            policy=self.root / "policy.toml",
            context=Context(environment="production"),
            trust_root=from_devstack(self.root / "devstack"),
            log=self.root / "log",
        )

    def theirs(self) -> Any:
        from peft import PeftModel

        return PeftModel.from_pretrained(self.model, str(self.root / "adapter"))

    def first(self) -> Any:
        """On the same tensors in a model object that no gate has seen."""
        self.model = copy(self.model)
        return self.ours()


CASES: dict[str, Callable[[Bench], Any]] = {"ours": Bench.ours, "from_pretrained": Bench.theirs}
NAME = "verify_and_load of an 80 MB LoRA"
BASELINE = "PeftModel.from_pretrained(model, directory)"


def figures(rounds: int = 9) -> list[Figure]:
    """Time in one process, peak memory in a process each."""
    with tempfile.TemporaryDirectory() as directory:
        prepare(Path(directory), RANK)
        bench = Bench(Path(directory))
        time = compare(
            f"{NAME}, base measured before: time",
            BASELINE,
            ours=bench.ours,
            theirs=bench.theirs,
            after=lambda model: model.unload(),
            rounds=rounds,
            aim=1.0,
        )
        first = compare(
            f"{NAME}, the first: time",
            BASELINE,
            ours=bench.first,
            theirs=bench.theirs,
            after=lambda model: model.unload(),
            rounds=rounds,
        )
        peak = compare_peaks(
            f"{NAME}, base measured before: memory",
            BASELINE,
            module="benchmarks.gate",
            ours="ours",
            theirs="from_pretrained",
            more=["--directory", directory],
            aim=1.0,
        )
    return [time, first, peak]


def _peak(case: str, root: Path) -> int:
    with tempfile.TemporaryDirectory() as small:
        prepare(Path(small), 1)
        CASES[case](Bench(Path(small)))  # imports, and whatever is made on first use
    bench = Bench(root)
    return peak_growth(lambda: CASES[case](bench))


def main() -> None:
    """Measure and print; `--peak` is for `harness.compare_peaks`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peak", choices=sorted(CASES))
    parser.add_argument("--directory", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.peak:
        print(_peak(given.peak, given.directory))
    else:
        report("The gate", figures(given.rounds), given.json)


if __name__ == "__main__":
    main()
