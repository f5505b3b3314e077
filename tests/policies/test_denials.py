"""Every way in which a rule of ours can deny is gone, and says what was expected, what was found and what to do."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

import mutants
from both_engines import HERE, document
from skillwarrant_verify import deciding
from skillwarrant_verify.deciding import requirement
from skillwarrant_verify.deciding.decide import decide, decide_document
from skillwarrant_verify.deciding.decision import Decision, Finding
from skillwarrant_verify.deciding.decision_input import from_document
from skillwarrant_verify.policy import Policy

Site = tuple[str, int]
"""A module, and the line of a call of `no` or `unknown` in it."""
SEED = 5
MUTANTS = 1_000
MODULES: list[ModuleType] = [
    requirement,
    *(
        importlib.import_module(f"{deciding.__name__}.{found.name}")
        for found in pkgutil.iter_modules(deciding.__path__)
        if found.name.startswith("rules_")
    ),
]
POLICY = HERE / "policy.toml"


def calls() -> Iterator[tuple[Site, ast.Call]]:
    for module in MODULES:
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("no", "unknown"):
                yield (module.__name__, node.lineno), node


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> set[Site]:
    """Which of these calls are made from now on."""
    found: set[Site] = set()

    def watched(real: Callable[..., Finding]) -> Callable[..., Finding]:
        def call(*given: Any, **named: Any) -> Finding:
            frame = sys._getframe(1)
            found.add((frame.f_globals["__name__"], frame.f_lineno))
            return real(*given, **named)

        return call

    for module in MODULES:
        for name in ("no", "unknown"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, watched(getattr(requirement, name)))
    return found


def test_every_denial_is_written_with_what_to_do() -> None:
    sites = dict(calls())
    assert len(sites) > 40
    for site, call in sites.items():
        assert isinstance(call.func, ast.Name)
        named = {keyword.arg for keyword in call.keywords}
        if call.func.id == "no":
            assert {"expected", "found", "fix"} <= named, site
        else:
            assert len(call.args) == 4, site


def told(decision: Decision) -> None:
    """What a person needs to know, of each requirement that is not proved."""
    for finding in decision.checked:
        assert finding.message, finding
        assert not finding.message.endswith("."), finding
        if finding.outcome == "proved":
            continue
        assert finding.path, finding
        assert finding.fix, finding
        if finding.outcome == "not-proved" and finding.code != "input.malformed":
            assert finding.expected, finding
            assert finding.found, finding


def changed(*changes: tuple[str, Any]) -> Any:
    """The input with fields replaced, `a.b.0`; taken out where the value is None."""
    found = copy.deepcopy(document())
    for path, value in changes:
        *above, last = (int(step) if step.isdigit() else step for step in path.split("."))
        inside = mutants.get(found, tuple(above))
        if value is None:
            del inside[last]
        else:
            inside[last] = value
    return found


def rare() -> Iterator[Any]:
    """What chance does not come by."""
    for changes in (
        [("adapter.peftType", "IA3")],
        [("adapter.files", [{"name": "adapter_config.json", "content": "other"}])],
        [("adapter.files.0.name", "evil.pkl"), ("warrant.files.0.name", "evil.pkl")],
        [("manifest.policyClass", "general")],
        [("manifest.policyClass", "medical"), ("context.policyClass", None)],
        [("manifest.baseModels.0.name", "globex/base-7b")],
        [("manifest.baseModels.0.quantization", "gptq-2bit")],
        [("base.fingerprint", None)],
        [("versions", None)],
        [("versions.peft", "0.1")],
        [("history", None)],
        [("context.operator", {"verified": False, "name": "somebody"})],
        [("context.operator", None)],
        [("context.region", "us-east-1")],
        [("manifest.deployment.regions", ["us-east-1"])],
        [("manifest.skill.name", "acme/billing-bot")],
        [("warrant.statement.sha256", "0" * 62 + "ff")],
        [("manifest.trainingData", None)],
        [("now", "2026-12-31T00:00:00Z")],
        [("now", "2027-07-01T00:00:00Z")],
        [("warrant.signedAt", "2026-11-22T12:06:00Z")],
        [("adapter.rank", None)],
        [("base.fingerprint.digest.sha256", "0" * 64)],
        [("manifest.deployment.environments", ["development"])],
        [("manifest.skill.name", "globex/style-x")],
        [("manifest.skill.version", "1.0.0")],
        [("history.highest", "2.0.0")],
        [("context.environment", "development")],
    ):
        yield changed(*changes)
    named = ("name", "claims")
    operator = {key: value for key, value in document()["context"]["operator"].items() if key not in named}
    redacted = [("context.redacted", True), ("context.operator", operator), ("context.session", None)]
    yield changed(*redacted)


def test_each_of_them_is_gone_and_says_all_that_is_needed(reached: set[Site]) -> None:
    plain, policy = document(), Policy.load(POLICY)
    for _, given in mutants.first(MUTANTS, plain, SEED):
        told(decide_document(policy, given))
    for given in rare():
        decision = decide_document(policy, given)
        assert decision.outcome != "allow", given
        told(decision)
    facts = from_document(plain)
    told(decide(policy, replace(facts, adapter=replace(facts.adapter, files=()))))
    missing = sorted({site for site, _ in calls()} - reached)
    assert not missing, missing
