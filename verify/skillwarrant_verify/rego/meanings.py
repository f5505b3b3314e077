"""What a name means that stands for a part of the input: `c := input.context`, a rule of that value, a parameter.

Without this, what is read below such a name would be neither required nor known for misspelt. What it cannot follow
is in docs/reference/rego.md: names with two meanings in one rule, and all that only evaluation knows. It judges
nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from skillwarrant_format.errors import PolicyError
from skillwarrant_verify.rego.graph import Graph, Path, RuleName, Used, is_tested, name_of, package_of
from skillwarrant_verify.rego.outline import Call, Outline

__all__ = ["Meanings"]

_MOST: Final = 100  # meanings of one name
_LONGEST: Final = 100  # names in one of them
_TOGETHER: Final = 10_000  # meanings of all reads through names: a few lines that are called often make many
_DEEPEST: Final = 100  # names that stand for names

_Name = tuple[int, int | None, str]
"""A module, a definition in it (none for a rule's own name) and a name."""
_Part = tuple[Outline, int, Sequence[str]]
"""A module, a definition in it, and a name that it reads with what is below it."""


class Meanings:
    """Of all names of all modules."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._number = {id(module): number for number, module in enumerate(graph.modules)}
        self._local = Counter[_Name]()
        self._aliases: dict[_Name, list[str]] = {}
        self._places: dict[_Name, int] = {}
        self._calls: dict[RuleName, list[tuple[Outline, Call]]] = {}
        self._found: dict[_Name, frozenset[Path]] = {}
        self._read: dict[int, frozenset[Path]] = {}  # by the identity of the use, which the graph keeps
        self._together = 0
        for module in graph.modules:
            self._collect(module)

    def _collect(self, module: Outline) -> None:
        number = self._number[id(module)]
        self._local.update((number, bind.rule, bind.name) for bind in module.binds)
        self._aliases.update({(number, item.rule, item.name): item.value for item in module.aliases})
        self._places.update({(number, item.rule, item.name): item.place for item in module.parameters})
        for call in module.calls:
            path = self._graph.path(module, call.function[0], call.function[1:])
            if path is not None and (name := self._graph.rule(path)) and not is_tested(module, call.rule):
                self._calls.setdefault(name, []).append((module, call))

    def of(self, use: Used) -> frozenset[Path]:
        """The parts of `input` and `data` that a read may mean, itself where it stands for nothing else.

        Raises:
            PolicyError: more than anybody meant to write.
        """
        if id(use) not in self._read:
            found = self._of(use.module, use.read.rule, [use.read.base, *use.read.path], 0)
            self._together += len(found) if found != {use.path} else 0
            if self._together > _TOGETHER:
                expected = f"at most {_TOGETHER} parts of the input that are read through names"
                raise PolicyError(f"{use.where}: the names of all rules stand for too much", expected=expected)
            self._read[id(use)] = found
        return self._read[id(use)]

    def _of(self, module: Outline, rule: int, chain: Sequence[str], depth: int) -> frozenset[Path]:
        base, *rest = chain
        name: _Name = (self._number[id(module)], rule, base)
        if name in self._local:
            return _below(self._meant(name, module, rule, depth), rest)
        path = self._graph.path(module, base, rest)
        if path is None or path[0] != "data" or (found := self._graph.rule(path)) is None:
            return frozenset() if path is None else frozenset({path})
        return _below(self._value(found, depth), path[len(found[0]) + 2 :]) or frozenset({path})

    def _meant(self, name: _Name, module: Outline, rule: int, depth: int) -> frozenset[Path]:
        """Of a local name, which must have one meaning only in its definition."""
        if name not in self._found:
            self._found[name] = frozenset()  # a function that calls itself is refused elsewhere
            if self._local[name] == 1:
                parts = self._stands_for(name, module, rule)
                self._found[name] = self._joined(parts, f"{module.file}: {name[2]}", depth)
        return self._found[name]

    def _stands_for(self, name: _Name, module: Outline, rule: int) -> Iterator[_Part]:
        if name in self._aliases:
            yield module, rule, self._aliases[name]
        elif (place := self._places.get(name)) is not None:
            for caller, call in self._calls.get((package_of(module), name_of(module, rule)), []):
                if place < len(call.given) and call.given[place]:
                    yield caller, call.rule, call.given[place]

    def _value(self, found: RuleName, depth: int) -> frozenset[Path]:
        """Of a rule with one definition, that has one value."""
        package, last = found
        definitions = self._graph.packages[package][last]
        module, rule = definitions[0]
        if len(definitions) > 1 or rule.kind != "value" or len(rule.name) > 1 or not rule.value:
            return frozenset()
        name: _Name = (self._number[id(module)], None, ".".join((*package, last)))
        if name not in self._found:
            self._found[name] = frozenset()
            value = module, module.rules.index(rule), rule.value
            self._found[name] = self._joined([value], f"{module.file}: {last}", depth)
        return self._found[name]

    def _joined(self, parts: Iterable[_Part], name: str, depth: int) -> frozenset[Path]:
        if depth >= _DEEPEST:
            raise PolicyError(
                f"{name} stands for names that stand for names", expected=f"at most {_DEEPEST} of them"
            )
        found: set[Path] = set()
        for part in parts:
            found |= self._of(*part, depth + 1)
            if len(found) > _MOST or any(len(path) > _LONGEST for path in found):
                expected = f"at most {_MOST} parts of the input, of at most {_LONGEST} names each"
                raise PolicyError(f"{name} stands for too much", expected=expected)
        return frozenset(found)


def _below(paths: frozenset[Path], rest: Sequence[str]) -> frozenset[Path]:
    return frozenset((*path, *rest) for path in paths)
