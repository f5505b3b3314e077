"""The JSON Schemas (Draft 2020-12) of the predicates and of a policy's input, for readers in other languages.

Our own parser does not use them; the tests hold it to them. What no schema can say is listed in
docs/reference/manifest.md, docs/reference/policy-bundle.md and docs/reference/policy-input.md.
"""

from __future__ import annotations

from typing import Final

from skillwarrant_format import manifest, observation, policy_bundle
from skillwarrant_format.errors import UsageError
from skillwarrant_format.strict_json import JsonObject, loads_object

__all__ = ["load"]

POLICY_INPUT: Final = "skillwarrant.dev/policy-input/v1"  # an API version: the input document is never signed
_FILES: Final = {
    manifest.PREDICATE_TYPE: "skill-manifest-v1.json",
    observation.PREDICATE_TYPE: "skill-activation-v1.json",
    policy_bundle.PREDICATE_TYPE: "policy-bundle-v1.json",
    POLICY_INPUT: "policy-input-v1.json",
}


def load(predicate_type: str) -> JsonObject:
    """The schema of a predicate, or of the input document.

    Raises:
        UsageError: it is no type of this product that has one.
    """
    from importlib.resources import files

    if (name := _FILES.get(predicate_type)) is None:
        raise UsageError("there is no schema for this type", expected=" or ".join(_FILES), found=predicate_type)
    return loads_object(files(__name__).joinpath(name).read_bytes(), what=name)
