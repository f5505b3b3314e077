"""An outline of one Rego module: what it defines, reads, calls and binds. Small, and plain enough for JSON.

It is what `walk` makes of a syntax tree, in the worker, and what `graph` and `lint` know of a module.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Self

__all__ = ["Alias", "Bind", "Call", "Code", "Import", "Kind", "Outline", "Parameter", "Read", "Rule"]

Kind = Literal["set", "value", "object", "function", "default", "default true"]


class Import(NamedTuple):
    """`import data.x.y as z`."""

    path: list[str]
    alias: str
    line: int


class Rule(NamedTuple):
    """One definition of a rule; `name` has several parts where its head is a reference, None for a variable one.

    `value`: where all that it can be is a variable with constants below it, `input.context`, those; else empty.
    """

    name: list[str | None]
    kind: Kind
    line: int
    value: list[str]


class Read(NamedTuple):
    """A name that is read, with the constant part of what is read below it.

    `rule`: which definition reads it (an index). `open`: more follows, which only evaluation knows. `plain`: where
    it is undefined, so is what reads it: neither below `not` nor with another input in place.
    """

    rule: int
    base: str
    path: list[str]
    line: int
    called: bool
    collection: bool
    open: bool
    plain: bool


class Bind(NamedTuple):
    """A name that is local to a definition: a parameter, `some`, `every`, or the left side of `:=`."""

    rule: int
    name: str
    line: int


class Alias(NamedTuple):
    """`c := input.context`: a name that is local to a definition, and the variable with constants that it means."""

    rule: int
    name: str
    value: list[str]


class Parameter(NamedTuple):
    """A parameter of a function that is a name, and its place among them."""

    rule: int
    name: str
    place: int


class Call(NamedTuple):
    """A call under the input that there is; what it is given that is no variable with constants is empty."""

    rule: int
    function: list[str]
    given: list[list[str]]


class Code(NamedTuple):
    """The code of a message that is written out: `{"code": "acme.x", "msg": …}`."""

    code: str
    line: int


class Outline(NamedTuple):
    """One module; all places are lines of `file`."""

    file: str
    package: list[str | None]
    line: int
    imports: list[Import]
    rules: list[Rule]
    reads: list[Read]
    binds: list[Bind]
    codes: list[Code]
    aliases: list[Alias]
    parameters: list[Parameter]
    calls: list[Call]

    @classmethod
    def parse(cls, items: Any) -> Self:
        """From the JSON that an outline becomes (named tuples are written as lists)."""
        file, package, line, imports, rules, reads, binds, codes, aliases, parameters, calls = items
        return cls(
            file,
            package,
            line,
            [Import(*item) for item in imports],
            [Rule(*item) for item in rules],
            [Read(*item) for item in reads],
            [Bind(*item) for item in binds],
            [Code(*item) for item in codes],
            [Alias(*item) for item in aliases],
            [Parameter(*item) for item in parameters],
            [Call(*item) for item in calls],
        )
