"""Which rule of a set of Rego modules a name means, and who reads it. It judges nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Final

from skillwarrant_verify.rego.outline import Outline, Read, Rule
from skillwarrant_verify.rego.source import is_test_file

__all__ = ["DOCUMENTS", "ROOT", "TEST", "TEST_ROOT", "Graph", "Path", "RuleName", "Used"]

ROOT: Final = "skillwarrant"
"""The package whose rules decide, with all packages below it."""
TEST_ROOT: Final = f"{ROOT}_test"
TEST: Final = re.compile(r"(?:todo_)?test_[A-Za-z0-9_]+")
DOCUMENTS: Final = ("data", "input")

Path = tuple[str, ...]
RuleName = tuple[Path, str]
"""A package and a name in it."""


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
    def rule(self) -> str:
        """The path of the rule that reads."""
        return ".".join(("data", *package_of(self.module), name_of(self.module, self.read.rule)))

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
            local = {(bind.rule, bind.name) for bind in module.binds}
            for read in module.reads:
                tested = is_tested(module, read.rule)
                path = None if (read.rule, read.base) in local else self.path(module, read.base, read.path)
                yield Used(read=read, module=module, path=path, in_test=tested)

    def path(self, module: Outline, base: str, rest: Sequence[str]) -> Path | None:
        """The path of a name that is not local, with what is below it; None for a function of the engine."""
        package = package_of(module)
        for item in module.imports:
            if item.alias == base and item.path[0] in DOCUMENTS:
                return (*item.path, *rest)
        if base in DOCUMENTS:
            return (base, *rest)
        return ("data", *package, base, *rest) if base in self.packages[package] else None

    def is_package(self, path: Path) -> bool:
        """Whether a path of `data` is a package, or one begins with it."""
        return path[0] == "data" and any(package[: len(path) - 1] == path[1:] for package in self.packages)

    def rule(self, path: Path) -> RuleName | None:
        """The package and the name of the rule that a path of `data` lies in."""
        for length in range(len(path) - 1, 1, -1):
            package, name = path[1:length], path[length]
            if name in self.packages.get(package, {}):
                return package, name
        return None

    @cached_property
    def edges(self) -> frozenset[tuple[RuleName, RuleName, bool]]:
        """Which rule reads which, and whether it is a test that reads."""
        return frozenset(
            ((package_of(use.module), name_of(use.module, use.read.rule)), rule, use.in_test)
            for use in self.uses
            if use.path is not None and use.path[0] == "data" and (rule := self.rule(use.path)) is not None
        )

    def cycle(self) -> Sequence[RuleName]:
        """Rules that read each other in a circle; empty where there are none."""
        sorter: TopologicalSorter[RuleName] = TopologicalSorter()
        for reader, rule, _ in self.edges:
            sorter.add(reader, rule)
        try:
            sorter.prepare()
        except CycleError as error:
            return tuple(error.args[1])
        return ()


def name_of(module: Outline, rule: int) -> str:
    """The name of one of its definitions."""
    return module.rules[rule].name[0] or ""


def is_tested(module: Outline, rule: int) -> bool:
    """Whether one of its definitions is a test, or what only tests need."""
    return is_test(module) or TEST.fullmatch(name_of(module, rule)) is not None


def package_of(module: Outline) -> Path:
    """Its package; a part that is no constant is empty."""
    return tuple(part or "" for part in module.package)


def is_test(module: Outline) -> bool:
    """Whether a module holds tests and what they need, and no rule that decides."""
    package = package_of(module)
    return is_test_file(module.file) or package[0] == TEST_ROOT or package[-1].endswith("_test")
