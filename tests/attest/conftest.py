"""What the publisher's tests share: a small adapter, a real Sigstore instance, and services that misbehave."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from safetensors.numpy import save

from skillwarrant_attest import Credential, SkillToml, Timeouts, build, measure_bases, read_adapter, sign
from skillwarrant_devstack import Devstack
from skillwarrant_format.statement import Statement

CONFIG = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "peft_version": "0.21.2",
    "base_model_name_or_path": "acme/base",
    "revision": None,
    "r": 8,
    "lora_alpha": 16,
    "target_modules": ["v_proj", "q_proj"],
    "bias": "none",
    "init_lora_weights": True,
    "megatron_core": "megatron.core",
    "inference_mode": True,
}
SKILL = """\
policy_class = "general"

[skill]
name = "acme/support"
version = "1.2.0"
description = "Answers as the support desk."

[publisher]
name = "Acme"

[[base]]
name = "acme/base"
directory = "base"

[deployment]
environments = ["production"]
"""
USER = "ada@example.com"
Answer = Callable[["Asked"], "bytes | Iterator[bytes] | None"]


@dataclass(frozen=True)
class Asked:
    """One request that a peer got."""

    path: str
    headers: bytes
    body: bytes


@dataclass
class Peer:
    """A server on loopback that does what a test wants. `None` for an answer hangs for as long as the test runs."""

    answer: Answer
    requests: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError, IndexError):
            file = connection.makefile("rb")
            line = file.readline().decode()
            headers = b"".join(iter(file.readline, b"\r\n"))
            length = [
                int(h.split(b":")[1]) for h in headers.splitlines() if h.lower().startswith(b"content-length:")
            ]
            self.requests.append(asked := Asked(line.split()[1], headers, file.read(sum(length))))
            answer = self.answer(asked)
            if answer is None:
                return
            for part in [answer] if isinstance(answer, bytes) else answer:
                connection.sendall(part)
            file.close()
            connection.close()


@pytest.fixture(autouse=True)
def _outside_ci(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, and no CI job of whoever runs the tests; sigstore's caches are the test's own."""
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    for name in [*os.environ]:
        if name.startswith(("GITHUB_", "ACTIONS_")) or name in {"CI", "GITLAB_CI", "CIRCLECI", "BUILDKITE"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devstack]:
    with Devstack(tmp_path_factory.mktemp("sigstore") / "d") as running:
        yield running


@pytest.fixture(scope="session")
def other_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devstack]:
    """Another instance, which the first one's clients have no reason to believe."""
    with Devstack(tmp_path_factory.mktemp("other") / "d") as running:
        yield running


@pytest.fixture(scope="session")
def quick() -> Timeouts:
    return Timeouts(connect=0.5, answer=0.8, total=5, login=2)


@pytest.fixture(scope="session")
def make_adapter() -> Callable[..., Path]:
    """Writes an adapter: `make_adapter(directory, **changes of its configuration)`."""

    def make(directory: Path, **changes: Any) -> Path:
        directory.mkdir(parents=True)
        (directory / "adapter_config.json").write_text(json.dumps(CONFIG | changes))
        names = [f"base_model.model.q_proj.lora_{half}.weight" for half in "AB"]
        tensors = {name: np.arange(32, dtype=np.float32).reshape(8, 4) for name in names}
        (directory / "adapter_model.safetensors").write_bytes(save(tensors))
        return directory

    return make


