"""A snapshot holds every byte of an adapter, read once; whatever is no adapter is refused before it is opened."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from skillwarrant_format import adapter_files, limits, snapshot
from skillwarrant_format.errors import FilesMismatch, FormatError, SkillwarrantError, Unavailable, UsageError
from skillwarrant_format.snapshot import BUNDLE_NAME, CONFIG_NAME, WEIGHTS_NAME, Snapshot

HEADER = b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + b"\x01\x02\x03\x04"
PLAIN = {CONFIG_NAME: b'{"peft_type":"LORA"}', WEIGHTS_NAME: WEIGHTS, "README.md": b"# hello\n"}


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    directory = tmp_path / "adapter"
    directory.mkdir()
    for name, data in PLAIN.items():
        (directory / name).write_bytes(data)
    return directory


def refusal(directory: Path, kind: type[SkillwarrantError] = FilesMismatch) -> str:
    with pytest.raises(kind) as caught:
        Snapshot.read(directory)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_every_byte_is_read_and_every_digest_is_the_files(adapter: Path) -> None:
    found = Snapshot.read(adapter)
    assert {path: bytes(file.data) for path, file in found.files.items()} == PLAIN
    assert list(found.files) == sorted(PLAIN)
    for path, data in PLAIN.items():
        assert found.files[path].digest.hex == hashlib.sha256(data).hexdigest()
        assert found.files[path].size == len(data)
    assert found.bundle is None
    assert found.size == sum(map(len, PLAIN.values()))
    assert bytes(found.weights.data) == WEIGHTS
    assert bytes(found.config.data) == PLAIN[CONFIG_NAME]


def test_large_files_come_in_chunks_and_digest_the_same(adapter: Path) -> None:
    data = os.urandom(2 * limits.READ_CHUNK + 12_345)
    (adapter / "tokenizer.json").write_bytes(data)
    seen: list[tuple[int, int]] = []
    found = Snapshot.read(adapter, progress=lambda done, total: seen.append((done, total)))
    assert found.files["tokenizer.json"].digest.hex == hashlib.sha256(data).hexdigest()
    assert bytes(found.files["tokenizer.json"].data) == data
    total = found.size
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) >= 5


def test_a_change_on_disk_after_the_read_changes_nothing_in_memory(adapter: Path) -> None:
    found = Snapshot.read(adapter)
    with (adapter / WEIGHTS_NAME).open("r+b") as file:
        file.write(b"\xff" * len(WEIGHTS))
    (adapter / CONFIG_NAME).unlink()
    assert bytes(found.weights.data) == WEIGHTS
    assert found.weights.digest.hex == hashlib.sha256(WEIGHTS).hexdigest()


def test_the_data_face_is_read_only(adapter: Path) -> None:
    with pytest.raises(TypeError, match="read-only"):
        Snapshot.read(adapter).weights.data[0] = 0


@pytest.mark.parametrize("padding", range(0, 66, 5))
def test_tensor_data_begins_at_an_aligned_address(tmp_path: Path, padding: int) -> None:
    import ctypes

    header = HEADER + b" " * padding
    (tmp_path / WEIGHTS_NAME).write_bytes(len(header).to_bytes(8, "little") + header + b"\x01\x02\x03\x04")
    for found in (Snapshot.read(tmp_path), Snapshot.of({WEIGHTS_NAME: (tmp_path / WEIGHTS_NAME).read_bytes()})):
        data = found.weights.buffer[8 + len(header) :]
        assert bytes(data) == b"\x01\x02\x03\x04"
        assert ctypes.addressof(ctypes.c_char.from_buffer(data)) % 64 == 0


def test_the_bundle_is_kept_apart(adapter: Path) -> None:
    (adapter / BUNDLE_NAME).write_bytes(b"{}")
    found = Snapshot.read(adapter)
    assert found.bundle == b"{}"
    assert BUNDLE_NAME not in found.files


def test_a_bundle_of_another_name_is_found_and_neither_is_part_of_the_adapter(adapter: Path) -> None:
    (adapter / BUNDLE_NAME).write_bytes(b"{}")
    (adapter / "other.json").write_bytes(b"[]")
    found = Snapshot.read(adapter, bundle_name="other.json")
    assert found.bundle == b"[]"
    assert set(found.files) == set(PLAIN)


def test_a_bundle_that_is_too_large_is_refused_unread(adapter: Path) -> None:
    with (adapter / BUNDLE_NAME).open("wb") as file:
        file.truncate(limits.MAX_BUNDLE_BYTES + 1)
    assert "the bundle is too large" in refusal(adapter, FormatError)
    with pytest.raises(FormatError, match="too large"):
        Snapshot.of(PLAIN, bundle=bytes(limits.MAX_BUNDLE_BYTES + 1))


def test_what_a_download_from_the_hub_leaves_behind_is_ignored(adapter: Path) -> None:
    (adapter / ".gitattributes").write_bytes(b"*.safetensors filter=lfs\n")
    cache = adapter / ".cache" / "huggingface" / "download"
    cache.mkdir(parents=True)
    (cache / "README.md.metadata").write_bytes(b"commit\n")
    os.mkfifo(cache / "would-hang")
    assert set(Snapshot.read(adapter).files) == set(PLAIN)


@pytest.mark.parametrize(
    "name", [".env", ".git/config", ".cache/other/x.json", ".cache/x.json", "sub/.hidden.json"]
)
def test_other_hidden_files_are_refused(adapter: Path, name: str) -> None:
    (adapter / name).parent.mkdir(parents=True, exist_ok=True)
    (adapter / name).write_bytes(b"")
    assert "hidden" in refusal(adapter)


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer.model", "merges.txt", "chat_template.jinja", "LICENSE", "docs/notes.md"]
)
def test_the_usual_companions_of_an_adapter_are_accepted(adapter: Path, name: str) -> None:
    (adapter / name).parent.mkdir(exist_ok=True)
    (adapter / name).write_bytes(b"x")
    assert name in Snapshot.read(adapter).files


@pytest.mark.parametrize(
    "name", ["adapter_model.bin", "training_args.bin", "optimizer.pt", "x.PKL", "sub/model.ckpt"]
)
def test_a_pickle_is_refused_with_the_way_to_convert_it(adapter: Path, name: str) -> None:
    (adapter / name).parent.mkdir(exist_ok=True)
    (adapter / name).write_bytes(b"x")
    text = refusal(adapter)
    assert "pickle" in text
    assert "save_pretrained" in text
    assert name in text


@pytest.mark.parametrize(
    "name", ["modeling.py", "kernel.so", "run.sh", "data.parquet", "noextension", "sub/adapter_model.safetensors"]
)
def test_anything_else_is_refused_by_name(adapter: Path, name: str) -> None:
    (adapter / name).parent.mkdir(exist_ok=True)
    (adapter / name).write_bytes(b"x")
    assert name in refusal(adapter)


def test_a_second_weights_file_is_refused(adapter: Path) -> None:
    (adapter / "other.safetensors").write_bytes(WEIGHTS)
    assert "other.safetensors" in refusal(adapter)


def test_a_symlink_to_a_file_is_refused_with_the_way_out(adapter: Path) -> None:
    (adapter / "outside.json").write_bytes(b"{}")
    (adapter / "README.md").unlink()
    (adapter / "README.md").symlink_to("outside.json")
    text = refusal(adapter)
    assert "symlink" in text
    assert "local_dir" in text


def test_a_symlink_to_a_directory_and_a_dangling_one_are_refused(adapter: Path, tmp_path: Path) -> None:
    (adapter / "docs").symlink_to(tmp_path)
    assert "symlink" in refusal(adapter)
    (adapter / "docs").unlink()
    (adapter / "gone.json").symlink_to("nowhere")
    assert "symlink" in refusal(adapter)


def test_the_callers_own_name_for_the_directory_may_be_a_link(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(adapter)
    assert set(Snapshot.read(tmp_path / "current").files) == set(PLAIN)


def test_a_fifo_and_a_socket_are_refused_without_hanging(adapter: Path) -> None:
    os.mkfifo(adapter / "pipe.json")
    assert "no file" in refusal(adapter)
    (adapter / "pipe.json").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(adapter / "s.json"))
        assert "no file" in refusal(adapter)


def test_missing_and_empty_directories_and_files_in_their_place_are_told_apart(tmp_path: Path) -> None:
    assert "no such directory" in refusal(tmp_path / "nowhere", UsageError)
    (tmp_path / "file").write_bytes(b"")
    assert "not a directory" in refusal(tmp_path / "file", UsageError)
    (tmp_path / "empty").mkdir()
    assert "no adapter" in refusal(tmp_path / "empty")
    with pytest.raises(FilesMismatch, match="no adapter"):
        Snapshot.of({})


@pytest.mark.parametrize(
    "name",
    [
        "a\\b.json",
        "bell\x07.json",
        "line\nbreak.json",
        unicodedata.normalize("NFD", "é.json"),
        "\udcff.json",
        "x" * 600,
    ],
)
def test_a_name_that_can_be_read_in_two_ways_is_refused(name: str) -> None:
    with pytest.raises(FormatError):
        Snapshot.of({**PLAIN, name: b""})


@pytest.mark.parametrize("name", ["/etc/x.json", "../x.json", "a/../x.json", "./x.json", "a//x.json", "", "a/"])
def test_a_path_that_is_not_plain_and_relative_is_refused(name: str) -> None:
    with pytest.raises(FormatError):
        Snapshot.of({**PLAIN, name: b""})


def test_a_name_on_disk_that_is_not_utf8_is_refused(adapter: Path) -> None:
    with Path(os.fsdecode(os.fsencode(adapter) + b"/\xff.json")).open("wb"):
        pass
    assert "name that is not accepted" in refusal(adapter, FormatError)


def test_names_that_differ_only_in_case_are_refused(adapter: Path) -> None:
    (adapter / "readme.MD").write_bytes(b"")
    assert "differ only in case" in refusal(adapter, FormatError)


def test_more_directories_than_can_be_held_open_are_a_no_and_not_an_error_of_the_system(adapter: Path) -> None:
    for number in range(limits.MAX_FOLDERS):
        (adapter / f"folder-{number}").mkdir()
    Snapshot.read(adapter)
    (adapter / "folder-0" / "one-more").mkdir()
    assert "too many directories" in refusal(adapter, FormatError)


def test_too_many_files_and_too_many_bytes_are_refused(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "ADAPTER", replace(adapter_files.ADAPTER, most_files=2))
    assert "too many files" in refusal(adapter, FormatError)
    monkeypatch.setattr(snapshot, "ADAPTER", replace(adapter_files.ADAPTER, most_bytes=20))
    assert "too large" in refusal(adapter, FormatError)
    with pytest.raises(FormatError, match="too large"):
        Snapshot.of(PLAIN)


def test_a_sparse_file_of_terabytes_is_refused_before_memory_is_taken(adapter: Path) -> None:
    with (adapter / "huge.json").open("wb") as file:
        file.truncate(2**42)
    assert "too large" in refusal(adapter, FormatError)


def test_directories_nested_without_end_are_refused(adapter: Path) -> None:
    deep = adapter.joinpath(*["d"] * 40)
    deep.mkdir(parents=True)
    assert "nested too deeply" in refusal(adapter, FormatError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_unavailable(adapter: Path) -> None:
    (adapter / "README.md").chmod(0)
    assert "could not be read" in refusal(adapter, Unavailable)


def during_the_read(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    """Run `action` after the first chunk of the first file (README.md) was read."""
    real, pending = os.readv, [action]

    def readv(descriptor: int, buffers: list[memoryview]) -> int:
        count = real(descriptor, buffers)
        if pending:
            pending.pop()()
        return count

    monkeypatch.setattr(snapshot.os, "readv", readv)


def test_a_file_that_is_written_to_while_it_is_read_is_an_error(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overwrite() -> None:
        time.sleep(0.02)  # longer than a tick of the file system's clock
        (adapter / "README.md").write_bytes(PLAIN["README.md"].upper())

    during_the_read(monkeypatch, overwrite)
    assert "changed while it was being read" in refusal(adapter, FormatError)


def test_a_file_that_grows_or_shrinks_while_it_is_read_is_an_error(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (1, 9_000_000):
        (adapter / "README.md").write_bytes(bytes(2 * limits.READ_CHUNK))
        during_the_read(monkeypatch, lambda size=size: os.truncate(adapter / "README.md", size))
        assert "changed while it was being read" in refusal(adapter, FormatError)


def test_a_file_swapped_for_a_link_or_another_file_during_the_walk_is_an_error(
    adapter: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def to_link() -> None:
        (adapter / "README.md").unlink()
        (adapter / "README.md").symlink_to(tmp_path / "secret")

    def to_other() -> None:
        (tmp_path / "secret").rename(adapter / "README.md")

    for swap in (to_link, to_other, (adapter / "README.md").unlink):
        (adapter / "README.md").unlink(missing_ok=True)
        (adapter / "README.md").write_bytes(PLAIN["README.md"])
        (tmp_path / "secret").write_bytes(PLAIN["README.md"])
        during_the_read(monkeypatch, swap)
        assert "changed while it was being read" in refusal(adapter, FormatError)


def test_a_directory_swapped_for_a_link_during_the_walk_is_not_followed(adapter: Path, tmp_path: Path) -> None:
    """A writer swaps a directory and a link to a tree outside for as long as we read."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "notes.md").write_bytes(b"secret")
    (adapter / "docs").mkdir()
    (adapter / "docs" / "notes.md").write_bytes(b"public")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (adapter / "docs").rename(tmp_path / "aside")
            (adapter / "docs").symlink_to(tmp_path / "outside")
            (adapter / "docs").unlink()
            (tmp_path / "aside").rename(adapter / "docs")

    writer = threading.Thread(target=swap)
    writer.start()
    outcomes = set()
    try:
        for _ in range(300):
            try:
                found = Snapshot.read(adapter).files.get("docs/notes.md")
                outcomes.add("nothing" if found is None else bytes(found.data).decode())
            except SkillwarrantError as error:
                outcomes.add(type(error).__name__)
    finally:
        stop.set()
        writer.join()
    assert "secret" not in outcomes


