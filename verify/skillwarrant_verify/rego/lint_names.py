"""The names in Rego modules: none that does not exist, hides another, or gives what is not in the input.

A part of `lint`. It judges single names, and not what rules are for.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from typing import Final

from skillwarrant_verify.rego.graph import DOCUMENTS, Graph, Path, Used, package_of
from skillwarrant_verify.rego.meanings import Meanings

__all__ = ["CONFIG", "OUTSIDE", "did_you_mean", "hidden", "unknown"]

CONFIG: Final = ("data", "config")
"""Where the native policy's own document is."""
_PRINT: Final = "print"  # syntax, and so in no list of functions
OUTSIDE: Final = {
    "http.send": "ask before, and give the answer as data.config",
    "opa.runtime": "give what it tells as data.config",
    "rand.intn": "a decision does not throw dice",
    "time.now_ns": "use time.parse_rfc3339_ns(input.now)",
    "trace": "use print, in a test",
    "uuid.rfc4122": "a decision does not throw dice",
}
"""Functions whose answer is in neither input nor data: two evaluations of one input could differ."""


def hidden(graph: Graph, functions: Collection[str]) -> Iterator[str]:
    """Names that hide another: Rego then reads the wrong one without a word."""
    built_in = {name.partition(".")[0] for name in functions} | {_PRINT}
    below = {(package[:place], package[place]) for package in graph.packages for place in range(1, len(package))}
    for module in graph.modules:
        names = [(bind.name, bind.line) for bind in module.binds]
        names += [(item.alias, item.line) for item in module.imports]
        for name, line in names:
            if name in DOCUMENTS:
                yield f"{module.file}:{line}: another {name} hides the document of that name"
        rules = graph.packages[package_of(module)]
        for item in module.imports:
            if item.alias in rules:
                yield f"{module.file}:{item.line}: the import {item.alias} hides the rule of that name"
        for rule in module.rules:
            if rule.name[0] in built_in:
                yield f"{module.file}:{rule.line}: the rule {rule.name[0]} hides a built-in function"
            if (package_of(module), rule.name[0]) in below:
                yield f"{module.file}:{rule.line}: the rule {rule.name[0]} has the name of a package"


def unknown(graph: Graph, meanings: Meanings, functions: Collection[str], fields: Collection[str]) -> Iterator[str]:
    """Names that do not exist, and functions that look outside."""
    for module in graph.modules:
        for item in module.imports:
            path = tuple(item.path)
            if path[0] in DOCUMENTS and not graph.is_package(path) and (why := _missing(graph, path, fields)):
                yield f"{module.file}:{item.line}: {why}"
    for use in graph.uses:
        why = _no_function(graph, use, functions) if use.read.called else None
        if why is None and not use.read.called:
            why = next(filter(None, (_missing(graph, path, fields) for path in sorted(meanings.of(use)))), None)
        if use.path is not None and why is None:
            why = _missing(graph, use.path, fields)
        if why:
            yield f"{use.where}: {why}"


def _no_function(graph: Graph, use: Used, functions: Collection[str]) -> str | None:
    if use.path is not None:
        package, name = graph.rule(use.path) or ((), "")
        defined = graph.packages.get(package, {}).get(name, [])
        if any(rule.kind == "function" for _, rule in defined):
            return None
    elif use.name in OUTSIDE:
        return f"{use.name} looks outside of input and data, {OUTSIDE[use.name]}"
    elif use.name in functions or use.name == _PRINT:
        return None
    return f"there is no function {use.name}{did_you_mean(use.name, functions)}"


def _missing(graph: Graph, path: Path, fields: Collection[str]) -> str | None:
    name = ".".join(path)
    if path[0] == "input":
        if len(path) == 1 or path[1] in fields:
            return None
        return f"the input has no field {path[1]}{did_you_mean(path[1], fields)}"
    if path[:2] == CONFIG or graph.rule(path) is not None:
        return None
    if graph.is_package(path):
        return f"{name} is read as a whole, name the rule"
    known = [".".join(("data", *package, rule)) for package, rules in graph.packages.items() for rule in rules]
    return f"nothing defines {name}{did_you_mean(name, known)}"


def did_you_mean(name: str, known: Collection[str]) -> str:
    """` (did you mean deny?)`, or nothing."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f" (did you mean {near[0]}?)" if near else ""
