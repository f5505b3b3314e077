"""The directory: private, one owner, whole files, and the same instance and port after a restart."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from sigstore.models import ClientTrustConfig, SigningConfig, TrustedRoot

from skillwarrant_devstack import Devstack
from skillwarrant_devstack.http import bind
from skillwarrant_devstack.keys import Instance
from skillwarrant_devstack.state import State, write_file
from skillwarrant_format.errors import AuditError, FormatError, Unavailable, UsageError

HOLD = """
import sys, time
from pathlib import Path
from skillwarrant_devstack import Devstack
with Devstack(Path(sys.argv[1])) as stack:
    print(stack.url, flush=True)
    time.sleep(60)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_and_logs_are_private_and_the_directory_too(stack: Devstack) -> None:
    private = stack.directory / "state"
    assert {mode(stack.directory), mode(private)} == {0o700}
    secret = [*private.glob("*.json"), *private.glob("*.jsonl"), private / "lock", stack.directory / "ci.env"]
    assert len(secret) == 5
    assert {path.name: mode(path) for path in secret} == {path.name: 0o600 for path in secret}


def test_no_private_key_is_outside_the_private_directory(stack: Devstack) -> None:
    files = [path for path in stack.directory.iterdir() if path.is_file()]
    assert len(files) == 7
    assert not [path for path in files if "PRIVATE" in path.read_text()]


def test_it_says_loudly_that_it_is_no_production_ca(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Devstack(tmp_path / "d") as stack:
        assert "NOT A PRODUCTION CA" in caplog.messages[0]
        assert "NOT A PRODUCTION CA" in (stack.directory / "README.txt").read_text().splitlines()[0]
        assert "NOT FOR PRODUCTION" in stack.trusted_root.read_text()


def test_the_warning_is_the_first_line_without_any_logging_set_up(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from skillwarrant_devstack import Devstack\n"
    code += "with Devstack(Path(sys.argv[1])): pass"
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "d"], capture_output=True, text=True, check=True)
    assert run.stderr.startswith("skillwarrant devstack: NOT A PRODUCTION CA")


def test_sigstore_reads_every_file_we_write(stack: Devstack) -> None:
    TrustedRoot.from_file(str(stack.trusted_root))
    for path, version in ((stack.signing_config, 1), (stack.signing_config_v2, 2)):
        config = SigningConfig.from_file(str(path))
        assert (config.get_oidc_url(), len(config.get_tsas())) == (stack.issuer, 1)
        assert config._tlogs[0].major_api_version == version
    for path in (stack.trust_config, stack.trust_config_v2):
        ClientTrustConfig.from_json(path.read_text())


def test_the_ci_file_makes_a_shell_a_ci_job(stack: Devstack) -> None:
    code = "from sigstore.oidc import detect_credential; print(detect_credential())"
    shell = f'. "{stack.directory}/ci.env" && exec "{sys.executable}" -c "{code}"'
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB")}
    run = subprocess.run(["/bin/sh", "-c", shell], capture_output=True, text=True, check=True, env=clean)
    assert run.stdout.count(".") == 2


def test_the_same_instance_and_port_come_back(tmp_path: Path) -> None:
    with Devstack(tmp_path / "d") as first:
        url = first.url
        files = {path.name: path.read_bytes() for path in first.directory.glob("*.json")}
    with Devstack(tmp_path / "d") as second:
        assert second.url == url
        assert {path.name: path.read_bytes() for path in second.directory.glob("*.json")} == files


def test_a_taken_port_is_given_up_and_every_file_names_the_new_one(tmp_path: Path, http: requests.Session) -> None:
    with Devstack(tmp_path / "d") as first:
        old = first.url
    with bind("127.0.0.1", int(old.rpartition(":")[2])), Devstack(tmp_path / "d") as second:
        assert second.url != old
        texts = [path.read_text() for path in second.directory.iterdir() if path.is_file()]
        assert not [text for text in texts if old in text]
        assert http.get(f"{second.issuer}/keys").status_code == 200


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(tmp_path: Path, stack: Devstack) -> None:
    with pytest.raises(Unavailable, match="cannot serve"):
        Devstack(tmp_path / "d", port=int(stack.url.rpartition(":")[2])).start()
    with Devstack(tmp_path / "d"):
        """The failed start has released the directory."""


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "8.8.8.8"])  # noqa: S104 - that is the attack
def test_nothing_but_loopback_is_served(host: str) -> None:
    with pytest.raises(UsageError, match="this machine only"):
        bind(host, 0)


def test_a_second_process_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "d"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(UsageError, match="in use by another devstack") as refused:
            Devstack(tmp_path / "d").start()
        assert f"process {child.pid}" in str(refused.value)
        os.kill(child.pid, signal.SIGKILL)
    with Devstack(tmp_path / "d") as stack:
        assert stack.url


def test_a_second_instance_in_the_same_process_is_refused(running: Devstack) -> None:
    with pytest.raises(UsageError, match="in use"):
        Devstack(running.directory).start()
    with pytest.raises(UsageError, match="already running"):
        running.start()


