"""What a configuration asks for shows in its file, for every method; what does not is refused before PEFT acts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import greedy
from catalogue import CASES, Case, write
from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.adapter_files import CONFIG_NAME, WEIGHTS_NAME
from skillwarrant_format.errors import LoadMismatch
from skillwarrant_format.safetensors import Header
from skillwarrant_verify.loader import option_shapes
from skillwarrant_verify.loader.option_bounds import KNOWN_METHODS
from skillwarrant_verify.loader.option_shapes import SHOWN, UNSHOWN, Shown, check_shown
from skillwarrant_verify.loader.peft_options import METHODS, options_of

Shapes = dict[str, tuple[int, ...]]
TOO_MUCH = 2**31 - 1
MOST_MIB = 24  # of a refusal; the honest adapters take less, and what they ask for 50 to 500


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], Shapes]]:
    """Each case's configuration and shapes, as PEFT saves them."""
    found = {}
    for number, case in enumerate(CASES):
        if case.method in SHOWN and (case.method != "LORA" or plain(case)):
            directory = write(case, tmp_path_factory.mktemp(str(number)))
            header = Header.parse((directory / WEIGHTS_NAME).read_bytes(), what=WEIGHTS_NAME)
            shapes = {tensor.name: tuple(tensor.shape) for tensor in header.tensors}
            found[case.name] = json.loads((directory / CONFIG_NAME).read_text()), shapes
    return found


def plain(case: Case) -> bool:
    """Of the LoRAs, those that differ in what shows."""
    told = (
        "LoRA, MonteCLoRA",
        "LoRA, VeLoRA",
        "LoRA, rank and alpha patterns",
        "LoRA, target parameters",
        "LoRA, BD-LoRA",
    )
    return case.name in (*told, "LoRA", "LoRA, tied embedding targeted", "LoRA, convolution")


def parsed(raw: dict[str, Any]) -> AdapterConfig:
    return AdapterConfig.parse(json.dumps(raw).encode())


