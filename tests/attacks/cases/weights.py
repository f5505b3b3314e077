"""A publisher whom the policy trusts, and whose weights file tries to be more than an adapter, or less."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import torch

from attack import attack
from lab import Beside, Published
from skillwarrant_format.adapter_files import WEIGHTS_NAME
from skillwarrant_format.digest import Digest
from skillwarrant_format.fingerprint import Fingerprint
from world import llama

GROUP = "weights"
WORDS = """\
A publisher whom the policy trusts, and who signs what he likes: a weights file that overwrites the base or another
adapter, does not fit its configuration, or is read in two ways by two readers."""

PREFIX = "base_model.model"
LAYER = f"{PREFIX}.model.layers.0.self_attn.q_proj"
A = f"{LAYER}.lora_A.weight"
B = f"{LAYER}.lora_B.weight"


def case(name: str, refused_by: str, says: str, *, setup: Any = Published) -> Any:
    return attack(GROUP, name, setup=setup, refused_by=refused_by, says=says)


# Weights of the base


def over(
    name: str, key: str, says: str = "overwrite a weight of the base", *, setup: Any = Published, **keywords: bool
) -> None:
    @case(f"the file {name}", "load.mismatch", says, setup=setup)
    def _(attempt: Published) -> None:
        attempt.keywords.update(keywords)
        shape = llama().state_dict()[key.removeprefix("base_model.model.").replace(".base_layer", "")].shape
        attempt.tensors[key] = torch.full(shape, 0.5)


over("overwrites the output layer", f"{PREFIX}.lm_head.weight")
over("overwrites the last norm", f"{PREFIX}.model.norm.weight")
over("overwrites the embeddings", f"{PREFIX}.model.embed_tokens.weight")
over("overwrites the layer underneath an adapted one", f"{LAYER}.base_layer.weight")
over("overwrites a layer that is not adapted", f"{PREFIX}.model.layers.1.mlp.up_proj.weight")
over("names an adapted layer as it is called without an adapter", f"{LAYER}.weight", "does not imply")


over("overwrites the output layer, loaded with little memory", f"{PREFIX}.lm_head.weight", low_cpu_mem_usage=True)
over(
    "overwrites the embeddings, loaded with little memory",
    f"{PREFIX}.model.embed_tokens.weight",
    low_cpu_mem_usage=True,
)
over("overwrites the output layer, loaded to be trained", f"{PREFIX}.lm_head.weight", is_trainable=True)
over("overwrites an adapted layer, loaded to be trained", f"{LAYER}.base_layer.weight", is_trainable=True)


@case("the file overwrites one element of the base by the next number", "load.mismatch", "overwrite a weight")
def _(attempt: Published) -> None:
    weight = attempt.model.lm_head.weight.detach().clone()
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(math.inf))
    attempt.tensors[f"{PREFIX}.lm_head.weight"] = weight


@case("the file has the base's own weight in another shape", "load.mismatch", "overwrite a weight of the base")
def _(attempt: Published) -> None:
    attempt.tensors[f"{PREFIX}.lm_head.weight"] = attempt.model.lm_head.weight.detach().clone().T.contiguous()


@case("the file overwrites a computed buffer", "load.mismatch", "does not imply")
def _(attempt: Published) -> None:
    attempt.tensors[f"{PREFIX}.model.rotary_emb.inv_freq"] = torch.ones(4)


# Keys


def key(name: str, says: str, change: Callable[[dict[str, torch.Tensor]], Any], **options: Any) -> None:
    @case(name, "load.mismatch", says, **options)
    def _(attempt: Published) -> None:
        change(attempt.tensors)


def renamed(name: str, new: str, *, says: str = "lacks a tensor", old: str = A, **options: Any) -> None:
    key(name, says, lambda tensors: tensors.update({new: tensors.pop(old)}), **options)


def extra(name: str, new: str, **options: Any) -> None:
    key(name, "does not imply", lambda tensors: tensors.update({new: torch.ones(4, 32)}), **options)


extra("a key outside of the model is added", "lm_head.weight")
extra("a key with the prefix twice is added", f"base_model.model.{A}")
extra("a key of a parallel wrapper is added", f"module.{A}")
extra("a key of a compiled wrapper is added", f"_orig_mod.{A}")
extra("a key of a layer that the model has not is added", A.replace("layers.0", "layers.2"))
extra("a key of a layer with a minus sign is added", A.replace("layers.0", "layers.-1"))
extra("a key of a layer with a leading zero is added", A.replace("layers.0", "layers.00"))
extra("a key of a module that is not targeted is added", A.replace("q_proj", "k_proj"))
extra("a key with a suffix is added", f"{A}.weight")
extra("a key with a space at its end is added", f"{A} ")
extra("a key in capitals is added", A.upper())
extra("a magnitude vector of DoRA is added", f"{LAYER}.lora_magnitude_vector")
extra("an embedding's LoRA is added", f"{PREFIX}.model.embed_tokens.lora_embedding_A")
extra("a bias of LoRA is added", f"{LAYER}.lora_B.bias")
extra("a module to save is added that the configuration does not name", f"{PREFIX}.lm_head.modules_to_save.weight")
extra("the name that PEFT uses inside is added", f"{LAYER}.lora_A.default.weight")
extra("a key of plain attributes is added", f"{LAYER}.__class__")

renamed("a key is spelled with a Cyrillic letter", A.replace("self", "\u0455elf"))
renamed("a key is spelled with a full-width digit", A.replace("layers.0", "layers.\uff10"))
renamed("a key has the adapter's name in it", f"{LAYER}.lora_A.default.weight")
renamed("a key lacks its prefix", A.removeprefix("base_model.model."))

key("one tensor is missing", "lacks a tensor", lambda tensors: tensors.pop(B))
key(
    "all tensors of one layer are missing",
    "lacks a tensor",
    lambda tensors: [tensors.pop(name) for name in list(tensors) if "layers.1" in name],
)
key(
    "all tensors are of another layer than the model has",
    "lacks a tensor",
    lambda tensors: [
        tensors.update({name.replace("layers.1", "layers.9"): tensors.pop(name)}) for name in list(tensors)
    ],
)
key(
    "only a stranger's tensor is there",
    "lacks a tensor",
    lambda tensors: (tensors.clear(), tensors.update(x=torch.ones(1))),
)


@case("the manifest counts other tensors than the file has", "load.mismatch", "skillwarrant-tensors")
def _(attempt: Published) -> None:
    attempt.declare = {"tensors_digest": Fingerprint(digest=Digest.of(b"other tensors"))}


# Another adapter on the same model

extra("a key names the first adapter on the model", f"{LAYER}.lora_A.first.weight", setup=Beside)
extra("a key names the second adapter on the model", f"{LAYER}.lora_A.second.weight", setup=Beside)
extra("a key names every adapter on the model", f"{LAYER}.lora_A.*.weight", setup=Beside)
renamed("a key names the first adapter in place of its own", f"{LAYER}.lora_B.first.weight", old=B, setup=Beside)
over("overwrites the base under two adapters", f"{LAYER}.base_layer.weight", setup=Beside)
over("overwrites the output layer under two adapters", f"{PREFIX}.lm_head.weight", setup=Beside)
key("one tensor of the second adapter is missing", "lacks a tensor", lambda tensors: tensors.pop(B), setup=Beside)


# Shapes


def shaped(name: str, shape: Callable[[torch.Tensor], torch.Tensor]) -> None:
    @case(name, "load.mismatch", "another shape")
    def _(attempt: Published) -> None:
        attempt.tensors[A] = shape(attempt.tensors[A]).contiguous()


shaped("a matrix is transposed", lambda found: found.T)
shaped("a matrix has twice the rank", lambda found: torch.cat([found, found]))
shaped("a matrix has rank one, which would broadcast", lambda found: found[:1])
shaped("a matrix has one column, which would broadcast", lambda found: found[:, :1])
shaped("a matrix is flattened", lambda found: found.reshape(-1))
shaped("a matrix has a third dimension", lambda found: found.unsqueeze(-1))
shaped("a matrix is a single number", lambda found: found[0, 0])
shaped("a matrix has no rows", lambda found: found[:0])
shaped("a matrix has no columns", lambda found: found[:, :0])


@case("the two matrices of a layer change places", "load.mismatch", "another shape")
def _(attempt: Published) -> None:
    attempt.tensors[A], attempt.tensors[B] = attempt.tensors[B], attempt.tensors[A]


@case("the adapter is one for a model of twice the width", "load.mismatch", "another shape")
def _(attempt: Published) -> None:
    attempt.tensors = {name: torch.cat([found, found], 1) for name, found in attempt.tensors.items()}


# Element types


def typed(name: str, dtype: torch.dtype, code: str = "load.mismatch") -> None:
    @case(f"a matrix is of {name}", code, "lora_A")
    def _(attempt: Published) -> None:
        attempt.tensors[A] = attempt.tensors[A].to(dtype)


typed("booleans", torch.bool)
typed("signed bytes", torch.int8)
typed("unsigned bytes", torch.uint8)
typed("64-bit integers", torch.int64)
typed("complex numbers", torch.complex64, "format")
typed("8-bit floats", torch.float8_e4m3fn, "format")


def element(name: str, value: float, dtype: torch.dtype = torch.float32) -> None:
    @case(f"one weight is {name}", "format", "NaN or infinities")
    def _(attempt: Published) -> None:
        attempt.tensors[B] = attempt.tensors[B].to(dtype)
        attempt.tensors[B].view(-1)[-1] = value


element("NaN", math.nan)
element("infinite", math.inf)
element("negative infinity", -math.inf)
element("NaN in bfloat16", math.nan, torch.bfloat16)
element("infinite in float16", math.inf, torch.float16)


@case(
    "one weight is finite in the file and infinite on the model", "load.mismatch", "in the type that this model has"
)
def _(attempt: Published) -> None:
    attempt.tensors[B] = attempt.tensors[B].to(torch.float64)
    attempt.tensors[B].view(-1)[-1] = 1e300


@case("NaN is hidden by its bits: a signalling one", "format", "NaN or infinities")
def _(attempt: Published) -> None:
    attempt.tensors[B].view(torch.int32).view(-1)[7] = 0x7F80_0001


@case("infinities of both signs are there, whose sum is NaN", "format", "NaN or infinities")
def _(attempt: Published) -> None:
    attempt.tensors[B].view(-1)[0], attempt.tensors[B].view(-1)[1] = math.inf, -math.inf


# The file itself


def file(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def parts(attempt: Published) -> tuple[dict[str, Any], bytes]:
    """Header and data of the honest file."""
    whole = attempt.lab.files[WEIGHTS_NAME]
    length = int.from_bytes(whole[:8], "little")
    return json.loads(whole[8 : 8 + length]), whole[8 + length :]


def hostile(name: str, says: str, make: Callable[[dict[str, Any], bytes], bytes], code: str = "format") -> None:
    @case(name, code, says)
    def _(attempt: Published) -> None:
        attempt.raw_weights = make(*parts(attempt))


def entry(name: str, says: str, **fields: Any) -> None:
    """One tensor's entry in the header says something else."""

    def make(header: dict[str, Any], data: bytes) -> bytes:
        header[B] = {**header[B], **fields}
        return file(header, data)

    hostile(f"the header {name}", says, make)


