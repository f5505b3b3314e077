"""Attacks by chance: mutants of a bundle, a manifest, a configuration and a weights file, against the real thing.

    python tests/attacks/fuzz.py --mutants 200000 --seed 1 [--target bundle] [--jobs 2] [--report FILE]

What is fuzzed, and what must be true of a mutant that gets in:

- `bundle`: the bundle's bytes, its JSON, and what is inside its base64. Its meaning (payload, signer, log entry,
  times) is that of one of the honest bundles, as a whole.
- `manifest`: the payload, signed again with valid keys, so that it passes the signature. Its bytes are canonical,
  it parses to itself again, and its subjects are exactly the files. What it then says, its signer has said.
- `configuration`: `adapter_config.json`, signed again; and
- `weights`: the safetensors file, signed again, through verifier and loader. The `safetensors` library reads the
  same tensors from the same bytes, exactly those are on the model and no other, the base measures the same, and
  the model answers, bit by bit, as the one that `PeftModel.from_pretrained` makes of the same files.

And of one that does not: the error is one of ours and says "no", and the model is as it was. "Could not check" is
no answer to bytes, and a foreign exception is a defect. Seed and number name a mutant: `--seed S --only N`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from platform import python_version
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

if __name__ == "__main__":  # pytest has them already
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "verify")]

import torch
from peft import PeftModel
from peft import get_peft_model_state_dict as state_of
from safetensors.torch import load as read_tensors

from builders import manifest
from insider import NOW, Insider, raw
from mutate import mutated
from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.adapter_files import CONFIG_NAME, WEIGHTS_NAME
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError, SkillwarrantError, VerificationError
from skillwarrant_format.manifest import SkillManifest
from skillwarrant_format.snapshot import Snapshot
from skillwarrant_format.statement import Statement, Subject
from skillwarrant_format.strict_json import canonical
from skillwarrant_verify.base import measure
from skillwarrant_verify.loader.load import load
from skillwarrant_verify.proof.signature import Signature, verify, verify_signature
from world import llama, logits, save_lora

__all__ = ["TARGETS", "Fuzzer", "Tally"]


class FalseAcceptError(AssertionError):
    """A mutant got in that means something else."""


@dataclass(slots=True)
class Tally:
    """What became of the mutants of one target.

    Args:
        identical: accepted, with the honest meaning.
        other: accepted, with a meaning of its own that is what its signer said.
        refused: by the code of the error.
        defects: each mutant that was falsely accepted or met a foreign exception, and what it met.
    """

    identical: int = 0
    other: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)

    @property
    def mutants(self) -> int:
        return self.identical + self.other + self.refused.total() + len(self.defects)

    def add(self, more: Tally) -> None:
        self.identical += more.identical
        self.other += more.other
        self.refused += more.refused
        self.defects += more.defects


Verdict = Callable[[], bool]
"""Runs a mutant: True if it was accepted with the honest meaning, False if with its own. Raises what refuses it."""


class Fuzzer:
    """The honest files, and everything that is made of them only once."""

    def __init__(self, room: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            save_lora(room)
        self.files = {path: bytes(file.data) for path, file in Snapshot.read(room).files.items()}
        self.insider = Insider()
        self.trust = self.insider.trust()
        self.certificate = self.insider.certificate()
        self._model = llama()
        self._fresh: Any = None  # a model that a refused adapter left as it was

    # Each target: a mutant from a random source

    def bundle(self, random: Random) -> Verdict:
        (honest, other), meanings = random.sample(self._bundles, 2), self._meanings
        data = mutated(honest, other, random)

        def run() -> bool:
            found = verify(self._snapshot, data, self.trust, now=NOW)
            if _meaning(verify_signature(data, self.trust, now=NOW)) not in meanings:
                raise FalseAcceptError("a mixture of bundles")
            _require(found.statement.raw == self._statement.raw, "another statement")
            return True

        return run

    def manifest(self, random: Random) -> Verdict:
        payload = mutated_json(self._statement.raw, random)

        def run() -> bool:
            bundle = self.insider.bundle(payload, certificate=self.certificate, version=1)
            found = verify(self._snapshot, raw(bundle), self.trust, now=NOW)
            _require(found.statement.raw == payload, "another payload")
            _require(canonical(json.loads(payload)) == payload, "not canonical")
            signed = {subject.name: subject.digest for subject in found.statement.subjects}
            _require(signed == {name: Digest.of(data) for name, data in self.files.items()}, "other files")
            again = found.manifest.to_statement(found.statement.subjects)
            _require(SkillManifest.parse(again) == found.manifest, "does not parse to itself")
            return payload == self._statement.raw

        return run

    def configuration(self, random: Random) -> Verdict:
        data = mutated_json(self.files[CONFIG_NAME], random)
        return lambda: self._loaded({**self.files, CONFIG_NAME: data})

    def weights(self, random: Random) -> Verdict:
        data = mutated_safetensors(self.files[WEIGHTS_NAME], random)
        return lambda: self._loaded({**self.files, WEIGHTS_NAME: data})

    # What is asked of a mutant that gets in

    def _loaded(self, files: dict[str, bytes]) -> bool:
        """Sign, verify and load; the model must then be the base and the file, and nothing else."""
        snapshot = Snapshot.of(files)
        subjects = tuple(Subject(name=name, digest=Digest.of(data)) for name, data in files.items())
        bundle = self.insider.bundle(manifest().to_statement(subjects).raw, certificate=self.certificate)
        verify(snapshot, raw(bundle), self.trust, now=NOW)
        config = AdapterConfig.parse(snapshot.config.data)
        if config.hazards or config.changes_base:
            raise HazardError
        model = self._fresh or deepcopy(self._model)
        self._fresh = None
        try:
            loaded = load(model, snapshot)
        except SkillwarrantError:
            _require(measure(model).fingerprint == self._base, "a refused adapter changed the base")
            _require([*model.state_dict()] == self._keys, "a refused adapter left something behind")
            self._fresh = model
            raise
        _require(measure(loaded.model).fingerprint == self._base, "the adapter changed the base")
        live, signed = state_of(loaded.model, save_embedding_layers=False), read_tensors(files[WEIGHTS_NAME])
        _require(live.keys() <= signed.keys(), "a tensor that the file has not")
        for key, tensor in live.items():
            _require(_same(tensor, signed[key].to(tensor.dtype)), f"{key} is not the file's")
        rest = {key: signed[key] for key in signed.keys() - live.keys()}
        _require(all(self._is_base(key, tensor) for key, tensor in rest.items()), "a weight of the base")
        answers = logits(loaded.model)
        _require(_same(answers, self._as_peft(files)), "PEFT makes something else of these files")
        return torch.equal(answers, self._answers)

    def _as_peft(self, files: dict[str, bytes]) -> torch.Tensor:
        with TemporaryDirectory() as room:
            for name, data in files.items():
                (Path(room) / name).write_bytes(data)
            return logits(PeftModel.from_pretrained(deepcopy(self._model), room))

    def _is_base(self, key: str, tensor: torch.Tensor) -> bool:
        name = key.removeprefix("base_model.model.").replace(".base_layer", "")
        return name in self._plain and _same(self._plain[name], tensor.to(self._plain[name].dtype))

    # Made once

    @cached_property
    def _snapshot(self) -> Snapshot:
        return Snapshot.of(self.files)

    @cached_property
    def _statement(self) -> Statement:
        subjects = tuple(Subject(name=name, digest=Digest.of(data)) for name, data in self.files.items())
        return manifest().to_statement(subjects)

    @cached_property
    def _bundles(self) -> list[dict[str, Any]]:
        kinds = ((1, False), (1, True), (2, True))
        return [
            self.insider.bundle(self._statement.raw, version=version, stamped=stamped) for version, stamped in kinds
        ]

    @cached_property
    def _meanings(self) -> list[tuple[Any, ...]]:
        return [_meaning(verify_signature(raw(found), self.trust, now=NOW)) for found in self._bundles]

    @cached_property
    def _base(self) -> Any:
        return measure(self._model).fingerprint

    @cached_property
    def _plain(self) -> dict[str, torch.Tensor]:
        return dict(self._model.state_dict())

    @cached_property
    def _keys(self) -> list[str]:
        return [*self._plain]

    @cached_property
    def _answers(self) -> torch.Tensor:
        return logits(load(deepcopy(self._model), self._snapshot).model)


class HazardError(SkillwarrantError):
    """Stands for the policy's rule: this configuration would have to be declared and allowed."""

    code = "hazards.allowed"
    exit_code = 1

    def __init__(self) -> None:
        super().__init__("a hazard")


