"""`skillwarrant fingerprint`: what a model's or an adapter's weights measure, from the files and without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from skillwarrant_cli import output, progress
from skillwarrant_cli.options import json_option
from skillwarrant_format.errors import UsageError

if TYPE_CHECKING:
    from skillwarrant_format.strict_json import JsonValue

__all__ = ["CODES", "FIELDS", "command"]

CODES: Final = ("measured",)
FIELDS: Final = {
    "fingerprint": "`skillwarrant-tensors-v1:` and 64 hexadecimal digits",
    "parameters": "number of elements in all tensors",
    "dtype": "of most of them, by torch's name",
    "architecture": "of a base model: the class that runs it",
    "quantization": "of a quantised base model: the method",
    "casts": "with --cast: `dtype`, `kind` (`exact` or `rounded`) and `fingerprint` of each",
}


@click.command("fingerprint")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--cast",
    "casts",
    metavar="DTYPE",
    multiple=True,
    help="Of a base model: also what it measures once it is cast to bfloat16, float16 or float32.",
)
@json_option
def command(directory: Path, casts: tuple[str, ...], as_json: bool) -> None:
    """Measure the weights of a model or an adapter.

    Prints what a skill.toml states of a base, ready to be pasted; `fingerprint` is also what a policy's [[bases]]
    and `skillwarrant verify --base-fingerprint` take.
    """
    from skillwarrant_format.adapter_files import CONFIG_NAME

    is_adapter = (directory / CONFIG_NAME).exists()
    if is_adapter and casts:
        raise UsageError("an adapter is not cast", expected="a base model with --cast")
    with progress.hashing("measuring") as callback:
        measured = _adapter(directory, callback) if is_adapter else _base(directory, callback)
    found = [_cast(directory, dtype) for dtype in casts]
    lines = [f"{name} = {json.dumps(value)}" for name, value in measured.items()]
    if found:
        measured["casts"] = found
        lines += ["casts = [", *(f"    {_inline(cast)}," for cast in found), "]"]
    output.answer("\n".join(lines), measured, code="measured", as_json=as_json)


def _cast(directory: Path, dtype: str) -> dict[str, str]:
    from skillwarrant_format.base_directory import cast_directory

    with progress.hashing(f"measuring it as {dtype}") as callback:
        cast = cast_directory(directory, dtype, callback)
    return {"dtype": cast.dtype, "kind": cast.kind, "fingerprint": str(cast.fingerprint)}


def _inline(cast: dict[str, str]) -> str:
    return "{ " + ", ".join(f"{name} = {json.dumps(value)}" for name, value in cast.items()) + " }"


def _base(directory: Path, callback: progress.Callback | None) -> dict[str, JsonValue]:
    from skillwarrant_format.base_directory import fingerprint_directory

    measured = fingerprint_directory(directory, callback)
    quantization = {"quantization": measured.facts.quantization} if measured.facts.quantization else {}
    return {
        "fingerprint": str(measured.fingerprint),
        "architecture": measured.facts.architecture,
        "parameters": measured.facts.parameters,
        "dtype": measured.facts.dtype,
        **quantization,
    }


def _adapter(directory: Path, callback: progress.Callback | None) -> dict[str, JsonValue]:
    from skillwarrant_format.base_facts import most_common_dtype
    from skillwarrant_format.fingerprint import of_safetensors, root
    from skillwarrant_format.safetensors import Header
    from skillwarrant_format.snapshot import Snapshot

    weights = Snapshot.read(directory, progress=callback).weights
    tensors = of_safetensors(Header.parse(weights.data, what=weights.path), weights.data)
    return {
        "fingerprint": str(root(tensors)),
        "parameters": sum(tensor.parameters for tensor in tensors),
        "dtype": most_common_dtype(tensors),
    }
