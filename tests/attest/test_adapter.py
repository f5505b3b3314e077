"""An adapter is read once and strictly; what its files say becomes facts, and what they hide becomes an error."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from skillwarrant_attest import read_adapter
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FilesMismatch, FormatError, SkillwarrantError, UsageError


def test_facts_are_those_of_the_files(adapter_dir: Path) -> None:
    adapter = read_adapter(adapter_dir)
    assert adapter.facts.peft_type == "LORA"
    assert (adapter.facts.parameters, adapter.facts.tensors) == (64, 2)
    assert (adapter.facts.rank, adapter.facts.alpha) == (8, 16)
    assert adapter.facts.target_modules == ("q_proj", "v_proj")
    assert adapter.facts.peft_version == "0.21.2"
    assert adapter.facts.changes_base is False
    assert adapter.facts.hazards == ()


def test_every_file_is_a_subject_by_its_real_digest(adapter_dir: Path) -> None:
    (adapter_dir / "README.md").write_text("# Support\n")
    (adapter_dir / "tokenizer").mkdir()
    (adapter_dir / "tokenizer" / "tokenizer.json").write_text("{}")
    subjects = {subject.name: subject.digest for subject in read_adapter(adapter_dir).subjects}
    found = [path for path in adapter_dir.rglob("*") if path.is_file()]
    assert subjects == {str(path.relative_to(adapter_dir)): Digest.of(path.read_bytes()) for path in found}
    assert len(subjects) == 4


def test_an_older_bundle_is_no_part_of_the_adapter(adapter_dir: Path) -> None:
    before = read_adapter(adapter_dir).subjects
    (adapter_dir / "skillwarrant.sigstore.json").write_text("old")
    assert read_adapter(adapter_dir).subjects == before


def test_other_weights_are_another_tensors_digest_and_a_new_readme_is_not(adapter_dir: Path) -> None:
    before = read_adapter(adapter_dir)
    (adapter_dir / "README.md").write_text("new")
    assert read_adapter(adapter_dir).facts == before.facts
    tensors = {"w": np.zeros((8, 8), dtype=np.float32)}
    (adapter_dir / "adapter_model.safetensors").write_bytes(save(tensors))
    assert read_adapter(adapter_dir).facts.tensors_digest != before.facts.tensors_digest


def test_progress_ends_with_every_byte_read(adapter_dir: Path) -> None:
    told: list[tuple[int, int]] = []
    adapter = read_adapter(adapter_dir, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (adapter.snapshot.size, adapter.snapshot.size)


def pickle(directory: Path) -> None:
    (directory / "adapter_model.bin").write_bytes(b"\x80\x04.")


def hidden(directory: Path) -> None:
    (directory / ".env").write_text("SECRET=1")


def code(directory: Path) -> None:
    (directory / "modeling.py").write_text("print('hello')")


def symlink(directory: Path) -> None:
    (directory / "README.md").symlink_to("/etc/passwd")


def symlinked_weights(directory: Path) -> None:
    (directory / "adapter_model.safetensors").rename(directory.parent / "elsewhere")
    (directory / "adapter_model.safetensors").symlink_to(directory.parent / "elsewhere")


def symlinked_folder(directory: Path) -> None:
    (directory / "more").symlink_to(directory.parent)


def fifo(directory: Path) -> None:
    os.mkfifo(directory / "README.md")


def no_weights(directory: Path) -> None:
    (directory / "adapter_model.safetensors").unlink()


def no_config(directory: Path) -> None:
    (directory / "adapter_config.json").unlink()


def empty(directory: Path) -> None:
    no_weights(directory)
    no_config(directory)


@pytest.mark.parametrize(
    "spoil",
    [pickle, hidden, code, symlink, symlinked_weights, symlinked_folder, fifo, no_weights, no_config, empty],
    ids=lambda spoil: spoil.__name__,
)
def test_what_is_no_adapter_is_refused(adapter_dir: Path, spoil: Callable[[Path], None]) -> None:
    spoil(adapter_dir)
    with pytest.raises(FilesMismatch) as refused:
        read_adapter(adapter_dir)
    assert refused.value.exit_code == 1


def test_a_missing_directory_is_a_misuse(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such directory"):
        read_adapter(tmp_path / "none")


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 10_000_000,
        b'{"peft_type": "LORA"' + b"[" * 500_000,
        b'{"peft_type": "LORA", "peft_type": "LORA"}',
        b'{"peft_type": "LORA", "r": NaN}',
        b'{"peft_type": "LORA", "r": 99999999999999999999}',
        b'{"peft_type": ["LORA"]}',
        b'{"peft_type": "LO RA"}',
        b'{"peft_type": "LORA", "target_modules": 7}',
        b'{"peft_type": "LORA", "base_model_name_or_path": "\\u001b[31m"}',
        b'{"peft_type": "LORA", "r": true}',
        b'{"peft_type": "LORA", "r": -1}',
    ],
)
def test_a_hostile_configuration_is_a_format_error_at_once(adapter_dir: Path, config: bytes) -> None:
    (adapter_dir / "adapter_config.json").write_bytes(config)
    begin = time.monotonic()
    with pytest.raises(FormatError, match=r"adapter_config\.json"):
        read_adapter(adapter_dir)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    "weights",
    [b"", b"\x00" * 7, b"\xff" * 16, b"\x02\x00\x00\x00\x00\x00\x00\x00{}", b"\x80\x04]."],
    ids=["empty", "short", "huge header", "no tensors", "pickle"],
)
def test_weights_that_are_none_are_a_format_error(adapter_dir: Path, weights: bytes) -> None:
    (adapter_dir / "adapter_model.safetensors").write_bytes(weights)
    with pytest.raises(FormatError):
        read_adapter(adapter_dir)


def test_a_file_that_changes_while_it_is_read_is_an_error(adapter_dir: Path) -> None:
    """The last progress report of a file comes before it is closed: that is when we write to it."""
    path = adapter_dir / "adapter_config.json"

    def write(_done: int, _total: int) -> None:
        path.write_text(json.dumps({"peft_type": "LORA", "r": 64}) + " " * int(time.monotonic() * 1000 % 50))

    with pytest.raises(FormatError, match="a file changed while it was being read: found adapter_config"):
        read_adapter(adapter_dir, progress=write)


def test_a_file_swapped_for_a_link_is_never_followed(adapter_dir: Path) -> None:
    """While another process swaps a file for a link and back, a read gives the signed bytes or an error."""
    path, secret = adapter_dir / "README.md", adapter_dir.parent / "secret"
    secret.write_text("secret")
    path.write_text("plain")
    stop = threading.Event()

    def swap() -> None:
        spare, link = adapter_dir.parent / "spare", adapter_dir.parent / "link"
        while not stop.is_set():
            link.symlink_to(secret)
            link.replace(path)
            spare.write_text("plain")
            spare.replace(path)

    thread = threading.Thread(target=swap)
    thread.start()
    errors = 0
    try:
        for _ in range(150):
            try:
                assert bytes(read_adapter(adapter_dir).snapshot.files["README.md"].data) == b"plain"
            except SkillwarrantError as error:
                errors += 1
                assert isinstance(error, FilesMismatch | FormatError)  # noqa: PT017  # both are fine, no other is
    finally:
        stop.set()
        thread.join()
    assert errors
