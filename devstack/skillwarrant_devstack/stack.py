"""The whole instance: a directory, its services, one server. This is the package's public surface."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from socket import socket
from types import TracebackType
from typing import Self, TypeVar, Unpack

from skillwarrant_devstack.fulcio import Fulcio
from skillwarrant_devstack.genesis import genesis_v1, genesis_v2
from skillwarrant_devstack.http import LOOPBACK, Route, Server, bind
from skillwarrant_devstack.keys import Instance
from skillwarrant_devstack.log import Log
from skillwarrant_devstack.oidc import Provider
from skillwarrant_devstack.rekor_v1 import RekorV1
from skillwarrant_devstack.rekor_v2 import RekorV2
from skillwarrant_devstack.state import BANNER, PRIVATE_FILE, State
from skillwarrant_devstack.tokens import Tokens
from skillwarrant_devstack.trust import Endpoints, documents
from skillwarrant_devstack.tsa import TimestampAuthority
from skillwarrant_devstack.workflow import Workflow, WorkflowArguments
from skillwarrant_format.errors import Unavailable, UsageError

__all__ = ["Devstack"]

T = TypeVar("T")
_log = logging.getLogger("skillwarrant_devstack")


def _utcnow() -> datetime:
    return datetime.now(UTC)


class Devstack:
    """A Sigstore instance for trials: identity provider, Fulcio, Rekor v1 and v2, timestamp authority.

    A context manager, or `start` and `stop`. State lies in `directory` and is continued by the next run on it.

    Args:
        directory: missing, empty, or one that a devstack made.
        clock: the time of every service, timezone-aware.
        port: on 127.0.0.1; 0 takes the port of the last run, or any free one.
    """

    def __init__(self, directory: Path, *, clock: Callable[[], datetime] = _utcnow, port: int = 0) -> None:
        self.directory = Path(directory).absolute()
        self.trusted_root = self.directory / "trusted_root.json"
        self.signing_config = self.directory / "signing_config.json"
        self.signing_config_v2 = self.directory / "signing_config_v2.json"
        self.trust_config = self.directory / "client_trust_config.json"
        self.trust_config_v2 = self.directory / "client_trust_config_v2.json"
        self._clock = clock
        self._port = port
        self._running: ExitStack | None = None
        self._endpoints: Endpoints | None = None
        self._provider: Provider | None = None
        self._server: Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, of the one server and of Fulcio."""
        return self._started(self._endpoints).url

    @property
    def issuer(self) -> str:
        """The OIDC issuer that is in tokens and certificates."""
        return self._started(self._endpoints).issuer

    def user_token(self, email: str) -> str:
        """An identity token for a user: the login without a browser. Raises UsageError for no e-mail address."""
        return self._started(self._provider).user_token(email)

    def ci_token(self, **asked: Unpack[WorkflowArguments]) -> str:
        """An identity token as a CI job of this workflow would get it."""
        return self._started(self._provider).ci_token(Workflow(**asked))

    def ci_environment(self, **asked: Unpack[WorkflowArguments]) -> dict[str, str]:
        """Environment variables that make a process a CI job of this workflow, for unmodified clients."""
        return self._started(self._provider).ci_environment(Workflow(**asked))

    def ci_identity(self, **asked: Unpack[WorkflowArguments]) -> str:
        """The certificate's subject alternative name that `ci_token` and `ci_environment` lead to."""
        return Workflow(**asked).identity

    def start(self) -> None:
        """Make or continue the instance, serve it on a thread, and write the client files.

        Raises:
            UsageError: for a directory or clock that cannot be used, or when already running.
            AuditError: when keys or logs in it are damaged.
            Unavailable: when the disk or the port refuses.
        """
        if self._running is not None:
            raise UsageError("this devstack is already running")
        if self._clock().tzinfo is None:
            raise UsageError("the clock is wrong", expected="a time with its zone", found="a naive datetime")
        with ExitStack() as opened:
            state = State(self.directory)
            opened.callback(state.close)
            self._serve(state, opened)
            self._running = opened.pop_all()
        _log.warning("%s", BANNER)
        _log.info("serving %s from %s", self.url, self.directory)

    def stop(self) -> None:
        """Stop serving and release the directory. Everything acknowledged is on the disk already."""
        if self._running is not None:
            running, self._running = self._running, None
            self._endpoints = self._provider = self._server = None
            running.close()

    def serve_forever(self) -> None:
        """Start where that is not done, and return when another thread calls `stop` or the user interrupts."""
        if self._running is None:
            self.start()
        try:
            self._started(self._server).wait()
        finally:
            self.stop()

    def _serve(self, state: State, opened: ExitStack) -> None:
        instance = state.instance(self._clock())
        listener = opened.enter_context(self._listen(state))
        port = listener.getsockname()[1]
        at = self._endpoints = Endpoints(f"http://{LOOPBACK}:{port}")
        tokens = Tokens(instance.oidc_key, at.issuer, self._clock)
        self._provider = Provider(tokens, self._clock)
        self._server = Server(
            listener,
            [
                *self._provider.routes("/oidc"),
                *Fulcio(instance, tokens, self._clock).routes(),
                *self._logs(state, instance, opened),
                *TimestampAuthority(instance.tsa, instance.tsa_key, self._clock).routes("/tsa"),
            ],
        )
        opened.callback(self._server.stop)
        state.remember_port(port)
        self._publish(state, documents(instance, at))
        self._server.start()

    def _listen(self, state: State) -> socket:
        last = state.last_port()
        if self._port or not last:
            return bind(LOOPBACK, self._port)
        try:
            return bind(LOOPBACK, last)  # URLs are in files that people have copied
        except Unavailable as error:
            _log.warning("%s The configuration files will name another port.", error)
            return bind(LOOPBACK, 0)

    def _logs(self, state: State, instance: Instance, opened: ExitStack) -> list[Route]:
        v1_log, v2_log = Log(state.log_path("rekor-v1")), Log(state.log_path("rekor-v2"))
        opened.callback(v1_log.close)
        opened.callback(v2_log.close)
        v1 = RekorV1(v1_log, instance.rekor_v1_key, instance.tree_id, self._clock)
        v2 = RekorV2(v2_log, instance.rekor_v2_key, self._clock)
        if not v1_log.size:
            v1.add(genesis_v1())
        if not v2_log.size:
            v2.add(genesis_v2())
        return [*v1.routes("/rekor-v1"), *v2.routes("/rekor-v2")]

    def _publish(self, state: State, files: dict[str, bytes]) -> None:
        state.write_readme()
        for name, data in files.items():
            state.publish(name, data)
        signer = {"DEVSTACK_IDENTITY": self.ci_identity(), "DEVSTACK_ISSUER": self.issuer}
        state.publish("ci.env", _exports({**self.ci_environment(), **signer}).encode(), mode=PRIVATE_FILE)

    @staticmethod
    def _started(value: T | None) -> T:
        if value is None:
            raise UsageError("this devstack is not running", fix="Call start(), or use it in a with statement.")
        return value


def _exports(environment: dict[str, str]) -> str:
    """Shell lines; a proxy must not be asked for this machine."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items())]
    return "\n".join([*lines, f'export no_proxy="{LOOPBACK}${{no_proxy:+,$no_proxy}}"', ""])
