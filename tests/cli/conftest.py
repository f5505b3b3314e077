"""What the command line's tests share: small real adapters and bases, and the command line itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import save
from skillwarrant_cli.group import cli

CONFIG = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["q_proj"],
    "base_model_name_or_path": "acme/tiny",
}
LAYER = "model.layers.0.self_attn.q_proj"


class Run(Protocol):
    def __call__(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Result: ...


@pytest.fixture(scope="session")
def run() -> Run:
    """The command line in this process: `run("verify", directory).exit_code`."""

    def invoke(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Result:
        result = CliRunner().invoke(
            cli, [str(argument) for argument in arguments], prog_name="skillwarrant", env=env
        )
        assert "Traceback" not in result.stderr
        return result

    return invoke


@pytest.fixture(scope="session")
def write_adapter() -> Callable[[Path], Path]:
    """Writes a small LoRA."""

    def write(directory: Path) -> Path:
        directory.mkdir(parents=True)
        (directory / "adapter_config.json").write_text(json.dumps(CONFIG))
        (directory / "README.md").write_text("# A small adapter\n")
        weights = {
            f"base_model.model.{LAYER}.lora_A.weight": ([2, 8], bytes(range(64))),
            f"base_model.model.{LAYER}.lora_B.weight": ([8, 2], bytes(range(64, 128))),
        }
        (directory / "adapter_model.safetensors").write_bytes(tensors(weights))
        return directory

    return write


@pytest.fixture(scope="session")
def write_base() -> Callable[[Path, int], Path]:
    """Writes a base model of one layer; another `seed` is another model of the same architecture."""

    def write(directory: Path, seed: int) -> Path:
        directory.mkdir(parents=True)
        config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
        (directory / "config.json").write_text(json.dumps(config))
        weights = {f"{LAYER}.weight": ([8, 8], bytes((seed + index) % 251 for index in range(256)))}
        (directory / "model.safetensors").write_bytes(tensors(weights))
        return directory

    return write


def tensors(weights: Mapping[str, tuple[list[int], bytes]]) -> bytes:
    """A safetensors file of F32 tensors, by the library that everybody reads them with."""
    return save({name: np.frombuffer(data, np.float32).reshape(shape) for name, (shape, data) in weights.items()})


@pytest.fixture
def adapter(tmp_path: Path, write_adapter: Callable[[Path], Path]) -> Path:
    return write_adapter(tmp_path / "support")


@pytest.fixture
def base(tmp_path: Path, write_base: Callable[[Path, int], Path]) -> Path:
    return write_base(tmp_path / "base", 0)
