"""A pickle is told by its first bytes, whatever it is called; honest files are not taken for one."""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_format.adapter_files import CONFIG_NAME, WEIGHTS_NAME, check_content, is_pickle
from skillwarrant_format.errors import FilesMismatch
from skillwarrant_format.snapshot import Snapshot


def saved(write: object, *what: object) -> bytes:
    buffer = io.BytesIO()
    write(*what, buffer) if write is torch.save else write(buffer, *what)  # type: ignore[operator]
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", b"x")
    return buffer.getvalue()


def legacy() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


PICKLES = {
    **{f"protocol {number}": pickle.dumps({"a": 1}, protocol=number) for number in range(2, 6)},
    "torch.save": saved(torch.save, {"a": torch.zeros(1)}),
    "torch.save of old": legacy(),
    "an array of objects": saved(np.save, np.array([{}], dtype=object)),
    "arrays": saved(np.savez, np.array([{}], dtype=object)),
    "zip": zipped(),
    "an empty archive": b"PK\x05\x06" + bytes(18),
    "gzip": gzip.compress(pickle.dumps(1)),
}


@pytest.mark.parametrize("name", ["README.md", "tokenizer.model", "LICENSE", CONFIG_NAME, "docs/a.json"])
@pytest.mark.parametrize("data", PICKLES.values(), ids=PICKLES)
def test_a_pickle_is_refused_under_every_name_that_an_adapter_may_have(name: str, data: bytes) -> None:
    with pytest.raises(FilesMismatch, match="a pickle under another name"):
        check_content(name, data)
    with pytest.raises(FilesMismatch, match="under another name"):
        Snapshot.of({CONFIG_NAME: b"{}", WEIGHTS_NAME: b"", name: data})


@given(st.text())
def test_no_text_is_taken_for_a_pickle_but_one_that_begins_as_an_archive(text: str) -> None:
    if not text.startswith("PK"):
        assert not is_pickle(text.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x0a\x09\x0a\x05<unk>\x15",
        b"{}",
        b"\xef\xbb\xbf# A readme",
        "# Übersetzer".encode(),
        b"PKWARE wrote it",
    ],
)
def test_honest_files_are_not(data: bytes) -> None:
    """An empty one, SentencePiece's, JSON, text with and without a byte-order mark."""
    check_content("tokenizer.model", data)


def test_weights_are_told_by_their_parser() -> None:
    """A header of 0x480 bytes begins as a pickle of protocol 4 does, and is none."""
    check_content(WEIGHTS_NAME, (0x480).to_bytes(8, "little"))
    assert is_pickle((0x480).to_bytes(8, "little"))
