"""A real TUF repository that its owner can misuse, and a loopback server that can misbehave."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

ROLES = ("root", "targets", "snapshot", "timestamp")


class Repository:
    """One key a role; `publish` writes everything that has changed since."""

    def __init__(self, directory: Path, target: bytes | None, expires: timedelta = timedelta(days=7)) -> None:
        self.directory = directory
        (directory / "targets").mkdir(parents=True)
        self.expires = datetime.now(UTC).replace(microsecond=0) + expires
        self.signers = {role: CryptoSigner.generate_ed25519() for role in ROLES}
        self.root = Root(expires=self.expires, consistent_snapshot=False)
        for role, signer in self.signers.items():
            self.root.add_key(signer.public_key, role)
        self.targets = Targets(expires=self.expires)
        self.snapshot = Snapshot(expires=self.expires)
        self.timestamp = Timestamp(expires=self.expires)
        self._write("1.root", self.root, "root")
        self._write("root", self.root, "root")
        if target is not None:
            self.put(target)
        self.publish()

    @property
    def first_root(self) -> Path:
        """What a client gets out of band."""
        return self.directory / "1.root.json"

    def put(self, data: bytes, name: str = "trusted_root.json") -> None:
        (self.directory / "targets" / name).write_bytes(data)
        self.targets.targets[name] = TargetFile.from_data(name, data)

    def publish(self, **signers: CryptoSigner) -> None:
        """New versions of targets, snapshot and timestamp; with strangers' signatures where asked."""
        self._write("targets", self.targets, "targets", signers)
        self.snapshot.meta["targets.json"] = MetaFile(version=self.targets.version)
        self._write("snapshot", self.snapshot, "snapshot", signers)
        self.timestamp.snapshot_meta = MetaFile(version=self.snapshot.version)
        self._write("timestamp", self.timestamp, "timestamp", signers)
        for signed in (self.targets, self.snapshot, self.timestamp):
            signed.version += 1

    def _write(self, name: str, signed: Any, role: str, signers: dict[str, CryptoSigner] | None = None) -> None:
        metadata = Metadata(signed)
        metadata.sign((signers or {}).get(role, self.signers[role]))
        metadata.to_file(str(self.directory / f"{name}.json"))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...


class _Dripping(BaseHTTPRequestHandler):
    """One byte now and then, for ever: each read succeeds, the file never ends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b" ")
                time.sleep(0.05)
        except OSError:
            return

    def log_message(self, *_: Any) -> None: ...


class _Silent(_Dripping):
    """Takes the request, says nothing."""

    def do_GET(self) -> None:
        time.sleep(3)


@contextmanager
def _serving(handler: Any) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=partial(server.serve_forever, poll_interval=0.01), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def serving(directory: Path) -> Any:
    """The URL of a directory."""
    return _serving(partial(_Quiet, directory=str(directory)))


def dripping() -> Any:
    """The URL of a server that never finishes."""
    return _serving(_Dripping)


def silent() -> Any:
    """The URL of a server that never begins."""
    return _serving(_Silent)
