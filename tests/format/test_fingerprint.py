"""One set of tensors has one fingerprint, and two sets never share one; files give it without torch."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_format import weight_files
from skillwarrant_format.base_directory import fingerprint_directory
from skillwarrant_format.casts import Caster
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, UsageError
from skillwarrant_format.fields import Fields
from skillwarrant_format.fingerprint import Fingerprint, TensorDigest, of_safetensors, root
from skillwarrant_format.hashing import Source, hash_all
from skillwarrant_format.model_families import FAMILIES
from skillwarrant_format.safetensors import DTYPE_BITS, Header
from skillwarrant_format.ties import canonical

Tensors = Mapping[str, tuple[str, tuple[int, ...], bytes]]
MODEL: Tensors = {
    "model.embed_tokens.weight": ("F32", (3, 2), bytes(range(24))),
    "model.norm.weight": ("F32", (2,), b"\0\0\x80?" * 2),
    "model.layers.0.mlp.weight": ("BF16", (2, 2), b"abcdefgh"),
}


def safetensors(tensors: Tensors) -> bytes:
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def measured(tensors: Tensors) -> list[TensorDigest]:
    return [
        TensorDigest(name=name, dtype=dtype, shape=shape, digest=Digest.of(content))
        for name, (dtype, shape, content) in tensors.items()
    ]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text('{"architectures":["LlamaForCausalLM"],"model_type":"llama"}')
    (tmp_path / "model.safetensors").write_bytes(safetensors(MODEL))
    return tmp_path


def shard(directory: Path, parts: Mapping[str, Tensors]) -> None:
    (directory / "model.safetensors").unlink(missing_ok=True)
    for name, tensors in parts.items():
        (directory / name).write_bytes(safetensors(tensors))
    places = {tensor: name for name, tensors in parts.items() for tensor in tensors}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


names = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=12)
tensors_of_bytes = st.dictionaries(
    names, st.binary(max_size=16).map(lambda data: ("U8", (len(data),), data)), min_size=1, max_size=8
)

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "fingerprint.md").read_text(encoding="utf-8")
SETS = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]
STATED = re.findall(r"^skillwarrant-tensors-v1:([0-9a-f]{64})$", PAGE, re.MULTILINE)


class FromTheDocument:
    """docs/reference/fingerprint.md, implemented once more, from its text alone."""

    OUTPUTS = ("lm_head.weight", "lm_head.decoder.weight", "lm_head.decoder.bias",
               "cls.predictions.decoder.weight", "cls.predictions.decoder.bias")  # fmt: skip
    EMBEDDINGS = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")

    def entry(self, name: str, dtype: str, shape: tuple[int, ...], data: bytes) -> bytes:
        def lp(text: str) -> bytes:
            return struct.pack(">Q", len(text.encode())) + text.encode()

        return (
            lp(name)
            + lp(dtype)
            + struct.pack(f">Q{len(shape)}Q", len(shape), *shape)
            + hashlib.sha256(data).digest()
        )

    def root(self, tensors: Tensors) -> str:
        head = struct.pack(">Q", 23) + b"skillwarrant-tensors-v1" + struct.pack(">Q", len(tensors))
        entries = [self.entry(name, *tensors[name]) for name in sorted(tensors, key=str.encode)]
        return hashlib.sha256(head + b"".join(entries)).hexdigest()

    def rank(self, name: str) -> int:
        named = [any(f".{name}".endswith(f".{one}") for one in names) for names in (self.EMBEDDINGS, self.OUTPUTS)]
        return 2 if named[1] else int(named[0])

    def base(self, tensors: Tensors) -> str:
        kept = {
            name: tensor
            for name, tensor in tensors.items()
            if not any(tensor == other and self.rank(one) < self.rank(name) for one, other in tensors.items())
        }
        return self.root(kept)

    def experts(self, tensors: Tensors, where: str, names: tuple[str, ...], kind: str) -> Tensors:
        parts = [[tensors[f"{where}.{expert}.{name}.weight"] for name in names] for expert in (0, 1)]
        rows, columns = parts[0][0][1]
        data = b"".join(part[2] for expert in parts for part in expert)
        return {
            f"{where.replace('block_sparse_moe', 'mlp')}.{kind}": ("F32", (2, rows * len(names), columns), data)
        }


def of_document(listed: Any) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {one["name"]: (one["dtype"], tuple(one["shape"]), bytes.fromhex(one["data"])) for one in listed}


def test_the_vectors_of_the_specification_are_what_an_independent_reading_of_it_gives() -> None:
    own, (plain, mixture) = FromTheDocument(), map(of_document, SETS)
    assert own.root(plain) == own.base(plain) == STATED[0]
    assert own.entry("step", *plain["step"]).hex() in PAGE
    assert own.base({**plain, "lm_head.weight": plain["model.embed_tokens.weight"]}) == STATED[0]
    where = "model.layers.0.block_sparse_moe.experts"
    stacked = own.experts(mixture, where, ("w1", "w3"), "gate_up_proj") | own.experts(
        mixture, where, ("w2",), "down_proj"
    )
    rest = {name: tensor for name, tensor in mixture.items() if where not in name}
    assert own.base({**rest, **stacked}) == STATED[1]


def test_the_vectors_of_the_specification_are_what_this_product_gives(tmp_path: Path) -> None:
    plain, mixture = map(of_document, SETS)
    assert root(measured(plain)).digest.hex == STATED[0]
    tied = measured({**plain, "lm_head.weight": plain["model.embed_tokens.weight"]})
    assert root(canonical(tied)).digest.hex == STATED[0]
    (tmp_path / "config.json").write_text('{"architectures": ["MixtralForCausalLM"], "model_type": "mixtral"}')
    (tmp_path / "model.safetensors").write_bytes(safetensors(mixture))
    assert fingerprint_directory(tmp_path).fingerprint.digest.hex == STATED[1]


def test_the_casts_of_the_specification_are_what_this_product_gives() -> None:
    found = dict(re.findall(r"^(F32|BF16|F16) +([0-9a-f]+)$", PAGE, re.MULTILINE))
    for dtype, code in (("bfloat16", "BF16"), ("float16", "F16")):
        chunks = Caster(dtype).chunks("F32", "w", [memoryview(bytes.fromhex(found["F32"]))])
        assert b"".join(bytes(chunk) for chunk in chunks).hex() == found[code]


@given(tensors_of_bytes)
def test_any_set_of_tensors_has_the_root_that_the_specification_says(tensors: Tensors) -> None:
    assert root(measured(tensors)).digest.hex == FromTheDocument().root(tensors)
    assert root(reversed(measured(tensors))) == root(measured(tensors))


tied_names = st.sampled_from(
    [
        "lm_head.weight", "model.lm_head.weight", "nolm_head.weight", "shared.weight", "model.embed_tokens.weight",
        "encoder.embed_tokens.weight", "a.decoder.embed_tokens.weight", "cls.predictions.decoder.bias",
    ]
)  # fmt: skip
few_contents = st.sampled_from(
    [("U8", (2,), b"ab"), ("U8", (2,), b"cd"), ("I8", (2,), b"ab"), ("U8", (1, 2), b"ab")]
)


@given(st.dictionaries(tied_names, few_contents, min_size=1))
def test_any_ties_are_counted_as_the_specification_says(tensors: Tensors) -> None:
    assert root(canonical(measured(tensors))).digest.hex == FromTheDocument().base(tensors)


def test_every_family_and_refusal_of_the_reader_is_in_the_specification() -> None:
    for name, family in FAMILIES.items():
        assert f"`{name}`" in PAGE
        if family.prefix:
            assert f"`{family.prefix}`" in PAGE


@given(tensors_of_bytes, tensors_of_bytes)
def test_two_different_sets_have_two_roots(one: Tensors, other: Tensors) -> None:
    assert (root(measured(one)) == root(measured(other))) == (one == other)


def test_every_part_of_a_tensor_is_in_the_root() -> None:
    first, *rest = measured(MODEL)
    whole = root([first, *rest])
    for changed in (
        replace(first, name="model.embed_tokens.weigh"),
        replace(first, dtype="I32"),
        replace(first, shape=(2, 3)),
        replace(first, shape=(6,)),
        replace(first, shape=(3, 2, 1)),
        replace(first, digest=Digest.of(b"")),
    ):
        assert root([changed, *rest]) != whole
    assert root(rest) != whole


def test_bytes_cannot_be_moved_from_one_field_into_the_next() -> None:
    one = TensorDigest(name="ab", dtype="U8", shape=(), digest=Digest.of(b""))
    assert root([one]) != root([replace(one, name="a", dtype="bU8")])
    assert root([one]) != root([replace(one, name="abU", dtype="8")])


def test_no_tensors_and_one_name_twice_have_no_fingerprint() -> None:
    with pytest.raises(FormatError):
        root([])
    with pytest.raises(FormatError):
        root([*measured(MODEL), *measured(MODEL)])


def test_a_fingerprint_survives_its_text_and_json_forms() -> None:
    found = root(measured(MODEL))
    assert Fingerprint.from_text(str(found)) == found
    assert Fingerprint.parse(Fields(found.to_json(), "x")) == found


@pytest.mark.parametrize("text", ["", "abc", "md5:" + "0" * 64, "skillwarrant-tensors-v2:" + "0" * 64, "0" * 64])
def test_an_unknown_scheme_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Fingerprint.from_text(text)


def test_an_adapter_file_measures_as_its_tensors() -> None:
    file = memoryview(safetensors(MODEL))
    assert sorted(map(repr, of_safetensors(Header.parse(file), file))) == sorted(map(repr, measured(MODEL)))


def test_a_tied_output_embedding_counts_once() -> None:
    embedding = MODEL["model.embed_tokens.weight"]
    tied = {**MODEL, "lm_head.weight": embedding}
    assert canonical(measured(tied)) == canonical(measured(MODEL))
    for changed in ((embedding[0], (2, 3), embedding[2]), (embedding[0], embedding[1], bytes(24))):
        assert len(canonical(measured({**MODEL, "lm_head.weight": changed}))) == len(MODEL) + 1


def test_an_equal_tensor_of_any_other_name_still_counts() -> None:
    again = {**MODEL, "model.layers.1.norm.weight": MODEL["model.norm.weight"]}
    assert len(canonical(measured(again))) == len(MODEL) + 1


def test_a_directory_measures_as_its_tensors_and_says_what_it_is(model: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = fingerprint_directory(model, progress=lambda done, total: seen.append((done, total)))
    assert found.fingerprint == root(measured(MODEL))
    assert found.facts.architecture == "LlamaForCausalLM"
    assert found.facts.model_type == "llama"
    assert found.facts.parameters == 12
    assert found.facts.dtype == "float32"
    assert found.facts.quantization is None
    assert seen[-1] == (40, 40)


def test_how_a_model_is_cut_into_shards_does_not_matter(model: Path) -> None:
    whole = fingerprint_directory(model)
    first, *rest = MODEL
    shard(model, {"a.safetensors": {first: MODEL[first]}, "b.safetensors": {name: MODEL[name] for name in rest}})
    assert fingerprint_directory(model).fingerprint == whole.fingerprint
    assert fingerprint_directory(model).tensors == whole.tensors


def test_tensors_larger_than_a_chunk_are_hashed_whole(model: Path) -> None:
    content = os.urandom(weight_files._CHUNK * 2 + 17)
    big: Tensors = {**MODEL, "model.layers.0.big": ("U8", (len(content),), content)}
    (model / "model.safetensors").write_bytes(safetensors(big))
    assert fingerprint_directory(model).fingerprint == root(measured(big))


def test_files_reached_through_links_are_measured(model: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = tmp_path_factory.mktemp("cache")
    for name in ("config.json", "model.safetensors"):
        (cache / name).symlink_to(model / name)
    assert fingerprint_directory(cache).fingerprint == fingerprint_directory(model).fingerprint


def test_one_changed_byte_is_seen(model: Path) -> None:
    before = fingerprint_directory(model).fingerprint
    with (model / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    assert fingerprint_directory(model).fingerprint != before


def broken_index(model: Path, kind: str) -> None:
    first, *rest = MODEL
    one, two = {first: MODEL[first]}, {name: MODEL[name] for name in rest}
    shard(model, {"a.safetensors": one, "b.safetensors": two})
    index = json.loads((model / "model.safetensors.index.json").read_text())
    places = index["weight_map"]
    match kind:
        case "missing shard":
            (model / "b.safetensors").unlink()
        case "swapped":
            places[first] = "b.safetensors"
        case "unlisted tensor":
            del places[rest[0]]
        case "absent tensor":
            places["ghost"] = "a.safetensors"
        case "tensor in two shards":
            (model / "b.safetensors").write_bytes(safetensors(MODEL))
        case "path outside":
            places[first] = "../a.safetensors"
        case "pickle":
            places[first] = "a.bin"
        case "empty":
            places.clear()
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "kind",
    [
        "missing shard",
        "swapped",
        "unlisted tensor",
        "absent tensor",
        "tensor in two shards",
        "path outside",
        "pickle",
    ],
)
def test_an_index_that_contradicts_its_shards_is_refused(model: Path, kind: str) -> None:
    broken_index(model, kind)
    with pytest.raises(FormatError):
        fingerprint_directory(model)


def test_an_empty_index_has_no_fingerprint(model: Path) -> None:
    broken_index(model, "empty")
    with pytest.raises(FormatError):
        fingerprint_directory(model)


def test_weights_that_are_there_twice_are_refused(model: Path) -> None:
    (model / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(FormatError, match="twice"):
        fingerprint_directory(model)


def test_weights_that_are_a_fifo_are_refused_and_not_waited_for(model: Path) -> None:
    (model / "model.safetensors").unlink()
    os.mkfifo(model / "model.safetensors")
    with pytest.raises(FormatError, match="no regular file"):
        fingerprint_directory(model)


def test_pickled_weights_are_refused_with_the_way_to_convert_them(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(FormatError, match=r"pytorch_model\.bin.*save_pretrained"):
        fingerprint_directory(model)


def test_a_missing_directory_and_a_directory_of_something_else_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such directory"):
        fingerprint_directory(tmp_path / "nowhere")
    with pytest.raises(FormatError, match="no weights"):
        fingerprint_directory(tmp_path)


def test_a_missing_or_hostile_configuration_is_refused(model: Path) -> None:
    (model / "config.json").write_text('{"a":1,"a":2}')
    with pytest.raises(FormatError, match="twice"):
        fingerprint_directory(model)
    (model / "config.json").unlink()
    with pytest.raises(FormatError, match=r"config\.json"):
        fingerprint_directory(model)


def test_a_file_that_changes_while_it_is_measured_is_an_error(model: Path) -> None:
    def cut(done: int, total: int) -> None:
        os.truncate(model / "model.safetensors", 200)

    with pytest.raises(FormatError, match="changed while"):
        fingerprint_directory(model, progress=cut)


def test_quantization_is_stated(model: Path) -> None:
    (model / "config.json").write_text('{"quantization_config":{"quant_method":"bitsandbytes"}}')
    facts = fingerprint_directory(model).facts
    assert (facts.quantization, facts.architecture) == ("bitsandbytes", "unknown")


def test_hashing_on_threads_keeps_the_order_and_hands_errors_on() -> None:
    contents = [os.urandom(size) for size in (0, 1, 100_000, 7, 50_000)]
    sources = [Source(size=len(data), chunks=lambda data=data: (data[:3], data[3:])) for data in contents]
    assert hash_all(sources) == [Digest.of(data) for data in contents]
    assert hash_all([]) == []

    def fails() -> list[bytes]:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        hash_all([*sources, Source(size=10, chunks=fails)])


def test_every_dtype_has_a_torch_name() -> None:
    from skillwarrant_format.fingerprint import TORCH_NAMES

    assert set(TORCH_NAMES) == set(DTYPE_BITS)