def _meaning(signature: Signature) -> tuple[Any, ...]:
    """Everything but the digest of the bundle's bytes: a space more is another file of the same meaning."""
    found = signature
    return found.payload_type, found.payload, found.signer, found.log, found.signed_at, found.certificate


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise FalseAcceptError(what)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return bytes(one.detach().contiguous().view(-1).view(torch.uint8)) == bytes(
        other.contiguous().view(-1).view(torch.uint8)
    )


# Mutations of JSON text and of safetensors files

_ODD: Final[list[Any]] = [
    *(None, True, False, 0, 1, -1, 4, 8, 0.5, -0.0, 1e308, 2**31, 2**53 - 1, 2**53, 2**63, 2**64, 10**400),
    *([], {}, [[]], {"": 0}, [None], ["q_proj"], ["v_proj", "q_proj"], [0], [0, 1]),
    *("", "0", "q_proj", "all-linear", "*", ".*", "(a+)+$", "é", "e\u0301", "\ud800", "\x00", "\u202e", "A" * 5000),
    *("LORA", "IA3", "CAUSAL_LM", "SEQ_CLS", "none", "all", "pissa", "F32", "F16", "BF16", "I8", "BOOL", "F8_E4M3"),
    *("production", "2026-11-22T00:00:00Z", "acme/x", "../x", "https://skillwarrant.dev/skill-manifest/v1"),
]
_RAW: Final = (
    b"NaN",
    b"Infinity",
    b"1e999",
    b"01",
    b"1.0",
    b"9" * 400,
    b"'x'",
    b"// x",
    b",",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\\ud800",
    b"\\u0000",
)


