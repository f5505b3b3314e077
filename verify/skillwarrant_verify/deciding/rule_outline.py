"""Which requirements a policy's own Python module proves, read from its text: nothing of it is run.

So a policy can be looked over, listed and signed without running a stranger's code, and what it asks does not
depend on where its module runs: every rule is registered by `@proves("acme.code")` with the code written out, and
after it has run (`user_rules`) a module must have registered exactly these.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from skillwarrant_format.errors import PolicyError
from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.requirement import Rule, check_own_code, unknown

if TYPE_CHECKING:
    from skillwarrant_verify.deciding.facts import Facts
    from skillwarrant_verify.policy import Policy

__all__ = ["outlined", "rule_codes"]

_PROVES: Final = "proves"
_EXPECTED: Final = '@proves("acme.code") above each rule, by that name and with the code written out'


def outlined(modules: Mapping[str, bytes]) -> Mapping[str, Rule]:
    """The requirements of a policy's own, each with a stand-in that proves nothing.

    Args:
        modules: name -> bytes whose digest was checked.

    Raises:
        PolicyError: as `rule_codes`, or two modules have one code.
    """
    found: dict[str, Rule] = {}
    for name, source in modules.items():
        for code in rule_codes(name, source):
            if code in found:
                raise PolicyError(f"the module {name} cannot be used", found=f"two rules for {code}")
            found[code] = _not_run(code)
    return MappingProxyType(found)


def rule_codes(name: str, source: bytes) -> tuple[str, ...]:
    """The codes that a module registers, in its order.

    Raises:
        PolicyError: it is no Python, has no rule, one whose code cannot be read, or one that it may not have.
    """
    try:
        tree = ast.parse(source, f"<policy: {name}>")
        codes = tuple(_codes(tree, name))
        for code in codes:
            check_own_code(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        found = f"{type(error).__name__}: {error}"
        raise PolicyError(f"the module {name} cannot be used", found=found) from None
    code, most = Counter(codes).most_common(1)[0] if codes else ("", 0)
    if most > 1:
        raise PolicyError(f"the module {name} cannot be used", found=f"two rules for {code}")
    if not codes:
        raise PolicyError(
            f"the module {name} registers no rule", expected='a function under @proves("acme.code")', found="none"
        )
    return codes


def _codes(tree: ast.Module, name: str) -> Iterator[str]:
    called: set[int] = set()
    for node in sorted(ast.walk(tree), key=_place):
        if isinstance(node, ast.Call) and _is_proves(node.func):
            called.add(id(node.func))
            yield _literal(node, name)
    for node in ast.walk(tree):
        if _renames(node) or (_is_proves(node) and id(node) not in called):
            raise _unreadable(name, node, "proves is used by another name")


def _place(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


def _is_proves(node: ast.AST) -> bool:
    return (isinstance(node, ast.Name) and node.id == _PROVES) or (
        isinstance(node, ast.Attribute) and node.attr == _PROVES
    )


def _renames(node: ast.AST) -> bool:
    return isinstance(node, ast.alias) and node.name == _PROVES and node.asname not in (None, _PROVES)


def _literal(call: ast.Call, name: str) -> str:
    first = call.args[0] if len(call.args) == 1 and not call.keywords else None
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return first.value
    raise _unreadable(name, call, "a code that is computed")


def _unreadable(name: str, node: ast.AST, found: str) -> PolicyError:
    return PolicyError(
        f"the module {name} registers rules that cannot be told without running it",
        expected=_EXPECTED,
        found=f"{found} (line {_place(node)[0]})",
    )


def _not_run(code: str) -> Rule:
    def stand_in(policy: Policy, facts: Facts) -> Finding:  # noqa: ARG001  # a rule's signature
        return unknown(code, "the policy's own rules were not run", code)

    return stand_in
