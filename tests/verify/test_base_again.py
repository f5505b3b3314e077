"""How strictly a measurement is held against the model before it is given again, and what each way misses."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tiny
from skillwarrant_format.errors import UsageError
from skillwarrant_verify import base
from skillwarrant_verify.base import measure
from skillwarrant_verify.measuring import measurement, witness
from skillwarrant_verify.measuring.witness import BLOCK, Blocks

STRICT = ("every-load", "once-verified", "sampled")
CHECKED = ("once-verified", "sampled")


def weight(model: Any) -> torch.Tensor:
    found: torch.Tensor = model.model.layers[0].mlp.up_proj.weight
    return found


def in_place(model: Any) -> None:
    with torch.no_grad():
        weight(model)[3, 5] += 1


def through_data(model: Any) -> None:
    """Away from the fixed samples; torch counts nothing."""
    weight(model).data[17, 5] += 1


def through_a_pointer(model: Any) -> None:
    address = weight(model).data_ptr() + 17 * 64 * 4
    ctypes.c_float.from_address(address).value += 1.0


def through_numpy(model: Any) -> None:
    weight(model).detach().numpy()[17, 5] += 1


def a_fine_tune_through_data(model: Any) -> None:
    for parameter in model.parameters():
        parameter.data.mul_(1.0001)


def another_object(model: Any) -> None:
    """Equal bits but for one, in a new parameter."""
    changed = weight(model).detach().clone()
    changed[17, 5] += 1
    model.model.layers[0].mlp.up_proj.weight = nn.Parameter(changed)


def another_storage(model: Any) -> None:
    """The same parameter object, over other memory."""
    changed = weight(model).detach().clone()
    changed[17, 5] += 1
    weight(model).data = changed


def two_swapped(model: Any) -> None:
    one, other = (layer.self_attn.q_proj for layer in model.model.layers)
    one.weight, other.weight = other.weight, one.weight


def reinterpreted(model: Any) -> None:
    """The same bytes under another shape."""
    layer = model.model.layers[0].self_attn.q_proj
    layer.weight.data = layer.weight.data.t()


def set_version_back(model: Any) -> None:
    """An in-place write whose count is taken back."""
    before = weight(model)._version
    in_place(model)
    torch._C._autograd._unsafe_set_version_counter((weight(model),), (before,))


SEEN_BY_IDENTITY = [in_place, another_object, another_storage, two_swapped, reinterpreted]
SILENT = [through_data, through_a_pointer, through_numpy, set_version_back]


@pytest.mark.parametrize("reuse", STRICT)
@pytest.mark.parametrize("edit", [*SEEN_BY_IDENTITY, a_fine_tune_through_data], ids=lambda edit: edit.__name__)
def test_what_every_strictness_sees(edit: Callable[[Any], None], reuse: Any) -> None:
    model = tiny.llama()
    before = measure(model, reuse=reuse).fingerprint
    edit(model)
    assert measure(model, reuse=reuse).fingerprint != before


@pytest.mark.parametrize("edit", SILENT, ids=lambda edit: edit.__name__)
def test_a_silent_edit_of_one_weight_is_seen_at_every_load_and_by_luck_otherwise(
    edit: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/explanation/measuring.md says."""
    monkeypatch.setattr(witness, "DRAWN", 0)  # no luck
    for reuse, is_seen in (("every-load", True), ("once-verified", False), ("sampled", False)):
        model = tiny.llama()
        before = measure(model, reuse=reuse).fingerprint  # type: ignore[arg-type]
        edit(model)
        assert (measure(model, reuse=reuse).fingerprint != before) is is_seen, reuse  # type: ignore[arg-type]


@pytest.mark.parametrize("edit", SILENT, ids=lambda edit: edit.__name__)
def test_a_silent_edit_is_seen_when_its_block_is_drawn(edit: Callable[[Any], None]) -> None:
    model = tiny.llama()  # so small that all of its blocks are drawn
    before = measure(model, reuse="sampled").fingerprint
    edit(model)
    assert measure(model, reuse="sampled").fingerprint != before


