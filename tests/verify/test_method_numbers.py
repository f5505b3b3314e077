"""Rank and scaling as they are read from a configuration, against what PEFT makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from catalogue import CASES, Case, base, trained, write
from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.safetensors import Header
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_verify.deciding.adapter_seen import AdapterSeen
from skillwarrant_verify.deciding.method_numbers import RANKED, rank_of, scaling_of
from skillwarrant_verify.loader.option_bounds import KNOWN_METHODS

pytestmark = pytest.mark.filterwarnings("ignore")

MORE = (
    Case(
        name="more at the start", method="ADALORA", options={"r": 2, "init_r": 24, "target_r": 2, "total_step": 9}
    ),
    Case(name="alpha of 64", method="ADALORA", options={"r": 64, "init_r": 1, "lora_alpha": 64, "total_step": 9}),
    Case(name="alpha of 0", method="ADALORA", options={"init_r": 6, "lora_alpha": 0, "total_step": 9}),
    Case(name="in four blocks", method="GRALORA", options={"r": 4, "gralora_k": 4, "alpha": 8}),
    Case(name="with a LoRA beside", method="GRALORA", options={"r": 4, "gralora_k": 2, "hybrid_r": 8}),
    Case(name="of 5", method="LOHA", options={"r": 5, "alpha": 20, "target_modules": ["q_proj"]}),
    Case(
        name="another for q",
        method="LOHA",
        options={"r": 2, "rank_pattern": {"q_proj": 6}, "target_modules": ["q_proj"]},
    ),
    Case(
        name="another for q",
        method="LORA",
        options={"r": 2, "rank_pattern": {"q_proj": 12}, "alpha_pattern": {"v_proj": 99}},
    ),
    Case(name="stabilised", method="LORA", options={"r": 9, "lora_alpha": 9, "use_rslora": True}),
    Case(name="another for q", method="DELORA", options={"r": 2, "rank_pattern": {"q_proj": 10}}),
    Case(name="of 16", method="VERA", options={"r": 16}),
    Case(name="of 3", method="LOKR", options={"r": 3, "alpha": 30, "target_modules": ["q_proj"]}),
)
PLAIN = [
    case
    for case in CASES
    if case.method in RANKED
    and case.base == "Llama"
    and not case.edits
    and not set(case.options) & {"arrow_config", "corda_config", "layer_replication", "use_dora"}
]


def seen(case: Case, directory: Path) -> AdapterSeen:
    found = Snapshot.read(write(case, directory))
    return AdapterSeen.of(found, AdapterConfig.parse(found.config.data))


def added(model: Any) -> list[torch.Tensor]:
    """What each adapted linear layer adds to its weight, [in, out]."""
    found = []
    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer) and isinstance(layer.get_base_layer(), torch.nn.Linear):
            ones = torch.eye(layer.get_base_layer().in_features)
            with torch.no_grad():
                more = layer(ones) - layer.get_base_layer()(ones)
                found.append((more - layer(ones * 0) + layer.get_base_layer()(ones * 0)).double())  # but for a bias
    return found


def factors(model: Any) -> list[float]:
    """By which PEFT multiplies."""
    found = []
    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer) and "default" in (getattr(layer, "scaling", None) or {}):
            ranks = getattr(layer, "ranknum", None)
            found.append(abs(layer.scaling["default"]) / (1 if ranks is None else float(ranks["default"])))
    return found


@pytest.mark.parametrize("case", [*PLAIN, *MORE], ids=lambda case: f"{case.method}, {case.name}")
def test_no_layer_has_more_than_is_seen(tmp_path: Path, case: Case) -> None:
    found, model = seen(case, tmp_path), trained(case)
    deltas = added(model)
    most = max((int(torch.linalg.matrix_rank(one, rtol=1e-4)) for one in deltas), default=0)
    if case.method in RANKED:
        assert most <= (found.rank or 0)
    if found.scaling is not None:
        assert max(factors(model)) <= found.scaling * (1 + 1e-6)
    for tensor in Header.parse(Snapshot.read(tmp_path).weights.data, what="weights").tensors:
        if case.method in RANKED and "lora_A" in tensor.name and "embedding" not in tensor.name:
            assert tensor.shape[0] <= (found.rank or 0)


def test_a_rank_as_large_as_the_option_is_really_reached(tmp_path: Path) -> None:
    """So that the test above cannot pass on layers that add nothing."""
    for number, case in enumerate(case for case in MORE if case.method in RANKED - {"VBLORA"}):
        found = seen(case, tmp_path / str(number))
        most = max(int(torch.linalg.matrix_rank(one, rtol=1e-6)) for one in added(trained(case)))
        assert most == min(found.rank or 0, 64), case


@pytest.mark.parametrize("method", sorted(KNOWN_METHODS - RANKED))
def test_what_is_not_in_the_table_has_no_rank_whatever_it_says(method: str) -> None:
    assert rank_of(method, {"r": 1, "init_r": 1, "hybrid_r": 1, "gralora_k": 1, "rank_pattern": {}}) is None


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("lora", {"r": 8, "lora_alpha": 8}),
        ("LORA", {}),
        ("LORA", {"r": "8", "lora_alpha": 8}),
        ("LORA", {"r": True, "lora_alpha": 8}),
        ("LORA", {"r": 0, "lora_alpha": 8}),
        ("LORA", {"r": 8, "lora_alpha": 8, "rank_pattern": {"q": "1"}}),
        ("LORA", {"r": 8, "lora_alpha": 8, "rank_pattern": [1]}),
        ("ADALORA", {"r": 8, "lora_alpha": 8}),
        ("ADALORA", {"r": 8, "init_r": 8, "lora_alpha": 8, "rank_pattern": {"q": 4}}),
        ("ADALORA", {"r": 8, "init_r": 8, "lora_alpha": 8, "rank_pattern": {"q": [1, 0]}}),
        ("GRALORA", {"r": 8, "alpha": 8}),
        ("GRALORA", {"r": 8, "alpha": 8, "gralora_k": 2, "hybrid_r": "8"}),
        ("LOHA", {"alpha": 8}),
    ],
)
def test_what_cannot_be_read_is_not_guessed(method: str, raw: dict[str, Any]) -> None:
    assert rank_of(method, raw) is None
    assert method == "GRALORA" or scaling_of(method, raw) is None


def test_a_mask_of_adalora_can_raise_the_factor_and_never_lowers_the_rank() -> None:
    raw = {"init_r": 4, "lora_alpha": 8, "rank_pattern": {"q": [True, False, False, False], "v": [False] * 4}}
    assert (rank_of("ADALORA", raw), scaling_of("ADALORA", raw)) == (4, 8.0)
    longer = {**raw, "rank_pattern": {"q": [True] * 9}}
    assert rank_of("ADALORA", longer) == 9


def test_the_base_alone_adds_nothing() -> None:
    assert added(base(MORE[0])) == []
