"""npm's verifier, the strictest about trusted roots, accepts our root and bundles, and refuses bent ones.

Needs node, npm and the packages in `npm/package.json`; they are installed once into `.cache/npm/` of the
repository. Without them the tests are skipped, with the reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sigstore.dsse import Statement
from sigstore.models import ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext

from skillwarrant_devstack import Devstack

HERE = Path(__file__).parent / "npm"
CACHE = Path(__file__).parents[2] / ".cache" / "npm"
INSTALL_TIMEOUT = 90  # seconds
STATEMENT = (
    b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":"'
    + b"ab" * 32
    + b'"}}],'
    b'"predicateType":"https://example.com/test/v1","predicate":{}}'
)

Verify = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def modules() -> Path:
    """Where the verifier is installed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    wanted, installed = (HERE / "package.json").read_bytes(), CACHE / "installed.json"
    if not installed.exists() or installed.read_bytes() != wanted:
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "package.json").write_bytes(wanted)
        command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(CACHE)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT)
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm could not install the verifier within {INSTALL_TIMEOUT} s")
        except subprocess.CalledProcessError as error:
            lines = [line for line in error.stderr.splitlines() if line.startswith("npm error")]
            pytest.skip(f"npm could not install the verifier: {'; '.join(lines[:3])}")
        installed.write_bytes(wanted)
    return CACHE


@pytest.fixture
def verify(modules: Path, stack: Devstack, tmp_path: Path) -> Verify:
    def run(bundle: str, *, root: Any = None, identity: str | None = None) -> subprocess.CompletedProcess[str]:
        (tmp_path / "bundle.json").write_text(bundle)
        trusted = stack.trusted_root
        if root is not None:
            trusted = tmp_path / "root.json"
            trusted.write_text(json.dumps(root))
        command = [HERE / "verify.js", trusted, tmp_path / "bundle.json", identity or stack.ci_identity()]
        return subprocess.run(
            ["node", *map(str, command)],
            env=os.environ | {"NPM_PREFIX": str(modules)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture(params=["v1", "v2"])
def bundle(request: pytest.FixtureRequest, stack: Devstack) -> str:
    path = stack.trust_config if request.param == "v1" else stack.trust_config_v2
    context = SigningContext.from_trust_config(ClientTrustConfig.from_json(path.read_text()))
    with context.signer(IdentityToken(stack.ci_token())) as signer:
        return signer.sign_dsse(Statement(STATEMENT)).to_json()


def test_npms_verifier_accepts_our_bundle_and_sees_the_same_signer(
    stack: Devstack, verify: Verify, bundle: str
) -> None:
    done = verify(bundle)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, stack.ci_identity(), "")


def test_npms_verifier_refuses_another_signer_a_bent_payload_and_a_root_without_the_log(
    stack: Devstack, verify: Verify, bundle: str
) -> None:
    assert verify(bundle, identity="https://github.com/evil/skills").returncode == 1
    document = json.loads(bundle)
    document["dsseEnvelope"]["payload"] = "e30="
    assert verify(json.dumps(document)).returncode == 1
    root = json.loads(stack.trusted_root.read_text())
    for log in root["tlogs"]:
        log["baseUrl"] = "http://elsewhere.example"
    done = verify(bundle, root=root)
    assert (done.returncode, "checkpoint" in done.stderr) == (1, True)
