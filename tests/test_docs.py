"""The documents are true: their code blocks run in order, as a reader would run them, and links lead somewhere.

A page's blocks share one directory, which holds a small base model (`base`) and an adapter for it (`my-lora`), and
one Python namespace. A block of kind `bash background` is started and kept, `toml NAME` is saved as that file; what
only shows something is fenced as text or sh.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from world import llama, save_lora

ROOT = Path(__file__).parents[1]
# The tutorial's blocks follow the demo, in the directory that it leaves: tests/cli/test_demo.py runs them there.
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/how-to/*.md")])
ALL_PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUNNABLE = {"bash", "bash background", "python"}
SHOWN = {"text", "toml", "json", "yaml", "sh", "console"}
READY = Path("sigstore") / "ci.env"


class Block(NamedTuple):
    kind: str
    code: str


def blocks(page: Path) -> list[Block]:
    return [Block(*match) for match in FENCE.findall(page.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("docs")
    llama().save_pretrained(root / "base")
    save_lora(root / "my-lora")
    return root


class Reader:
    """Somebody who follows a page: one shell for what is typed, others for what keeps running."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ACTIONS_", "GITHUB_"))},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "SKILLWARRANT_LOG": str(directory / "log"),
            "XDG_CACHE_HOME": str(directory / "cache"),
            "PYTHONPATH": str(ROOT / "tests" / "verify"),
        }
        self.running: list[subprocess.Popen[bytes]] = []
        self.python = ""

    def read(self, block: Block) -> None:
        if block.kind == "bash background":
            self._start(block.code)
        elif block.kind == "bash":
            self._run(["bash", "-euo", "pipefail", "-c", self._joined(block.code)])
        elif block.kind == "python":
            self.python += block.code + "\n"
        elif block.kind.startswith("toml "):
            (self.directory / block.kind.removeprefix("toml ")).write_text(block.code)

    def finish(self) -> None:
        """A page's Python is one program; a reader has a model in memory already."""
        if self.python:
            given = "from world import llama\nbase_model = llama()\n"
            self._run([sys.executable, "-c", given + self.python])

    def close(self) -> None:
        for process in self.running:
            process.send_signal(signal.SIGINT)
            process.wait(20)

    def _joined(self, code: str) -> str:
        return f"[ ! -f {READY} ] || . {READY}\n{code}"

    def _start(self, code: str) -> None:
        with (self.directory / "background.log").open("wb") as log:
            command = ["bash", "-c", f"exec {code.strip()}"]
            self.running.append(
                subprocess.Popen(command, cwd=self.directory, env=self.environment, stdout=log, stderr=log)
            )
        deadline = time.monotonic() + 20
        while not (self.directory / READY).exists():
            assert time.monotonic() < deadline, (self.directory / "background.log").read_text()
            time.sleep(0.05)

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command, cwd=self.directory, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"


@pytest.fixture
def reader(prepared: Path, tmp_path: Path) -> Iterator[Reader]:
    one = Reader(Path(shutil.copytree(prepared, tmp_path / "page")))
    yield one
    one.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_the_page_runs_as_written(page: Path, reader: Reader) -> None:
    for block in blocks(page):
        known = block.kind in RUNNABLE | SHOWN or block.kind.startswith("toml ")
        assert known, f"{page}: a block of kind {block.kind!r} would never be run"
        reader.read(block)
    reader.finish()


def test_the_readme_has_runnable_blocks_of_each_kind() -> None:
    kinds = {block.kind for block in blocks(ROOT / "README.md")}
    assert {"bash", "bash background", "python"} <= kinds


def test_the_readme_signs_and_verifies_in_ten_lines() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Sign and verify in ten lines")[2].partition("\n## ")[0]
    lines = [line for _, code in FENCE.findall(section) for line in code.splitlines() if line.strip()]
    assert len(lines) == 10


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://", "#", "mailto:")):
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name} links to {target}"


def test_every_decision_is_listed() -> None:
    index = (ROOT / "docs" / "adr" / "README.md").read_text()
    found = {path.name for path in (ROOT / "docs" / "adr").glob("0*.md")}
    assert found == set(re.findall(r"\((0\d{3}[^)]+)\)", index))
