"""What the command line's tests share: small real adapters and bases, and the command line itself."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import save

from skillwarrant_attest import Credential, SkillToml, build, measure_bases, read_adapter, sign
from skillwarrant_cli.group import cli
from skillwarrant_devstack import Devstack
from skillwarrant_format.statement import Statement

SKILL = """\
policy_class = "general"

[skill]
name = "acme/support"
version = "1.2.0"
description = "Answers as the support desk."

[publisher]
name = "Acme"
contact = "security@acme.example"

[[base]]
name = "acme/tiny"
directory = "base"

[deployment]
environments = ["production", "staging"]
"""
POLICY = """\
api_version = "skillwarrant.dev/policy/v1"
name = "acme-production"
revision = 3
environments = ["production", "staging"]
policy_classes = ["general"]

[[publishers]]
issuer = "{issuer}"
identity = "{identity}"
skills = ["acme/*"]
"""
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
def modules_after() -> Callable[..., set[str]]:
    """What a process of its own has imported after a command that went well."""

    def modules(*arguments: str | Path) -> set[str]:
        code = (
            "import sys\nfrom skillwarrant_cli.main import main\n"
            f"sys.argv[1:] = {[str(argument) for argument in arguments]!r}\n"
            "try:\n    main()\nexcept SystemExit as done:\n    assert done.code == 0\n    print(*sys.modules)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        return set(done.stdout.splitlines()[-1].split())

    return modules


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
    """Writes a base model of one tensor; another `seed` is another model of the same architecture."""

    def write(directory: Path, seed: int) -> Path:
        directory.mkdir(parents=True)
        config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
        (directory / "config.json").write_text(json.dumps(config))
        weights = {"model.embed_tokens.weight": ([8, 8], bytes((seed + index) % 251 for index in range(256)))}
        (directory / "model.safetensors").write_bytes(tensors(weights))
        return directory

    return write


def tensors(weights: Mapping[str, tuple[list[int], bytes]]) -> bytes:
    """A safetensors file of F32 tensors, by the library that everybody reads them with."""
    return save({name: np.frombuffer(data, np.float32).reshape(shape) for name, (shape, data) in weights.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """An adapter `support` with `support.skill.toml`, its `base` and a `policy.toml`, and who signs."""

    directory: Path
    stack: Devstack
    mute: str
    """A URL that takes connections and never says a word."""

    @property
    def nobody(self) -> str:
        """A URL on which nobody listens."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

    @property
    def adapter(self) -> Path:
        return self.directory / "support"

    @property
    def base(self) -> Path:
        return self.directory / "base"

    @property
    def policy(self) -> Path:
        return self.directory / "policy.toml"

    @property
    def skill(self) -> Path:
        return self.directory / "support.skill.toml"

    @property
    def bundle(self) -> Path:
        return self.adapter / "skillwarrant.sigstore.json"

    @property
    def trust(self) -> tuple[str, ...]:
        """The arguments that make the devstack the trust root."""
        return ("--devstack", str(self.stack.directory))

    @property
    def signer(self) -> tuple[str, ...]:
        """The arguments that demand the signer."""
        return ("--identity", self.stack.ci_identity(), "--issuer", self.stack.issuer)

    @property
    def signs(self) -> tuple[str, ...]:
        """The arguments that sign as the CI job."""
        token = self.directory / "token"
        token.write_text(self.stack.ci_token())
        return ("--token-file", str(token), "--trust-config", str(self.stack.trust_config))

    def sign(self, extra: str = "") -> Path:
        """Sign the adapter through the library, with more in skill.toml's last section, which is `deployment`."""
        toml = SkillToml.parse((self.skill.read_text() + extra).encode(), directory=self.directory)
        return self.sign_statement(build(read_adapter(self.adapter), toml, measure_bases(toml)))

    def sign_statement(self, statement: Statement) -> Path:
        """Sign whatever it says, and lay it beside the adapter."""
        credential = Credential.from_token(self.stack.ci_token())
        self.bundle.write_bytes(sign(statement, credential=credential, trust_config=self.stack.trust_config))
        return self.adapter


@pytest.fixture(autouse=True)
def _outside_ci(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, no CI job and no caches of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    for name in [*os.environ]:
        if name.startswith(("GITHUB_", "ACTIONS_")) or name in {"CI", "GITLAB_CI", "CIRCLECI", "BUILDKITE"}:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devstack]:
    with Devstack(tmp_path_factory.mktemp("sigstore") / "d") as running:
        yield running


@pytest.fixture(scope="session")
def mute() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # the kernel takes the connections
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="session")
def signed(
    tmp_path_factory: pytest.TempPathFactory,
    stack: Devstack,
    mute: str,
    write_adapter: Callable[[Path], Path],
    write_base: Callable[[Path, int], Path],
) -> World:
    """Signed once, and not to be changed."""
    world = World(directory=tmp_path_factory.mktemp("signed"), stack=stack, mute=mute)
    write_adapter(world.adapter)
    write_base(world.base, 0)
    world.skill.write_text(SKILL)
    world.policy.write_text(POLICY.format(issuer=stack.issuer, identity=stack.ci_identity()))
    world.sign()
    return world


@pytest.fixture
def world(signed: World, tmp_path: Path) -> World:
    """A copy of the signed world that a test may damage."""
    shutil.copytree(signed.directory, tmp_path / "world")
    return replace(signed, directory=tmp_path / "world")


@pytest.fixture
def adapter(tmp_path: Path, write_adapter: Callable[[Path], Path]) -> Path:
    """Unsigned, and nothing beside it."""
    return write_adapter(tmp_path / "support")


@pytest.fixture
def base(tmp_path: Path, write_base: Callable[[Path, int], Path]) -> Path:
    return write_base(tmp_path / "base", 0)


@pytest.fixture
def new_policy(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory `p`, in which we are: as `skillwarrant policy new` writes it."""
    monkeypatch.chdir(tmp_path)
    repository = ("--publisher-repo", "acme/skills", "--workflow", "release.yml")
    assert run("policy", "new", "p", *repository, "--environment", "production").exit_code == 0
    return Path("p")


@pytest.fixture(scope="session")
def check_sarif() -> Callable[[dict[str, Any]], None]:
    """The rules of SARIF 2.1.0's schema that concern us: required members, their types, indexes that fit."""
    return _check_sarif


def _check_sarif(log: dict[str, Any]) -> None:
    assert log["version"] == "2.1.0"
    assert log["$schema"].startswith("https://docs.oasis-open.org/sarif/")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "skillwarrant"
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids)
    assert all(rule["shortDescription"]["text"] for rule in driver["rules"])
    for result in run["results"]:
        assert result["level"] in {"none", "note", "warning", "error"}
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        uri = place["artifactLocation"]["uri"]
        assert uri
        assert not uri.startswith("/")
        assert "\\" not in uri
        assert place.get("region", {"startLine": 1})["startLine"] >= 1
