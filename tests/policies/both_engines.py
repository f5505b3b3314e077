"""The native engine and Rego on one document: do both allow, and if not, for the same requirements?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from skillwarrant_verify.deciding.decide import decide_document
from skillwarrant_verify.policy import Policy
from skillwarrant_verify.rego.modules import RegoModules

HERE: Final = Path(__file__).parent / "differential"


def document() -> Any:
    """The realistic input: about 7 KB, every field of the format but `redacted`; the policy allows it."""
    return json.loads((HERE / "input.json").read_text())


def rego_files() -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(HERE.glob("*.rego"))}


def native_codes(policy: Policy, given: Any) -> frozenset[str]:
    """What is not proved and denies; nothing where it allows."""
    decision = decide_document(policy, given)
    codes = frozenset(reason.code for reason in decision.reasons)
    assert (decision.outcome == "allow") == (not codes)
    return codes


def rego_codes(modules: RegoModules, policy: Policy, given: Any) -> frozenset[str]:
    """What the rule `deny` says, by itself: that the adapter also denies what is not there does not count. That the
    engine failed does, as a code that no requirement has."""
    denials = modules.evaluate(given, policy.document).denials
    return frozenset(requirement(denial.code) for denial in denials if denial.code != "rego.missing")


def requirement(code: str) -> str:
    """The requirement that a denial of the Rego policy is about; another code as it is."""
    return code.removeprefix("twin.")


@dataclass(kw_only=True)
class Tally:
    """What came of mutants. `otherwise`: both deny, for other requirements."""

    mutants: int = 0
    allowed: int = 0
    malformed: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    disagree: list[tuple[str, Any, frozenset[str], frozenset[str]]] = field(default_factory=list)
    otherwise: list[tuple[str, Any, frozenset[str], frozenset[str]]] = field(default_factory=list)

    def add(self, name: str, given: Any, native: frozenset[str], rego: frozenset[str]) -> None:
        self.mutants += 1
        self.allowed += not native
        self.malformed += "input.malformed" in native
        self.kinds.update(name.split("+"))
        self.codes.update(native)
        if bool(native) != bool(rego):
            self.disagree.append((name, given, native, rego))
        elif native != rego:
            self.otherwise.append((name, given, native, rego))


def compare(policy: Policy, modules: RegoModules, mutants: Iterable[tuple[str, Any]]) -> Tally:
    """Decide all of them, both ways."""
    tally = Tally()
    for name, given in mutants:
        tally.add(name, given, native_codes(policy, given), rego_codes(modules, policy, given))
    return tally
