"""Loading an 80 MB LoRA from verified bytes, against `PeftModel.from_pretrained` of the same files.

Ours is everything between the files and a proved adapter: read, hash and compare every digest, parse, attach, load,
prove the live weights, and check that the base still is the measured one. The base model (135M parameters, float32,
random) was measured before; the files are in the page cache for both.

    python -m benchmarks.load [--json FILE] [--rounds N]
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Figure, compare, compare_peaks, peak_growth, report

if TYPE_CHECKING:
    from skillwarrant_format.digest import Digest

RANK = 66  # 80.6 MB in float32 on the shape below


def base_model() -> Any:
    """The shape of SmolLM2-135M with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval()


def write_adapter(model: Any, directory: Path, rank: int) -> None:
    """A LoRA on every linear layer, with random weights; `model` is left as it was."""
    from peft import LoraConfig, get_peft_model

    peft_model = get_peft_model(model, LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in peft_model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.01)
    peft_model.save_pretrained(str(directory))
    (directory / "README.md").unlink(missing_ok=True)
    peft_model.unload()


class Bench:
    """One model and one adapter on disk."""

    def __init__(self, directory: Path) -> None:
        from skillwarrant_format.snapshot import Snapshot
        from skillwarrant_verify.base import measure

        self.directory = directory
        self.model = base_model()
        snapshot = Snapshot.read(directory)
        self.signed: dict[str, Digest] = {path: file.digest for path, file in snapshot.files.items()}
        self.measured = measure(self.model)

    def ours(self, **keywords: Any) -> Any:
        from skillwarrant_format.snapshot import Snapshot
        from skillwarrant_verify.loader.load import load

        snapshot = Snapshot.read(self.directory)
        assert {path: file.digest for path, file in snapshot.files.items()} == self.signed
        loaded = load(self.model, snapshot, **keywords)
        assert loaded.views == loaded.tensors
        assert self.measured.still_holds(loaded.model)
        return loaded.model

    def theirs(self, **keywords: Any) -> Any:
        from peft import PeftModel

        return PeftModel.from_pretrained(self.model, str(self.directory), **keywords)


CASES: dict[str, Callable[[Bench], Any]] = {
    "ours": lambda bench: bench.ours(),
    "from_pretrained": lambda bench: bench.theirs(),
    "low_cpu_mem_usage": lambda bench: bench.theirs(low_cpu_mem_usage=True),
}


def figures(rounds: int = 9) -> list[Figure]:
    """Time in one process, peak memory in a process each."""
    found = []
    with tempfile.TemporaryDirectory() as directory:
        write_adapter(base_model(), Path(directory), RANK)
        bench = Bench(Path(directory))
        for case, aim in (("from_pretrained", 1.0), ("low_cpu_mem_usage", None)):
            found.append(
                compare(
                    "load an 80 MB LoRA, verified: time",
                    _baseline(case),
                    ours=lambda: CASES["ours"](bench),
                    theirs=lambda case=case: CASES[case](bench),  # type: ignore[misc]
                    after=lambda model: model.unload(),
                    rounds=rounds,
                    aim=aim,
                )
            )
        for case, aim in (("from_pretrained", 1.0), ("low_cpu_mem_usage", None)):
            found.append(
                compare_peaks(
                    "load an 80 MB LoRA, verified: peak memory",
                    _baseline(case),
                    module="benchmarks.load",
                    ours="ours",
                    theirs=case,
                    more=["--directory", directory],
                    aim=aim,
                )
            )
    return found


def _baseline(case: str) -> str:
    return "PeftModel.from_pretrained(model, directory" + (
        ", low_cpu_mem_usage=True)" if case == "low_cpu_mem_usage" else ")"
    )


def _peak(case: str, directory: Path) -> int:
    with tempfile.TemporaryDirectory() as small:
        write_adapter(base_model(), Path(small), 1)
        CASES[case](Bench(Path(small)))  # imports, and whatever is made on first use
    bench = Bench(directory)
    return peak_growth(lambda: CASES[case](bench))


def main() -> None:
    """Measure and print; `--peak` is for `harness.compare_peaks`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peak", choices=sorted(CASES))
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.peak:
        print(_peak(options.peak, options.directory))
    else:
        report("Loading", figures(options.rounds), options.json)


if __name__ == "__main__":
    main()
