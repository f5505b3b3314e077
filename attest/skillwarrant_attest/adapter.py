"""From a directory to an `Adapter`: its bytes, and every fact of the manifest that its own files state.

Nothing that can be derived is typed in by hand, so nothing here takes an opinion as an argument. It knows nothing
of skill.toml, of signing, or of the base model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from skillwarrant_format import fingerprint
from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.hashing import Progress
from skillwarrant_format.manifest import AdapterFacts
from skillwarrant_format.safetensors import Header
from skillwarrant_format.snapshot import WEIGHTS_NAME, Snapshot
from skillwarrant_format.statement import Subject

__all__ = ["Adapter", "read_adapter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter in memory, ready to be vouched for.

    Args:
        directory: where it was read from.
        snapshot: every file, read once.
        config: `adapter_config.json`.
        facts: what the manifest says of it.
        subjects: one for each file, sorted by name.
    """

    directory: Path
    snapshot: Snapshot
    config: AdapterConfig
    facts: AdapterFacts
    subjects: tuple[Subject, ...]


def read_adapter(directory: Path | str, *, progress: Progress | None = None) -> Adapter:
    """Read an adapter directory once, strictly.

    A bundle that is already there is no part of the adapter: signing again replaces it.

    Args:
        progress: told (bytes read, bytes in total) while the files are read.

    Raises:
        UsageError: there is no such directory.
        FilesMismatch: a symlink, a pickle, a hidden or an unexpected file; or no adapter in the directory.
        FormatError: a file changed while it was read, or a file is not what its format says.
        Unavailable: a file cannot be read.
    """
    snapshot = Snapshot.read(directory, progress=progress)
    config = AdapterConfig.parse(snapshot.config.data)
    subjects = tuple(Subject(name=path, digest=file.digest) for path, file in snapshot.files.items())
    return Adapter(
        directory=Path(directory),
        snapshot=snapshot,
        config=config,
        facts=_facts(config, snapshot.weights.data),
        subjects=subjects,
    )


def _facts(config: AdapterConfig, weights: memoryview) -> AdapterFacts:
    header = Header.parse(weights, what=WEIGHTS_NAME)
    tensors = fingerprint.of_safetensors(header, weights)
    return AdapterFacts(
        peft_type=config.peft_type,
        parameters=header.parameters,
        tensors=len(tensors),
        tensors_digest=fingerprint.root(tensors),
        changes_base=config.changes_base,
        task_type=config.task_type,
        peft_version=config.peft_version,
        rank=config.rank,
        alpha=config.alpha,
        target_modules=config.target_modules,
        hazards=config.hazards,
    )
