"""What Rego modules must say to be used as a policy: nothing that reads like a rule and is none.

In Rego a misspelt rule, function or path is undefined, and what is undefined denies nothing. So everything that can
be known without evaluating is known here, and refused: rules of another shape than documented, rules that nothing
reads, names that do not exist, functions whose answer is not in the input. It works on outlines, without an engine.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Final

from skillwarrant_format.errors import PolicyError
from skillwarrant_verify.deciding.codes import is_reserved
from skillwarrant_verify.rego.graph import ROOT, TEST, TEST_ROOT, Graph, Path, is_test, package_of
from skillwarrant_verify.rego.lint_names import CONFIG, did_you_mean, hidden, unknown
from skillwarrant_verify.rego.meanings import Meanings
from skillwarrant_verify.rego.outline import Kind, Outline, Rule

__all__ = ["ALLOW", "Linted", "RegoRule", "RequiredPath", "is_entry", "lint"]

ALLOW: Final = "allow"
_ENTRY: Final = re.compile(r"(?:deny|violation|warn)(?:_[A-Za-z0-9_]+)?")
_ENTRIES: Final = (ALLOW, "deny", "violation", "warn")
_DECISION: Final = "decision"  # what an OPA server is asked for; see opa_http
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_PROBLEMS: Final = 20  # said at once; looking for what was meant takes time
_MAX_REQUIRED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RegoRule:
    """A rule that is evaluated: its `path` (data.skillwarrant.deny), and `file:line` of each definition."""

    path: str
    where: tuple[str, ...]

    @property
    def name(self) -> str:
        """`deny_region`."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredPath:
    """A part of `input` or `data.config` without which a rule may be undefined.

    Args:
        collection: it must be a list or an object.
        rule: path of a rule that reads it.
        where: `file:line` where that does.
    """

    path: Path
    collection: bool
    rule: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Linted:
    """What an acceptable set of modules holds."""

    packages: tuple[str, ...]
    rules: tuple[RegoRule, ...]
    tests: tuple[RegoRule, ...]
    required: tuple[RequiredPath, ...]


def lint(modules: Sequence[Outline], *, functions: Collection[str], fields: Collection[str]) -> Linted:
    """Check a set of modules.

    Args:
        functions: the engine's built-in functions, `json.unmarshal`.
        fields: the fields that the input document has.

    Raises:
        PolicyError: naming everything that is wrong, each with its file and line.
    """
    graph = Graph(modules)
    meanings = Meanings(graph)
    checks = (
        _shapes(graph),
        _extended(graph),
        hidden(graph, functions),
        unknown(graph, meanings, functions, fields),
        _reserved(graph),
        _circles(graph),
        _unread(graph),
    )
    problems = list(islice(chain.from_iterable(checks), _MAX_PROBLEMS))
    rules = tuple(_rules(graph, tests=False))
    if not problems and all(rule.name.startswith("warn") for rule in rules):
        problems.append(f'no rule can deny: write `deny contains "…" if …` in package {ROOT}')
    if problems:
        raise PolicyError(f"the Rego modules cannot be used: {'; '.join(dict.fromkeys(problems))}")
    return Linted(
        packages=tuple(sorted(".".join(package) for package in graph.packages)),
        rules=rules,
        tests=tuple(_rules(graph, tests=True)),
        required=tuple(_required(graph, meanings)),
    )


def is_entry(name: str) -> bool:
    """Whether a rule of this name is one that decides."""
    return name == ALLOW or _ENTRY.fullmatch(name) is not None


def _rules(graph: Graph, *, tests: bool) -> Iterator[RegoRule]:
    for package, rules in sorted(graph.packages.items()):
        for name, definitions in sorted(rules.items()):
            if TEST.fullmatch(name) if tests else is_entry(name):
                where = tuple(f"{module.file}:{rule.line}" for module, rule in definitions)
                yield RegoRule(path=".".join(("data", *package, name)), where=where)


