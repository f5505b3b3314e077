"""One world for all tests of the gate that only read it; a log of its own for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from skillwarrant_devstack import Devstack
from world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("world")
    with Devstack(root / "sigstore") as stack:
        yield World(root, stack)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"
