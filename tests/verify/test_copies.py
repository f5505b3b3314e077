"""A model that a gate gave can be copied, pickled and saved as any other; the copy is one that no gate knows."""

from __future__ import annotations

import gc
import io
import pickle
import weakref
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from skillwarrant_devstack import Devstack
from skillwarrant_format.errors import UsageError
from skillwarrant_verify.base import measure
from world import PRODUCTION, World, llama, logits, untouched

CHANGES = 'allow_hazards = ["changes-base"]'
QUIET = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("world")
    with Devstack(root / "sigstore") as stack:
        made = World(root, stack)
        config = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights="pissa", task_type="CAUSAL_LM")
        made.signed("pissa", config=config)
        made.signed("plain")
        yield made


def saved(model: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


WAYS: dict[str, Callable[[Any], Any]] = {
    "deepcopy": deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),  # noqa: S301
    "torch.save": saved,
}


@QUIET
@pytest.mark.parametrize("name", ["plain", "pissa"])
@pytest.mark.parametrize("way", WAYS)
def test_a_copy_answers_as_the_original_and_is_no_gates(world: World, tmp_path: Path, name: str, way: str) -> None:
    gate = world.gate(tmp_path, CHANGES)
    model = gate.activate(llama(), world.root / name, context=PRODUCTION)
    copy = WAYS[way](model)
    assert torch.equal(logits(copy), logits(model))
    with pytest.raises(UsageError, match="did not come through a gate"):
        gate.deactivate(copy, "default")
    assert untouched(gate.deactivate(model, "default"))
    assert not torch.equal(logits(copy), logits(llama()))


@QUIET
@pytest.mark.parametrize("way", ["pickle", "torch.save"])
def test_what_is_saved_can_be_read_where_this_product_is_not(world: World, tmp_path: Path, way: str) -> None:
    model = world.gate(tmp_path, CHANGES).activate(llama(), world.root / "pissa", context=PRODUCTION)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    data = buffer.getvalue() if way == "torch.save" else pickle.dumps(model)
    assert b"skillwarrant_verify" not in data


@QUIET
def test_what_a_model_knows_of_its_base_goes_when_the_model_goes(world: World, tmp_path: Path) -> None:
    model = world.gate(tmp_path, CHANGES).activate(llama(), world.root / "pissa", context=PRODUCTION)
    before = measure(model).fingerprint
    assert before != measure(llama()).fingerprint
    gone = weakref.ref(model), weakref.ref(model.base_model.model)
    del model
    gc.collect()
    assert [one() for one in gone] == [None, None]
