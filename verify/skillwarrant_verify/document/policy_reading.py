"""Reading helpers of the policy document: which keys there are, lists of known words, optional sections, Rego."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal, TypeVar, cast

from skillwarrant_format.errors import FormatError, PolicyError, UsageError
from skillwarrant_format.fields import Fields
from skillwarrant_format.limits import MAX_LIST_ITEMS
from skillwarrant_format.toml import only

if TYPE_CHECKING:
    from skillwarrant_verify.rego.modules import RegoModules
    from skillwarrant_verify.rego.opa_http import OpaServer

__all__ = [
    "KEYS",
    "Measure",
    "measure",
    "opa_not_asked",
    "opa_server",
    "rego_engine",
    "rego_modules",
    "section",
    "tables",
    "words",
]

Measure = Literal["every-load", "once-verified", "sampled"]
Section = TypeVar("Section")
KEYS: Final = (
    *("api_version", "name", "revision", "description", "not_before", "not_after"),
    *("environments", "policy_classes", "regions", "publishers", "bases", "quantizations", "measure"),
    *("max_age_days", "versions", "revocations", "evidence", "training_data", "dependencies", "limits"),
    *("allow_hazards", "allow_alterations", "composition", "operators"),
    *("mode", "effective_on", "requirements", "rules", "rego", "opa"),
)
"""Every key at the top of a policy document."""
_MEASURES: Final = ("every-load", "once-verified", "sampled")


def measure(fields: Fields) -> Measure:
    """How often the base is measured."""
    found = fields.maybe("measure", lambda key: fields.choice(key, _MEASURES)) or "every-load"
    return cast("Measure", found)


def section(fields: Fields, key: str, parse: Callable[[Fields], Section]) -> Section | None:
    """An optional table; None where it is not there."""
    return fields.maybe(key, lambda key: parse(fields.object(key)))


def tables(fields: Fields, key: str, *, most: int = MAX_LIST_ITEMS) -> list[Fields]:
    """An optional array of tables; an empty one is refused."""
    return fields.maybe(key, lambda key: fields.objects(key, least=1, most=most)) or []


def words(fields: Fields, key: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """A list of words that mean something: a misspelt one would allow nothing, and nobody would know."""
    found = fields.listed(key)
    for word in found:
        if word not in known:
            raise FormatError(f"{fields.at(key)} names something unknown", expected=" | ".join(known), found=word)
    return found


def rego_modules(files: Mapping[str, bytes]) -> RegoModules | None:
    """The Rego modules of a policy, checked; None where it names none.

    Raises:
        PolicyError: a module cannot be used.
        Unavailable: the engine is not installed, or not the pinned one.
    """
    if not files:
        return None
    from skillwarrant_verify.deciding.decision_input import FIELDS
    from skillwarrant_verify.rego.modules import RegoModules

    return RegoModules.load(files, input_fields=FIELDS)


def rego_engine() -> str:
    """The engine that evaluates them, for a record."""
    from skillwarrant_verify.rego.install import ENGINE, VERSION

    return f"rego/v1 ({ENGINE} {VERSION})"


def opa_server(fields: Fields) -> OpaServer:
    """The section `opa`: a server that is asked too.

    Raises:
        FormatError, PolicyError: an unknown key, or one that cannot be used.
    """
    from skillwarrant_verify.rego.opa_http import OpaServer

    return _opa(fields, OpaServer, _token(fields))


def opa_not_asked(fields: Fields) -> OpaServer:
    """The same server, checked as well and never asked: no token is looked up, and asking it raises Unavailable."""
    from skillwarrant_verify.rego.opa_http import SilentOpaServer

    fields.maybe("token_env", fields.text)
    return _opa(fields, SilentOpaServer, None)


def _token(fields: Fields) -> str | None:
    name = fields.maybe("token_env", fields.text)
    token = None if name is None else os.environ.get(name)
    if name is not None and not token:
        raise PolicyError(
            f"{fields.at('token_env')} names a variable that is not set",
            expected=f"a token in ${name}",
            found="none",
        )
    return token


def _opa(fields: Fields, server: type[OpaServer], token: str | None) -> OpaServer:
    only(fields, "url", "path", "timeout_seconds", "token_env")
    given = fields.maybe("timeout_seconds", fields.number)
    seconds = 10 if given is None else given
    if not 0 < seconds <= 60:
        at = fields.at("timeout_seconds")
        raise FormatError(f"{at} is out of range", expected="more than 0, at most 60", found=str(seconds))
    try:
        return server(
            fields.text("url", limit=2048),
            fields.maybe("path", fields.text) or "skillwarrant/decision",
            token=token,
            total=float(seconds),
        )
    except UsageError as error:
        raise PolicyError(
            f"{fields.path}: {error.message}", expected=error.expected, found=error.found, fix=error.fix
        ) from None
