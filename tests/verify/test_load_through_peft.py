"""What PEFT itself attaches and fills is the signed adapter and nothing else, or nothing is left of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraModel
from safetensors.torch import load_file, save_file
from torch import nn

from catalogue import CASES, Case, answers, base, write
from sameness import everything, picture, same_bits
from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.adapter_files import CONFIG_NAME, WEIGHTS_NAME
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, LoadMismatch, Unavailable, UsageError
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_verify.loader import by_view, peft_methods
from skillwarrant_verify.loader.attach import translated
from skillwarrant_verify.loader.by_view import is_plain
from skillwarrant_verify.loader.load import Loaded, load
from skillwarrant_verify.loader.peft_tensors import adapter_state
from skillwarrant_verify.passage import inside

pytestmark = pytest.mark.filterwarnings("ignore")

NAMED = {case.name: case for case in CASES}
LOADABLE = [case for case in CASES if "identical" not in case.why]
PROMPTS = ("PROMPT", "PREFIX", "P_TUNING", "CPT", "CARTRIDGE", "MULTITASK")


def one_of(name: str) -> Case:
    return NAMED[name]


@pytest.mark.parametrize("case", LOADABLE, ids=lambda case: case.name)
def test_on_a_base_in_half_precision_and_to_be_trained_it_is_what_from_pretrained_makes(
    tmp_path: Path, case: Case
) -> None:
    write(case, tmp_path)
    keywords = {"is_trainable": not case.method.startswith(PROMPTS)}
    ours, theirs = base(case).bfloat16(), base(case).bfloat16()
    torch.manual_seed(5)
    loaded = load(ours, Snapshot.read(tmp_path), **keywords)
    torch.manual_seed(5)
    reference = PeftModel.from_pretrained(theirs, str(tmp_path), **keywords)
    one, other = everything(loaded.model), everything(reference)
    assert one.keys() == other.keys()
    for key, tensor in other.items():
        assert one[key].dtype == tensor.dtype, key
        assert torch.equal(one[key].float().nan_to_num(), tensor.float().nan_to_num()), key
        assert one[key].requires_grad == tensor.requires_grad, key
    modules = dict(reference.named_modules())
    assert all(module.training == modules[name].training for name, module in loaded.model.named_modules())
    assert loaded.seal.check(loaded.model) is None


def borrowed(loaded: Loaded, snapshot: Snapshot) -> list[str]:
    """The live tensors that lie in a snapshot's memory."""
    start = torch.frombuffer(snapshot.weights.buffer, dtype=torch.uint8).data_ptr()
    found = adapter_state(loaded.model, loaded.adapter_name)
    return [name for name, one in found.items() if start <= one.data_ptr() < start + snapshot.weights.size]


@pytest.mark.parametrize("low", [False, True], ids=["", "low_cpu_mem_usage"])
@pytest.mark.parametrize("name", ["IA3", "SHIRA", "VBLORA", "PROMPT_TUNING", "LoRA, trainable tokens", "OFT"])
def test_the_verified_bytes_are_nobodys_to_write_to(tmp_path: Path, name: str, low: bool) -> None:
    case = one_of(name)
    snapshot = Snapshot.read(write(case, tmp_path))
    verified = bytes(snapshot.weights.data)
    loaded = load(base(case), snapshot, low_cpu_mem_usage=low)
    assert borrowed(loaded, snapshot) == []
    for tensor in adapter_state(loaded.model, "default").values():
        tensor.data.zero_()
    assert bytes(snapshot.weights.data) == verified


# --- what a file may not do ------------------------------------------------------------------------------------


def rewrite(directory: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Path:
    path = directory / WEIGHTS_NAME
    save_file({key: tensor.contiguous() for key, tensor in change(load_file(path)).items()}, path)
    return directory


def reconfigured(directory: Path, **options: Any) -> Path:
    path = directory / CONFIG_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **options}))
    return directory


def first_float(tensors: dict[str, torch.Tensor]) -> str:
    return next(key for key, tensor in sorted(tensors.items()) if tensor.is_floating_point())