def test_what_pefts_own_adapters_ask_for_is_in_their_files(
    written: dict[str, tuple[dict[str, Any], Shapes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing is too small to be looked for."""
    strict = {name: tuple(replace(one, harmless=1) for one in entries) for name, entries in SHOWN.items()}
    monkeypatch.setattr(option_shapes, "SHOWN", strict)
    assert {parsed(raw).peft_type for raw, _ in written.values()} == set(SHOWN)
    for raw, shapes in written.values():
        check_shown(parsed(raw), shapes)


ENTRIES = [(method, shown) for method, entries in SHOWN.items() for shown in entries]


@pytest.mark.parametrize(("method", "shown"), ENTRIES, ids=lambda one: "-".join(getattr(one, "options", [one])))
def test_what_is_not_in_the_file_is_refused(
    written: dict[str, tuple[dict[str, Any], Shapes]], method: str, shown: Shown
) -> None:
    raw, shapes = next((raw, shapes) for raw, shapes in written.values() if raw["peft_type"] == method)
    owner, _, name = shown.options[0].rpartition(".")
    value: Any = {"q_proj": TOO_MUCH} if name.endswith("_pattern") else TOO_MUCH
    asked = {**raw, owner: {name: value}} if owner else {**raw, name: value}
    with pytest.raises(LoadMismatch, match="asks for more than") as caught:
        check_shown(parsed(asked), shapes)
    assert shown.options[0] in str(caught.value.expected)
    assert caught.value.found is not None
    check_shown(parsed(raw), {})  # small ones need not show


def test_one_more_than_the_file_shows_is_refused() -> None:
    shapes = {"base_model.model.q_proj.lora_A.weight": (100, 8)}
    check_shown(parsed({"peft_type": "LORA", "r": 100}), shapes)
    with pytest.raises(LoadMismatch, match="r of at most 100, found 101"):
        check_shown(parsed({"peft_type": "LORA", "r": 101}), shapes)
    with pytest.raises(LoadMismatch, match="rank_pattern of at most 100, found 101"):
        check_shown(parsed({"peft_type": "LORA", "r": 8, "rank_pattern": {"q": 4, "v": 101}}), shapes)


@pytest.mark.parametrize(("method", "shown"), ENTRIES, ids=lambda one: "-".join(getattr(one, "options", [one])))
def test_a_tensor_that_holds_nothing_shows_nothing(
    written: dict[str, tuple[dict[str, Any], Shapes]], method: str, shown: Shown
) -> None:
    shapes = next(shapes for raw, shapes in written.values() if raw["peft_type"] == method)
    decoys = {f"{part}.{size}": (size,) * 4 + (0,) for part in shown.parts for size in (2, 10**6, TOO_MUCH)}
    assert shown.seen({**shapes, **decoys}) == shown.seen(shapes)
    assert shown.seen(decoys) == 0


DECOYED = [(method, shown) for method, shown in ENTRIES if shown.each]


@pytest.mark.parametrize(("method", "shown"), DECOYED, ids=lambda one: "-".join(getattr(one, "options", [one])))
def test_a_thin_tensor_beside_the_real_ones_makes_room_for_nothing(method: str, shown: Shown) -> None:
    for part in shown.parts:
        shapes = {
            f"base_model.model.q_proj.{part}.weight": (8, 64),
            f"base_model.model.zz.{part}.weight": (4096, 1),
        }
        with pytest.raises(LoadMismatch, match="r of at most 64, found 4096"):
            check_shown(parsed({"peft_type": method, "r": 4096}), shapes)


def test_modules_that_a_pattern_names_need_not_show_the_rank_of_the_others() -> None:
    shapes = {"q_proj.lora_A.weight": (8, 64), "v_proj.lora_A.weight": (100, 64), "experts.lora_A.weight": (32, 64)}
    honest = {"peft_type": "LORA", "r": 100, "rank_pattern": {"q_proj": 8, "experts": 16}}
    check_shown(parsed(honest), shapes)
    with pytest.raises(LoadMismatch, match="r of at most 100, found 101"):
        check_shown(parsed({**honest, "r": 101}), shapes)
    with pytest.raises(LoadMismatch, match="r of at most 100, found 101"):
        check_shown(parsed({**honest, "r": 101, "rank_pattern": {"all": 4, "of": 100}}), shapes)


def test_a_pruned_adalora_may_have_begun_with_more_ranks_than_are_left_where_its_lists_say_so() -> None:
    shapes = {"base_model.model.q_proj.lora_A": (3, 8)}
    pattern = {"q_proj.lora_E": [True] * 3 + [False] * 97}
    check_shown(parsed({"peft_type": "ADALORA", "init_r": 100, "rank_pattern": pattern}), shapes)
    with pytest.raises(LoadMismatch, match="init_r"):
        check_shown(parsed({"peft_type": "ADALORA", "init_r": 101, "rank_pattern": pattern}), shapes)


def test_every_method_is_in_one_table_and_every_option_is_pefts() -> None:
    assert set(SHOWN) | set(UNSHOWN) == KNOWN_METHODS
    assert not set(SHOWN) & set(UNSHOWN)
    for method, shown in ENTRIES:
        options = options_of(METHODS[method], method)  # type: ignore[arg-type]  # a class can be hashed
        assert {option.partition(".")[0] for option in shown.options} <= set(options), method


def test_a_small_file_that_asks_for_a_lot_costs_little(tmp_path: Path) -> None:
    """Measured, in a process of its own; and without the check it would cost a lot."""
    here = Path(greedy.__file__)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, str(here), str(tmp_path)],
        cwd=here.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    unchecked = {name: found.pop(name)["took"] for name in list(found) if name.endswith("unchecked")}
    assert set(found) == set(greedy.METHODS)
    for method, one in found.items():
        assert "asks for more than" in one["told"], (method, one)
        assert one["took"] <= MOST_MIB, (method, one)
    assert min(unchecked.values()) > MOST_MIB, unchecked
