"""The bundle beside the adapter: whole or not at all, and only for the bytes that were signed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skillwarrant_attest import read_adapter, write_bundle
from skillwarrant_attest.files import create, replace
from skillwarrant_format.bundle import BUNDLE_NAME
from skillwarrant_format.errors import DigestMismatch, FilesMismatch, FormatError, Unavailable, UsageError

World = Any  # the fixture of conftest.py, which cannot be imported from here
LIMITED = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from skillwarrant_attest import write_bundle
from skillwarrant_format.errors import Unavailable
try:
    write_bundle(Path(sys.argv[2]), Path(sys.argv[3]).read_bytes())
except Unavailable as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.fixture
def bundle(world: World) -> bytes:
    signed: bytes = world.sign()
    return signed


def test_the_bundle_lies_beside_the_adapter_byte_for_byte(adapter_dir: Path, bundle: bytes) -> None:
    path = write_bundle(adapter_dir, bundle)
    assert path == adapter_dir / BUNDLE_NAME
    assert path.read_bytes() == bundle
    assert read_adapter(adapter_dir).snapshot.bundle == bundle


def test_signing_again_replaces_the_bundle_in_one_step(adapter_dir: Path, world: World, bundle: bytes) -> None:
    inode = write_bundle(adapter_dir, bundle).stat().st_ino
    second = world.sign()
    path = write_bundle(adapter_dir, second)
    assert path.read_bytes() == second
    assert path.stat().st_ino != inode
    assert {entry.name for entry in adapter_dir.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        BUNDLE_NAME,
    }


def test_a_bundle_that_is_a_link_is_refused_and_not_written_through(adapter_dir: Path, bundle: bytes) -> None:
    target = adapter_dir.parent / "precious"
    target.write_text("precious")
    (adapter_dir / BUNDLE_NAME).symlink_to(target)
    with pytest.raises(FilesMismatch, match="symlink"):
        write_bundle(adapter_dir, bundle)
    assert target.read_text() == "precious"


def test_weights_saved_anew_while_it_was_signed_are_found(adapter_dir: Path, bundle: bytes) -> None:
    path = adapter_dir / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DigestMismatch, match=r"changed while it was signed: found adapter_model\.safetensors"):
        write_bundle(adapter_dir, bundle)
    assert not (adapter_dir / BUNDLE_NAME).exists()


@pytest.mark.parametrize("change", ["added", "gone"])
def test_a_file_that_came_or_went_while_it_was_signed_is_found(
    adapter_dir: Path, world: World, change: str
) -> None:
    bundle = world.sign()
    if change == "added":
        (adapter_dir / "README.md").write_text("new")
    else:
        (adapter_dir / "adapter_config.json").unlink()
    with pytest.raises(FilesMismatch, match=r"changed while it was signed|README\.md"):
        write_bundle(adapter_dir, bundle)
    assert not (adapter_dir / BUNDLE_NAME).exists()


def test_a_bundle_of_something_else_is_not_written(adapter_dir: Path, bundle: bytes) -> None:
    with pytest.raises(FormatError):
        write_bundle(adapter_dir, b"{}")
    document = json.loads(bundle)
    document["dsseEnvelope"]["payload"] = "e30="
    with pytest.raises(FormatError):
        write_bundle(adapter_dir, json.dumps(document).encode())
    assert not (adapter_dir / BUNDLE_NAME).exists()


@pytest.mark.parametrize("size", [0, 1, 4096])
@pytest.mark.parametrize("old", [None, b"the old bundle"])
def test_a_full_disk_leaves_what_was_there(
    adapter_dir: Path, tmp_path: Path, bundle: bytes, size: int, old: bytes | None
) -> None:
    (tmp_path / "bundle").write_bytes(bundle)
    if old is not None:
        (adapter_dir / BUNDLE_NAME).write_bytes(old)
    before = {path.name: path.read_bytes() for path in adapter_dir.iterdir()}
    command = [sys.executable, "-c", LIMITED, str(size), str(adapter_dir), str(tmp_path / "bundle")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "cannot write" in done.stdout
    assert "File too large" in done.stdout
    assert {path.name: path.read_bytes() for path in adapter_dir.iterdir()} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only directory")
def test_a_directory_that_may_not_be_written_is_unavailable(adapter_dir: Path, bundle: bytes) -> None:
    adapter_dir.chmod(0o555)
    try:
        with pytest.raises(Unavailable, match="cannot write"):
            write_bundle(adapter_dir, bundle)
    finally:
        adapter_dir.chmod(0o755)


def test_a_directory_in_the_place_of_the_file_leaves_no_part_behind(tmp_path: Path) -> None:
    (tmp_path / "file" / "full").mkdir(parents=True)
    with pytest.raises(Unavailable, match="cannot write"):
        replace(tmp_path / "file", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_create_never_overwrites_and_never_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("there", "link"):
        with pytest.raises(UsageError, match="is already there"):
            create(tmp_path / name, b"new")
    assert (tmp_path / "there").read_text() == "old"
    assert not (tmp_path / "target").exists()