def without_one(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    gone = first_float(tensors)
    return {key: tensor for key, tensor in tensors.items() if key != gone}


def with_more(key: str, tensor: torch.Tensor) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda tensors: {**tensors, key: tensor}


def changed(
    change: Callable[[torch.Tensor], torch.Tensor],
) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda tensors: {**tensors, first_float(tensors): change(tensors[first_float(tensors)])}


def with_nan(tensor: torch.Tensor) -> torch.Tensor:
    tensor.view(-1)[0] = float("nan")
    return tensor


ATTACKS: dict[str, tuple[Any, Any, str]] = {
    "one missing": (without_one, (LoadMismatch, FormatError), "lacks a tensor|no tensors"),
    "one more": (with_more("base_model.model.x", torch.ones(3)), LoadMismatch, "does not imply"),
    "the base's norm": (
        with_more("base_model.model.model.norm.weight", torch.full((64,), 9.0)),
        LoadMismatch,
        "overwrite a weight of the base|does not imply",
    ),
    "the base under a layer": (
        with_more("base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight", torch.zeros(64, 64)),
        LoadMismatch,
        "overwrite a weight of the base|does not imply",
    ),
    "another shape": (changed(lambda one: one.flatten()[:-1]), LoadMismatch, "another shape"),
    "integers": (changed(lambda one: one.to(torch.int64)), LoadMismatch, "another kind"),
    "NaN": (changed(with_nan), FormatError, "NaN or infinities"),
}
VICTIMS = [
    "IA3",
    "VERA",
    "PROMPT_TUNING",
    "SHIRA",
    "FROD",
    "VBLORA, largest logits only",
    "LoRA, target parameters",
]


@pytest.mark.parametrize(("change", "kind", "match"), ATTACKS.values(), ids=ATTACKS)
@pytest.mark.parametrize("name", VICTIMS)
def test_a_file_that_is_not_what_its_configuration_implies_leaves_no_trace(
    tmp_path: Path, name: str, change: Any, kind: Any, match: str
) -> None:
    case = one_of(name)
    snapshot = Snapshot.read(rewrite(write(case, tmp_path), change))
    model = base(case)
    before = picture(model)
    with pytest.raises(kind, match=match):
        load(model, snapshot)
    assert picture(model) == before


@pytest.mark.parametrize(
    "name",
    ["ADAPTION_PROMPT", "IA3", "LoRA, BERT classifier", "MULTITASK_PROMPT_TUNING", "OFT", "UNILORA, indices saved"],
)
def test_nor_beside_an_adapter_that_is_there(tmp_path: Path, name: str) -> None:
    case = one_of(name)
    model = load(base(case), Snapshot.read(write(case, tmp_path / "good"))).model
    before, said = everything(model), answers(model, case)
    contents = {key: tensor.detach().clone() for key, tensor in before.items()}
    for number, change in enumerate((without_one, with_more("base_model.model.x", torch.ones(3)))):
        bad = rewrite(write(case, tmp_path / f"bad{number}", 70), change)
        with pytest.raises(LoadMismatch):
            load(model, Snapshot.read(bad), adapter_name="other")
        now = everything(model)
        assert now.keys() == before.keys()
        assert all(now[key] is before[key] for key in before if name != "ADAPTION_PROMPT")
        assert all(same_bits(now[key], contents[key]) for key in contents)
        assert list(model.peft_config) == ["default"]
        assert torch.equal(answers(model, case), said)


SHARED = {
    "VERA": "base_model.vera_A",
    "PVERA": "base_model.pvera_A",
    "RANDLORA": "base_model.randlora_A",
    "FROD": "base_model.frod_V.self_attn_q_proj",
}


@pytest.mark.parametrize("name", SHARED)
def test_a_projection_that_adapters_share_cannot_be_overwritten_by_a_further_one(tmp_path: Path, name: str) -> None:
    """With PEFT's own loader, the second file silently changes what the first adapter computes."""
    case = one_of(name)
    good = write(case, tmp_path / "good")
    key = next(key for key in load_file(good / WEIGHTS_NAME) if key.startswith(SHARED[name]))
    bad = rewrite(write(case, tmp_path / "bad", 70), lambda tensors: {**tensors, key: tensors[key] + 1})
    model = load(base(case), Snapshot.read(good)).model
    said = answers(model, case)
    with pytest.raises(LoadMismatch, match="other adapters on the model use too"):
        load(model, Snapshot.read(bad), adapter_name="other")
    assert torch.equal(answers(model, case), said)
    theirs = PeftModel.from_pretrained(base(case), str(good))
    theirs.load_adapter(str(bad), "other")
    assert not torch.equal(answers(theirs, case), said), "PEFT has changed: this attack no longer works on it"


def test_an_index_beyond_what_a_layer_has_is_not_for_the_loader_to_judge(tmp_path: Path) -> None:
    """SHiRA's indices are signed like any weight: what they point at is the publisher's word."""
    case = one_of("SHIRA")
    write(case, tmp_path)
    loaded = load(base(case), Snapshot.read(tmp_path))
    state = adapter_state(loaded.model, "default")
    assert {tensor.dtype for tensor in state.values()} == {torch.float32, torch.int32}


def test_weights_of_a_mixture_saved_under_the_names_of_an_older_transformers_are_refused(tmp_path: Path) -> None:
    """PEFT would rename them and fuse pairs of them: what is on the model would not be what was signed."""
    case = one_of("LoRA, attention of a mixture of experts")
    write(case, tmp_path)
    reconfigured(tmp_path, target_modules=["w1", "w2", "w3"])
    shapes = {"w1": (96, 64), "w2": (64, 96), "w3": (96, 64)}
    tensors = {}
    for layer, expert, (name, (rows, columns)) in (
        (layer, expert, item) for layer in range(2) for expert in range(4) for item in shapes.items()
    ):
        path = f"base_model.model.model.layers.{layer}.block_sparse_moe.experts.{expert}.{name}"
        tensors[f"{path}.lora_A.weight"] = torch.randn(4, columns)
        tensors[f"{path}.lora_B.weight"] = torch.randn(rows, 4)
    rewrite(tmp_path, lambda _: tensors)
    model = base(case)
    plain, before = answers(model, case), picture(model)
    with pytest.raises(LoadMismatch, match="lacks a tensor"):
        load(model, Snapshot.read(tmp_path))
    assert picture(model) == before
    theirs = PeftModel.from_pretrained(model, str(tmp_path))
    assert not torch.equal(answers(theirs, case), plain), "PEFT no longer converts them"


def test_only_the_signed_tensors_are_loaded(tmp_path: Path) -> None:
    case = one_of("IA3")
    snapshot = Snapshot.read(write(case, tmp_path))
    model = base(case)
    before = picture(model)
    other = Fingerprint(digest=Digest("0" * 64))
    with pytest.raises(LoadMismatch, match="not the signed ones"):
        load(model, snapshot, signed=other)
    assert picture(model) == before


def test_values_that_are_not_finite_are_loaded_where_they_are_allowed(tmp_path: Path) -> None:
    for name in ("IA3", "LoRA"):
        case = one_of(name)
        directory = rewrite(write(case, tmp_path / name), changed(with_nan))
        with pytest.raises(FormatError, match="non-finite"):
            load(base(case), Snapshot.read(directory))
        loaded = load(base(case), Snapshot.read(directory), allow_non_finite=True)
        assert loaded.seal.check(loaded.model) is None
        assert any(bool(tensor.isnan().any()) for tensor in adapter_state(loaded.model, "default").values())


# --- the rest ---------------------------------------------------------------------------------------------------


def test_a_prompt_cannot_be_trained_further(tmp_path: Path) -> None:
    for name in ("PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "CPT", "CARTRIDGE", "MULTITASK_PROMPT_TUNING"):
        case = one_of(name)
        snapshot = Snapshot.read(write(case, tmp_path / name))
        with pytest.raises(UsageError, match="training a saved prompt"):
            load(base(case), snapshot, is_trainable=True)


def test_no_memory_is_no_verdict_on_the_adapter() -> None:
    with pytest.raises(Unavailable, match="not enough memory"), translated():
        torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(LoadMismatch, match="does not fit"), translated():
        torch.zeros(3) @ torch.zeros(4)


def test_an_expression_that_never_ends_is_stopped_before_peft_tries_it(tmp_path: Path) -> None:
    case = one_of("LOHA")
    write(case, tmp_path)
    reconfigured(tmp_path, target_modules=r"(.*.*.*.*.*.*.*.*.*)*x")
    model = base(case)
    before = picture(model)
    with pytest.raises(FormatError):
        load(model, Snapshot.read(tmp_path))
    assert picture(model) == before


def test_the_loader_itself_opens_no_passage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def spied(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            seen.append(inside())
            return real(*arguments, **keywords)

        return call

    monkeypatch.setattr(peft_methods, "set_peft_model_state_dict", spied(peft_methods.set_peft_model_state_dict))
    monkeypatch.setattr(LoraModel, "inject_adapter", spied(LoraModel.inject_adapter))
    for name in ("LoRA", "LoRA, QALoRA"):
        snapshot = Snapshot.read(write(one_of(name), tmp_path / name))
        seen.clear()
        load(base(one_of(name)), snapshot)
        assert seen
        assert not any(seen)


THROUGH_PEFT = {
    *("aLoRA", "Arrow", "BD-LoRA", "biases of its layers", "biases of the base", "CorDA", "EVA", "KaSA", "LoftQ"),
    *("LoRA-GA", "MiCA", "MonteCLoRA", "OLoRA", "OLoRA on an nf4 base", "PiSSA", "PiSSA, fast", "QALoRA"),
    *("replicated layers", "target parameters", "tied embedding targeted, kept tied", "VeLoRA"),
    *("tied module to save, kept tied", "trainable tokens", "trainable tokens by name, kept tied"),
    "trainable tokens, tied",
}


def test_the_fast_way_is_for_plain_loras_and_no_others(tmp_path: Path) -> None:
    for number, case in enumerate(CASES):
        if case.method == "LORA":
            config = AdapterConfig.parse((write(case, tmp_path / str(number)) / CONFIG_NAME).read_bytes())
            other = case.name.removeprefix("LoRA, ") in THROUGH_PEFT or case.name == "XLORA"
            assert is_plain(config) != other, case.name


def test_every_option_of_the_fast_way_is_one_of_pefts() -> None:
    assert set(peft.LoraConfig.__dataclass_fields__) >= by_view.PLAIN


def test_a_plain_lora_with_a_module_that_has_buffers_goes_through_peft(tmp_path: Path) -> None:
    def fresh() -> nn.Module:
        torch.manual_seed(0)
        model = nn.Sequential()
        model.add_module("lin", nn.Linear(8, 8))
        model.add_module("norm", nn.BatchNorm1d(8))
        return model.eval()

    torch.manual_seed(1)
    theirs = peft.get_peft_model(
        fresh(), peft.LoraConfig(target_modules=["lin"], modules_to_save=["norm"], init_lora_weights=False)
    )
    theirs.train()(torch.randn(16, 8))  # running statistics
    theirs.save_pretrained(str(tmp_path))
    model = fresh()
    before = {key: bytes(one.detach().numpy().tobytes()) for key, one in everything(model).items()}
    loaded = load(model, Snapshot.read(tmp_path))
    reference = everything(PeftModel.from_pretrained(fresh(), str(tmp_path)))
    assert all(same_bits(one, reference[key]) for key, one in everything(loaded.model).items())
    assert loaded.seal.check(loaded.model) is None
    loaded.undo()
    assert {key: bytes(one.detach().numpy().tobytes()) for key, one in everything(model).items()} == before
