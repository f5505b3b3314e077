"""The input document: all that a decision is made from, as JSON. Format: docs/reference/policy-input.md.

`to_document` and `from_document` are each other's inverse, and there is one document for any facts: its digest is
the digest of the inputs that a record names. Facts that come from a document are hypothetical: whatever is decided
of them, `Decision.require` gives nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from skillwarrant_format import limits
from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import FormatError
from skillwarrant_format.fields import Fields, check_text, format_time
from skillwarrant_format.fingerprint import Fingerprint
from skillwarrant_format.manifest import SkillManifest
from skillwarrant_format.names import PACKAGE, SEMVER
from skillwarrant_format.strict_json import JsonObject, JsonValue, canonical
from skillwarrant_format.toml import only
from skillwarrant_verify.deciding.adapter_seen import AdapterSeen
from skillwarrant_verify.deciding.composition import Companion
from skillwarrant_verify.deciding.context_seen import ContextSeen
from skillwarrant_verify.deciding.evidence_seen import EvidenceSeen
from skillwarrant_verify.deciding.facts import Facts, History
from skillwarrant_verify.deciding.same_document import check_json, check_same
from skillwarrant_verify.deciding.warrant import SupposedWarrant, warrant_to_json

__all__ = ["API_VERSION", "FIELDS", "for_record", "from_document", "input_digest", "to_document"]

Part = TypeVar("Part")
API_VERSION: Final = "skillwarrant.dev/policy-input/v1"
_REQUIRED: Final = (
    "apiVersion",
    "now",
    "manifest",
    "warrant",
    "adapter",
    "base",
    "context",
    "companions",
    "evidence",
)
_OPTIONAL: Final = ("versions", "weight", "history")
FIELDS: Final = frozenset({*_REQUIRED, *_OPTIONAL})
"""Every field at the top of the document."""
_MAX_ALTERATIONS: Final = 100_000


def to_document(facts: Facts) -> JsonObject:
    """The input document of facts."""
    document: dict[str, JsonValue] = {
        "apiVersion": API_VERSION,
        "now": format_time(facts.now),
        "manifest": facts.manifest.to_json(),
        "warrant": warrant_to_json(facts.warrant),
        "adapter": facts.adapter.to_json(),
        "base": _base_to_json(facts),
        "context": facts.context.to_json(),
        "companions": [_companion_to_json(companion) for companion in facts.companions],
        "evidence": [item.to_json() for item in facts.evidence],
    }
    if facts.versions is not None:
        document["versions"] = dict(facts.versions)
    if facts.weight is not None:
        document["weight"] = _weight_to_json(facts.weight)
    if facts.history is not None:
        document["history"] = {} if facts.history.highest is None else {"highest": facts.history.highest}
    return document


def input_digest(facts: Facts) -> Digest:
    """SHA-256 of the canonical JSON of the input document, so that a decision can be replayed."""
    return Digest.of(canonical(to_document(facts)))


def for_record(document: JsonObject) -> JsonObject:
    """An input document that may be kept beside a log: nobody's name, and no attribute of a session.

    Of a document that has one of these, what asks for them cannot be decided again: `operator.verified` and
    `operator.allowed` where they depend on the name, and the policy's own rules, in Python and in Rego.
    """
    context = document["context"]
    if not isinstance(context, Mapping) or not ({"operator", "session"} & context.keys()):
        return document
    kept = {key: value for key, value in context.items() if key != "session"}
    if isinstance(operator := context.get("operator"), Mapping):
        kept["operator"] = {key: value for key, value in operator.items() if key not in ("name", "claims")}
    return {**document, "context": {**kept, "redacted": True}}


def from_document(document: JsonValue) -> Facts:
    """Hypothetical facts.

    Args:
        document: as a strict JSON parser gives it.

    Raises:
        FormatError: anything missing, mistyped, malformed or unknown, or not as `to_document` writes it; the
            message begins with its path, `input.context.environment`.
    """
    try:
        return _read(document)
    except (ArithmeticError, AttributeError, RecursionError, TypeError, ValueError):
        check_json(document, "input")  # what was made by hand may be no JSON, which is told here
        raise


def _read(document: JsonValue) -> Facts:
    fields = Fields(document, "input")
    if (version := fields.text("apiVersion")) != API_VERSION:
        raise FormatError("input.apiVersion is unknown", expected=API_VERSION, found=version)
    only(fields, *_REQUIRED, *_OPTIONAL)
    manifest = _within(fields.object("manifest"), SkillManifest.from_fields)
    base, alterations = _within(fields.object("base"), _base)
    facts = Facts(
        warrant=_within(fields.object("warrant"), lambda part: SupposedWarrant.parse(part, manifest)),
        adapter=AdapterSeen.parse(fields.object("adapter")),
        base=base,
        companions=tuple(_within(item, _companion) for item in fields.objects("companions")),
        context=ContextSeen.parse(fields.object("context")),
        now=fields.time("now"),
        versions=fields.maybe("versions", lambda key: _versions(fields.object(key))),
        alterations=alterations,
        weight=fields.maybe("weight", lambda key: _weight(fields, key)),
        evidence=tuple(EvidenceSeen.parse(item) for item in fields.objects("evidence")),
        history=fields.maybe("history", lambda key: _history(fields.object(key))),
    )
    check_same(document, to_document(facts), "input")
    return facts


def _within(fields: Fields, read: Callable[[Fields], Part]) -> Part:
    """Read a part; of a message that names no path, at least the part is named."""
    try:
        return read(fields)
    except FormatError as error:
        if error.message.startswith("input"):
            raise
        message = f"{fields.path}: {error.message}"
        raise FormatError(message, expected=error.expected, found=error.found, fix=error.fix) from None


def _base_to_json(facts: Facts) -> JsonObject:
    measured: JsonObject = {} if facts.base is None else {"fingerprint": facts.base.to_json()}
    return {**measured, "alterations": list(facts.alterations)}


def _base(fields: Fields) -> tuple[Fingerprint | None, tuple[str, ...]]:
    only(fields, "fingerprint", "alterations")
    alterations = tuple(
        check_text(item, f"{fields.at('alterations')}[{index}]", limits.MAX_URI_CHARS)
        for index, item in enumerate(fields.items("alterations", most=_MAX_ALTERATIONS))
    )
    return fields.maybe("fingerprint", lambda key: Fingerprint.parse(fields.object(key))), alterations


def _companion_to_json(companion: Companion) -> JsonObject:
    found: dict[str, JsonValue] = {"adapterName": companion.adapter_name}
    if companion.manifest is not None:
        found["manifest"] = companion.manifest.to_json()
    if companion.weight is not None:
        found["weight"] = _weight_to_json(companion.weight)
    return found


def _companion(fields: Fields) -> Companion:
    only(fields, "adapterName", "manifest", "weight")
    return Companion(
        adapter_name=fields.text("adapterName"),
        manifest=fields.maybe("manifest", lambda key: SkillManifest.from_fields(fields.object(key))),
        weight=fields.maybe("weight", lambda key: _weight(fields, key)),
    )


def _weight_to_json(weight: float) -> JsonValue:
    """JSON has neither NaN nor infinities, and no whole numbers beyond 2^53: those are inputs too, as text. What no
    double holds is infinite: no rule allows either."""
    if abs(weight) <= limits.MAX_JSON_INTEGER:
        return weight
    try:
        return repr(float(weight))
    except OverflowError:
        return "inf" if weight > 0 else "-inf"


def _weight(fields: Fields, key: str) -> float:
    found = fields.value(key)
    if not isinstance(found, str):
        return fields.number(key)
    try:
        weight = float(found)
    except ValueError:
        weight = 0.0
    if repr(weight) != found or (math.isfinite(weight) and abs(weight) <= limits.MAX_JSON_INTEGER):
        raise FormatError(f"{fields.at(key)} is no weight", expected="a number, or nan, inf or -inf", found=found)
    return weight


def _versions(fields: Fields) -> dict[str, str]:
    for name in fields.keys():  # noqa: SIM118  # Fields is no mapping
        if not PACKAGE.fullmatch(name):
            raise FormatError(f"{fields.path} names no package", expected="a name like peft", found=name)
    return {name: fields.text(name, limit=limits.MAX_RANGE_CHARS) for name in fields.keys()}  # noqa: SIM118


def _history(fields: Fields) -> History:
    only(fields, "highest")
    highest = fields.maybe("highest", lambda key: fields.text(key, limit=limits.MAX_VERSION_CHARS, pattern=SEMVER))
    return History(highest=highest)