def test_blocks_are_drawn_with_the_chance_that_the_documentation_states() -> None:
    """1 - C(N - m, k) / C(N, k) for m changed blocks of N and k drawn; here N = 1024, k = 256, m = 1 and 4."""
    live = {"w": torch.zeros(1024 * BLOCK, dtype=torch.uint8)}
    blocks = kept(live)
    for changed, expected in ((1, 0.25), (4, 1 - 0.75**4)):
        live["w"].zero_()
        for block in range(changed):
            live["w"][block * 200 * BLOCK + 9000] = 1
        seen = sum(not blocks.hold(live) for _ in range(200))
        assert abs(seen / 200 - expected) < 0.18  # more than five standard deviations


def kept(live: dict[str, torch.Tensor], cut: int = 1 << 20) -> Blocks:
    """Blocks of some tensors, read in pieces of `cut` bytes."""
    blocks = Blocks()
    for name, tensor in live.items():
        data = memoryview(tensor.contiguous().view(torch.uint8).reshape(-1).numpy()) if tensor.numel() else b""
        pieces = [data[start : start + cut] for start in range(0, len(data), cut)]
        assert b"".join(blocks.tap(name, pieces)) == bytes(data)  # type: ignore[arg-type]
    return blocks


@settings(max_examples=40)
@given(st.integers(0, 3 * BLOCK), st.integers(1, 2 * BLOCK), st.data())
def test_every_byte_is_in_a_block_however_the_bytes_arrive(size: int, cut: int, data: Any) -> None:
    live = {"w": torch.randint(0, 256, (size,), dtype=torch.uint8), "x": torch.ones(3)}
    blocks = kept(live, cut)
    assert blocks.hold(live)
    if size:
        live["w"][data.draw(st.integers(0, size - 1))] ^= 1
        assert not blocks.hold(live)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.complex64]
)
def test_blocks_of_tensors_that_lie_otherwise_are_read_in_order(dtype: torch.dtype) -> None:
    plain = torch.arange(40_000, dtype=torch.float32).reshape(100, 400).to(dtype)
    lying = plain.t().contiguous().t()
    blocks = kept({"w": plain})
    assert not lying.is_contiguous()
    assert blocks.hold({"w": lying})
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    lying.view(integers)[77, 333] ^= 1
    assert not blocks.hold({"w": lying})


@pytest.mark.parametrize("reuse", CHECKED)
def test_an_untouched_model_is_not_hashed_again(reuse: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.llama()
    first = measure(model, reuse=reuse)
    monkeypatch.setattr(measurement, "hash_all", lambda *_: pytest.fail("hashed again"))
    assert measure(model, reuse=reuse) is first
    with torch.no_grad():
        model(tiny.TOKENS)
    assert measure(model, reuse=reuse) is first


def test_a_measurement_without_blocks_is_taken_again_where_blocks_are_asked_for() -> None:
    model = tiny.llama()
    first = measure(model, reuse="once-verified")
    second = measure(model, reuse="sampled")
    assert second is not first
    assert not first.still_holds(model, sampled=True)
    assert measure(model, reuse="once-verified") is second


@pytest.mark.parametrize("reuse", CHECKED)
def test_a_first_measurement_is_a_full_one(reuse: Any) -> None:
    model = tiny.llama()
    through_data(model)
    assert measure(model, reuse=reuse).fingerprint == measure(model).fingerprint


def test_another_word_is_misuse() -> None:
    for word in ("once", "never", "", True, None):
        with pytest.raises(UsageError, match="strictness"):
            measure(tiny.llama(), reuse=word)  # type: ignore[arg-type]


def test_an_edit_between_two_measurements_of_one_thread_is_never_given_to_another() -> None:
    """Many threads measure one model while one of them edits it: whoever comes after the edit sees it."""
    model = tiny.llama()
    before = measure(model, reuse="sampled").fingerprint
    edited, wrong = threading.Event(), []

    def look() -> None:
        for _ in range(20):
            was_edited = edited.is_set()
            if (measure(model, reuse="sampled").fingerprint == before) is was_edited and was_edited:
                wrong.append(1)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    with base.exclusive(model):
        in_place(model)
        edited.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert measure(model, reuse="sampled").fingerprint != before


def test_what_is_remembered_of_a_model_goes_with_it() -> None:
    model = tiny.llama()
    measure(model, reuse="sampled")
    kept_before = len(base._KEPT)
    del model
    gc.collect()
    assert len(base._KEPT) < kept_before


def test_the_memory_of_blocks_is_a_thousandth_of_the_weights() -> None:
    live = {"w": torch.zeros(4 << 20, dtype=torch.uint8)}
    assert len(kept(live).digests["w"]) * 1024 == live["w"].nbytes