def mutated_json(data: bytes, random: Random) -> bytes:
    """One to three mutations: structural and canonical, structural, or of the bytes."""
    document = json.loads(data)
    for _ in range(random.randint(1, 3)):
        _restructure(document, random)
    choice = random.random()
    if choice < 0.6:  # as a signer would write it
        try:
            return canonical(document)
        except FormatError:
            pass
    text = json.dumps(document).encode("utf-8", "surrogatepass") if choice < 0.8 else data
    return text if choice < 0.7 else _bytes(text, random)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = (
        list(value.items())
        if isinstance(value, dict)
        else list(enumerate(value))
        if isinstance(value, list)
        else []
    )
    for key, item in items:
        yield value, key
        yield from _places(item)


def _restructure(document: Any, random: Random) -> None:
    places = list(_places(document))
    if not places:
        return
    parent, key = random.choice(places)
    other, other_key = random.choice(places)
    choice = random.randrange(8)
    value = deepcopy(parent[key])  # so that nothing is shared, between places or between mutants
    if choice <= 1:
        parent[key] = deepcopy(random.choice(_ODD))
    elif choice == 2:
        del parent[key]
    elif choice == 3 and isinstance(parent, dict):
        if random.random() < 0.5:
            del parent[key]
        parent[_respelled(str(key), random)] = value
    elif choice == 4:
        parent[key] = deepcopy(other[other_key])
    elif choice == 5:
        parent[key] = [value] if random.random() < 0.5 else {str(other_key): value}
    elif choice == 6 and isinstance(parent, list):
        parent.insert(random.randrange(len(parent) + 1), deepcopy(random.choice([*_ODD, value])))
    elif isinstance(parent[key], str):
        parent[key] = _respelled(parent[key], random)
    elif isinstance(parent[key], int | float):
        found = parent[key]
        parent[key] = random.choice(
            [found + 1, -found, found * 2, str(found), float(found) if abs(found) < 2**60 else 0]
        )


