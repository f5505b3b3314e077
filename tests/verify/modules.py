"""Rego modules for tests: loaded as users load them, or only parsed and checked, which takes no process."""

from __future__ import annotations

from collections.abc import Mapping

from skillwarrant_format.strict_json import JsonObject
from skillwarrant_verify.rego.engine import Modules, functions
from skillwarrant_verify.rego.lint import Linted, lint
from skillwarrant_verify.rego.modules import INPUT_FIELDS, RegoAnswer, RegoModules
from skillwarrant_verify.rego.source import read_sources
from skillwarrant_verify.rego.walk import outline

FUNCTIONS = frozenset(functions())

Source = str | Mapping[str, str]


def files(source: Source) -> dict[str, bytes]:
    """`{"policy.rego": …}`; a text without a package is one of package skillwarrant."""
    named = {"policy.rego": source} if isinstance(source, str) else source
    return {
        name: (text if text.startswith(("package", "#")) else f"package skillwarrant\n{text}").encode()
        for name, text in named.items()
    }


def checked(source: Source) -> Linted:
    """What `RegoModules.load` would find, without a worker."""
    modules = Modules(read_sources(files(source)))
    return lint([outline(tree) for tree in modules.trees()], functions=FUNCTIONS, fields=INPUT_FIELDS)


def judged(source: Source, document: JsonObject | None = None, config: JsonObject | None = None) -> RegoAnswer:
    """The answer of modules that are used once."""
    with RegoModules.load(files(source)) as modules:
        return modules.evaluate(document or {}, config or {})


def codes(found: RegoAnswer) -> list[str]:
    """The codes of the denials."""
    return [finding.code for finding in found.denials]
