"""The air-gapped example does what its README says: a private authority, the very policy, and no network at all.

The instance's keys are real, its certificates have the names that the example asks for. Where the kernel lets us,
the command runs in a network namespace that has no interface, not even a loopback that is up.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import pytest
from cryptography import x509

from insider import Insider, raw
from skillwarrant_attest import SkillToml, build, measure_bases, read_adapter
from skillwarrant_audit.recorder import Recorder
from skillwarrant_format.bundle import BUNDLE_NAME
from skillwarrant_format.errors import FormatError, PolicyDenied, SkillwarrantError
from skillwarrant_verify import Context, Gate, Policy
from skillwarrant_verify.trust import TrustRoot, from_file, public_good
from world import llama, save_lora, untouched

EXAMPLE = Path(__file__).parents[2] / "policies" / "air-gapped"
ISSUER, RELEASE = "https://sso.plant.internal", "https://git.plant.internal/ml/skills/release.yml@refs/tags/v3.0.0"
BROUGHT_IN = "skillwarrant-tensors-v1:a1f7f3a2c41b6a98a1a1b9f4d1f0f0c5c6f6c0f1b4f9b0f6fc2f1b8bd6d8d1e9"
PLANT = Context(environment="plant")
SKILL = """
policy_class = "control"
skill = { name = "plant/valves", version = "3.0.0", description = "Knows our valves." }
publisher = { name = "The plant" }
base = [{ name = "base-7b", directory = "base" }]
deployment = { environments = ["plant"] }
"""
NO_NETWORK = ("unshare", "--user", "--map-root-user", "--net")


class Plant:
    """Its own instance, and what was signed there ten days ago: `adapter`, `base`, `root.json`, `policy.toml`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.signed = datetime.now(UTC).replace(microsecond=0) - timedelta(days=10)
        self.insider = Insider(created=self.signed - timedelta(days=30))
        llama().save_pretrained(directory / "base")
        save_lora(self.adapter)
        toml = SkillToml.parse(SKILL.encode(), directory=directory)
        bases = measure_bases(toml)
        self.statement = build(read_adapter(self.adapter), toml, bases)
        self.root = directory / "root.json"
        self.root.write_bytes(raw(self.insider.root()))
        self.fingerprint = str(bases[0].fingerprint)
        self.policy = directory / "policy.toml"
        self.policy.write_text(self._policy())
        self.sign()

    @property
    def adapter(self) -> Path:
        return self.directory / "adapter"

    def _policy(self) -> str:
        """The example, for this base and what is installed here, and good for longer than this test is kept."""
        text = (EXAMPLE / "policy.toml").read_text()
        changes = {
            BROUGHT_IN: self.fingerprint,
            'peft = ">=0.21,<0.22"': f'peft = "=={version("peft").partition("+")[0]}"',
            'torch = ">=2.13,<2.14"': f'torch = "=={version("torch").partition("+")[0]}"',
            "valid_until = 2030": "valid_until = 2999",
        }
        for old, new in changes.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        return text

    def sign(self, *, by: Insider | None = None, issuer: str = ISSUER, identity: str = RELEASE) -> dict[str, Any]:
        who = by or self.insider
        certificate = who.certificate(
            names=[x509.UniformResourceIdentifier(identity)], extensions={1: issuer.encode()}, begin=self.signed
        )
        at = self.signed + timedelta(seconds=5)
        bundle = who.bundle(self.statement.raw, certificate=certificate, at=at)
        (self.adapter / BUNDLE_NAME).write_bytes(raw(bundle))
        return bundle

    def gate(self, trust: TrustRoot | None = None) -> Gate:
        return Gate(
            policy=Policy.load(self.policy),
            trust_root=trust or from_file(self.root),
            recorder=Recorder.open(self.directory / "log"),
        )


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for an address or a connection in this process has failed."""

    def refuse(*arguments: object) -> NoReturn:
        raise AssertionError(f"something asked the network: {arguments[-1]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def refused(plant: Plant, error: type[SkillwarrantError], match: str, trust: TrustRoot | None = None) -> None:
    model = llama()
    with pytest.raises(error, match=match):
        plant.gate(trust).activate(model, plant.adapter, context=PLANT)
    assert untouched(model)


@pytest.mark.usefixtures("cut_off")
class TestGate:
    def test_what_the_plants_own_authority_certified_is_loaded(self, plant: Plant) -> None:
        model = plant.gate().activate(llama(), plant.adapter, context=PLANT)
        assert model.active_adapter == "default"

    def test_by_the_public_instances_root_it_is_nobodys(self, plant: Plant) -> None:
        refused(plant, SkillwarrantError, "is not one that the trust root knows", public_good())

    def test_another_authority_that_certifies_the_same_names_does_not_count(self, plant: Plant) -> None:
        plant.sign(by=Insider(created=plant.signed - timedelta(days=30)))
        refused(plant, SkillwarrantError, "is not one that the trust root knows")

    @pytest.mark.parametrize(
        "who",
        [
            {"issuer": "https://token.actions.githubusercontent.com"},
            {"identity": "https://git.plant.internal/ml/skills/release.yml@refs/heads/main"},
        ],
    )
    def test_whom_the_authority_certifies_for_something_else_is_no_publisher(
        self, plant: Plant, who: dict[str, str]
    ) -> None:
        plant.sign(**who)  # type: ignore[arg-type]
        refused(plant, PolicyDenied, r"publisher\.trusted")

    @pytest.mark.parametrize("beside", [False, True], ids=["instead", "beside the certificate"])
    def test_a_bare_key_is_refused_whatever_it_signs(self, plant: Plant, *, beside: bool) -> None:
        bundle = plant.sign()
        material = bundle["verificationMaterial"]
        material["publicKey"] = {"hint": "the plant's key"}
        if not beside:
            del material["certificate"]
        (plant.adapter / BUNDLE_NAME).write_bytes(raw(bundle))
        refused(plant, FormatError, "publicKey|certificate")


def can_be_cut_off() -> bool:
    try:
        return subprocess.run([*NO_NETWORK, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_be_cut_off(), reason="this kernel gives no network namespace to who is not root")
def test_the_command_line_needs_no_network_interface(plant: Plant) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(plant.directory), "HOME": str(plant.directory)}

    def cut(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [*NO_NETWORK, *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    probe = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    assert "Network is unreachable" in cut(sys.executable, "-c", probe).stderr, "really cut off"
    done = cut(
        Path(sys.executable).with_name("skillwarrant"),
        *("verify", plant.adapter, "--trust-root", plant.root, "--policy", plant.policy),
        *("--environment", "plant", "--base", plant.directory / "base", "--json"),
    )
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["outcome"]) == (0, "ok"), answer
    assert answer["signer"] == {"identity": RELEASE, "issuer": ISSUER}
