"""Every attack is refused for the right reason, leaves the model as it was, and is on record.

    python -m pytest tests/attacks -k "weights and overwrites"

README.md lists them. After adding one: SKILLWARRANT_WRITE_REFERENCE=1 python -m pytest tests/attacks
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from attack import ATTACKS, NO_EFFECT, Attack, attack
from cases import GROUPS
from lab import SETUPS, Attempt, Lab
from photo import Photo
from skillwarrant_devstack import Devstack
from skillwarrant_format.errors import PolicyDenied, SkillwarrantError
from skillwarrant_verify.deciding.decide import requirements
from world import logits, observed

PAGE = Path(__file__).with_name("README.md")
LEAST = 120
LEAST_OF_A_GROUP = 5

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    root = tmp_path_factory.mktemp("lab")
    with Devstack(root / "sigstore") as stack:
        yield Lab(root, stack)


@pytest.mark.parametrize("setup", SETUPS, ids=lambda setup: setup.__name__)
def test_what_is_attacked_gets_in_when_nobody_attacks_it(lab: Lab, tmp_path: Path, setup: type[Attempt]) -> None:
    attempt = setup(lab, tmp_path)
    attempt.prepare()
    (loaded,) = attempt.run()
    assert not isinstance(loaded, SkillwarrantError), loaded
    assert is_honest(lab, loaded, attempt.adapter_name)
    assert [found.phase for found in observed(attempt.log)] == ["intent", "activated"]


@pytest.mark.parametrize("case", ATTACKS, ids=lambda case: case.id)
def test_attack(lab: Lab, tmp_path: Path, case: Attack) -> None:
    attempt = case.setup(lab, tmp_path)
    try:
        case.change(attempt)
        attempt.prepare()
        before = Photo.of(attempt.model)
        outcomes = attempt.run()
    finally:
        attempt.close()
    refused = [outcome for outcome in outcomes if isinstance(outcome, SkillwarrantError)]
    let_in = [outcome for outcome in outcomes if not isinstance(outcome, SkillwarrantError)]
    if case.let_in is not None:
        assert len(let_in) == (1 if case.refused_by == NO_EFFECT else case.let_in), outcomes
        assert bool(refused) == (case.refused_by != NO_EFFECT)
    reasons = case.refused_by.split(" or ")
    for error in refused:
        assert reason(error) in reasons, error
        assert case.says in str(error)
    if let_in:
        assert all(is_honest(lab, model, name) for model in let_in for name in adapters(model))
        assert Photo.of(attempt.model).fingerprint == before.fingerprint
    else:
        assert before.differences(Photo.of(attempt.model), overwritten=case.overwritten) == []
    if case.recorded:
        on_record = [found for found in observed(attempt.log) if found.phase in ("refused", "failed")]
        assert sorted(map(recorded, on_record)) == sorted(map(reason, refused))


def reason(error: SkillwarrantError) -> str:
    """The error's code; of a denial, every requirement that was not proved."""
    if not isinstance(error, PolicyDenied):
        return error.code
    codes = [code for text in error.reasons for code in re.findall(r"^(?:[^[]*: )?\[([a-z.-]+)\]", text)]
    return " ".join(dict.fromkeys(codes))  # of a stack, each member may say it


def recorded(observation: Any) -> str:
    codes = [check.code for check in observation.checks if check.outcome != "proved"]
    return " ".join(dict.fromkeys(codes))


def adapters(model: Any) -> list[str]:
    return list(model.peft_config)


def is_honest(lab: Lab, model: Any, name: str) -> bool:
    """Whether a model says with this adapter what it says with the honest one, as PEFT loads it, bit by bit."""
    model.set_adapter(name)
    return torch.equal(logits(model), lab.honest)


def test_the_honest_adapter_changes_what_the_model_says(lab: Lab) -> None:
    """Else no test here could tell it from none."""
    assert not torch.equal(lab.honest, logits(Attempt(lab, lab.root).model))


def test_there_are_enough_attacks_and_each_has_a_name_of_its_own() -> None:
    refused = [case for case in ATTACKS if case.refused_by != NO_EFFECT]
    assert len(refused) >= LEAST
    assert len({case.id for case in ATTACKS}) == len(ATTACKS)
    counts = Counter(case.group for case in ATTACKS)
    assert set(counts) == set(GROUPS)
    assert min(counts.values()) >= LEAST_OF_A_GROUP
    assert {case.setup for case in ATTACKS} <= set(SETUPS)


def test_every_requirement_that_an_attacker_can_fail_is_failed_by_some_attack() -> None:
    """The first are what a `Verified` stands for, or what the reader refuses: there is no decision to make."""
    never = {"signature.valid", "log.included", "files.exact", "files.safe"}
    codes = {code for case in ATTACKS for code in case.refused_by.split()}
    assert set(requirements()) - never <= codes


def test_an_attack_says_in_which_words_it_is_refused() -> None:
    with pytest.raises(ValueError, match="which words"):
        attack("weights", "nameless", setup=None, refused_by="format")
    with pytest.raises(ValueError, match="which words"):
        attack("weights", "nameless", setup=None, refused_by=NO_EFFECT, says="something")


def test_the_page_lists_every_attack() -> None:
    text = page()
    if os.environ.get("SKILLWARRANT_WRITE_REFERENCE"):
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text


def page() -> str:
    refused = sum(case.refused_by != NO_EFFECT for case in ATTACKS)
    lines = [INTRODUCTION.format(refused=refused, late=len(ATTACKS) - refused)]
    for group, words in GROUPS.items():
        cases = [case for case in ATTACKS if case.group == group]
        lines += [f"## {group} ({len(cases)})", "", words, "", "| attack | refused by |", "|---|---|"]
        lines += [f"| {escaped(case.name)} | {answer(case)} |" for case in cases] + [""]
    return "\n".join(lines)


def answer(case: Attack) -> str:
    codes = [f"`{code}`".replace(" ", "` and `") for code in case.refused_by.split(" or ")]
    return case.refused_by if case.refused_by == NO_EFFECT else " or ".join(codes)


def escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


INTRODUCTION = """\
# Attacks

<!-- Written by tests/attacks/test_attacks.py from the attacks themselves. -->

{refused} attacks that are refused, and {late} that come too late to have an effect. Each is a named case in
`cases/`, run by `python -m pytest tests/attacks` against the real gate: real keys and services (the devstack), real
files, real PEFT, a small real model.

A case is an honest activation (`lab.py`), which a test of its own shows to get in, with one thing changed (in
`terms`, the consumer's policy asks for more than that of the honest activation). It holds when

- what refuses it is exactly the error code below, or the one requirement of the policy below and no other, in the
  words that the case names;
- nothing but the product's own errors is raised;
- the model measures, contains and answers afterwards what it did before, bit by bit;
- the refusal is in the activation log, with that code, and the log verifies.

`fuzz.py` makes attacks by chance: see [FUZZ.md](FUZZ.md).
"""
