"""What the adapter's own verified files say of it: never the manifest's word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from skillwarrant_format import limits
from skillwarrant_format.adapter_config import AdapterConfig
from skillwarrant_format.fields import Fields, check_text, present
from skillwarrant_format.names import LABEL
from skillwarrant_format.safetensors import Header
from skillwarrant_format.snapshot import WEIGHTS_NAME, Snapshot
from skillwarrant_format.strict_json import JsonObject
from skillwarrant_format.toml import only
from skillwarrant_verify.deciding.file_seen import FileSeen
from skillwarrant_verify.deciding.method_numbers import rank_of, scaling_of

__all__ = ["AdapterSeen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSeen:
    """An adapter, as its files are.

    Args:
        peft_type, task_type, target_modules, changes_base, hazards: as in `AdapterConfig`.
        rank: the largest that what is added to any weight can have; None where the method has none, or it cannot be
            read. See `method_numbers`.
        scaling: the largest factor that any layer's weights are multiplied by, at most: alpha / rank, or
            alpha / sqrt(rank) with rank-stabilised LoRA; None where the method has none, or it cannot be read.
        parameters: elements of all tensors together.
        tensors: their number.
        dtypes: of the tensors as they are stored, safetensors' names, sorted.
        size: bytes of all files.
        files: all of them, sorted by name; at least one.
        default_rank, default_alpha: as the configuration states them for the layers that it gives no other; None
            where it states none, or one that is not written as it is.
    """

    peft_type: str
    changes_base: bool
    parameters: int
    tensors: int
    size: int
    files: tuple[FileSeen, ...]
    task_type: str | None = None
    target_modules: tuple[str, ...] = ()
    hazards: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    rank: int | None = None
    scaling: float | None = None
    default_rank: int | None = None
    default_alpha: float | None = None

    @classmethod
    def of(cls, snapshot: Snapshot, config: AdapterConfig) -> Self:
        """Read an adapter in memory.

        Args:
            config: of the same snapshot.

        Raises:
            FormatError: the weights' file is malformed.
            FilesMismatch: there is none.
        """
        header = Header.parse(snapshot.weights.data, what=WEIGHTS_NAME)
        return cls(
            peft_type=config.peft_type,
            task_type=config.task_type,
            changes_base=config.changes_base,
            hazards=config.hazards,
            target_modules=config.target_modules,
            parameters=min(header.parameters, limits.MAX_JSON_INTEGER),
            tensors=len(header.tensors),
            dtypes=tuple(sorted({tensor.dtype for tensor in header.tensors})),
            size=snapshot.size,
            files=FileSeen.all_of(snapshot),
            rank=rank_of(config.peft_type, config.raw),
            scaling=scaling_of(config.peft_type, config.raw),
            default_rank=config.rank,
            default_alpha=_as_written(config.alpha),
        )

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """From the `adapter` of an input document.

        Raises:
            FormatError: a field that is missing, mistyped, malformed or unknown.
        """
        only(fields, *_KEYS)
        return cls(
            peft_type=fields.text("peftType", pattern=LABEL),
            task_type=fields.maybe("taskType", fields.text),
            changes_base=fields.boolean("changesBase"),
            hazards=fields.texts("hazards", pattern=LABEL),
            target_modules=fields.texts("targetModules"),
            parameters=fields.integer("parameters"),
            tensors=fields.integer("tensors"),
            dtypes=tuple(
                check_text(item, f"{fields.at('dtypes')}[{index}]", 64)
                for index, item in enumerate(fields.items("dtypes"))
            ),
            size=fields.integer("bytes"),
            files=FileSeen.parse_all(fields, "files"),
            rank=fields.maybe("rank", lambda key: fields.integer(key, least=1)),
            scaling=fields.maybe("scaling", fields.number),
            default_rank=fields.maybe("defaultRank", lambda key: fields.integer(key, least=1)),
            default_alpha=fields.maybe("defaultAlpha", fields.number),
        )

    def to_json(self) -> JsonObject:
        """Lists stay where they are empty: here that says "none"."""
        return {
            "peftType": self.peft_type,
            "changesBase": self.changes_base,
            "hazards": list(self.hazards),
            "targetModules": list(self.target_modules),
            "parameters": self.parameters,
            "tensors": self.tensors,
            "dtypes": list(self.dtypes),
            "bytes": self.size,
            "files": FileSeen.all_to_json(self.files),
            **present(
                taskType=self.task_type,
                rank=self.rank,
                scaling=self.scaling,
                defaultRank=self.default_rank,
                defaultAlpha=self.default_alpha,
            ),
        }


_KEYS = (
    *("peftType", "taskType", "changesBase", "hazards", "targetModules", "parameters", "tensors", "dtypes"),
    *("bytes", "rank", "scaling", "files", "defaultRank", "defaultAlpha"),
)


def _as_written(alpha: float | None) -> float | None:
    """JSON has no whole numbers from 2^53 on that say what they are."""
    if isinstance(alpha, float) and alpha.is_integer() and limits.MAX_JSON_INTEGER < abs(alpha) < 1e21:
        return None
    return alpha
