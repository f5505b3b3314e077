"""Fingerprinting 1 GB of weights, on disk and in memory, against bare hashlib on two threads over the same bytes.

Bare means equal slices and nothing but SHA-256: no headers, no names, no tensor that is too large to share out
evenly. From disk, both read from the page cache, which alone is a tenth of the work: against a buffer that is in
memory already, the same figure stands below, without an aim.

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
PIECE = 512 * 2**10


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


def bare_files(paths: list[Path]) -> list[bytes]:
    """The same over the bytes of files."""
    slices = [(path, start) for path in paths for start in range(0, path.stat().st_size, SLICE)]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(_hash_slice, slices))


def _hash_slice(slice_: tuple[Path, int]) -> bytes:
    path, start = slice_
    state, buffer = hashlib.sha256(), memoryview(bytearray(PIECE))
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        for _ in range(SLICE // PIECE):
            count = file.readinto(buffer)
            state.update(buffer[:count])
    return state.digest()


def figures(rounds: int = 7) -> list[Figure]:
    """On disk (three shards) and in memory."""
    from skillwarrant_format.base_directory import fingerprint_directory
    from skillwarrant_verify.base import measure

    model = model_of_a_gigabyte()
    size = sum(parameter.nbytes for parameter in model.parameters())
    buffer = memoryview(bytearray(size))
    in_memory = f"hashlib.sha256 on two threads, {size / 1e9:.2f} GB in memory"
    found = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        model.save_pretrained(name, max_shard_size="400MB")
        shards = sorted(directory.glob("*.safetensors"))
        assert fingerprint_directory(directory).fingerprint == measure(model).fingerprint
        baselines: list[tuple[str, Any, float | None]] = [
            (
                f"hashlib.sha256 on two threads, {size / 1e9:.2f} GB from the same files",
                lambda: bare_files(shards),
                1.1,
            ),
            (in_memory, lambda: bare(buffer), None),
        ]
        for baseline, theirs, aim in baselines:
            found.append(
                compare(
                    "fingerprint a model's directory",
                    baseline,
                    ours=lambda: fingerprint_directory(directory),
                    theirs=theirs,
                    rounds=rounds,
                    aim=aim,
                )
            )
    for what, reuse, aim in (
        ("measure a model in memory", "every-load", 1.1),
        ("measure it again, untouched", "once-verified", None),
    ):
        found.append(
            compare(
                what,
                in_memory,
                ours=lambda reuse=reuse: measure(model, reuse=reuse),  # type: ignore[misc]
                theirs=lambda: bare(buffer),
                rounds=rounds,
                aim=aim,
            )
        )
    return found


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