def last(header: dict[str, Any]) -> str:
    """The tensor whose data come last."""
    return max(
        (name for name in header if name != "__metadata__"), key=lambda name: header[name]["data_offsets"][1]
    )


def moved(name: str, says: str, move: Callable[[list[int]], list[Any]]) -> None:
    def make(header: dict[str, Any], data: bytes) -> bytes:
        found = header[last(header)]
        found["data_offsets"] = move(found["data_offsets"])
        return file(header, data)

    hostile(f"the last tensor's data {name}", says, make)


SHORT = "cut short or is no safetensors file"
hostile("the file is empty", SHORT, lambda *_: b"")
hostile("the file has seven bytes", SHORT, lambda *_: bytes(7))
hostile("the header's length is zero", "no header", lambda _, data: bytes(8) + data)
hostile("the header's length is one beyond the file", SHORT, lambda header, _: file(header, length=10**4))
hostile("the header's length is 2^63", SHORT, lambda header, data: file(header, data, length=2**63))
hostile("the header's length is 2^64 - 1", SHORT, lambda header, data: file(header, data, length=2**64 - 1))
hostile("the header has 17 MiB of spaces", "too large a header", lambda *_: file(b"{}" + b" " * (17 * 2**20)))
hostile("the header is not JSON", "not JSON", lambda _, data: file(b"{tensors}", data))
hostile("the header is a list", "no header", lambda _, data: file(b"[]", data))
hostile(
    "the header begins with a space",
    "no header",
    lambda header, data: file(b" " + json.dumps(header).encode(), data),
)
hostile("the header begins with a byte-order mark", "no header", lambda *_: file(b"\xef\xbb\xbf{}"))
hostile(
    "the header is padded with NUL",
    "not JSON",
    lambda header, data: file(json.dumps(header).encode() + bytes(8), data),
)
hostile(
    "the header has a second document after it",
    "not JSON",
    lambda header, data: file(json.dumps(header).encode() + b"{}", data),
)
hostile("the header is not UTF-8", "not UTF-8", lambda *_: file(b'{"\xff":1}'))
hostile(
    "the header is nested ten thousand deep",
    "nested too deeply",
    lambda *_: file(b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
)
hostile("the header names no tensor", "tensors 0", lambda *_: file({}), "adapter.as-declared")
hostile("the header is the one word null", "no header", lambda *_: file(b"null"))
hostile("the file is a pickle", SHORT, lambda *_: b"\x80\x04\x95" + bytes(100))
hostile("the file is a ZIP archive", SHORT, lambda *_: b"PK\x03\x04" + b"\x14" * 100)
hostile(
    "the header names one tensor twice",
    "twice in one object",
    lambda header, data: file(
        json.dumps(header).encode()[:-1] + f', "{B}": {json.dumps(header[A])}}}'.encode(), data
    ),
)
hostile(
    "the header gives one tensor two types",
    "twice in one object",
    lambda header, data: file(json.dumps(header).encode().replace(b'"dtype"', b'"dtype": "F16", "dtype"', 1), data),
)
hostile(
    "bytes follow the last tensor", "not what its header says", lambda header, data: file(header, data + bytes(8))
)
hostile("the data are cut off", "not what its header says", lambda header, data: file(header, data[:-4]))
hostile(
    "a program lies in a hole before the first tensor",
    "leave a hole",
    lambda header, data: file(
        {
            name: found
            if name == "__metadata__"
            else {**found, "data_offsets": [place + 64 for place in found["data_offsets"]]}
            for name, found in header.items()
        },
        bytes(64) + data,
    ),
)
hostile(
    "two names share one tensor's data",
    "overlap",
    lambda header, data: file({**header, f"{PREFIX}.more": header[B]}, data),
)
hostile("a tensor's name is empty", "wrong length", lambda header, data: file({**header, "": header.pop(B)}, data))
hostile(
    "a tensor's name has a line break",
    "control characters",
    lambda header, data: file({**header, "a\nb": header.pop(B)}, data),
)
hostile(
    "a tensor's name is longer than any",
    "wrong length",
    lambda header, data: file({**header, "a" * 513: header.pop(B)}, data),
)
hostile(
    "a tensor's name holds NUL", "NUL character", lambda header, data: file({**header, "a\0": header.pop(B)}, data)
)
hostile(
    "a tensor's name holds half a character",
    "lone surrogate",
    lambda header, data: file({**header, "a\ud800": header.pop(B)}, data),
)
hostile("the metadata are a list", "wrong type", lambda header, data: file({**header, "__metadata__": []}, data))
hostile(
    "the metadata hold a number",
    "not a string",
    lambda header, data: file({**header, "__metadata__": {"n": 1}}, data),
)
hostile(
    "the metadata hold an object",
    "not a string",
    lambda header, data: file({**header, "__metadata__": {"n": {}}}, data),
)
hostile(
    "a tensor is called __metadata__",
    "not a string",
    lambda header, data: file({**header, "__metadata__": header[B]}, data),
)
hostile(
    "a tensor begins at an odd address",
    "odd addresses",
    lambda header, data: file(
        {
            "half": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]},
            **{
                name: {**found, "data_offsets": [place + 2 for place in found["data_offsets"]]}
                for name, found in header.items()
                if name != "__metadata__"
            },
        },
        bytes(2) + data,
    ),
)

