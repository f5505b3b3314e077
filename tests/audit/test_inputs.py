"""What decisions were made from is kept beside the log, and nothing there is believed that the log did not sign."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from logbook import SUBJECTS, Book, observation

from skillwarrant_audit import Recorder
from skillwarrant_audit.inputs import InputStore, inputs_digest
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import AuditError
from skillwarrant_format.strict_json import canonical

ONE = canonical({"apiVersion": "v1", "weight": 0.5})
OTHER = canonical({"apiVersion": "v1", "now": "2026-11-22T12:00:00Z"})


@pytest.fixture
def store(tmp_path: Path) -> InputStore:
    return InputStore(tmp_path / "log" / "inputs")


def digest(*documents: bytes) -> Digest:
    found = inputs_digest(documents)
    assert found is not None
    return found


def files(store: InputStore) -> list[Path]:
    return sorted(path for path in store.directory.rglob("*") if path.is_file())


def test_a_document_is_found_by_its_own_digest(store: InputStore) -> None:
    store.keep([ONE])
    assert digest(ONE) == Digest.of(ONE)
    assert store.read(digest(ONE)) == ({"apiVersion": "v1", "weight": 0.5},)
    assert [path.name for path in files(store)] == [f"{Digest.of(ONE).hex}.json"]


def test_the_documents_of_a_stack_are_found_in_their_order(store: InputStore) -> None:
    store.keep([OTHER, ONE])
    assert store.read(digest(OTHER, ONE)) == (json.loads(OTHER), json.loads(ONE))
    assert store.read(digest(ONE)) == (json.loads(ONE),)
    with pytest.raises(AuditError, match="not kept"):
        store.read(digest(ONE, OTHER))


def test_a_stack_of_equal_inputs_has_as_many_of_them(store: InputStore) -> None:
    store.keep([ONE, ONE])
    assert store.read(digest(ONE, ONE)) == (json.loads(ONE), json.loads(ONE))


def test_of_no_document_there_is_no_digest() -> None:
    assert inputs_digest([]) is None


def test_only_the_owner_can_read_what_is_kept(store: InputStore) -> None:
    store.keep([ONE])
    (path,) = files(store)
    assert path.stat().st_mode & 0o777 == 0o600
    assert store.directory.stat().st_mode & 0o777 == 0o700


def test_what_was_altered_is_told_and_never_given(store: InputStore) -> None:
    store.keep([ONE])
    (path,) = files(store)
    path.write_bytes(ONE.replace(b"0.5", b"0.1"))
    with pytest.raises(AuditError, match="altered"):
        store.read(digest(ONE))
    store.keep([ONE])  # it is known again what it must be
    assert store.read(digest(ONE)) == (json.loads(ONE),)


def test_a_missing_member_of_a_stack_is_told(store: InputStore) -> None:
    store.keep([ONE, OTHER])
    (store.directory / Digest.of(OTHER).hex[:2] / f"{Digest.of(OTHER).hex}.json").unlink()
    with pytest.raises(AuditError, match="not kept") as caught:
        store.read(digest(ONE, OTHER))
    assert Digest.of(OTHER).hex in str(caught.value)


def test_a_link_in_the_place_of_a_document_is_not_followed(store: InputStore, tmp_path: Path) -> None:
    store.keep([ONE])
    (path,) = files(store)
    (tmp_path / "elsewhere").write_bytes(ONE)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditError, match="cannot be read"):
        store.read(digest(ONE))
    store.keep([ONE])
    assert not files(store)[0].is_symlink()


@pytest.mark.parametrize(
    "data",
    [b"[1]", b'["zz"]', b"null", b'"text"', b"{", b'{"a":1,"a":1}', b"[[]]"],
)
def test_what_is_no_input_is_told_even_where_its_digest_is_right(store: InputStore, data: bytes) -> None:
    found = Digest.of(data)
    path = store.directory / found.hex[:2] / f"{found.hex}.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with pytest.raises(AuditError, match="cannot be read"):
        store.read(found)


def test_a_disk_that_does_not_take_it_is_told(store: InputStore) -> None:
    store.directory.parent.mkdir()
    store.directory.write_text("a file where the directory should be")
    with pytest.raises(AuditError, match="cannot keep"):
        store.keep([ONE])


def test_many_writers_of_one_document_leave_one_file(store: InputStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store.keep, [[ONE]] * 40))
    assert len(files(store)) == 1


class TestRecorder:
    def record(self, book: Book, *documents: bytes, **changes: Any) -> None:
        found = observation(inputs=inputs_digest(documents), **changes)
        Recorder.open(book.directory).record(found, SUBJECTS, documents)

    def test_inputs_are_kept_beside_the_log(self, book: Book) -> None:
        self.record(book, ONE)
        (entry,) = book.verify().observations
        assert entry.observation.inputs is not None
        assert InputStore(book.directory / "inputs").read(entry.observation.inputs) == (json.loads(ONE),)

    def test_inputs_of_another_observation_are_refused(self, book: Book) -> None:
        with pytest.raises(ValueError, match="not the inputs"):
            Recorder.open(book.directory).record(observation(inputs=digest(ONE)), SUBJECTS, [OTHER])

    def test_a_place_that_is_no_directory_stops_the_record(self, book: Book) -> None:
        self.record(book, ONE)
        before = len(book.leaves())
        (book.directory / "inputs").rename(book.directory / "moved")
        (book.directory / "inputs").touch()
        with pytest.raises(AuditError, match="cannot keep"):
            self.record(book, OTHER, activation=1)
        assert len(book.leaves()) == before

    def test_the_log_verifies_without_them(self, book: Book) -> None:
        self.record(book, ONE)
        (book.directory / "inputs").rename(book.directory / "moved")
        assert len(book.verify().observations) == 1
