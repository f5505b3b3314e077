"""Fingerprinting 1 GB of weights, on disk and in memory, against bare hashlib on two threads over the same bytes.

The bare baseline hashes equal slices of one buffer in memory: no files, no headers, no names, no tensor is too large
to share out evenly. The files are in the page cache.

    python -m benchmarks.fingerprint [--json FILE] [--rounds N]
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.harness import Figure, compare, report

SLICE = 16 * 2**20


def model_of_a_gigabyte() -> Any:
    """A dense Llama of 0.55 billion parameters in bfloat16."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=10,
        num_attention_heads=16,
        num_key_value_heads=4,
        vocab_size=49152,
        tie_word_embeddings=True,
        dtype="bfloat16",
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.view(torch.int16).random_(-20_000, 20_000)
    model.tie_weights()
    return model


def bare(buffer: memoryview) -> list[bytes]:
    """Nothing but SHA-256, on two threads."""
    with ThreadPoolExecutor(2) as pool:
        slices = [buffer[start : start + SLICE] for start in range(0, len(buffer), SLICE)]
        return list(pool.map(lambda part: hashlib.sha256(part).digest(), slices))


def figures(rounds: int = 7) -> list[Figure]:
    """On disk (three shards) and in memory."""
    from skillwarrant_format.base_directory import fingerprint_directory
    from skillwarrant_verify.base import measure

    model = model_of_a_gigabyte()
    size = sum(parameter.nbytes for parameter in model.parameters())
    buffer = memoryview(bytearray(size))
    baseline = f"hashlib.sha256 on two threads over {size / 1e9:.2f} GB in memory"
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory, max_shard_size="400MB")
        assert fingerprint_directory(directory).fingerprint == measure(model).fingerprint
        on_disk = compare(
            "fingerprint a model's directory",
            baseline,
            ours=lambda: fingerprint_directory(Path(directory)),
            theirs=lambda: bare(buffer),
            rounds=rounds,
            aim=1.1,
        )
    in_memory = compare(
        "measure a model in memory",
        baseline,
        ours=lambda: measure(model),
        theirs=lambda: bare(buffer),
        rounds=rounds,
        aim=1.1,
    )
    again = compare(
        "measure it again, untouched since",
        baseline,
        ours=lambda: measure(model, reuse=True),
        theirs=lambda: bare(buffer),
        rounds=rounds,
    )
    return [on_disk, in_memory, again]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    report("Fingerprinting", figures(options.rounds), options.json)


if __name__ == "__main__":
    main()
