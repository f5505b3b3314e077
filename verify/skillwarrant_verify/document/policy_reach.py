"""`Reach`: what becomes of the parts of a policy that act, its rules in Python and the server that it names.

A gate runs the one and asks the other: its policy is its host's own. Whoever only reads a policy, a stranger's
perhaps, does neither. Modules in Rego are not among them: they run in a fenced process, and reach nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from skillwarrant_format.fields import Fields
from skillwarrant_verify.deciding.requirement import Rule
from skillwarrant_verify.deciding.rule_outline import outlined
from skillwarrant_verify.deciding.user_rules import load_rules
from skillwarrant_verify.document.policy_reading import opa_not_asked, opa_server

if TYPE_CHECKING:
    from skillwarrant_verify.rego.opa_http import OpaServer

__all__ = ["ALL", "NONE", "Reach"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How the parts that act are taken.

    Args:
        rules: from the modules that a policy names, name -> bytes, to its rules, code -> rule; none where it names
            none.
        opa: from the section `opa` to the server; called where there is one.
    """

    rules: Callable[[Mapping[str, bytes]], Mapping[str, Rule]]
    opa: Callable[[Fields], OpaServer]


ALL: Final = Reach(rules=load_rules, opa=opa_server)
"""As a gate: modules are run, and the server is asked for each decision."""
NONE: Final = Reach(rules=outlined, opa=opa_not_asked)
"""Nothing is run and nobody is asked; a decision by such a policy is undecided, or a denial."""