def _shapes(graph: Graph) -> Iterator[str]:
    """Packages and rules that are not of the documented form."""
    for module in graph.modules:
        package = package_of(module)
        if not all(map(_IDENTIFIER.fullmatch, package)) or package[0] not in {ROOT, TEST_ROOT}:
            name = ".".join(package)
            yield f"{module.file}:{module.line}: package {name} is not evaluated, use {ROOT} or {ROOT}.NAME"
        for rule in module.rules:
            if why := _objection(module, rule):
                yield f"{module.file}:{rule.line}: {'.'.join(part or '[…]' for part in rule.name)} {why}"


def _objection(module: Outline, rule: Rule) -> str | None:
    first, *more = (part or "" for part in rule.name)
    if any(map(is_entry, more)):
        return f"would not be evaluated, give it a package of its own: package {ROOT}.NAME"
    if is_entry(first) and is_test(module):
        return "is in a test module, where nothing decides"
    kinds, complaint = _form(first)
    return complaint if kinds and (more or rule.kind not in kinds) else None


def _extended(graph: Graph) -> Iterator[str]:
    """Rules that are another in a test module: no gate has that one, and so the tests would be of other rules."""
    for rules in graph.packages.values():
        for name, definitions in rules.items():
            decides = [f"{module.file}:{rule.line}" for module, rule in definitions if not is_test(module)]
            for module, rule in definitions if decides else ():
                if is_test(module) and not is_entry(name):
                    why = f"adds to the rule of {decides[0]}, and only in tests; give it another name"
                    yield f"{module.file}:{rule.line}: {name} {why}"


def _form(name: str) -> tuple[frozenset[Kind], str]:
    """The kinds that a rule of this name may be of, none for any; and what to say of others."""
    if TEST.fullmatch(name):
        return frozenset({"value"}), "is no test, write `test_name if { … }`"
    if name == ALLOW:
        complaint = "is not false until proved, write `default allow := false` and `allow if { … }`"
        return frozenset({"default", "value"}), complaint
    if _ENTRY.fullmatch(name):
        complaint = f"is no set of messages, write `{name} contains message if {{ … }}`, or give it another name"
        return frozenset({"set"}), complaint
    return frozenset(), ""


def _reserved(graph: Graph) -> Iterator[str]:
    """Messages under a code of ours; one that is not written out is looked at when it is given."""
    for module in graph.modules:
        for item in module.codes:
            if is_reserved(item.code) and not is_test(module):
                yield f"{module.file}:{item.line}: the code {item.code} is skillwarrant's own, use another"


def _circles(graph: Graph) -> Iterator[str]:
    """Rules without an end: the engine refuses some, and ends its process at others."""
    if cycle := graph.cycle():
        names = [".".join((*package, name)) for package, name in cycle]
        yield f"rules read each other in a circle: {', '.join(names)}"


def _unread(graph: Graph) -> Iterator[str]:
    """Rules that nothing reads, and which are none that is evaluated: misspelt ones."""
    read = {rule for reader, rule, in_test in graph.edges if rule != reader and not in_test}
    read_by_tests = {rule for reader, rule, in_test in graph.edges if rule != reader and in_test}
    for package, rules in graph.packages.items():
        for name, definitions in rules.items():
            module, rule = definitions[0]
            if is_entry(name) or TEST.fullmatch(name) or name == _DECISION:
                continue
            if (package, name) in read or ((package, name) in read_by_tests and is_test(module)):
                continue
            meant = did_you_mean(name.partition("_")[0], _ENTRIES)
            if rule.kind != "function" or meant:
                yield f"{module.file}:{rule.line}: nothing reads the rule {name}{meant}"


def _required(graph: Graph, meanings: Meanings) -> Iterator[RequiredPath]:
    """Every path that is read where its absence would leave the rule undefined."""
    found: dict[Path, RequiredPath] = {}
    for use in graph.uses:
        if use.in_test or not use.read.plain:
            continue
        for path in meanings.of(use):
            if path[0] != "input" and path[:2] != CONFIG:
                continue
            first = found.setdefault(
                path, RequiredPath(path=path, collection=use.read.collection, rule=use.rule, where=use.where)
            )
            if use.read.collection:
                found[path] = replace(first, collection=True)
        if len(found) > _MAX_REQUIRED:
            expected = f"at most {_MAX_REQUIRED} parts of the input"
            raise PolicyError(f"{use.where}: the rules of all modules need too much", expected=expected)
    yield from (found[path] for path in sorted(found))
