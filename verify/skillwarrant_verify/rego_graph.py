"""Which rule of a set of Rego modules a name means, and who reads it. It judges nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from skillwarrant_verify.rego_outline import Outline, Read, Rule
from skillwarrant_verify.rego_source import is_test_file

__all__ = ["DOCUMENTS", "ROOT", "TEST", "TEST_ROOT", "Graph", "Path", "Used"]

ROOT: Final = "skillwarrant"
"""The package whose rules decide, with all packages below it."""
TEST_ROOT: Final = f"{ROOT}_test"
TEST: Final = re.compile(r"(?:todo_)?test_[A-Za-z0-9_]+")
DOCUMENTS: Final = ("data", "input")

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """A read whose name is resolved: `path` from `data` or `input` on; None for a local name or a function's."""

    read: Read
    module: Outline
    path: Path | None
    in_test: bool

    @property
    def where(self) -> str:
        return f"{self.module.file}:{self.read.line}"

    @property
    def name(self) -> str:
        """As it is written."""
        return ".".join((self.read.base, *self.read.path))


class Graph:
    """All modules together."""

    def __init__(self, modules: Sequence[Outline]) -> None:
        self.modules = modules
        self.packages: dict[Path, dict[str, list[tuple[Outline, Rule]]]] = {}
        for module in modules:
            rules = self.packages.setdefault(package_of(module), {})
            for rule in module.rules:
                rules.setdefault(rule.name[0] or "", []).append((module, rule))

    @cached_property
    def uses(self) -> tuple[Used, ...]:
        """Every read of every module."""
        return tuple(self._uses())

    def _uses(self) -> Iterator[Used]:
        for module in self.modules:
            aliases = {item.alias: tuple(item.path) for item in module.imports if item.path[0] in DOCUMENTS}
            for read in module.reads:
                reader = module.rules[read.rule].name[0] or ""
                tested = is_test(module) or TEST.fullmatch(reader) is not None
                yield Used(read=read, module=module, path=self._path(module, read, aliases), in_test=tested)

    def _path(self, module: Outline, read: Read, aliases: dict[str, Path]) -> Path | None:
        package = package_of(module)
        if read.base in aliases:
            return (*aliases[read.base], *read.path)
        if read.base in DOCUMENTS:
            return (read.base, *read.path)
        return ("data", *package, read.base, *read.path) if read.base in self.packages[package] else None

    def is_package(self, path: Path) -> bool:
        """Whether a path of `data` is a package, or one begins with it."""
        return path[0] == "data" and any(package[: len(path) - 1] == path[1:] for package in self.packages)

    def rule(self, path: Path) -> tuple[Path, str] | None:
        """The package and the name of the rule that a path of `data` lies in."""
        for length in range(len(path) - 1, 1, -1):
            package, name = path[1:length], path[length]
            if name in self.packages.get(package, {}):
                return package, name
        return None

    @cached_property
    def read_rules(self) -> frozenset[tuple[bool, Path, str]]:
        """The rules that another rule reads, with whether it is a test that reads."""
        found = set()
        for use in self.uses:
            if use.path is None or use.path[0] != "data" or (rule := self.rule(use.path)) is None:
                continue
            reader = use.module.rules[use.read.rule].name[0]
            if rule != (package_of(use.module), reader):
                found.add((use.in_test, *rule))
        return frozenset(found)


def package_of(module: Outline) -> Path:
    """Its package; a part that is no constant is empty."""
    return tuple(part or "" for part in module.package)


def is_test(module: Outline) -> bool:
    """Whether a module holds tests and what they need, and no rule that decides."""
    package = package_of(module)
    return is_test_file(module.file) or package[0] == TEST_ROOT or package[-1].endswith("_test")
