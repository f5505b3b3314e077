"""Directories that are slow to make: complete and unchanged, or made again.

A directory is built under a temporary name, measured, and renamed into place together with its record
(size and SHA-256 of every file), so that an interrupted build leaves nothing that looks finished. The
record is checked on every use: a damaged directory is never handed out, it is rebuilt, with a note.
Must not know: what is in the directories.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from skillwarrant_format.errors import Unavailable

__all__ = ["Report", "cached", "default_cache", "measure"]

Report = Callable[[str, float | None], None]
"""Called with what is being done and how much of it is done: 0 to 1, or None where that is not known."""

RECORD = "record.json"
BUILDING = ".building-"


def default_cache() -> Path:
    """`skillwarrant/demo` under `$XDG_CACHE_HOME`, or under `~/.cache` where that is unset or relative (XDG)."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(configured) if Path(configured).is_absolute() else Path.home() / ".cache"
    return root / "skillwarrant" / "demo"


def cached(place: Path, name: str, build: Callable[[Path], None], report: Report) -> Path:
    """The directory `place/name`, built by `build(empty directory)` unless it is there and unchanged.

    Two processes that want the same cache at once take turns.

    Raises:
        Unavailable: the cache cannot be read or written (no permission, disk full).
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.parent, report):
            if place.exists() and not _intact(place, name):
                report(f"{name} in the cache is damaged: making it again", None)
                shutil.rmtree(place)
            if not place.exists():
                _build(place, name, build)
    except OSError as error:
        raise Unavailable(
            f"{name} could not be kept in the cache {place.parent}",
            found=str(error),
            fix="Free some space there, or set XDG_CACHE_HOME to a directory that can be written.",
        ) from error
    return place / name


def measure(directory: Path) -> dict[str, dict[str, int | str]]:
    """Size in bytes and SHA-256 (hex) of every file directly in `directory`, by name."""
    return {path.name: _file_record(path) for path in sorted(directory.iterdir())}


def _build(place: Path, name: str, build: Callable[[Path], None]) -> None:
    # The lock is held: whatever still has a temporary name was left behind by a process that was killed.
    for left_behind in place.parent.glob(f"{BUILDING}*"):
        shutil.rmtree(left_behind)
    with tempfile.TemporaryDirectory(prefix=BUILDING, dir=place.parent) as work:
        fresh = Path(work) / "fresh"
        (fresh / name).mkdir(parents=True)
        build(fresh / name)
        (fresh / RECORD).write_text(json.dumps(measure(fresh / name), indent=1, sort_keys=True), "utf-8")
        fresh.rename(place)


def _intact(place: Path, name: str) -> bool:
    try:
        recorded = json.loads((place / RECORD).read_text("utf-8"))
        sizes = {path.name: path.stat().st_size for path in (place / name).iterdir()}
        if sizes != {file: entry["size"] for file, entry in recorded.items()}:
            return False  # a truncated model is found without hashing it
        return bool(recorded == measure(place / name))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False  # no record that can be read is no record


def _file_record(path: Path) -> dict[str, int | str]:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"size": stream.tell(), "sha256": digest}


@contextmanager
def _locked(directory: Path, report: Report) -> Iterator[None]:
    with (directory / ".lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another run that is filling the same cache", None)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