@pytest.fixture(scope="session")
def make_base() -> Callable[..., Path]:
    """Writes a base model: `make_base(directory, seed)`."""

    def make(directory: Path, seed: int = 0) -> Path:
        directory.mkdir(parents=True)
        (directory / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
        tensors = {"model.embed_tokens.weight": np.full(4, seed, dtype=np.float32)}
        (directory / "model.safetensors").write_bytes(save(tensors))
        return directory

    return make


@pytest.fixture
def adapter_dir(tmp_path: Path, make_adapter: Callable[..., Path], make_base: Callable[..., Path]) -> Path:
    """An adapter `out/support`, with `out/support.skill.toml` and `out/base` beside it."""
    make_base(tmp_path / "out" / "base")
    (tmp_path / "out" / "support.skill.toml").write_text(SKILL)
    return make_adapter(tmp_path / "out" / "support")


@pytest.fixture
def skill_text() -> str:
    return SKILL


@pytest.fixture
def statement(adapter_dir: Path) -> Statement:
    skill = SkillToml.load(adapter_dir.parent / "support.skill.toml")
    return build(read_adapter(adapter_dir), skill, measure_bases(skill))


class World:
    """A whole Sigstore instance, a user of it, something to sign, and the means to put a bad service into it."""

    def __init__(self, stack: Devstack, statement: Statement, directory: Path) -> None:
        self.stack = stack
        self.statement = statement
        self.user = Credential.from_token(stack.user_token(USER))
        self._directory = directory
        self._peers: list[Peer] = []

    def sign(self, trust_config: Path | None = None, **options: Any) -> bytes:
        options = {"credential": self.user, "trust_config": trust_config or self.stack.trust_config} | options
        return sign(self.statement, **options)

    def verified(self, bundle: bytes, identity: str = USER) -> bytes:
        """The payload, by sigstore itself, for this signer and no other."""
        from sigstore.models import Bundle, TrustedRoot
        from sigstore.verify import Verifier
        from sigstore.verify.policy import Identity

        verifier = Verifier(trusted_root=TrustedRoot.from_file(str(self.stack.trusted_root)))
        policy = Identity(identity=identity, issuer=self.stack.issuer)
        kind, payload = verifier.verify_dsse(Bundle.from_json(bundle), policy)
        assert kind == "application/vnd.in-toto+json"
        return payload

    def config(self, version: int = 1, **urls: str | None) -> Path:
        """A client trust config with other URLs, or (None) without a service: `config(2, tsa="http://…")`."""
        base = self.stack.trust_config if version == 1 else self.stack.trust_config_v2
        document = json.loads(base.read_bytes())
        keys = {"fulcio": "caUrls", "rekor": "rekorTlogUrls", "tsa": "tsaUrls", "oidc": "oidcUrls"}
        for name, url in urls.items():
            services = document["signingConfig"][keys[name]]
            document["signingConfig"][keys[name]] = [] if url is None else [{**services[0], "url": url}]
        path = self._directory / "client_trust_config.json"
        path.write_text(json.dumps(document))
        return path

    def peer(self, answer: Answer) -> Peer:
        """A server that does what a test wants."""
        self._peers.append(Peer(answer))
        return self._peers[-1]

    def nobody(self) -> str:
        """A URL on which nobody listens."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

    @staticmethod
    def saying(status: int, body: bytes | str, headers: str = "") -> bytes:
        """An HTTP response."""
        data = body.encode() if isinstance(body, str) else body
        head = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(data)}\r\nConnection: close\r\n{headers}\r\n"
        return head.encode() + data

    def forward(self, base: str) -> Answer:
        """The answer that a real service gives."""

        def answer(asked: Asked) -> bytes:
            headers = dict(line.split(": ", 1) for line in asked.headers.decode().splitlines())
            headers.pop("Host")
            with requests.Session() as session:
                session.trust_env = False
                got = session.post(base + asked.path, data=asked.body, headers=headers, timeout=10)
            return self.saying(got.status_code, got.content)

        return answer

    def logged(self) -> tuple[int, int]:
        """The sizes of the logs, v1 and v2."""
        with requests.Session() as session:
            session.trust_env = False
            v1 = session.get(f"{self.stack.url}/rekor-v1/api/v1/log", timeout=5).json()["treeSize"]
            v2 = session.get(f"{self.stack.url}/rekor-v2/api/v2/checkpoint", timeout=5).text.split("\n")[1]
        return int(v1), int(v2)

    def close(self) -> None:
        for one in self._peers:
            one.close()


@pytest.fixture
def world(stack: Devstack, statement: Statement, tmp_path: Path) -> Iterator[World]:
    made = World(stack, statement, tmp_path)
    yield made
    made.close()