def _respelled(text: str, random: Random) -> str:
    place = random.randrange(len(text) + 1)
    odd = random.choice(
        ["", "_", "-", " ", ".", "/", "0", "x", "\u0430", "\u200b", "\n", "\x00", "^", "$", "|", "*"]
    )
    return random.choice(
        [text.upper(), text.lower(), text[:place] + odd + text[place + random.randint(0, 1) :], text + text[:3]]
    )


def _bytes(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(changed) + 1)
        choice = random.randrange(5)
        if choice == 0 and place < len(changed):
            changed[place] ^= 1 << random.randrange(8)
        elif choice == 1:
            del changed[place : place + random.randint(1, 40)]
        elif choice == 2:
            changed[place:place] = random.choice(_RAW)
        elif choice == 3:
            changed[place:place] = changed[place : place + random.randint(1, 60)]
        else:
            changed[place:place] = bytes(random.choices(b'aZ09+/=_"{}[]:, .-\\', k=random.randint(1, 4)))
    return bytes(changed)


def mutated_safetensors(data: bytes, random: Random) -> bytes:
    """Of the header's JSON, its entries, its length, or the data."""
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + length], data[8 + length :]
    choice = random.randrange(10)
    if choice < 4:
        header = mutated_json(header, random)
    elif choice < 7:
        header = _entries(header, rest, random)
    elif choice == 7:
        header += b" " * random.choice([1, 2, 7, 8, 64]) if random.random() < 0.7 else random.choice(_RAW)
    elif choice == 8:
        changed = bytearray(rest)
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        rest = bytes(changed)
    else:
        rest = (
            rest[: -random.randint(1, 64)]
            if random.random() < 0.5
            else rest + random.randbytes(random.randint(1, 64))
        )
    odd = random.choice([0, 1, length - 1, length + 1, 2**31, 2**63, 2**64 - 1])
    claimed = odd if random.random() < 0.05 else len(header)
    return claimed.to_bytes(8, "little") + header + rest


def _entries(header: bytes, rest: bytes, random: Random) -> bytes:
    """Sound JSON whose entries lie."""
    document = json.loads(header)
    names = [name for name in document if name != "__metadata__"]
    for _ in range(random.randint(1, 2)):
        name, other = random.choice(names), random.choice(names)
        entry = document[name]
        choice = random.randrange(8)
        if choice == 0:
            document[name], document[other] = document[other], entry
        elif choice == 1:
            entry["shape"] = random.choice(
                [entry["shape"][::-1], [*entry["shape"], 1], [-1, -1], [0], [], [2**62, 4], [1, *entry["shape"]]]
            )
        elif choice == 2:
            entry["data_offsets"] = [
                place + random.choice([-8, -4, -1, 1, 4, 8, 2**40]) for place in entry["data_offsets"]
            ]
        elif choice == 3:
            entry["dtype"] = random.choice(
                ["F16", "BF16", "F64", "I32", "U32", "I8", "BOOL", "F8_E4M3", "F4", "C64"]
            )
        elif choice == 4:
            document[_respelled(name, random)] = document.pop(name) if random.random() < 0.5 else entry
            break
        elif choice == 5:
            entry["data_offsets"] = document[other]["data_offsets"]
        elif choice == 6:
            document["__metadata__"] = random.choice([{}, {"format": "pt"}, {"a": 1}, [], {"x": "y" * 100}, None])
        else:
            document = dict(random.sample(list(document.items()), len(document)))
            names = [name for name in document if name != "__metadata__"]
    return json.dumps(document).encode("utf-8", "surrogatepass")


