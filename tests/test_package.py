"""What is shipped: a wheel that holds all six packages and nothing else, and that works without the checkout."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("attest", "audit", "cli", "devstack", "format", "verify")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", build, out], cwd=ROOT, capture_output=True, text=True, check=True)
    return Path(out / done.stdout.split()[-1])


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_every_source_file_of_every_package(wheel: Path) -> None:
    shipped = set(names(wheel))
    for package in PACKAGES:
        root = ROOT / package
        for path in root.rglob("*"):
            if path.suffix in {".py", ".json", ".typed"} and "__pycache__" not in path.parts:
                assert str(path.relative_to(root)) in shipped


def test_the_wheel_holds_nothing_but_the_packages(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in names(wheel)}
    version = PROJECT["project"]["version"]
    assert tops == {*(f"skillwarrant_{package}" for package in PACKAGES), f"skillwarrant-{version}.dist-info"}


def test_every_package_is_typed(wheel: Path) -> None:
    for package in PACKAGES:
        assert f"skillwarrant_{package}/py.typed" in names(wheel)


def test_the_wheel_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.path[:0] = [sys.argv.pop(1)];"
        "import skillwarrant_cli.main as m; assert '.whl' in m.__file__, m.__file__;"
        "sys.argv[0] = 'skillwarrant'; m.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, wheel, "fingerprint", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr


def test_every_pinned_version_satisfies_the_range_that_users_get() -> None:
    from packaging.requirements import Requirement

    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    lower = {name.lower(): version for name, version in pins.items()}
    extras = PROJECT["project"]["optional-dependencies"].values()
    for text in [*PROJECT["project"]["dependencies"], *(item for extra in extras for item in extra)]:
        requirement = Requirement(text)
        if requirement.name not in {"skillwarrant", "torch"}:  # torch is pinned by the Makefile
            assert requirement.specifier.contains(lower[requirement.name.lower()]), text


def test_every_library_that_is_imported_is_declared() -> None:
    from packaging.requirements import Requirement

    project = PROJECT["project"]
    extras = [item for name, items in project["optional-dependencies"].items() if name != "dev" for item in items]
    declared = {Requirement(item).name.lower().replace("-", "_") for item in project["dependencies"] + extras}
    ours = {f"skillwarrant_{package}" for package in PACKAGES}
    modules = {"gordon_to_regorus": "regorus", "pyjwt": "jwt"}
    known = {modules.get(name, name) for name in declared} | ours | sys.stdlib_module_names | {"_typeshed"}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            assert imported(path) <= known, path


def imported(path: Path) -> set[str]:
    """The top-level modules that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_nothing_names_a_registry_or_a_machine() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    needles = ("pypi" + ".org", "npmjs" + ".org", "npmjs" + ".com", "/wor" + "k/", "files.python" + "hosted")
    for name in tracked.stdout.split():
        text = (ROOT / name).read_text(encoding="utf-8", errors="ignore") if (ROOT / name).exists() else ""
        assert not [needle for needle in needles if needle in text], name
