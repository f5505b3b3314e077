"""Verifying a 40 MB adapter: as a whole process against `model_signing verify`, in process against bare hashing.

Both tools verify a keyless signature that one devstack vouched for, over the same files: certificate, log entry,
timestamp, signature, every file. Ours also judges the publisher's own limits and the adapter's configuration. Both
live in one virtual environment, made on first use: the core of this package as it is in the tree, model-signing,
and pyOpenSSL, which model-signing's own imports want. The files are in the page cache for both.

    python -m benchmarks.verify [--json FILE] [--rounds N]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import tempfile
import venv
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import ROOT, Figure, compare, report

if TYPE_CHECKING:
    from skillwarrant_format.manifest import SkillManifest

SIZE = 40_000_000  # bytes of weights
BASELINE = "model-signing==1.1.1"
ENVIRONMENT = ROOT / ".cache" / "bench" / "verify"
RANK = 16


def tools() -> Path:
    """The directory with both executables, installed where they are missing."""
    binaries = ENVIRONMENT / "bin"
    if not (binaries / "model_signing").exists():
        venv.create(ENVIRONMENT, with_pip=True)
        command = [binaries / "python", "-m", "pip", "install", "--quiet", "-e", ROOT, BASELINE, "pyOpenSSL"]
        subprocess.run(command, check=True)
    return binaries


def write_adapter(directory: Path) -> None:
    """One LoRA pair, as large as asked."""
    import numpy as np
    from safetensors.numpy import save_file

    width = SIZE // (2 * RANK * 4)
    stem = "base_model.model.layers.0.q_proj"
    random = np.random.default_rng(0)
    pair = {
        f"{stem}.lora_A.weight": random.standard_normal((RANK, width), dtype=np.float32),
        f"{stem}.lora_B.weight": random.standard_normal((width, RANK), dtype=np.float32),
    }
    directory.mkdir()
    save_file(pair, directory / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "target_modules": ["q_proj"]}
    (directory / "adapter_config.json").write_text(json.dumps(config))


def manifest(directory: Path) -> tuple[SkillManifest, Any]:
    """What a publisher would say of it."""
    from skillwarrant_attest.adapter import read_adapter
    from skillwarrant_format.digest import Digest
    from skillwarrant_format.fingerprint import Fingerprint
    from skillwarrant_format.manifest import BaseModel, Composition, Deployment, Publisher, Skill, SkillManifest

    adapter = read_adapter(directory)
    found = SkillManifest(
        skill=Skill(name="bench/skill", version="1.0.0", description="Forty megabytes."),
        publisher=Publisher(name="Bench"),
        adapter=adapter.facts,
        base_models=(
            BaseModel(
                name="bench/base",
                architecture="LlamaForCausalLM",
                parameters=1,
                dtype="float32",
                fingerprint=Fingerprint(digest=Digest.of(b"base")),
            ),
        ),
        deployment=Deployment(environments=("production",)),
        policy_class="general",
        composition=Composition(),
    )
    return found, adapter.subjects


class Bench:
    """An adapter that both tools have signed."""

    def __init__(self, directory: Path, binaries: Path) -> None:
        from skillwarrant_devstack import Devstack

        self.adapter, self.stack = directory / "adapter", directory / "devstack"
        self.skillwarrant, self.model_signing = binaries / "skillwarrant", binaries / "model_signing"
        self.bundle, self.signature = directory / "skill.sigstore.json", directory / "model.sig"
        write_adapter(self.adapter)
        with Devstack(self.stack) as stack:
            self.identity, self.issuer = stack.ci_identity(), stack.issuer
            self._sign(stack)

    def _sign(self, stack: Any) -> None:
        from skillwarrant_attest.credential import Credential
        from skillwarrant_attest.sign import sign

        found, subjects = manifest(self.adapter)
        credential = Credential.from_token(stack.ci_token())
        statement = found.to_statement(subjects)
        self.bundle.write_bytes(sign(statement, credential=credential, trust_config=stack.trust_config))
        command = [self.model_signing, "sign", "sigstore", self.adapter, "--signature", self.signature]
        options = ["--trust_config", stack.trust_config, "--identity_token", stack.ci_token()]
        run([*command, *options])

    def ours(self) -> None:
        command = [self.skillwarrant, "verify", self.adapter, "--bundle", self.bundle]
        run([*command, "--identity", self.identity, "--issuer", self.issuer, "--devstack", self.stack])

    def theirs(self) -> None:
        command = [self.model_signing, "verify", "sigstore", self.adapter, "--signature", self.signature]
        config = self.stack / "client_trust_config.json"
        options = ["--identity", self.identity, "--identity_provider", self.issuer, "--trust_config", config]
        run([*command, *options])

    def warm(self) -> Callable[[], Any]:
        """Reading, hashing and verifying in this process, everything imported."""
        from skillwarrant_format.snapshot import Snapshot
        from skillwarrant_verify import trust
        from skillwarrant_verify.proof.signature import verify

        root, bundle = trust.from_devstack(self.stack), self.bundle.read_bytes()

        def work() -> None:
            verify(Snapshot.read(self.adapter), bundle, root, now=datetime.now(UTC))

        return work

    def hashing(self) -> None:
        """The same bytes, read and hashed, and nothing else."""
        for path in sorted(self.adapter.iterdir()):
            hashlib.sha256(path.read_bytes()).digest()


def run(command: list[Any]) -> None:
    environment = {**os.environ, "no_proxy": "127.0.0.1,localhost"}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


def figures(bench: Bench, rounds: int) -> list[Figure]:
    cold = compare(
        "skillwarrant verify, cold, whole process",
        f"model_signing verify sigstore ({BASELINE}), whole process",
        ours=bench.ours,
        theirs=bench.theirs,
        rounds=rounds,
        aim=0.7,
    )
    warm = compare(
        "verify, warm, in process",
        "reading the files and hashlib.sha256 (aim: 1.1 x + 5 ms)",
        ours=bench.warm(),
        theirs=bench.hashing,
        rounds=5 * rounds,
    )
    return [cold, with_aim(warm)]


def with_aim(figure: Figure) -> Figure:
    """1.1 x + 5 ms, as a ratio of this very run."""
    return replace(figure, aim=1.1 + 5 / figure.baseline_value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found = figures(Bench(Path(directory), tools()), given.rounds)
    report("Verifying 40 MB", found, given.json)


if __name__ == "__main__":
    main()