# Running them

TARGETS: Final = {
    "bundle": Fuzzer.bundle,
    "manifest": Fuzzer.manifest,
    "configuration": Fuzzer.configuration,
    "weights": Fuzzer.weights,
}
NO: Final = (FormatError, VerificationError, HazardError)


def attack(fuzzer: Fuzzer, target: str, seed: int, numbers: range) -> Tally:
    """Run the mutants with these numbers."""
    tally = Tally()
    for number in numbers:
        run = TARGETS[target](fuzzer, Random(f"{target} {seed} {number}"))  # noqa: S311  # reproducible on purpose
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if run():
                    tally.identical += 1
                else:
                    tally.other += 1
        except NO as error:
            tally.refused[error.code] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            tally.defects.append(
                f"--target {target} --seed {seed} --only {number}: {type(error).__name__}: {error}"[:500]
            )
    return tally


_FUZZER: list[Any] = []


def _work(task: tuple[str, int, range]) -> Tally:
    """In a process of its own, which keeps what it made."""
    if not _FUZZER:
        torch.set_num_threads(1)
        room = TemporaryDirectory()
        _FUZZER.extend((Fuzzer(Path(room.name) / "adapter"), room))
    return attack(_FUZZER[0], *task)


def main() -> int:
    options = _options()
    targets = [options.target] if options.target else list(TARGETS)
    if options.only is not None:
        with TemporaryDirectory() as room:
            tally = attack(
                Fuzzer(Path(room) / "adapter"), targets[0], options.seed, range(options.only, options.only + 1)
            )
        print(tally)
        return bool(tally.defects)
    started, found = time.monotonic(), {target: Tally() for target in targets}
    share = options.mutants // len(targets)
    tasks = [
        (target, options.seed, range(start, min(start + 500, share)))
        for start in range(0, share, 500)
        for target in targets
    ]
    with ProcessPoolExecutor(options.jobs) as pool:
        for count, (task, tally) in enumerate(zip(tasks, pool.map(_work, tasks), strict=True), start=1):
            found[task[0]].add(tally)
            if count % 20 == 0 or tally.defects:
                print(f"{count}/{len(tasks)} {time.monotonic() - started:.0f} s {tally.defects}", file=sys.stderr)
    text = report(found, options.seed, time.monotonic() - started)
    print(text)
    if options.report:
        options.report.write_text(text, encoding="utf-8")
    return any(tally.defects for tally in found.values())


def report(found: dict[str, Tally], seed: int, seconds: float) -> str:
    """A table of what became of them."""
    total = sum(tally.mutants for tally in found.values())
    names = ("torch", "peft", "transformers", "safetensors", "sigstore", "cryptography")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    day = datetime.now(UTC).date()
    lines = [
        f"{total} mutants, seed {seed}, {seconds:.0f} s, {day}.",
        "",
        f"Python {python_version()}, {versions}.",
        "",
    ]
    lines += [
        "| target | mutants | accepted, same meaning | accepted, its own | defects | refused |",
        "|---|---|---|---|---|---|",
    ]
    for target, tally in found.items():
        codes = ", ".join(f"`{code}` {count}" for code, count in tally.refused.most_common())
        lines.append(
            f"| {target} | {tally.mutants} | {tally.identical} | {tally.other} | {len(tally.defects)} | {codes} |"
        )
    return "\n".join([*lines, "", *(f"- {defect}" for tally in found.values() for defect in tally.defects), ""])


def _options() -> Any:
    parser = argparse.ArgumentParser(description="Mutants against the verifier and the loader.")
    parser.add_argument("--mutants", type=int, default=3000, help="in sum over the targets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=list(TARGETS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", type=int, help="run the one mutant of this number")
    parser.add_argument("--report", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