def test_bytes_given_in_memory_are_copied(adapter: Path) -> None:
    data = bytearray(b"# hello\n")
    found = Snapshot.of({**PLAIN, "README.md": data})  # type: ignore[dict-item]
    data[0] = 0
    assert bytes(found.files["README.md"].data) == b"# hello\n"
    assert Snapshot.read(adapter).files["README.md"].digest == found.files["README.md"].digest


def test_an_adapter_without_weights_or_configuration_says_so() -> None:
    with pytest.raises(FilesMismatch, match=WEIGHTS_NAME):
        _ = Snapshot.of({CONFIG_NAME: b"{}"}).weights
    with pytest.raises(FilesMismatch, match=CONFIG_NAME):
        _ = Snapshot.of({WEIGHTS_NAME: WEIGHTS}).config


def test_reading_imports_neither_torch_nor_numpy() -> None:
    modules = "snapshot, safetensors, fingerprint, base_directory"
    code = (
        f"import sys; from skillwarrant_format import {modules};"
        " assert not {'torch', 'numpy', 'safetensors', 'sigstore'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_rule_is_documented_where_it_is_kept() -> None:
    for name in (".gitattributes", ".cache/huggingface", *adapter_files._TEXT, *adapter_files._LICENCES):
        assert name in (adapter_files.__doc__ or "")
