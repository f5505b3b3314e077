"""`import skillwarrant_format` costs next to nothing, and its names are the ones listed."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import skillwarrant_format

PACKAGE = Path(skillwarrant_format.__file__).parent
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def modules_after(statement: str) -> set[str]:
    script = f"import sys; {statement}; import json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def all_of(module: ModuleType) -> list[str]:
    """`__all__` as it is written in the source: a literal, or this fails."""
    for node in ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            found: list[str] = ast.literal_eval(node.value)
            return found
    raise AssertionError(f"{module.__name__} has no __all__")


def in_order(names: list[str]) -> list[str]:
    """Constants, then classes, then functions, each by name (ruff's RUF022)."""
    return sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))


def test_the_public_names_are_a_literal_sorted_list_and_all_of_them_are_there() -> None:
    names = all_of(skillwarrant_format)
    assert names == in_order(names) == skillwarrant_format.__all__
    assert set(names) <= set(dir(skillwarrant_format))
    for name in names:
        assert getattr(skillwarrant_format, name) is not None


def test_what_the_type_checker_sees_is_what_is_imported_when_asked_for() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("skillwarrant_format.")
        for alias in node.names
    }
    assert sorted(seen) == sorted(skillwarrant_format.__all__)
    for name, module in seen.items():
        assert getattr(skillwarrant_format, name) is getattr(import_module(str(module)), name)


def test_a_name_that_is_not_there_is_an_attribute_error_that_says_so() -> None:
    with pytest.raises(AttributeError, match="'skillwarrant_format' has no attribute 'load_adapter'"):
        skillwarrant_format.load_adapter  # noqa: B018  # the access is the test


@pytest.mark.parametrize("name", [name for name in MODULES if name != "limits"])
def test_every_module_lists_its_public_names_and_they_are_there(name: str) -> None:
    module = import_module(f"skillwarrant_format.{name}")
    names = all_of(module)
    assert names == in_order(names)
    assert all(hasattr(module, listed) for listed in names)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_for(name: str) -> None:
    assert (import_module(f"skillwarrant_format.{name}").__doc__ or "").strip()


def test_every_exported_error_of_the_tree_is_a_public_name() -> None:
    errors = {name for name in all_of(import_module("skillwarrant_format.errors")) if name[0].isupper()}
    assert errors <= set(skillwarrant_format.__all__)


def test_importing_the_package_imports_none_of_its_modules() -> None:
    assert {name for name in modules_after("import skillwarrant_format") if "skillwarrant_format." in name} == set()


def test_importing_every_module_imports_nothing_heavy_and_nobody_elses_package() -> None:
    everything = "; ".join(f"import skillwarrant_format.{name}" for name in MODULES)
    found = modules_after(everything) - modules_after("pass")
    assert {name.partition(".")[0] for name in found} - sys.stdlib_module_names == {"skillwarrant_format"}
    assert not found & {"asyncio", "email", "http", "socket", "ssl", "urllib.request", "xml"}
