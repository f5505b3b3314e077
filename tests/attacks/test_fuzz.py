"""A short run of the mutants of `fuzz.py`: some that are the same each time, and some that are new each time.

The long run is `python tests/attacks/fuzz.py`; what it found is in FUZZ.md.
"""

from __future__ import annotations

from random import Random, SystemRandom
from typing import Any

import pytest

from fuzz import TARGETS, Fuzzer, attack, mutated_json, mutated_safetensors

SHARE = {"bundle": 600, "manifest": 600, "configuration": 150, "weights": 150}


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Fuzzer:
    return Fuzzer(tmp_path_factory.mktemp("fuzz") / "adapter")


@pytest.mark.parametrize("seed", [1, SystemRandom().randrange(2, 2**32)], ids=["the same seed", "a new seed"])
@pytest.mark.parametrize("target", TARGETS)
def test_no_mutant_is_falsely_accepted_and_no_foreign_exception_escapes(
    fuzzer: Fuzzer, target: str, seed: int
) -> None:
    tally = attack(fuzzer, target, seed, range(SHARE[target]))
    assert tally.defects == []
    assert tally.mutants == SHARE[target]
    assert tally.identical > 0  # else the mutants are so wild that they prove nothing
    assert len(tally.refused) >= 2


@pytest.mark.parametrize("target", ["configuration", "weights"])
def test_what_is_fuzzed_is_accepted_unfuzzed(fuzzer: Fuzzer, target: str) -> None:
    assert fuzzer._loaded(fuzzer.files)


def test_a_false_accept_would_be_seen(fuzzer: Fuzzer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check that is attacked is taken away, and the run must say so."""
    monkeypatch.setattr("skillwarrant_verify.proof.signature.check_files", lambda *_, **__: None)
    tally = attack(fuzzer, "manifest", 1, range(400))
    assert any("other files" in defect for defect in tally.defects)


def test_a_foreign_exception_would_be_seen(fuzzer: Fuzzer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RecursionError

    monkeypatch.setattr("skillwarrant_verify.proof.signature.check_files", broken)
    defect, *_ = attack(fuzzer, "bundle", 1, range(100)).defects
    assert defect.startswith("--target bundle --seed 1 --only ")
    assert "RecursionError" in defect


@pytest.mark.parametrize(
    ("mutate", "name"), [(mutated_json, "adapter_config.json"), (mutated_safetensors, "adapter_model.safetensors")]
)
def test_a_seed_and_a_number_name_one_mutant(fuzzer: Fuzzer, mutate: Any, name: str) -> None:
    data = fuzzer.files[name]
    once, again = ([mutate(data, Random(f"1 {number}")) for number in range(20)] for _ in range(2))  # noqa: S311
    assert once == again
    assert len(set(once)) > 10