moved("reach beyond the file", "does not fill its place", lambda found: [found[0], found[1] + 4096])
moved("begin before the data", "whole numbers from 0", lambda found: [-8, found[1]])
moved("end before they begin", "no sound data_offsets", lambda found: [found[1], found[0]])
moved("are another tensor's", "overlap", lambda found: [0, found[1] - found[0]])
moved("leave a hole", "leave a hole", lambda found: [place + 4 for place in found])
moved("lie at 2^62", "not acceptable JSON", lambda found: [2**62, 2**62 + found[1] - found[0]])
moved("lie just below 2^53", "leave a hole", lambda found: [2**53 - 4096, 2**53 - 4096 + found[1] - found[0]])
moved("have three ends", "wrong length", lambda found: [*found, found[1]])
moved("have one end", "no sound data_offsets", lambda found: found[:1])
moved("lie at fractions", "whole numbers from 0", lambda found: [float(place) for place in found])
moved("lie at true and false", "whole numbers from 0", lambda _: [False, True])
moved("lie at a string", "whole numbers from 0", lambda found: [str(place) for place in found])
moved("lie at null", "whole numbers from 0", lambda _: [None, None])

hostile(
    "the header says another type for the same bytes",
    "another shape",
    lambda header, data: file({**header, B: {**header[B], "dtype": "BF16", "shape": [32, 8]}}, data),
    "load.mismatch",
)
entry("says a type in small letters", "unknown dtype", dtype="f32")
entry("says a type that there is not", "unknown dtype", dtype="F128")
entry("says a number for a type", "wrong type", dtype=32)
entry("says null for a type", "is missing", dtype=None)
entry("says a type with another letter's look", "unknown dtype", dtype="\u03dc32")
entry("says a shape whose product is beyond 2^64", "does not fill its place", shape=[2**32, 2**32, 4])
entry("says a shape with a negative side", "whole numbers from 0", shape=[-32, -4])
entry("says a shape of fractions", "whole numbers from 0", shape=[32.0, 4.0])
entry("says a shape of true", "whole numbers from 0", shape=[True] * 7)
entry("says a shape of seventy dimensions", "wrong length", shape=[1] * 68 + [32, 4])
entry("says a shape that is a string", "wrong type", shape="32x4")
entry("says a shape that is smaller than the data", "does not fill its place", shape=[32, 2])
entry("says a shape that is larger than the data", "does not fill its place", shape=[32, 400])
entry("says a field that there is not", "wrong fields", stride=[1, 32])