def test_somebody_elses_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    tmp_path.chmod(0o755)
    with pytest.raises(UsageError, match="not a devstack directory"):
        Devstack(tmp_path).start()
    assert (mode(tmp_path), [path.name for path in tmp_path.iterdir()]) == (0o755, ["thesis.txt"])


def test_an_empty_directory_is_taken_over_and_made_private(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir(mode=0o755)
    with Devstack(directory):
        assert mode(directory) == 0o700


def test_a_file_or_an_unwritable_place_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        Devstack(tmp_path / "file").start()
    with pytest.raises(Unavailable):
        Devstack(Path("/proc/devstack")).start()


@pytest.fixture
def stopped(tmp_path: Path) -> Devstack:
    stack = Devstack(tmp_path / "d")
    stack.start()
    stack.stop()
    return stack


def test_keys_that_others_can_read_are_not_used(stopped: Devstack) -> None:
    (stopped.directory / "state" / "instance.json").chmod(0o640)
    with pytest.raises(UsageError, match=r"open to other users.*0640.*chmod 600"):
        stopped.start()


@pytest.mark.parametrize("damage", ["", "{}", "truncated", "swapped"])
def test_damaged_keys_never_become_another_trust_root(stopped: Devstack, damage: str) -> None:
    path = stopped.directory / "state" / "instance.json"
    whole = json.loads(path.read_text())
    swapped = json.dumps(whole | {"oidc_key": whole["rekor_v2_key"]})
    path.write_text({"truncated": path.read_text()[:-1], "swapped": swapped}.get(damage, damage))
    with pytest.raises(AuditError, match="damaged"):
        stopped.start()


def test_damaged_keys_are_not_shown(stopped: Devstack) -> None:
    path = stopped.directory / "state" / "instance.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"ct_key": whole["ct_key"] + "\x07"}))
    with pytest.raises(AuditError, match=r"instance\.ct_key") as refused:
        stopped.start()
    assert "PRIVATE" not in str(refused.value)


def test_lost_keys_of_an_existing_log_are_not_made_anew(stopped: Devstack) -> None:
    (stopped.directory / "state" / "instance.json").unlink()
    with pytest.raises(AuditError, match="missing"):
        stopped.start()


def test_a_log_that_was_bent_on_disk_stops_the_start(stopped: Devstack) -> None:
    path = stopped.directory / "state" / "rekor-v2.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"body":"ey', b'"body":"ex'))
    with pytest.raises(AuditError, match=r"rekor-v2.jsonl is damaged"):
        stopped.start()
    assert State(stopped.directory).last_port()


def test_a_start_killed_before_its_keys_were_whole_leaves_no_half_instance(tmp_path: Path) -> None:
    private = tmp_path / "d" / "state"
    private.mkdir(parents=True)
    (private / ".instance.json.part").write_text('{"created":')
    (private / "port").write_text("rubbish")
    with Devstack(tmp_path / "d") as stack:
        assert stack.url
    assert not list(private.glob("*.part"))


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_file(path, b"old")
    (tmp_path / ".f.part").mkdir()
    with pytest.raises(Unavailable, match="cannot write"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"


def test_an_instance_survives_being_written_and_read(stopped: Devstack) -> None:
    data = (stopped.directory / "state" / "instance.json").read_bytes()
    assert Instance.loads(data).to_bytes() == data
    with pytest.raises(FormatError):
        Instance.loads(data.replace(b"BEGIN CERTIFICATE", b"BEGIN CERTIFICATF", 1))


def test_each_log_begins_with_an_entry_of_its_own(running: Devstack, http: requests.Session, key: Any) -> None:
    v1 = http.post(f"{running.url}/rekor-v1/api/v1/log/entries", json=key.dsse(b"first")).json()
    v2 = http.post(f"{running.url}/rekor-v2/api/v2/log/entries", json=key.v2(b"first")).json()
    (entry,) = v1.values()
    assert (entry["logIndex"], v2["logIndex"]) == (1, "1")
    assert len(entry["verification"]["inclusionProof"]["hashes"]) == len(v2["inclusionProof"]["hashes"]) == 1


def test_what_needs_a_server_says_so_when_there_is_none(stopped: Devstack) -> None:
    for ask in (lambda: stopped.url, lambda: stopped.issuer, stopped.ci_token, stopped.ci_environment):
        with pytest.raises(UsageError, match="not running"):
            ask()
    stopped.stop()
    assert stopped.ci_identity().startswith("https://github.com/acme/skills/")


def test_a_clock_without_a_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="naive"):
        Devstack(tmp_path / "d", clock=lambda: datetime(2026, 1, 1)).start()  # noqa: DTZ001 - that is the attack
    assert not (tmp_path / "d").exists()


def test_serve_forever_returns_when_it_is_stopped(tmp_path: Path) -> None:
    stack = Devstack(tmp_path / "d")
    thread = threading.Thread(target=stack.serve_forever)
    thread.start()
    deadline = time.monotonic() + 10
    while not (tmp_path / "d" / "trusted_root.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    while stack._running is None and time.monotonic() < deadline:
        time.sleep(0.01)
    stack.stop()
    thread.join(10)
    assert not thread.is_alive()
    with Devstack(tmp_path / "d"):
        """The directory is free again."""
