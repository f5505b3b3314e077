"""A decision as an event of OPA's decision log, for tools that read those (OPA, Management, Decision Logs).

The field names and their meaning are OPA's. What may not leave the host is masked as OPA does it: the field is
replaced, and its JSON Pointer listed. It decides nothing and sends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from skillwarrant_format.digest import Digest
from skillwarrant_format.errors import UsageError
from skillwarrant_format.fields import present
from skillwarrant_format.strict_json import JsonObject, canonical

__all__ = ["decision_event"]

_INPUT: Final = "/input"


def decision_event(
    *,
    decision_id: UUID,
    path: str,
    document: JsonObject,
    result: JsonObject,
    moment: datetime,
    labels: Mapping[str, str],
    revisions: Mapping[str, str],
    timers: Mapping[str, int],
    show_input: bool = False,
) -> JsonObject:
    """One event.

    Args:
        path: which decision, `skillwarrant/decision`.
        document: the input.
        result: what was decided.
        moment: when.
        labels: what identifies this gate: `id`, `version`, and what the operator adds.
        revisions: name of each policy that decided -> its revision or digest.
        timers: nanoseconds by name: `timer_rego_query_eval_ns`, `timer_server_handler_ns`.
        show_input: whether the input itself is in the event; else its SHA-256 over RFC 8785 JSON stands for it.

    Raises:
        FormatError: `document` is nothing that JSON can say.
        UsageError: `moment` has no time zone, or a timer is negative.
    """
    if moment.tzinfo is None:
        raise UsageError("a time has no time zone", expected="an aware datetime", found=moment.isoformat())
    if any(value < 0 for value in timers.values()):
        raise UsageError("a timer is negative", expected="nanoseconds", found=str(dict(timers)))
    digest = {"digest": {"sha256": Digest.of(canonical(document)).hex}}
    return {
        "labels": dict(labels),
        "decision_id": str(decision_id),
        **present(bundles={name: {"revision": revision} for name, revision in revisions.items()}),
        "path": path,
        "input": document if show_input else digest,
        "result": result,
        "timestamp": moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z",
        "metrics": dict(timers),
        **present(masked=[] if show_input else [_INPUT]),
    }
