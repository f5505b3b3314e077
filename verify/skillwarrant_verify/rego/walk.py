"""From the engine's syntax tree of one Rego module to its outline.

It knows the shape of the tree, and not what is good or bad: `lint` judges. It runs in the worker, since a syntax
tree is a hundred times the size of its source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from skillwarrant_verify.rego.outline import Alias, Bind, Call, Code, Import, Kind, Outline, Parameter, Read, Rule

__all__ = ["outline"]


def outline(module: Any) -> Outline:
    """The outline of one module of the engine's `get_ast_as_json`.

    Raises:
        KeyError, IndexError, TypeError, ValueError: another shape than the pinned engine's.
        RecursionError: an expression of many thousand parts.
    """
    source, tree = module["source"], module["ast"]
    package = _chain(tree["package"]["refr"])
    walk = _Walk(source["contents"].encode())
    for number, rule in enumerate(tree["rules"]):
        walk.rule(number, rule)
    imports = [walk.imported(item) for item in tree["imports"]]
    name = [package.base, *package.path]
    return Outline(
        source["file"],
        name,
        package.line,
        imports,
        walk.rules,
        walk.reads,
        walk.binds,
        walk.codes,
        walk.aliases,
        walk.parameters,
        walk.calls,
    )


class _Chain(NamedTuple):
    """`a.b["c"][x]`: the variable at its start (None for another expression), its constants, the rest."""

    base: str | None
    path: list[str | None]
    inside: list[Any]
    line: int


def _chain(node: Any) -> _Chain:
    path: list[str | None] = []
    inside: list[Any] = []
    while True:
        ((tag, body),) = node.items()
        if tag == "RefDot":
            path.append(body["field"][1])
        elif tag == "RefBrack":
            ((kind, index),) = body["index"].items()
            constant = kind in {"String", "RawString"}
            path.append(index["value"] if constant else None)
            inside += [] if constant else [body["index"]]
        elif tag == "Var":
            return _Chain(body["value"], path[::-1], inside, body["span"]["line"])
        else:
            return _Chain(None, path[::-1], [*inside, node], 0)
        node = body["refr"]


def _known(node: Any) -> list[str]:
    """`input.context` as its parts, where that is all of an expression; else nothing."""
    if not isinstance(node, dict) or not node.keys() & {"Var", "RefDot", "RefBrack"}:
        return []
    chain = _chain(node)
    path = [part for part in chain.path if part is not None]
    return [] if chain.base is None or len(path) < len(chain.path) else [chain.base, *path]


def _variables(node: Any) -> Iterator[tuple[str, int]]:
    """Every variable in a pattern."""
    if isinstance(node, dict):
        if (variable := node.get("Var")) is not None:
            yield variable["value"], variable["span"]["line"]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _variables(item)


def _codes(fields: Any) -> Iterator[Code]:
    """The code of an object that is a message, where it is a constant."""
    found = {_constant(key): value for _, key, value in fields}
    code = _constant(found.get("code"))
    if "msg" in found and code is not None:
        yield Code(code, next(iter(found["code"].values()))["span"]["line"])


def _constant(node: Any) -> str | None:
    """The text of a string that is written out."""
    ((tag, body),) = (node or {"": {}}).items()
    return body["value"] if tag in {"String", "RawString"} else None


class _Walk:
    """One way through a module's rules, collecting."""

    def __init__(self, source: bytes) -> None:
        self.rules: list[Rule] = []
        self.reads: list[Read] = []
        self.binds: list[Bind] = []
        self.codes: list[Code] = []
        self.aliases: list[Alias] = []
        self.parameters: list[Parameter] = []
        self.calls: list[Call] = []
        self._source = source
        self._rule = 0
        self._plain = True
        self._other_input = False

    def imported(self, item: Any) -> Import:
        chain = _chain(item["refr"])
        path = [str(part) for part in (chain.base, *chain.path)]
        alias = self._text(item["as"]) if item.get("as") else path[-1]
        return Import(path, alias, chain.line)

    def rule(self, number: int, rule: Any) -> None:
        self._rule = number
        ((tag, body),) = rule.items()
        if tag == "Default":
            value = body["value"].get("Bool", {}).get("value")
            self._head(body["refr"], "default true" if value is True else "default", [])
            self._visit(body["value"])
            return
        ((shape, head),) = body["head"].items()
        bracketed = "RefBrack" in head["refr"]
        kinds: dict[str, Kind] = {"Set": "set", "Func": "function", "Compr": "object" if bracketed else "value"}
        self._head(head["refr"], kinds[shape], self._value(head, body["bodies"]))
        for place, argument in enumerate(head.get("args") or []):
            self._bind(argument)
            if name := argument.get("Var", {}).get("value"):
                self.parameters.append(Parameter(number, name, place))
        self._visit([head.get("key"), head.get("assign"), body["bodies"]])

    def _value(self, head: Any, bodies: Any) -> list[str]:
        """What a rule is, where that is one thing only: no set, no `else`."""
        otherwise = any(body.get("assign") for body in bodies)
        return [] if otherwise else _known((head.get("assign") or {}).get("value"))

    def _head(self, node: Any, kind: Kind, value: list[str]) -> None:
        chain = _chain(node)
        self.rules.append(Rule([chain.base, *chain.path], kind, chain.line, value))
        self._visit(chain.inside)

    def _visit(self, node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                self._visit(item)
        elif isinstance(node, dict):
            if node.get("with_mods"):  # another input or data for this statement alone
                values = [item["as"] for item in node["with_mods"]]
                before, self._other_input = self._other_input, True
                self._quietly(node["literal"])
                self._other_input = before
                self._visit(values)
                return
            for key, value in node.items():
                self._part(key, value)

    def _part(self, tag: str, body: Any) -> None:
        if tag in {"Var", "RefDot", "RefBrack"}:
            self._read({tag: body})
        elif tag == "Call":
            self._read(body["fcn"], called=True)
            self._call(body)
            self._visit(body["params"])
        elif tag == "NotExpr":
            self._quietly(body)
        elif tag == "SomeIn":
            self._bind([body["key"], body["value"]])
            self._collection(body["collection"])
        elif tag == "Every":
            self._declare(span for span in (body["key"], body["value"]) if span)
            self._collection(body["domain"])
            self._visit(body["query"])
        elif tag == "Membership":
            self._visit([body["key"], body["value"]])
            self._collection(body["collection"])
        elif tag == "SomeVars":
            self._declare(body["vars"])
        elif tag == "AssignExpr":
            if body["op"] == "ColEq":
                self._assign(body["lhs"], body["rhs"])
            self._visit([body["lhs"], body["rhs"]])
        else:
            if tag == "Object":
                self.codes += _codes(body["fields"])
            self._visit(body)

    def _quietly(self, node: Any) -> None:
        """Visit what may be undefined without making its rule so."""
        before, self._plain = self._plain, False
        self._visit(node)
        self._plain = before

    def _collection(self, node: Any) -> None:
        if node.keys() & {"Var", "RefDot", "RefBrack"}:
            self._read(node, collection=True)
        else:
            self._visit(node)

    def _read(self, node: Any, *, called: bool = False, collection: bool = False) -> None:
        chain = _chain(node)
        self._visit(chain.inside)
        if chain.base is None:
            return
        known = chain.path.index(None) if None in chain.path else len(chain.path)
        path = [part for part in chain.path[:known] if part is not None]
        more = known < len(chain.path)
        self.reads.append(
            Read(self._rule, chain.base, path, chain.line, called, collection or more, more, self._plain)
        )

    def _assign(self, name: Any, value: Any) -> None:
        self._bind(name)
        if "Var" in name and (known := _known(value)) and not self._other_input:
            self.aliases.append(Alias(self._rule, name["Var"]["value"], known))

    def _call(self, call: Any) -> None:
        if (function := _known(call["fcn"])) and not self._other_input:
            self.calls.append(Call(self._rule, function, [_known(given) for given in call["params"]]))

    def _bind(self, pattern: Any) -> None:
        self.binds += [Bind(self._rule, name, line) for name, line in _variables(pattern)]

    def _declare(self, spans: Iterable[Any]) -> None:
        self.binds += [Bind(self._rule, self._text(span), span["line"]) for span in spans]

    def _text(self, span: Any) -> str:
        return self._source[span["start"] : span["end"]].decode()
