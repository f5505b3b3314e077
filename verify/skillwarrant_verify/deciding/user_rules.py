"""A policy's own rules: a Python module that the policy names by digest, run from those very bytes.

    from skillwarrant_verify.rules import Facts, Finding, Policy, no, proves, yes

    @proves("acme.ticket")
    def ticket(policy: Policy, facts: Facts) -> Finding:
        ...

Such a module is code of the host's, as trusted as the policy: it is imported by no path, and runs with no fence and
no time limit, which no process can put on its own code. A rule that raises proves nothing (`rule.failed`), one that
never ends holds up its activation. What must be fenced, write in Rego.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, get_args

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import PolicyError, SkillwarrantError
from skillwarrant_format.observation import Outcome
from skillwarrant_verify.deciding.decision import Finding
from skillwarrant_verify.deciding.requirement import OWN, WITHHELD, Rule, unknown
from skillwarrant_verify.deciding.rule_outline import rule_codes

if TYPE_CHECKING:
    from skillwarrant_verify.deciding.facts import Facts
    from skillwarrant_verify.policy import Policy

__all__ = ["load_rules", "run_rule"]


def load_rules(modules: Mapping[str, bytes]) -> Mapping[str, Rule]:
    """Run the modules of one policy, and take what they register.

    Args:
        modules: name -> bytes whose digest was checked.

    Raises:
        PolicyError: one does not compile or run, registers no rule, one that it may not, or others than can be read
            in it.
    """
    rules: dict[str, Rule] = {}
    for name, source in modules.items():
        written = frozenset(rule_codes(name, source))
        before = frozenset(rules)
        token = OWN.set(rules)
        try:
            _run(name, source)
        except SkillwarrantError:
            raise
        except Exception as error:  # whatever it is, the policy cannot be used
            raise PolicyError(
                f"the module {name} cannot be used", found=f"{type(error).__name__}: {error}{_line(error, name)}"
            ) from error
        finally:
            OWN.reset(token)
        if (registered := frozenset(rules) - before) != written:
            raise PolicyError(
                f"the module {name} registers other rules than those that can be read in it",
                expected=", ".join(sorted(written)),
                found=", ".join(sorted(registered)) or "none",
                fix="Register every rule at the top of the module, always.",
            )
    return MappingProxyType(rules)


def _run(name: str, source: bytes) -> None:
    """Under a name of its own, so that dataclasses and tracebacks in it work."""
    place = f"<policy: {name}>"
    module = ModuleType(f"skillwarrant_policy_{Digest.of(source).short}")
    module.__dict__["__file__"] = place
    code = compile(source, place, "exec", dont_inherit=True)
    lines = source.decode("utf-8", "replace").splitlines(keepends=True)
    linecache.cache[place] = (len(source), None, lines, place)
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)  # noqa: S102  # the policy names these very bytes


def _line(error: BaseException, name: str) -> str:
    """Where in the module it happened."""
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == f"<policy: {name}>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f" (line {line})"


def run_rule(code: str, rule: Rule, policy: Policy, facts: Facts) -> Finding:
    """What a policy's own rule says; what is no answer of it proves nothing."""
    if facts.context.redacted:
        message = "names were taken out of this document, which the rule may read"
        return unknown(code, message, "context.redacted", WITHHELD)
    try:
        found: object = rule(policy, facts)
        if type(found) is not Finding or not _is_well_formed(found):  # one of another type could say two things
            return _failed(code, f"it returned {type(found).__name__}")
        if found.code != code:
            return _failed(code, f"it answered for {found.code}")
    except Exception as error:  # noqa: BLE001  # whatever stops a rule, it has proved nothing
        return _failed(code, _told(error))
    return found


def _is_well_formed(found: Finding) -> bool:
    """Neither length nor types are checked when a finding is made, and one of ours goes on record.

    Exactly a `str`: one of a kind of its own is whatever it says that it is, at each comparison anew.
    """
    if len(found) != len(Finding._fields):
        return False
    said = (found.code, found.outcome, found.message, found.path)
    optional = (found.expected, found.found, found.fix)
    return (
        all(type(text) is str and text for text in said)
        and found.outcome in get_args(Outcome)
        and all(text is None or type(text) is str for text in optional)
    )


def _told(error: Exception) -> str:
    """What an error says, where it can: its text is the rule's own code, too."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  # see above
        return "an error that does not say what it is"


def _failed(code: str, why: str) -> Finding:
    return Finding(
        code="rule.failed",
        outcome="not-proved",
        message=f"the policy's own rule for {code} gave no answer",
        path=code,
        expected="a Finding for its code",
        found=why,
        fix="Correct the rule, or ask who wrote it.",
    )
