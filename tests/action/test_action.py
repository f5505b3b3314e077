"""The action's own shell steps, run as a CI job: what it signs verifies; what fails, fails the job."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from skillwarrant_devstack import Devstack
from world import llama, save_lora

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
SKILL = """
policy_class = "general"
skill = { name = "acme/my-lora", version = "1.0.0", description = "Answers as our support desk." }
publisher = { name = "Acme" }
base = [{ name = "acme/tiny-llama" }]
deployment = { environments = ["production"] }
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devstack]:
    with Devstack(tmp_path_factory.mktemp("sigstore") / "d") as running:
        yield running


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    llama().save_pretrained(root / "base")
    save_lora(root / "my-lora")
    (root / "my-lora.skill.toml").write_text(SKILL)
    return root


class Job:
    """A job that runs the composite action's shell steps, as GitHub's runner would."""

    def __init__(self, checkout: Path, stack: Devstack, **inputs: str) -> None:
        self.checkout = checkout
        self.output, self.summary = checkout / "output", checkout / "summary"
        defaults = {name: given.get("default", "") for name, given in ACTION["inputs"].items()}
        self.inputs = {
            **defaults,
            "adapter": "my-lora",
            "base": "base",
            "issuer": stack.issuer,
            "trust-config": str(stack.trust_config),
            **inputs,
        }
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(checkout),
            "no_proxy": "127.0.0.1",
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            **stack.ci_environment(),
        }

    def step(self, name: str) -> subprocess.CompletedProcess[str]:
        step = next(step for step in ACTION["runs"]["steps"] if step.get("name") == name)
        given = {key: self._filled(value) for key, value in step.get("env", {}).items()}
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.checkout,
            env={**self.environment, **given},
            capture_output=True,
            text=True,
            check=False,
        )

    def _filled(self, value: str) -> str:
        match = re.fullmatch(r"\$\{\{ inputs\.([a-z-]+) \}\}", value)
        assert match, f"the runner would see {value}"
        return self.inputs[match[1]]


@pytest.fixture
def checkout(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "checkout"))


def test_the_action_signs_with_the_workflows_identity_and_verifies_what_it_signed(
    checkout: Path, stack: Devstack
) -> None:
    job = Job(checkout, stack)
    signed = job.step("Sign")
    assert signed.returncode == 0, signed.stderr
    assert job.output.read_text() == "bundle=my-lora/skillwarrant.sigstore.json\n"
    verified = job.step("Verify what was signed")
    assert verified.returncode == 0, verified.stderr
    assert stack.ci_identity() in job.summary.read_text()


def test_the_action_fails_where_another_identity_is_demanded(checkout: Path, stack: Devstack) -> None:
    job = Job(
        checkout, stack, identity="https://github.com/mallory/skills/.github/workflows/release.yml@refs/tags/v1"
    )
    assert job.step("Sign").returncode == 0
    assert job.step("Verify what was signed").returncode == 1


def test_the_action_fails_where_the_adapter_changes_between_its_steps(checkout: Path, stack: Devstack) -> None:
    job = Job(checkout, stack)
    assert job.step("Sign").returncode == 0
    (checkout / "my-lora" / "README.md").write_text("other words")
    assert job.step("Verify what was signed").returncode == 1


def test_the_action_fails_without_permission_to_ask_for_a_token(checkout: Path, stack: Devstack) -> None:
    job = Job(checkout, stack)
    for name in ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        del job.environment[name]
    done = job.step("Sign")
    assert done.returncode not in (0, 1), "could not sign is no verdict"
    assert not job.output.exists()
    assert not (checkout / "my-lora" / "skillwarrant.sigstore.json").exists()


def test_inputs_with_shell_characters_are_names_and_never_commands(checkout: Path, stack: Devstack) -> None:
    job = Job(checkout, stack, adapter='my-lora"; touch owned; "')
    assert job.step("Sign").returncode != 0
    assert not (checkout / "owned").exists()


def test_no_step_has_an_expression_inside_its_script() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", ""), step["name"]


def steps(path: Path) -> list[dict[str, Any]]:
    document = yaml.safe_load(path.read_text())
    jobs = document["jobs"].values() if "jobs" in document else [document["runs"]]
    return [step for job in jobs for step in job["steps"]]


@pytest.mark.parametrize("path", [*WORKFLOWS, ROOT / "action.yml"], ids=lambda path: path.name)
def test_every_action_is_pinned_by_commit(path: Path) -> None:
    for step in steps(path):
        used = step.get("uses", "./")
        assert used == "./" or PINNED.fullmatch(used), used


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_grants_nothing_by_default(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    assert document["permissions"] == {}
    for job in document["jobs"].values():
        assert set(job["permissions"]) <= {"contents", "id-token"}
        assert job["timeout-minutes"]


def test_only_the_signing_workflow_may_ask_for_an_identity() -> None:
    asking = [path.name for path in WORKFLOWS if "id-token: write" in path.read_text()]
    assert asking == ["sign-adapter.yml"]
