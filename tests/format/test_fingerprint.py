"""One set of tensors has one fingerprint, and two sets never share one; files give it without torch."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillwarrant_format import weight_files
from skillwarrant_format.base_directory import fingerprint_directory
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, UsageError
from skillwarrant_format.fields import Fields
from skillwarrant_format.fingerprint import Fingerprint, TensorDigest, of_safetensors, root
from skillwarrant_format.hashing import Source, hash_all
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


def independent_root(tensors: Tensors) -> str:
    """The docstring of `fingerprint`, implemented once more."""

    def lp(data: bytes) -> bytes:
        return struct.pack(">Q", len(data)) + data

    out = lp(b"skillwarrant-tensors-v1") + struct.pack(">Q", len(tensors))
    for name in sorted(tensors, key=str.encode):
        dtype, shape, content = tensors[name]
        out += lp(name.encode()) + lp(dtype.encode()) + struct.pack(f">Q{len(shape)}Q", len(shape), *shape)
        out += hashlib.sha256(content).digest()
    return hashlib.sha256(out).hexdigest()


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


def test_the_scheme_has_one_answer_that_never_changes() -> None:
    assert str(root(measured(MODEL))) == ("skillwarrant-tensors-v1:" + independent_root(MODEL))
    assert root(measured(MODEL)).digest.hex == KNOWN


KNOWN = "fe45e9dc0d0560f78b7bc29a5279229019c85eabe4b12237d0fea9e3e4703a12"

names = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=12)
tensors_of_bytes = st.dictionaries(
    names, st.binary(max_size=16).map(lambda data: ("U8", (len(data),), data)), min_size=1, max_size=8
)


@given(tensors_of_bytes)
def test_any_set_of_tensors_has_the_root_that_the_documentation_says(tensors: Tensors) -> None:
    assert root(measured(tensors)).digest.hex == independent_root(tensors)
    assert root(reversed(measured(tensors))) == root(measured(tensors))


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
