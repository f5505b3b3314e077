"""The engine is the pinned one, unchanged, and answers what is known; else nothing is evaluated with it."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

from modules import files
from skillwarrant_format.errors import Unavailable
from skillwarrant_verify.rego import engine as rego_engine
from skillwarrant_verify.rego import process as rego_process
from skillwarrant_verify.rego.install import ENGINE, VERSION, engine_directory
from skillwarrant_verify.rego.modules import RegoModules

MARKED = "raise SystemExit('the wrong module was imported')\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of installed packages in which only the engine's distribution is found."""
    engine_directory.cache_clear()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    yield tmp_path
    engine_directory.cache_clear()


def installed(site: Path, version: str = VERSION, *, name: str = ENGINE, record: bool = True) -> None:
    """A distribution with a small module `regorus`, as an installer writes it."""
    (site / "regorus").mkdir(exist_ok=True)
    (site / "regorus" / "__init__.py").write_text("answer = 42\n")
    (site / "regorus" / "regorus.abi3.so").write_bytes(b"ELF")
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if record:
        paths = ["regorus/__init__.py", "regorus/regorus.abi3.so"]
        (info / "RECORD").write_text("".join(f"{path},{hashed(site / path)},1\n" for path in paths))


def hashed(path: Path) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()


def test_the_pinned_engine_is_the_one_that_is_installed_here() -> None:
    assert engine_directory() == Path(str(distribution(ENGINE).locate_file("")))
    assert distribution(ENGINE).version == VERSION


def test_the_pin_is_the_extras_pin() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'rego = ["{ENGINE}=={VERSION}"]' in text


def test_an_engine_that_owns_its_files_is_accepted(site: Path) -> None:
    installed(site)
    assert engine_directory() == site


def changed(site: Path) -> None:
    (site / "regorus" / "__init__.py").write_text(MARKED)


def added(site: Path) -> None:
    (site / "regorus" / "extra.py").write_text(MARKED)


def hidden(site: Path) -> None:
    (site / "regorus" / "regorus.cpython-311-x86_64-linux-gnu.so").write_bytes(b"ELF")


def replaced(site: Path) -> None:
    (site / "regorus" / "regorus.abi3.so").write_bytes(b"another")


def removed(site: Path) -> None:
    (site / "regorus" / "regorus.abi3.so").unlink()


def unhashed(site: Path) -> None:
    record = next(site.glob("*.dist-info")) / "RECORD"
    record.write_text("regorus/__init__.py,,\nregorus/regorus.abi3.so,,\n")


def weakly_hashed(site: Path) -> None:
    record = next(site.glob("*.dist-info")) / "RECORD"
    digest = base64.urlsafe_b64encode(hashlib.md5((site / "regorus/__init__.py").read_bytes()).digest())  # noqa: S324
    record.write_text(f"regorus/__init__.py,md5={digest.rstrip(b'=').decode()},1\n")
    removed(site)


@pytest.mark.parametrize("damage", [changed, added, hidden, replaced, removed, unhashed, weakly_hashed])
def test_files_of_another_distribution_are_noticed(site: Path, damage: Callable[[Path], None]) -> None:
    installed(site)
    damage(site)
    with pytest.raises(Unavailable, match=rf"files of another distribution: .*regorus.*{ENGINE}=={VERSION}"):
        engine_directory()


@pytest.mark.parametrize(
    ("version", "name", "found"),
    [
        ("0.13.1", ENGINE, f"found {ENGINE} 0.13.1"),
        ("0.12.0", ENGINE, f"found {ENGINE} 0.12.0"),
        (VERSION, "regorus", "found none"),
    ],
)
def test_another_release_or_distribution_is_refused(site: Path, version: str, name: str, found: str) -> None:
    installed(site, version, name=name)
    with pytest.raises(Unavailable, match=found):
        engine_directory()


def test_a_distribution_without_a_record_is_refused(site: Path) -> None:
    installed(site, record=False)
    with pytest.raises(Unavailable, match="without a module regorus"):
        engine_directory()


def test_without_the_extra_it_says_what_to_install(site: Path) -> None:
    with pytest.raises(Unavailable, match=r"found none\. pip install 'skillwarrant\[rego\]'"):
        RegoModules.load(files('deny contains "x"'))


def test_importing_rego_takes_no_engine() -> None:
    code = (
        "import sys, skillwarrant_verify.rego.modules;"
        " sys.exit('regorus' in sys.modules or 'requests' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_engine_knows_every_known_answer() -> None:
    assert rego_engine.wrong_answers() == []


@pytest.mark.parametrize(
    ("expression", "answer", "found"),
    [
        ("70 % 7", "2", "70 % 7 is 0, not 2"),
        ("count(5)", "1", "count(5) is error, not 1"),
        ("input.missing", "false", "input.missing is undefined, not false"),
        ("nowhere", "undefined", "nowhere is error, not undefined"),
    ],
)
def test_an_engine_that_answers_otherwise_is_noticed(
    monkeypatch: pytest.MonkeyPatch, expression: str, answer: str, found: str
) -> None:
    monkeypatch.setattr(rego_engine, "_KNOWN", ((expression, answer),))
    assert rego_engine.wrong_answers() == [found]


def test_a_worker_whose_engine_answers_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    start = (
        "import json, sys; sys.path[:0] = json.loads(sys.argv[1]);"
        "from skillwarrant_verify.rego import engine as rego_engine, worker as rego_worker;"
        "rego_engine._KNOWN = (('1 + 1', '3'),); rego_worker.main()"
    )
    monkeypatch.setattr(rego_process, "_START", start)
    with pytest.raises(Unavailable, match=r"does not answer as it must: .*1 \+ 1 is 2, not 3"):
        RegoModules.load(files('deny contains "x"'))
