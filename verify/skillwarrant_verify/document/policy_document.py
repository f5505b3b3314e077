"""A policy document before anybody has judged what it says: its bytes, its keys, and the line of each.

TOML, or the same document as JSON where its name ends in .json, each read strictly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Self

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.fields import Fields
from skillwarrant_format.strict_json import JsonObject, loads_object
from skillwarrant_format.toml import parse_toml
from skillwarrant_verify.deciding.catalogue import CATALOGUE
from skillwarrant_verify.document.policy_lines import KeyPath, key_lines, shown_path

__all__ = ["PolicyDocument"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDocument:
    """A document that is well-formed.

    Args:
        name: of its file, for people.
        digest: SHA-256 of its exact bytes.
        plain: what it says, as JSON: what Rego modules read as `data.config`.
        fields: the same, to be read.
        lines: path of a key -> its line; empty for JSON.
    """

    name: str
    digest: Digest
    plain: JsonObject
    fields: Fields
    lines: Mapping[KeyPath, int]

    @classmethod
    def parse(cls, data: bytes, *, name: str) -> Self:
        """Read a document's bytes, at most `limits.MAX_POLICY_BYTES`.

        Raises:
            FormatError: it is neither TOML nor, where its name says so, JSON.
        """
        is_json = name.endswith(".json")
        plain = (
            loads_object(data, what=name, limit=limits.MAX_POLICY_BYTES) if is_json else parse_toml(data, what=name)
        )
        return cls(
            name=PurePath(name).name,
            digest=Digest.of(data),
            plain=plain,
            fields=Fields(plain, "policy"),
            lines={} if is_json else key_lines(data.decode("utf-8")),
        )

    def place(self, path: KeyPath) -> str | None:
        """Where a key stands, `policy.toml:12 environments`; None where it does not."""
        if not _is_there(self.plain, path):
            return None
        line = self.lines.get(path)
        return f"{self.name}{'' if line is None else f':{line}'} {shown_path(path)}"

    def asked(self, own: Iterable[str] = (), evidence: Sequence[str] = ()) -> dict[str, str]:
        """The line that asks for each requirement, where one does; and for Rego, OPA and each `evidence[0]`.

        Args:
            own: codes of the policy's own rules.
            evidence: the requirement that each item of `[[evidence]]` belongs to.
        """
        tables = {**dict.fromkeys(own, "rules"), "rego": "rego", "opa": "opa"}
        found = {name: place for name, key in tables.items() if (place := self.place((key,))) is not None}
        for number, code in reversed([*enumerate(evidence)]):  # the first of its kind
            if (place := self.place(("evidence", number))) is not None:
                found[code] = found[f"evidence[{number}]"] = place
        for code, known in CATALOGUE.items():
            if known.asks == ("evidence",):
                continue
            places = (self.place(tuple(key.split("."))) for key in known.asks)
            if (place := next(filter(None, places), None)) is not None:
                found[code] = place
        return found


def _is_there(value: Any, path: KeyPath) -> bool:
    for step in path:
        inside = value if isinstance(value, Mapping) else dict(enumerate(value)) if isinstance(value, list) else {}
        if step not in inside:
            return False
        value = inside[step]
    return True
